#include "launcher/gateway/http_api_keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace cohort {

ApiKeys::Digest ApiKeys::digest(std::string_view key) {
  Digest digest;
  unsigned num_bytes = digest.size();
  if (EVP_Digest(key.data(), key.size(), digest.data(), &num_bytes, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("OpenSSL has no SHA-256");
  }
  return digest;
}

Result<ApiKeys> ApiKeys::parse(std::string_view text, std::string_view name) {
  ApiKeys keys;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    if (!std::all_of(line.begin(), line.end(), [](char c) { return c > 0x20 && c < 0x7f; })) {
      return invalid_argument(std::string(name) + ":" + std::to_string(number) +
                              ": expected a key of printable ASCII characters without spaces");
    }
    keys.digests_.push_back(digest(line));
  }
  if (keys.empty()) return invalid_argument(std::string(name) + ": expected a key a line, found none");
  return keys;
}

Result<ApiKeys> ApiKeys::read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  file.peek();  // fails with a directory, of which the iterators would throw
  if (!file.is_open() || file.bad()) return not_found(path + ": cannot be read");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return parse(text, path);
}

std::optional<std::string> ApiKeys::find(std::string_view key) const {
  const Digest wanted = digest(key);
  int is_known = 0;
  for (const Digest& known : digests_) {  // all of them, whichever fits
    is_known |= static_cast<int>(CRYPTO_memcmp(known.data(), wanted.data(), wanted.size()) == 0);
  }
  if (is_known == 0) return std::nullopt;
  std::string tenant;
  for (size_t i = 0; i < 8; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    tenant += kDigits[wanted[i] >> 4];
    tenant += kDigits[wanted[i] & 15];
  }
  return tenant;
}

}  // namespace cohort
