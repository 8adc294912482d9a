// HttpServer: HTTP/1.1 on one thread (RFC 9112), with answers of known length and answers that stream.
//
// A connection costs about a kilobyte while it is idle: there is no buffer where no byte waits. Requests that follow
// each other on a connection without waiting (pipelining) are answered one after another. While a request waits for its
// answer its connection is watched, so that a client that goes away is noticed at once (HttpExchange::on_gone()); one
// that only shuts down its sending side counts as gone, unless its answer is already complete.
//
// One thread: the one that runs `io`. That must outlive the server, and every HttpExchange.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/http_api_keys.h"
#include "launcher/gateway/http_parser.h"

namespace boost::asio {
class io_context;
}

namespace cohort {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // an address, or a name that has one
  int port = 0;                    // 0: any that is free
  ApiKeys keys = {};
  HttpLimits limits = {};
  int64_t max_connections = 16384;                     // what comes beyond gets a 503
  int64_t max_stream_buffer_bytes = int64_t{1} << 20;  // of a stream that its client does not read
  int64_t max_total_body_bytes = int64_t{1} << 30;     // of all requests; what comes beyond gets a 503
  int64_t header_timeout_ms = 10'000;                  // from a connection's start, or a request's first byte
  int64_t body_timeout_ms = 30'000;                    // from the end of the header
  int64_t idle_timeout_ms = 75'000;                    // between requests
  int64_t write_timeout_ms = 30'000;                   // without a byte that the client takes
  int64_t linger_timeout_ms = 2'000;                   // for the client to close, after the last answer
};

class HttpServer {
 public:
  // Listens, and serves from when `io` runs. Not ok: kUnavailable, the address cannot be had; names it and the port.
  static Result<std::unique_ptr<HttpServer>> listen(boost::asio::io_context& io, HttpServerOptions options,
                                                    std::vector<HttpRoute> routes);
  ~HttpServer();  // as close_all()

  int port() const;
  std::string address() const;  // "127.0.0.1:8000", "[::1]:8000"

  // No new connections; those that are there get "Connection: close" with their next answer.
  void stop_accepting();
  // Closes every connection at once. on_gone() of those that wait for answers is called.
  void close_all();

  int64_t num_connections() const;
  int64_t num_streams() const;    // begun and not ended
  int64_t num_answering() const;  // requests that wait for their answer, or for the rest of it to be sent

 private:
  class Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace cohort
