// Where a server is, from the URL that OpenAI clients call base_url.
#pragma once

#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

struct ServerAddress {
  std::string host;    // without brackets
  std::string port;    // "80" where the URL has none
  std::string prefix;  // of every path: "" or "/proxy"

  std::string url() const;
};

// "http://host:8000", with a prefix or without; a "/v1" at its end is left out, since the paths of endpoints begin with
// it. INVALID_ARGUMENT for https and for what is no URL.
Result<ServerAddress> parse_base_url(std::string_view url);

}  // namespace cohort
