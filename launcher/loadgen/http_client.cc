#include "launcher/loadgen/http_client.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace cohort {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kReadBytes = 16 << 10;

struct Connection {
  explicit Connection(asio::io_context& io) : stream(io) {}

  beast::tcp_stream stream;
  beast::flat_buffer input;
  bool was_used = false;
};

struct Shared {
  HttpClient::Options options;
  std::string head;  // of every request, after its first line
  asio::io_context io{1};
  std::vector<tcp::endpoint> endpoints;
  std::vector<std::unique_ptr<Connection>> idle;  // the last one is the one used last
};

// One request, kept alive by the handlers that wait for its next event.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Shared& shared, std::string message, std::unique_ptr<HttpClient::Listener> listener)
      : shared_(shared),
        message_(std::move(message)),
        listener_(std::move(listener)),
        deadline_(HttpClient::Clock::now() + shared.options.timeout) {}

  void start() {
    if (shared_.idle.empty()) {
      connect();
    } else {
      connection_ = std::move(shared_.idle.back());
      shared_.idle.pop_back();
      write();
    }
  }

 private:
  using Failure = HttpEnd::Failure;

  void connect() {
    connection_ = std::make_unique<Connection>(shared_.io);
    connection_->stream.expires_at(std::min(deadline_, HttpClient::Clock::now() + shared_.options.connect_timeout));
    connection_->stream.async_connect(shared_.endpoints,
                                      [self = shared_from_this()](error_code error, const tcp::endpoint&) {
                                        if (error) return self->end(Failure::kConnection, error);
                                        error_code ignored;  // it is slower without, no more
                                        self->connection_->stream.socket().set_option(tcp::no_delay(true), ignored);
                                        self->write();
                                      });
  }

  void write() {
    parser_.emplace();
    parser_->eager(true);
    parser_->body_limit(boost::none);
    connection_->stream.expires_at(deadline_);
    asio::async_write(connection_->stream, asio::buffer(message_),
                      [self = shared_from_this()](error_code error, size_t) {
                        if (error) return self->end_or_retry(error);
                        self->read();
                      });
  }

  void read() {
    connection_->stream.async_read_some(connection_->input.prepare(kReadBytes),
                                        [self = shared_from_this()](error_code error, size_t num_bytes) {
                                          self->connection_->input.commit(num_bytes);
                                          self->take(error);
                                        });
  }

  // Takes what has been read, and what reading came to.
  void take(error_code error) {
    beast::flat_buffer& input = connection_->input;
    while (input.size() > 0 && !parser_->is_done()) {
      error_code parse_error;
      const size_t num_parsed = parser_->put(input.data(), parse_error);
      input.consume(num_parsed);
      give_body();
      if (parse_error == http::error::need_more) break;
      if (parse_error) return end(Failure::kCut, parse_error);
    }
    if (!parser_->is_done() && error == asio::error::eof && parser_->got_some()) {
      error_code at_end;  // what has no length ends with the connection
      parser_->put_eof(at_end);
      if (at_end) return end(Failure::kCut, at_end);
    }
    if (parser_->is_done()) return finish();
    if (error) return end_or_retry(error);
    read();
  }

  void give_body() {
    std::string& body = parser_->get().body();
    if (body.empty()) return;
    listener_->on_body(status(), body);
    body.clear();
  }

  void finish() {
    if (parser_->keep_alive() && connection_->input.size() == 0) {
      connection_->was_used = true;
      connection_->stream.expires_never();
      shared_.idle.push_back(std::move(connection_));
    }
    listener_->on_end(status(), {});
  }

  void end_or_retry(error_code error) {
    if (connection_->was_used && !parser_->got_some() && error != beast::error::timeout) return connect();
    end(Failure::kCut, error);
  }

  void end(Failure failure, error_code error) {
    connection_.reset();
    if (error == beast::error::timeout && failure != Failure::kConnection) failure = Failure::kTimeout;
    listener_->on_end(status(), {failure, error.message()});
  }

  int status() const {
    return parser_ && parser_->is_header_done() ? static_cast<int>(parser_->get().result_int()) : 0;
  }

  Shared& shared_;
  std::string message_;
  std::unique_ptr<HttpClient::Listener> listener_;
  HttpClient::Clock::time_point deadline_;
  std::unique_ptr<Connection> connection_;
  std::optional<http::response_parser<http::string_body>> parser_;
};

class BeastClient final : public HttpClient {
 public:
  explicit BeastClient(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}

  void send(std::string method, std::string path, std::string body, std::unique_ptr<Listener> listener) override {
    std::string message = fmt::format("{} {} HTTP/1.1\r\n{}", method, path, shared_->head);
    if (!body.empty()) message += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
    message += "\r\n" + body;
    std::make_shared<Exchange>(*shared_, std::move(message), std::move(listener))->start();
  }

  void at(Clock::time_point time, std::function<void()> callback) override {
    auto timer = std::make_shared<asio::steady_timer>(shared_->io, time);
    timer->async_wait([timer, callback = std::move(callback)](error_code error) {
      if (!error) callback();
    });
  }

  void run() override {
    shared_->io.restart();
    shared_->io.run();
  }

 private:
  std::unique_ptr<Shared> shared_;
};

// Every stream is an open file; the usual limit of 1024 is meant for programs that use select().
void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::open(Options options) {
  allow_many_files();
  auto shared = std::make_unique<Shared>();
  error_code error;
  for (const auto& entry : tcp::resolver(shared->io).resolve(options.host, options.port, error)) {
    shared->endpoints.push_back(entry.endpoint());
  }
  if (error) return Status(StatusCode::kUnavailable, options.host + ": " + error.message());
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  shared->head = fmt::format("Host: {}:{}\r\n", is_ipv6 ? "[" + options.host + "]" : options.host, options.port);
  for (const auto& [name, value] : options.headers) shared->head += name + ": " + value + "\r\n";
  shared->options = std::move(options);
  return std::unique_ptr<HttpClient>(std::make_unique<BeastClient>(std::move(shared)));
}

Result<HttpAnswer> fetch(HttpClient& client, std::string method, std::string path, std::string body) {
  class Collector : public HttpClient::Listener {
   public:
    Collector(HttpAnswer& answer, HttpEnd& end) : answer_(answer), end_(end) {}
    void on_body(int, std::string_view bytes) override { answer_.body += bytes; }
    void on_end(int status, const HttpEnd& end) override {
      answer_.status = status;
      end_ = end;
    }

   private:
    HttpAnswer& answer_;
    HttpEnd& end_;
  };
  HttpAnswer answer;
  HttpEnd end;
  client.send(std::move(method), std::move(path), std::move(body), std::make_unique<Collector>(answer, end));
  client.run();
  if (end.failure != HttpEnd::Failure::kNone) return Status(StatusCode::kUnavailable, end.message);
  return answer;
}

}  // namespace cohort
