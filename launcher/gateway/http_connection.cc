#include "launcher/gateway/http_connection.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <charconv>
#include <exception>
#include <utility>

#include "launcher/gateway/http_socket.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Unlike clear(), frees what it holds.
template <typename T>
void release(T& container) {
  T().swap(container);
}

}  // namespace

class HttpConnection::Exchange : public HttpExchange {
 public:
  Exchange(HttpConnection& connection, HttpRequest request)
      : shared_(connection.shared_), connection_(&connection), request_(std::move(request)) {}

  ~Exchange() override {
    if (connection_) std::exchange(connection_, nullptr)->abandon();
  }

  const HttpRequest& request() const override { return request_; }

  void respond(HttpResponse response) override {
    if (!connection_) return;
    HttpConnection& connection = finish();
    if (connection.is_streaming_) return connection.abandon();
    connection.respond(response);
  }

  void begin_stream(std::string content_type) override {
    if (!connection_ || connection_->is_streaming_) return;
    forget_request();
    connection_->begin_stream(std::move(content_type));
  }

  void write(std::string data) override {
    if (connection_) connection_->write(data);
  }

  void end_stream() override {
    if (connection_ && connection_->is_streaming_) finish().end_stream();
  }

  void on_gone(std::function<void()> callback) override {
    if (connection_) {
      on_gone_ = std::move(callback);
    } else if (is_gone_ && !shared_->is_closed) {
      asio::post(shared_->io, std::move(callback));
    }
  }

  bool is_gone() const override { return is_gone_; }

  void set_gone() {
    connection_ = nullptr;
    is_gone_ = true;
    if (const auto callback = std::exchange(on_gone_, nullptr)) callback();
  }

 private:
  // Nobody waits for this any more.
  HttpConnection& finish() {
    // What the callback holds may be what has called this: it goes once that has returned.
    if (on_gone_) asio::post(shared_->io, [kept = std::exchange(on_gone_, nullptr)] {});
    forget_request();
    connection_->exchange_ = nullptr;
    return *std::exchange(connection_, nullptr);
  }

  // A stream may last for minutes.
  void forget_request() {
    release(request_.headers);
    release(request_.body);
  }

  const std::shared_ptr<HttpShared> shared_;
  HttpConnection* connection_;  // null: answered, or gone
  HttpRequest request_;
  std::function<void()> on_gone_;
  bool is_gone_ = false;
};

HttpConnection::HttpConnection(std::shared_ptr<HttpShared> shared, tcp::socket socket)
    : shared_(std::move(shared)), socket_(std::move(socket)) {}

void HttpConnection::open() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  set_http_socket_options(socket_.native_handle(), shared_->options.write_timeout_ms);
  shared_->connections.emplace(this, shared_from_this());
}

void HttpConnection::start() {
  open();
  set_deadline(shared_->options.header_timeout_ms);
  wait_to_read();
}

void HttpConnection::refuse() {
  open();
  was_refused_ = true;
  ++shared_->num_refused;
  HttpResponse response = http_error(503, "too many connections");
  response.headers.emplace_back("Retry-After", "1");
  request_id_ = make_request_id();
  keeps_alive_ = false;
  respond(response);
  wait_to_read();
}

void HttpConnection::close() {
  if (state_ == State::kClosed) return;
  const auto self = shared_from_this();
  state_ = State::kClosed;
  error_code ignored;
  socket_.close(ignored);
  shared_->connections.erase(this);
  if (was_refused_) --shared_->num_refused;
  if (std::exchange(is_streaming_, false)) --shared_->num_streams;
  forget_body();
  parser_.reset();
  release(input_);
  release(output_);
  if (exchange_) std::exchange(exchange_, nullptr)->set_gone();
}

void HttpConnection::set_deadline(int64_t timeout_ms) {
  deadline_ = Clock::now() + std::chrono::milliseconds(timeout_ms);
}

