#include "tests/gateway/http_testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <future>
#include <stdexcept>
#include <utility>

namespace cohort::test {

using std::chrono::milliseconds;

std::string get(std::string_view path, std::string_view more_headers) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: here\r\n" + std::string(more_headers) + "\r\n";
}

std::string post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: here\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n" + std::string(more_headers) + "\r\n" + std::string(body);
}

std::string gzip(std::string_view text) {
  z_stream stream = {};
  constexpr int kGzip = 16 + MAX_WBITS;
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzip, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) throw std::runtime_error("deflate");
  return out;
}

// --- Server

struct HttpTestServer::Loop {
  boost::asio::io_context io{1};
};

HttpTestServer::HttpTestServer(HttpServerOptions options, std::vector<HttpRoute> routes)
    : loop_(std::make_unique<Loop>()) {
  auto server = HttpServer::listen(loop_->io, std::move(options), std::move(routes));
  if (!server.ok()) throw std::runtime_error(server.status().message());
  server_ = *std::move(server);
  port_ = server_->port();
  thread_ = std::thread([this] { loop_->io.run(); });
}

HttpTestServer::~HttpTestServer() {
  boost::asio::post(loop_->io, [this] {
    server_.reset();
    loop_->io.stop();
  });
  thread_.join();
}

void HttpTestServer::run(const std::function<void(HttpServer& server)>& work) {
  std::promise<void> done;
  boost::asio::post(loop_->io, [&] {
    work(*server_);
    done.set_value();
  });
  done.get_future().wait();
}

void HttpTestServer::post_later(std::function<void()> work) { boost::asio::post(loop_->io, std::move(work)); }

int64_t HttpTestServer::num_connections() {
  int64_t count = 0;
  run([&](HttpServer& server) { count = server.num_connections(); });
  return count;
}

int64_t HttpTestServer::num_streams() {
  int64_t count = 0;
  run([&](HttpServer& server) { count = server.num_streams(); });
  return count;
}

bool HttpTestServer::comes_to(const std::function<bool(HttpServer& server)>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  bool is_so = false;
  while (!is_so && std::chrono::steady_clock::now() < end) {
    run([&](HttpServer& server) { is_so = condition(server); });
    if (!is_so) std::this_thread::sleep_for(milliseconds(2));
  }
  return is_so;
}

// --- Client

HttpTestClient::HttpTestClient(int port, int receive_bytes) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (fd_ < 0) throw std::runtime_error("no socket");
  if (receive_bytes > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
  // No test is to wait for ever.
  const timeval timeout = {.tv_sec = kPatience.count(), .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    ::close(fd_);
    throw std::runtime_error("cannot connect");
  }
}

HttpTestClient::HttpTestClient(HttpTestClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), buffer_(std::move(other.buffer_)) {}

HttpTestClient::~HttpTestClient() { close(); }

void HttpTestClient::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void HttpTestClient::reset() {
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close();
}

void HttpTestClient::shutdown_sending() { ::shutdown(fd_, SHUT_WR); }

bool HttpTestClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t num_sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (num_sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(num_sent));
  }
  return true;
}

bool HttpTestClient::fill() {
  std::array<char, 65536> piece;
  const ssize_t num_bytes = ::recv(fd_, piece.data(), piece.size(), 0);
  if (num_bytes <= 0) return false;
  buffer_.append(piece.data(), static_cast<size_t>(num_bytes));
  return true;
}

std::string HttpTestClient::take(size_t num_bytes) {
  while (buffer_.size() < num_bytes && fill()) {
  }
  std::string taken = buffer_.substr(0, num_bytes);
  buffer_.erase(0, taken.size());
  return taken;
}

std::string HttpTestClient::take_line() {
  size_t end = 0;
  while ((end = buffer_.find("\r\n")) == buffer_.npos) {
    if (!fill()) return {};
  }
  std::string line = take(end + 2);
  line.resize(end);
  return line;
}

HttpAnswer HttpTestClient::receive_head() {
  HttpAnswer answer;
  const std::string status_line = take_line();
  if (!status_line.starts_with("HTTP/1.1 ")) return answer;
  for (std::string line = take_line(); !line.empty(); line = take_line()) {
    const size_t colon = line.find(": ");
    if (colon == line.npos) return {};
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    answer.headers[name] = line.substr(colon + 2);
  }
  answer.status = std::stoi(status_line.substr(9, 3));
  return answer;
}

std::string HttpTestClient::receive_chunk() {
  const std::string size = take_line();
  if (size.empty()) return {};
  std::string chunk = take(std::stoul(size, nullptr, 16));
  take_line();
  return chunk;
}

HttpAnswer HttpTestClient::receive(bool has_body) {
  HttpAnswer answer = receive_head();
  if (answer.status == 0 || answer.status == 100 || !has_body) return answer;
  if (answer.headers.contains("content-length")) {
    const size_t num_bytes = std::stoul(answer.headers["content-length"]);
    answer.body = take(num_bytes);
    if (answer.body.size() < num_bytes) answer.status = 0;
  } else if (answer.headers.contains("transfer-encoding")) {
    for (std::string chunk = receive_chunk(); !chunk.empty(); chunk = receive_chunk()) {
      answer.body += chunk;
      answer.chunks.push_back(std::move(chunk));
    }
  } else {
    answer.body = receive_all();
  }
  return answer;
}

std::string HttpTestClient::receive_all() {
  while (fill()) {
  }
  return std::exchange(buffer_, {});
}

bool HttpTestClient::is_closed(milliseconds within) {
  if (!buffer_.empty()) return false;
  pollfd waited = {.fd = fd_, .events = POLLIN, .revents = 0};
  if (::poll(&waited, 1, static_cast<int>(within.count())) != 1) return false;
  char byte = 0;
  const ssize_t num_bytes = ::recv(fd_, &byte, 1, MSG_DONTWAIT);
  return num_bytes == 0 || (num_bytes < 0 && errno != EAGAIN);
}

}  // namespace cohort::test
