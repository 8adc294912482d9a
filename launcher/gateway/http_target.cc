#include "launcher/gateway/http_target.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "runtime/tokenizer/unicode.h"

namespace cohort {

Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned char byte = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc() || end != digits.data() + 2) {
      return invalid_argument("expected two hexadecimal digits behind %");
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

Result<HttpTarget> parse_http_target(std::string_view target) {
  bool is_url = false;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t slash = target.find_first_of("/?", scheme.size());
    target.remove_prefix(std::min(slash, target.size()));
    is_url = true;
    break;
  }
  const size_t question = target.find('?');
  HttpTarget parsed;
  if (question != target.npos) parsed.query = target.substr(question + 1);
  target = target.substr(0, question);
  auto path = percent_decode(target.empty() && is_url ? "/" : target);
  if (!path.ok()) return Status(path.status()).annotate("request target");
  if (*path != "*" && !path->starts_with('/')) return invalid_argument("request target: expected a path");
  if (!is_valid_utf8(*path)) return invalid_argument("request target: expected UTF-8");
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (std::any_of(path->begin(), path->end(), is_control)) {
    return invalid_argument("request target: a control character");
  }
  parsed.path = *std::move(path);
  return parsed;
}

}  // namespace cohort