bool HttpConnection::has_left() {
  return state_ == State::kAnswering && num_wanted_bytes() == 0 && peer_has_left(socket_.native_handle());
}

void HttpConnection::end_late() {
  if (state_ == State::kReading && parser_) {
    refuse_request(
        408, parser_->state() == HttpParser::State::kHeader ? "the header took too long" : "the body took too long");
  } else {
    close();
  }
}

// --- Reading

// How much may be read: while a request waits for its answer, what follows it has to wait too.
size_t HttpConnection::num_wanted_bytes() const {
  const size_t num_bytes = shared_->scratch.size();
  if (!is_answering()) return num_bytes;
  const auto max_waiting = static_cast<size_t>(shared_->options.limits.max_header_bytes);
  return std::min(num_bytes, max_waiting - std::min(max_waiting, input_.size()));
}

void HttpConnection::wait_to_read() {
  if (state_ == State::kClosed || waits_to_read_ || has_seen_eof_ || num_wanted_bytes() == 0) return;
  waits_to_read_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
    self->waits_to_read_ = false;
    if (self->state_ == State::kClosed) return;
    if (error) return self->close();
    self->read();
  });
}

void HttpConnection::read() {
  const size_t num_wanted = num_wanted_bytes();
  if (num_wanted == 0) return;
  char* scratch = shared_->scratch.data();
  error_code error;
  const size_t num_bytes = socket_.read_some(asio::buffer(scratch, num_wanted), error);
  if (error == asio::error::would_block || error == asio::error::interrupted) return wait_to_read();
  if (error == asio::error::eof) return take_eof();
  if (error) return close();
  take({scratch, num_bytes});
  wait_to_read();
}

void HttpConnection::take(std::string_view bytes) {
  switch (state_) {
    case State::kReading:
      if (input_.empty()) {
        bytes.remove_prefix(parse(bytes));
        if (state_ != State::kClosed) input_ = bytes;
      } else {
        input_ += bytes;
        parse_waiting();
      }
      break;
    case State::kAnswering:
    case State::kSending:
      if (keeps_alive_) input_ += bytes;
      break;
    case State::kLingering:
      set_deadline(shared_->options.linger_timeout_ms);
      deadline_ = std::min(deadline_, linger_end_);
      break;
    case State::kClosed:
      break;
  }
}

void HttpConnection::take_eof() {
  has_seen_eof_ = true;
  // A complete answer is still sent to a client that only says that it asks nothing more.
  if (state_ == State::kSending) {
    keeps_alive_ = false;
  } else {
    close();
  }
}

void HttpConnection::parse_waiting() {
  const size_t num_taken = parse(input_);
  if (state_ == State::kClosed) return;
  input_.erase(0, num_taken);
  if (input_.empty()) release(input_);
}

size_t HttpConnection::parse(std::string_view bytes) {
  size_t num_taken = 0;
  while (state_ == State::kReading && num_taken < bytes.size()) {
    if (!parser_) {
      parser_ = std::make_unique<HttpParser>(shared_->options.limits);
      set_deadline(shared_->options.header_timeout_ms);
    }
    const HttpParser::State before = parser_->state();
    num_taken += parser_->feed(bytes.substr(num_taken));
    const HttpParser::State after = parser_->state();
    if (after == HttpParser::State::kFailed) {
      refuse_request(parser_->failure().status, parser_->failure().message);
      break;
    }
    if (before == HttpParser::State::kHeader && after != before) admit();
    if (state_ != State::kReading) break;
    count_body();
    if (state_ != State::kReading) break;
    if (after == HttpParser::State::kDone) {
      dispatch();
    } else if (after == before) {
      break;
    }
  }
  return num_taken;
}

