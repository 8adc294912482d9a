#include "launcher/gateway/http_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>

#include "launcher/gateway/http_body.h"
#include "launcher/gateway/http_target.h"

namespace cohort {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool is_decimal(std::string_view text) {
  constexpr size_t kMaxDigits = 18;  // below 2^63
  return !text.empty() && text.size() <= kMaxDigits &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

HttpFailure failure_of(const error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit) {
    return {431, "the header is larger than " + std::to_string(limits.max_header_bytes) + " bytes"};
  }
  if (error == http::error::bad_version) return {505, "expected HTTP/1.1"};
  return {400, "not HTTP/1.1: " + error.message()};
}

HttpFailure failure_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::kResourceExhausted:
      return {413, status.message()};
    case StatusCode::kUnimplemented:
      return {415, status.message()};
    default:
      return {400, status.message()};
  }
}

}  // namespace

class HttpParser::Reader : public http::basic_parser<true> {
 public:
  explicit Reader(const HttpLimits& limits) : limits_(limits) {
    header_limit(static_cast<uint32_t>(limits.max_header_bytes));
    body_limit(boost::none);  // counted here, so that chunks count too
  }

  size_t feed(std::string_view bytes) {
    size_t num_taken = 0;
    error_code error;
    const State before = state;
    while (num_taken < bytes.size() && state == before && !error) {
      num_taken += put(boost::asio::const_buffer(bytes.data() + num_taken, bytes.size() - num_taken), error);
    }
    if (failure) {
      state = State::kFailed;
    } else if (error && error != http::error::need_more) {
      failure = failure_of(error, limits_);
      state = State::kFailed;
    } else {
      check_size(before, num_taken, state == before ? bytes.size() - num_taken : 0);
    }
    return num_taken;
  }

  State state = State::kHeader;
  HttpFailure failure;
  HttpRequest request;
  bool expects_continue = false;
  bool takes_chunks = false;

 private:
  // What waits is of a header or of the header of a chunk, and kept by the caller until that is whole.
  void check_size(State before, size_t num_taken, size_t num_waiting) {
    const auto max_bytes = static_cast<size_t>(limits_.max_header_bytes);
    if (before == State::kHeader) {
      num_header_bytes_ += num_taken;
      if (num_header_bytes_ + num_waiting <= max_bytes) return;
      failure = failure_of(http::error::header_limit, limits_);
    } else {
      if (num_waiting <= max_bytes) return;
      failure = {400, "the header of a chunk is larger than " + std::to_string(max_bytes) + " bytes"};
    }
    state = State::kFailed;
  }

  // Ends put(); `error` itself is not looked at.
  void fail(HttpFailure why, error_code& error) {
    failure = std::move(why);
    error = http::error::bad_value;
  }

  void on_request_impl(http::verb, boost::beast::string_view method, boost::beast::string_view target, int version,
                       error_code& error) override {
    takes_chunks = version >= 11;
    request.method = view(method);
    auto parsed = parse_http_target(view(target));
    if (!parsed.ok()) return fail({400, parsed.status().message()}, error);
    request.path = std::move(parsed->path);
    request.query = std::move(parsed->query);
  }

  void on_field_impl(http::field, boost::beast::string_view name, boost::beast::string_view value,
                     error_code& error) override {
    if (++num_fields_ > limits_.max_headers) {
      return fail({431, "more than " + std::to_string(limits_.max_headers) + " header fields"}, error);
    }
    if (state != State::kHeader) return;  // a trailer says nothing that is needed here
    std::string key = lower(view(name));
    if (key == "content-length") {
      if (!request.header(key).empty()) return fail({400, "more than one Content-Length"}, error);
      if (!is_decimal(view(value))) return fail({400, "Content-Length: expected a number of bytes"}, error);
    } else if (key == "transfer-encoding") {
      if (lower(view(value)) != "chunked") return fail({400, "Transfer-Encoding: expected chunked"}, error);
      if (!takes_chunks) return fail({400, "Transfer-Encoding is not of HTTP/1.0"}, error);
    } else if (key == "host") {
      if (++num_hosts_ > 1) return fail({400, "more than one Host"}, error);
    }
    request.headers.emplace_back(std::move(key), view(value));
  }

  void on_header_impl(error_code& error) override {
    if (takes_chunks && num_hosts_ == 0) return fail({400, "Host is missing"}, error);
    if (const auto length = content_length(); length && *length > static_cast<uint64_t>(limits_.max_body_bytes)) {
      return fail(too_large(), error);
    }
    if (Status status = body_.set_encoding(lower(request.header("content-encoding"))); !status.ok()) {
      return fail(failure_of(status), error);
    }
    if (const std::string_view expect = request.header("expect"); !expect.empty()) {
      if (lower(expect) != "100-continue") return fail({417, "Expect: expected 100-continue"}, error);
      expects_continue = true;
    }
    state = State::kBody;
  }

  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}

  size_t on_body_impl(boost::beast::string_view bytes, error_code& error) override {
    if (Status status = body_.append(view(bytes), limits_.max_body_bytes, request.body); !status.ok()) {
      fail(failure_of(status), error);
    }
    return bytes.size();
  }

  void on_chunk_header_impl(uint64_t num_bytes, boost::beast::string_view, error_code& error) override {
    if (num_bytes == 0) return;  // the last one
    if (++num_chunks_ > limits_.max_chunks) {
      return fail({413, "more than " + std::to_string(limits_.max_chunks) + " chunks"}, error);
    }
    if (num_bytes > static_cast<uint64_t>(limits_.max_body_bytes) - num_chunk_bytes_) return fail(too_large(), error);
    num_chunk_bytes_ += num_bytes;
  }

  size_t on_chunk_body_impl(uint64_t, boost::beast::string_view bytes, error_code& error) override {
    return on_body_impl(bytes, error);
  }

  void on_finish_impl(error_code& error) override {
    if (Status status = body_.finish(); !status.ok()) return fail(failure_of(status), error);
    state = State::kDone;
  }

  void on_response_impl(int, boost::beast::string_view, int, error_code&) override {}  // of answers only

  HttpFailure too_large() const {
    return {413, "the body is larger than " + std::to_string(limits_.max_body_bytes) + " bytes"};
  }

  const HttpLimits& limits_;
  HttpBody body_;
  size_t num_header_bytes_ = 0;
  int64_t num_fields_ = 0;
  int64_t num_hosts_ = 0;
  int64_t num_chunks_ = 0;
  uint64_t num_chunk_bytes_ = 0;  // of the chunks announced
};

HttpParser::HttpParser(const HttpLimits& limits) : reader_(std::make_unique<Reader>(limits)) {}
HttpParser::~HttpParser() = default;

size_t HttpParser::feed(std::string_view bytes) { return reader_->feed(bytes); }
HttpParser::State HttpParser::state() const { return reader_->state; }
const HttpFailure& HttpParser::failure() const { return reader_->failure; }
HttpRequest& HttpParser::request() { return reader_->request; }
bool HttpParser::keeps_alive() const { return reader_->takes_chunks && reader_->keep_alive(); }
bool HttpParser::expects_continue() const { return reader_->expects_continue; }
bool HttpParser::takes_chunks() const { return reader_->takes_chunks; }

}  // namespace cohort
