// What the server writes: heads of answers, and the answers that it gives itself, in the form that the clients of a
// path expect of an error.
//
// Pure functions.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/gateway/http.h"

namespace cohort {

// "Not Found"; "Unknown" of a status that is not in RFC 9110.
std::string_view http_reason(int status);

// {"error": {"message", "type", "param": null, "code": status}}; the type follows from the status. Below /v2, where
// KServe's protocol is, {"error": message}.
HttpResponse http_error(int status, std::string_view message, std::string_view path = {});

enum class HttpFraming {
  kLength,  // Content-Length
  kChunks,  // Transfer-Encoding
  kClose,   // until the connection closes; for HTTP/1.0
};

struct HttpHead {
  HttpFraming framing = HttpFraming::kLength;
  size_t num_body_bytes = 0;  // of kLength
  bool closes = false;        // the connection, behind the answer
  std::string_view request_id;
  std::string_view date;  // http_date()
};

// From the status line to the empty line. What would end a line within a value is left out, so that no value of a
// request can add a field to the answer.
std::string http_head(const HttpResponse& response, const HttpHead& head);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7).
std::string http_date(std::time_t time);

// The value of a client's X-Request-Id if it can be echoed and logged: 1 to 128 printable ASCII characters, no spaces.
bool is_sane_request_id(std::string_view id);
// 32 hexadecimal digits that nobody can guess.
std::string make_request_id();

}  // namespace cohort
