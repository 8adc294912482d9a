#include "launcher/loadgen/server_address.h"

#include <charconv>

namespace cohort {

std::string ServerAddress::url() const {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return "http://" + (is_ipv6 ? "[" + host + "]" : host) + ":" + port + prefix;
}

Result<ServerAddress> parse_base_url(std::string_view url) {
  const Status not_one = invalid_argument("expected http://HOST:PORT, got \"" + std::string(url) + "\"");
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://")) return invalid_argument("https is not supported; expected http://HOST:PORT");
  if (!url.starts_with(kScheme)) return not_one;
  url.remove_prefix(kScheme.size());
  const size_t slash = std::min(url.find('/'), url.size());
  std::string_view authority = url.substr(0, slash);
  std::string_view prefix = url.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (prefix.ends_with("/v1")) prefix.remove_suffix(3);
  if (url.find_first_of(" ?#@\r\n") != std::string_view::npos) return not_one;

  std::string_view host, rest;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return not_one;
    host = authority.substr(1, end - 1);
    rest = authority.substr(end + 1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    host = authority.substr(0, colon);
    rest = authority.substr(colon);
  }
  std::string port = "80";
  if (!rest.empty()) {
    int number = 0;
    const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), number);
    if (rest[0] != ':' || error != std::errc() || end != rest.data() + rest.size() || number < 1 || number > 65535) {
      return not_one;
    }
    port = std::to_string(number);
  }
  if (host.empty()) return not_one;
  return ServerAddress{std::string(host), port, std::string(prefix)};
}

}  // namespace cohort
