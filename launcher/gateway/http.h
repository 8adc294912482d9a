// Requests and answers of HTTP, as the handlers of the gateway's protocols see them. http_server.h speaks it.
//
// One thread: the gateway's io thread. What takes long is handed to another thread and answered later.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // percent-decoded, without the query
  std::string query;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // whole, decompressed, within the server's limit
  std::string id;                                            // X-Request-Id, or made here; echoed in the answer
  std::string tenant;                                        // a digest of its API key; empty without keys

  // The value of the first header of that lower-case name; empty if there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// One request that waits for its answer, which is either respond() or begin_stream(), write()s and end_stream(). When
// the last pointer to it goes and it is not answered, the client gets a 500, or its stream is cut.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  // Its headers and body are freed by respond() and begin_stream().
  virtual const HttpRequest& request() const = 0;
  virtual void respond(HttpResponse response) = 0;

  // 200 and chunks as they come.
  virtual void begin_stream(std::string content_type) = 0;
  // Queued; sent as the client reads. A client that does not read enough is gone, as soon as more wait than the server
  // allows.
  virtual void write(std::string data) = 0;
  virtual void end_stream() = 0;

  // Called once, from the event loop, if the client goes away or is cut off before respond() or end_stream(). Nothing
  // needs to be written afterwards. What the callback holds is let go when it is called or the exchange is answered.
  virtual void on_gone(std::function<void()> callback) = 0;
  virtual bool is_gone() const = 0;
};

using HttpHandler = std::function<void(std::shared_ptr<HttpExchange> exchange)>;

// A method and path and what answers it.
struct HttpRoute {
  std::string method;
  std::string path;  // exact; one that ends with "/*" stands for all below it
  HttpHandler handler;
  bool needs_key = true;
};

}  // namespace cohort
