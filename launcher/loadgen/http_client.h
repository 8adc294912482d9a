// HttpClient: many requests of HTTP/1.1 to one server under way at once, on one thread.
//
// Connections are kept and used again. A request on a kept one, which the server closes before it answers, is sent once
// more on a new one. No redirects, no TLS.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

// How a request ended.
struct HttpEnd {
  enum class Failure {
    kNone,        // an answer, of whatever status, came to its end
    kConnection,  // none was made
    kTimeout,
    kCut,  // it broke off, or was no HTTP
  };
  Failure failure = Failure::kNone;
  std::string message;  // of a failure
};

class HttpClient {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    std::string host;
    std::string port;
    std::vector<std::pair<std::string, std::string>> headers = {};  // of every request
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::milliseconds timeout{600'000};  // from the start of a request to the end of its answer
  };

  // What becomes of a request. Called in run(), and may send the next one.
  class Listener {
   public:
    virtual ~Listener() = default;
    // A piece of the answer's body, as it came.
    virtual void on_body(int status, std::string_view bytes) = 0;
    // Once, at last. status is 0 if none came.
    virtual void on_end(int status, const HttpEnd& end) = 0;
  };

  // Looks the host up; UNAVAILABLE if it has no address.
  static Result<std::unique_ptr<HttpClient>> open(Options options);
  virtual ~HttpClient() = default;

  // Begins a request. Requires a path like "/v1/models"; a body is JSON.
  virtual void send(std::string method, std::string path, std::string body, std::unique_ptr<Listener> listener) = 0;
  // Calls back at that time, or as soon after as there is nothing else to do.
  virtual void at(Clock::time_point time, std::function<void()> callback) = 0;
  // Returns when nothing is under way and nobody is to be called.
  virtual void run() = 0;
};

// A whole answer.
struct HttpAnswer {
  int status = 0;
  std::string body;
};

// One request, and nothing else under way. UNAVAILABLE if no answer came.
Result<HttpAnswer> fetch(HttpClient& client, std::string method, std::string path, std::string body = {});

}  // namespace cohort
