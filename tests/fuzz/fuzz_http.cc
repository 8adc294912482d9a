// Any bytes from a client of the HTTP server: through the parser, whole and cut, and over a connection with handlers
// that answer, stream, wait and throw. What is accepted is within the limits and the same however it was cut, what is
// answered is HTTP, and afterwards nothing is left.
//
// Input: a byte that says how it is cut; then what the client sends.
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "launcher/gateway/http_connection.h"
#include "launcher/gateway/http_parser.h"
#include "launcher/gateway/http_response.h"
#include "launcher/gateway/http_router.h"
#include "launcher/gateway/http_target.h"
#include "runtime/tokenizer/unicode.h"

namespace {

using namespace cohort;

void require(bool condition) {
  if (!condition) std::abort();
}

constexpr HttpLimits kLimits = {.max_header_bytes = 2000, .max_headers = 20, .max_body_bytes = 5000, .max_chunks = 50};

bool has_no_line_end(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos; }

void check_request(const HttpRequest& request) {
  require(!request.method.empty() && has_no_line_end(request.method));
  require(request.path == "*" || request.path.starts_with('/'));
  require(is_valid_utf8(request.path) && has_no_line_end(request.path) && has_no_line_end(request.query));
  require(static_cast<int64_t>(request.headers.size()) <= kLimits.max_headers);
  require(static_cast<int64_t>(request.body.size()) <= kLimits.max_body_bytes);
  int64_t num_bytes = 0;
  for (const auto& [name, value] : request.headers) {
    require(!name.empty() && has_no_line_end(name) && has_no_line_end(value));
    require(std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
    num_bytes += static_cast<int64_t>(name.size() + value.size());
  }
  require(num_bytes <= kLimits.max_header_bytes);
  const std::string_view length = request.header("content-length");
  const bool is_encoded = !request.header("content-encoding").empty();
  require(length.empty() || request.header("transfer-encoding").empty());
  if (!length.empty() && !is_encoded) require(std::stoull(std::string(length)) == request.body.size());
  if (length.empty() && request.header("transfer-encoding").empty()) require(request.body.empty());
}

// What a request may put into an answer must not add to its head.
void check_head(const HttpRequest& request) {
  HttpResponse response = http_error(404, request.method + request.path);
  response.headers.emplace_back("X-Path", request.path);
  response.headers.emplace_back("X-Id", request.header("x-request-id"));
  const std::string head = http_head(response, {.request_id = request.path, .date = "now"});
  require(head.find("\r\n\r\n") == head.size() - 4);
  require(std::count(head.begin(), head.end(), '\n') == 8);
  require(nlohmann::json::accept(response.body));
}

void check_admission(const HttpRequest& request) {
  static const HttpRouter router({{"GET", "/health", nullptr, false}, {"POST", "/v1/*", nullptr}},
                                 *ApiKeys::parse("secret", "keys"));
  const HttpRouter::Admission admission = router.admit(request);
  require((admission.route != nullptr) != admission.refusal.has_value());
  const bool has_key = request.header("authorization").ends_with("secret");
  if (admission.route && admission.route->needs_key) require(has_key && !admission.tenant.empty());
  if (!has_key && admission.refusal) require(admission.refusal->status == 401 || request.path == "/health");
}

using Seen = std::tuple<std::string, std::string, std::string>;  // method, path, body

// The requests in the bytes, which come `piece` at a time.
std::vector<Seen> parse(std::string_view bytes, size_t piece) {
  std::vector<Seen> requests;
  auto parser = std::make_unique<HttpParser>(kLimits);
  std::string waiting;
  while (!bytes.empty()) {
    waiting += bytes.substr(0, piece);
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (bool goes_on = true; goes_on && !waiting.empty();) {
      const HttpParser::State before = parser->state();
      const size_t num_taken = parser->feed(waiting);
      require(num_taken <= waiting.size());
      waiting.erase(0, num_taken);
      const HttpParser::State after = parser->state();
      goes_on = after != before;
      if (after == HttpParser::State::kFailed) {
        const int status = parser->failure().status;
        require(status >= 400 && status < 600 && !parser->failure().message.empty());
        return requests;
      }
      if (after == HttpParser::State::kDone) {
        const HttpRequest& request = parser->request();
        check_request(request);
        check_head(request);
        check_admission(request);
        requests.emplace_back(request.method, request.path, request.body);
        parser = std::make_unique<HttpParser>(kLimits);
      } else if (!goes_on) {
        require(static_cast<int64_t>(waiting.size()) <= kLimits.max_header_bytes);
      }
    }
  }
  return requests;
}

// One connection of a server, over a pair of local sockets, with no thread but this.
class Connection {
 public:
  Connection() : shared_(std::make_shared<HttpShared>(io_, options(), routes())) {
    std::array<int, 2> ends = {};
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    client_ = ends[0];
    boost::asio::ip::tcp::socket socket(io_);
    socket.assign(boost::asio::ip::tcp::v4(), ends[1]);
    std::make_shared<HttpConnection>(shared_, std::move(socket))->start();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    ::close(client_);
    io_.poll();
    const auto left = shared_->connections;
    for (const auto& [key, connection] : left) {
      if (connection->has_left()) connection->end_late();
    }
    held_.clear();
    io_.poll();
    require(shared_->connections.empty() && shared_->num_streams == 0 && shared_->num_body_bytes == 0);
    require(num_gone_ == num_waiting_);
  }

  // False once the server has closed.
  bool send(std::string_view bytes) {
    const bool is_open =
        ::send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    io_.poll();
    std::array<char, 65536> piece;
    for (ssize_t num_bytes = 0; (num_bytes = ::recv(client_, piece.data(), piece.size(), 0)) > 0; io_.poll()) {
      received_.append(piece.data(), static_cast<size_t>(num_bytes));
    }
    return is_open;
  }

  const std::vector<Seen>& seen() const { return seen_; }
  const std::string& received() const { return received_; }

 private:
  using Exchange = std::shared_ptr<HttpExchange>;

  static HttpServerOptions options() {
    HttpServerOptions options;
    options.limits = kLimits;
    return options;
  }

  HttpHandler handler(void (Connection::*answer)(const Exchange& exchange)) {
    return [this, answer](const Exchange& exchange) {
      const HttpRequest& request = exchange->request();
      require(is_sane_request_id(request.id));
      seen_.emplace_back(request.method, request.path, request.body);
      (this->*answer)(exchange);
    };
  }

  void echo(const Exchange& exchange) { exchange->respond({.status = 200, .body = exchange->request().body}); }
  void stream(const Exchange& exchange) {
    exchange->begin_stream("text/event-stream");
    exchange->write("data: 1\n\n");
    exchange->write("data: 2\n\n");
    exchange->end_stream();
  }
  void hold(const Exchange& exchange) {
    ++num_waiting_;
    exchange->on_gone([this] { ++num_gone_; });
    held_.push_back(exchange);
  }
  void fail(const Exchange&) { throw std::runtime_error("no answer"); }
  void forget(const Exchange&) {}

  std::vector<HttpRoute> routes() {
    return {{"POST", "/echo", handler(&Connection::echo)}, {"GET", "/echo", handler(&Connection::echo)},
            {"GET", "/s/*", handler(&Connection::stream)}, {"POST", "/hold", handler(&Connection::hold)},
            {"GET", "/fail", handler(&Connection::fail)},  {"GET", "/forget", handler(&Connection::forget)}};
  }

  boost::asio::io_context io_{1};
  std::vector<Seen> seen_;
  std::vector<Exchange> held_;
  int num_waiting_ = 0;
  int num_gone_ = 0;
  std::shared_ptr<HttpShared> shared_;
  int client_ = -1;
  std::string received_;
};

// Answers of the server, one behind the other; the last may be missing its end.
void check_answers(std::string_view received) {
  while (!received.empty()) {
    require(received.starts_with("HTTP/1.1 "));
    const size_t head_end = received.find("\r\n\r\n");
    require(head_end != received.npos);
    const std::string_view head = received.substr(0, head_end + 2);
    received.remove_prefix(head_end + 4);
    if (head.starts_with("HTTP/1.1 100 ")) continue;
    require(head.find("\r\nX-Request-Id: ") != head.npos);
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    constexpr std::string_view kStream = "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n";
    if (const size_t length = head.find(kLength); length != head.npos) {
      const size_t num_bytes = std::strtoull(head.data() + length + kLength.size(), nullptr, 10);
      // To HEAD there is no body; what follows is then another answer, or nothing.
      if (received.empty() || received.starts_with("HTTP/1.1 ")) continue;
      require(received.size() >= num_bytes);
      received.remove_prefix(num_bytes);
    } else if (head.find("\r\nTransfer-Encoding: chunked\r\n") != head.npos) {
      require(received.starts_with(kStream));
      received.remove_prefix(kStream.size());
    } else {
      require(received == "data: 1\n\ndata: 2\n\n");
      return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = data[0] % 64 + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<Seen> requests = parse(bytes, bytes.size() + 1);
  require(parse(bytes, piece) == requests);
  require(parse(bytes, 1) == requests);
  const auto target = parse_http_target(bytes);
  if (target.ok()) require(is_valid_utf8(target->path));

  for (const size_t by : {std::max<size_t>(bytes.size(), 1), piece * 16}) {
    Connection connection;
    std::string_view rest = bytes;
    while (!rest.empty() && connection.send(rest.substr(0, by))) rest.remove_prefix(std::min(by, rest.size()));
    // Handlers see some of the requests, in their order: not those that are refused, and none after the last answer.
    auto at = requests.begin();
    for (const Seen& seen : connection.seen()) {
      at = std::find(at, requests.end(), seen);
      require(at != requests.end());
      ++at;
    }
    check_answers(connection.received());
  }
  return 0;
}
