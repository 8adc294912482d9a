// HttpParser: the bytes of one request to an HttpRequest, or to the error that answers it. No sockets:
// http_connection.cc feeds it.
//
// What could be read in two ways by two servers behind each other is refused: Content-Length together with
// Transfer-Encoding, more than one of either, any coding but "chunked", a missing or second Host.
//
// One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "launcher/gateway/http.h"

namespace cohort {

struct HttpLimits {
  int64_t max_header_bytes = int64_t{32} << 10;  // request line and fields; also a chunk's header, and trailers
  int64_t max_headers = 100;                     // fields, trailers among them
  int64_t max_body_bytes = int64_t{16} << 20;    // as sent, and decompressed
  int64_t max_chunks = 65536;
};

// Why a request cannot be served.
struct HttpFailure {
  int status = 0;  // 4xx or 5xx; 0: there is none
  std::string message;

  explicit operator bool() const { return status != 0; }
};

class HttpParser {
 public:
  enum class State {
    kHeader,  // needs more of the header
    kBody,    // the header is whole; needs more of the body
    kDone,
    kFailed,  // for good: nothing after it on this connection can be told apart
  };

  explicit HttpParser(const HttpLimits& limits);  // outlive the parser
  ~HttpParser();

  // Requires kHeader or kBody. Takes bytes from the front and returns how many; the others are to be given again, with
  // more behind them. Stops behind the header, so that a request can be refused before its body is read, and behind the
  // request.
  size_t feed(std::string_view bytes);

  State state() const;
  const HttpFailure& failure() const;  // of kFailed

  // What is known so far: of kFailed, perhaps only some of the fields. `id` and `tenant` are not set here.
  HttpRequest& request();

  // Of kBody and kDone:
  bool keeps_alive() const;       // the client does not ask to close
  bool expects_continue() const;  // the client waits for a 100 before it sends the body
  bool takes_chunks() const;      // HTTP/1.1

 private:
  class Reader;
  std::unique_ptr<Reader> reader_;
};

}  // namespace cohort
