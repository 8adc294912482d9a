// The target of a request line: "/v1/models/a%20b?x=1" to path and query (RFC 3986, RFC 9112 3.2).
#pragma once

#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

struct HttpTarget {
  std::string path;   // percent-decoded: UTF-8 without control characters, begins with "/"; or "*"
  std::string query;  // as it came, without "?"
};

// Takes a path, with a query or without; a whole http URL, whose host is ignored; and "*". Not ok: kInvalidArgument.
Result<HttpTarget> parse_http_target(std::string_view target);

// "%20" to a space. Not ok: kInvalidArgument, a % without two hexadecimal digits behind it.
Result<std::string> percent_decode(std::string_view text);

}  // namespace cohort
