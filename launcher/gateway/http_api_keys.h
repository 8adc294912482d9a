// ApiKeys: the keys of which a request must bring one. Only their digests are kept.
//
// Immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

class ApiKeys {
 public:
  ApiKeys() = default;  // none: every request is let in

  // A key a line; empty lines and those that begin with "#" are skipped. Not ok: a key with spaces or other than
  // printable ASCII characters, or no key at all. `name` stands in the message; no key does.
  static Result<ApiKeys> parse(std::string_view text, std::string_view name);
  static Result<ApiKeys> read(const std::string& path);

  bool empty() const { return digests_.empty(); }

  // The tenant of a key: the first 16 hexadecimal digits of its SHA-256; nothing if the key is none of these. The time
  // it takes depends on the key's length only.
  std::optional<std::string> find(std::string_view key) const;

 private:
  using Digest = std::array<uint8_t, 32>;
  static Digest digest(std::string_view key);

  std::vector<Digest> digests_;
};

}  // namespace cohort