// The header is read: refuses the request or goes on to its body.
void HttpConnection::admit() {
  const HttpRequest& request = parser_->request();
  const bool is_whole = parser_->state() == HttpParser::State::kDone;
  const std::string_view id = request.header("x-request-id");
  request_id_ = is_sane_request_id(id) ? std::string(id) : make_request_id();
  is_head_request_ = request.method == "HEAD";
  takes_chunks_ = parser_->takes_chunks();
  keeps_alive_ = parser_->keeps_alive();
  HttpRouter::Admission admission = shared_->router.admit(request);
  if (admission.refusal) {
    keeps_alive_ = keeps_alive_ && is_whole;  // a body that nobody reads cannot be told from the next request
    parser_.reset();
    return respond(*admission.refusal);
  }
  route_ = admission.route;
  tenant_ = std::move(admission.tenant);
  if (is_whole) return;
  set_deadline(shared_->options.body_timeout_ms);
  if (parser_->expects_continue() && takes_chunks_) {
    output_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush_later();
  }
}

void HttpConnection::dispatch() {
  HttpRequest request = std::move(parser_->request());
  parser_.reset();
  request.id = request_id_;
  request.tenant = std::move(tenant_);
  state_ = State::kAnswering;
  deadline_ = Clock::time_point::max();
  const auto exchange = std::make_shared<Exchange>(*this, std::move(request));
  exchange_ = exchange.get();
  try {
    route_->handler(exchange);
  } catch (const std::exception& error) {
    spdlog::error("request {}: {}", request_id_, error.what());
    if (!exchange_) return;
    exchange->respond(
        http_error(500, "internal error, see the log for request " + request_id_, exchange->request().path));
  }
}

// Answers what cannot be understood or took too long; nothing more is read.
void HttpConnection::refuse_request(int status, std::string_view message) {
  const HttpRequest& request = parser_->request();
  const std::string_view id = request.header("x-request-id");
  request_id_ = is_sane_request_id(id) ? std::string(id) : make_request_id();
  is_head_request_ = request.method == "HEAD";
  keeps_alive_ = false;
  HttpResponse response = http_error(status, message, request.path);
  if (status == 415) response.headers.emplace_back("Accept-Encoding", "gzip");
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  forget_body();
  parser_.reset();
  respond(response);
}

void HttpConnection::count_body() {
  const auto num_bytes = static_cast<int64_t>(parser_->request().body.size());
  shared_->num_body_bytes += num_bytes - num_body_bytes_;
  num_body_bytes_ = num_bytes;
  if (shared_->num_body_bytes > shared_->options.max_total_body_bytes)
    refuse_request(503, "too much is being received");
}

void HttpConnection::forget_body() { shared_->num_body_bytes -= std::exchange(num_body_bytes_, 0); }

// --- Answering

std::string HttpConnection::head(const HttpResponse& response, HttpFraming framing) {
  keeps_alive_ = keeps_alive_ && !shared_->is_draining && framing != HttpFraming::kClose;
  return http_head(response, {.framing = framing,
                              .num_body_bytes = response.body.size(),
                              .closes = !keeps_alive_,
                              .request_id = request_id_,
                              .date = shared_->date()});
}

void HttpConnection::respond(const HttpResponse& response) {
  forget_body();
  state_ = State::kSending;
  set_deadline(shared_->options.write_timeout_ms);
  output_ += head(response, HttpFraming::kLength);
  if (!is_head_request_) output_ += response.body;
  flush_later();
}

void HttpConnection::begin_stream(std::string content_type) {
  forget_body();
  is_streaming_ = true;
  ++shared_->num_streams;
  framing_ = takes_chunks_ ? HttpFraming::kChunks : HttpFraming::kClose;
  const HttpResponse response = {.status = 200,
                                 .body = {},
                                 .content_type = std::move(content_type),
                                 .headers = {{"Cache-Control", "no-cache"},
                                             {"X-Accel-Buffering", "no"}}};  // nginx passes on what comes as it comes
  output_ += head(response, framing_);
  flush_later();
}

