#include "launcher/gateway/http_server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "launcher/gateway/http_connection.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = HttpConnection::Clock;
using std::chrono::milliseconds;

std::string address_of(const std::string& host, int port) {
  const bool is_v6 = host.find(':') != host.npos;
  return (is_v6 ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

// How often deadlines are looked at, so that none is noticed later than by a quarter of itself or a second.
milliseconds sweep_interval(const HttpServerOptions& options) {
  const int64_t shortest = std::min({options.header_timeout_ms, options.body_timeout_ms, options.idle_timeout_ms,
                                     options.write_timeout_ms, options.linger_timeout_ms});
  return milliseconds(std::clamp<int64_t>(shortest / 4, 5, 1000));
}

}  // namespace

HttpShared::HttpShared(asio::io_context& the_io, HttpServerOptions the_options, std::vector<HttpRoute> routes)
    : io(the_io), options(std::move(the_options)), router(std::move(routes), options.keys), scratch(64 << 10) {}

void HttpShared::flush_later(std::weak_ptr<HttpConnection> connection) {
  if (to_flush_.empty()) {
    asio::post(io, [self = shared_from_this()] {
      const auto to_flush = std::exchange(self->to_flush_, {});
      for (const auto& waiting : to_flush) {
        if (const auto open = waiting.lock()) open->flush();
      }
    });
  }
  to_flush_.push_back(std::move(connection));
}

const std::string& HttpShared::date() {
  if (const std::time_t now = std::time(nullptr); now != date_time_) {
    date_time_ = now;
    date_ = http_date(now);
  }
  return date_;
}

class HttpServer::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, HttpServerOptions options, std::vector<HttpRoute> routes)
      : shared(std::make_shared<HttpShared>(io, std::move(options), std::move(routes))),
        acceptor_(io),
        retry_(io),
        sweep_(io) {}

  Status listen() {
    const std::string wanted = address_of(shared->options.host, shared->options.port);
    const auto failed = [&](const error_code& error) {
      return Status(StatusCode::kUnavailable, wanted + ": cannot listen: " + error.message());
    };
    error_code error;
    tcp::resolver resolver(shared->io);
    const auto found = resolver.resolve(shared->options.host, std::to_string(shared->options.port),
                                        tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error) return failed(error);
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) endpoint_ = acceptor_.local_endpoint(error);
    if (error) return failed(error);
    accept();
    sweep();
    return ok_status();
  }

  void stop_accepting() {
    shared->is_draining = true;
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
  }

  void close_all() {
    // Whoever is told that a client is gone may do anything, but open a connection.
    while (!shared->connections.empty()) {
      const auto connection = shared->connections.begin()->second;
      connection->close();
    }
  }

  void end() {
    shared->is_closed = true;
    stop_accepting();
    sweep_.cancel();
    close_all();
  }

  const tcp::endpoint& endpoint() const { return endpoint_; }

  const std::shared_ptr<HttpShared> shared;

 private:
  void accept() {
    acceptor_.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
      if (!self->acceptor_.is_open()) return;
      if (error) return self->accept_later(error);
      self->add(std::move(socket));
      self->accept();
    });
  }

  // Without descriptors or memory the client waits in the listening queue until there are some.
  void accept_later(const error_code& error) {
    if (error == asio::error::connection_aborted || error == asio::error::interrupted) return accept();
    constexpr auto kBetweenLogs = std::chrono::seconds(10);
    if (const auto now = Clock::now(); now >= next_log_) {
      next_log_ = now + kBetweenLogs;
      spdlog::warn("{}: cannot accept connections: {}", address_of(endpoint_.address().to_string(), endpoint_.port()),
                   error.message());
    }
    constexpr auto kPause = milliseconds(100);
    retry_.expires_after(kPause);
    retry_.async_wait([self = shared_from_this()](const error_code&) {
      if (self->acceptor_.is_open()) self->accept();
    });
  }

  void add(tcp::socket socket) {
    constexpr int64_t kMaxRefused = 256;  // that are told so; others are closed without a word
    const auto connection = std::make_shared<HttpConnection>(shared, std::move(socket));
    const auto num_open = static_cast<int64_t>(shared->connections.size()) - shared->num_refused;
    if (num_open < shared->options.max_connections) {
      connection->start();
    } else if (shared->num_refused < kMaxRefused) {
      connection->refuse();
    }
  }

  void sweep() {
    sweep_.expires_after(sweep_interval(shared->options));
    sweep_.async_wait([self = shared_from_this()](const error_code& error) {
      if (error || self->shared->is_closed) return;
      self->check_deadlines();
      self->sweep();
    });
  }

  void check_deadlines() {
    const Clock::time_point now = Clock::now();
    std::vector<std::shared_ptr<HttpConnection>> late;
    for (const auto& [key, connection] : shared->connections) {
      if (connection->is_late(now) || connection->has_left()) late.push_back(connection);
    }
    for (const auto& connection : late) connection->end_late();
  }

  tcp::acceptor acceptor_;
  tcp::endpoint endpoint_;
  asio::steady_timer retry_;
  asio::steady_timer sweep_;
  Clock::time_point next_log_ = {};
};

Result<std::unique_ptr<HttpServer>> HttpServer::listen(asio::io_context& io, HttpServerOptions options,
                                                       std::vector<HttpRoute> routes) {
  auto impl = std::make_shared<Impl>(io, std::move(options), std::move(routes));
  COHORT_RETURN_IF_ERROR(impl->listen());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { impl_->end(); }

int HttpServer::port() const { return impl_->endpoint().port(); }
std::string HttpServer::address() const { return address_of(impl_->endpoint().address().to_string(), port()); }
void HttpServer::stop_accepting() { impl_->stop_accepting(); }
void HttpServer::close_all() { impl_->close_all(); }
int64_t HttpServer::num_connections() const {
  return static_cast<int64_t>(impl_->shared->connections.size()) - impl_->shared->num_refused;
}
int64_t HttpServer::num_streams() const { return impl_->shared->num_streams; }
int64_t HttpServer::num_answering() const {
  const auto& connections = impl_->shared->connections;
  return std::count_if(connections.begin(), connections.end(),
                       [](const auto& entry) { return entry.second->is_answering(); });
}

}  // namespace cohort
