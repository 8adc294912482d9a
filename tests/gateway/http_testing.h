// An HttpServer on a thread of its own, and a client that says what it is told to, byte for byte.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "launcher/gateway/http_server.h"

namespace cohort::test {

// "GET /path", with what makes it whole.
std::string get(std::string_view path, std::string_view more_headers = {});
std::string post(std::string_view path, std::string_view body, std::string_view more_headers = {});
std::string gzip(std::string_view text);

// How long a busy machine is given for what takes no time.
constexpr std::chrono::seconds kPatience{60};

class HttpTestServer {
 public:
  // Throws std::runtime_error if it cannot listen.
  HttpTestServer(HttpServerOptions options, std::vector<HttpRoute> routes);
  ~HttpTestServer();

  int port() const { return port_; }

  // Runs `work` on the server's thread, and returns when that is done.
  void run(const std::function<void(HttpServer& server)>& work);
  // The same later; for handlers that answer another time.
  void post_later(std::function<void()> work);

  int64_t num_connections();
  int64_t num_streams();
  // Whether it is so within kPatience.
  bool comes_to(const std::function<bool(HttpServer& server)>& condition);

 private:
  struct Loop;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<HttpServer> server_;
  int port_ = 0;
  std::thread thread_;
};

struct HttpAnswer {
  int status = 0;                              // 0: the connection was closed before an answer was whole
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without chunks
  std::vector<std::string> chunks;
};

class HttpTestClient {
 public:
  // receive_bytes: the size of the receive buffer; 0: the system's choice.
  explicit HttpTestClient(int port, int receive_bytes = 0);
  HttpTestClient(HttpTestClient&& other) noexcept;
  HttpTestClient& operator=(HttpTestClient&&) = delete;
  ~HttpTestClient();

  // False if the server has closed.
  bool send(std::string_view bytes);
  // The next answer. `has_body` is false of one to HEAD.
  HttpAnswer receive(bool has_body = true);
  // The head of an answer, and then its chunks one after another; the last is empty.
  HttpAnswer receive_head();
  std::string receive_chunk();

  HttpAnswer ask(std::string_view bytes) {
    send(bytes);
    return receive();
  }

  // What comes until the server closes.
  std::string receive_all();
  // Whether the server closes within the time, with nothing more to read.
  bool is_closed(std::chrono::milliseconds within = kPatience);
  void shutdown_sending();
  void close();
  void reset();  // as a host that knows nothing of the connection

 private:
  bool fill();  // more into buffer_; false at the end
  std::string take(size_t num_bytes);
  std::string take_line();

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace cohort::test