void HttpConnection::write(std::string_view data) {
  if (!is_streaming_ || must_close_ || data.empty()) return;
  if (framing_ == HttpFraming::kChunks) {
    std::array<char, 16> size;
    const auto end = std::to_chars(size.data(), size.data() + size.size(), data.size(), 16).ptr;
    output_.append(size.data(), end).append("\r\n").append(data).append("\r\n");
  } else {
    output_ += data;
  }
  const auto max_bytes = static_cast<size_t>(shared_->options.max_stream_buffer_bytes);
  if (num_waiting_bytes() > max_bytes) send_waiting();
  if (num_waiting_bytes() > max_bytes) {
    spdlog::info("request {}: its client does not read", request_id_);
    return cut();
  }
  flush_later();
}

void HttpConnection::end_stream() {
  is_streaming_ = false;
  --shared_->num_streams;
  if (framing_ == HttpFraming::kChunks) output_ += "0\r\n\r\n";
  state_ = State::kSending;
  set_deadline(shared_->options.write_timeout_ms);
  flush_later();
}

void HttpConnection::abandon() {
  exchange_ = nullptr;
  spdlog::error("request {}: nobody answers it", request_id_);
  if (is_streaming_) return cut();
  respond(http_error(500, "internal error, see the log for request " + request_id_));
}

// From the event loop, since whoever is told that the client is gone may be who wrote to it.
void HttpConnection::cut() {
  must_close_ = true;
  flush_later();
}

// --- Sending

void HttpConnection::flush_later() {
  if (std::exchange(will_flush_, true)) return;
  shared_->flush_later(weak_from_this());
}

void HttpConnection::flush() {
  will_flush_ = false;
  if (state_ == State::kClosed) return;
  if (!must_close_ && !waits_to_write_) send_waiting();
  if (must_close_) return close();
  if (state_ == State::kSending && output_.empty()) finish_answer();
}

void HttpConnection::send_waiting() {
  while (num_waiting_bytes() > 0) {
    error_code error;
    const size_t num_bytes = socket_.write_some(asio::buffer(output_.data() + num_sent_, num_waiting_bytes()), error);
    if (error == asio::error::interrupted) continue;
    if (error == asio::error::would_block) {
      if (is_answering() && deadline_ == Clock::time_point::max()) set_deadline(shared_->options.write_timeout_ms);
      constexpr size_t kMaxSentBytes = 64 << 10;
      if (num_sent_ > kMaxSentBytes) output_.erase(0, std::exchange(num_sent_, 0));
      return wait_to_write();
    }
    if (error) return cut();
    num_sent_ += num_bytes;
    if (is_answering()) set_deadline(shared_->options.write_timeout_ms);
  }
  num_sent_ = 0;
  constexpr size_t kKeptBytes = 1024;  // enough for the next event of a stream
  if (is_streaming_ && output_.capacity() <= kKeptBytes) {
    output_.clear();
  } else {
    release(output_);
  }
  if (state_ == State::kAnswering) deadline_ = Clock::time_point::max();
}

void HttpConnection::wait_to_write() {
  if (std::exchange(waits_to_write_, true)) return;
  socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code& error) {
    self->waits_to_write_ = false;
    if (self->state_ == State::kClosed) return;
    if (error) return self->close();
    self->flush();
  });
}

// The answer is sent: on to the next request, or to the end.
void HttpConnection::finish_answer() {
  if (has_seen_eof_) return close();
  const HttpServerOptions& options = shared_->options;
  if (!keeps_alive_) {
    // Closing while something of the client is unread would reset the connection, and with it perhaps the answer.
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    state_ = State::kLingering;
    release(input_);
    set_deadline(options.linger_timeout_ms);
    linger_end_ = Clock::now() + std::chrono::milliseconds(options.body_timeout_ms);
  } else {
    state_ = State::kReading;
    release(request_id_);
    set_deadline(options.idle_timeout_ms);
    if (!input_.empty()) parse_waiting();
  }
  wait_to_read();
}

}  // namespace cohort
