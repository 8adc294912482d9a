// The Unicode normalization forms (UAX #15).
//
// Immutable; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cohort {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

class UnicodeNormalizer {
 public:
  // The one normalizer for `form`; the first call takes some 10 ms, to find the characters that it
  // leaves alone.
  static const UnicodeNormalizer& get(UnicodeForm form);

  // Appends the normalized text to `out`. Requires valid UTF-8.
  void append(std::string_view text, std::string& out) const;

  // Whether no character of `text` could change; then it is already normalized.
  bool is_trivial(std::string_view text) const;

 private:
  explicit UnicodeNormalizer(UnicodeForm form);

  bool is_stable(char32_t c) const;
  size_t stable_run(std::string_view text, size_t pos) const;
  void append_run(std::string_view run, std::string& out) const;

  int options_;               // of utf8proc
  std::vector<bool> stable_;  // [0x10000] characters of the first plane, see is_stable()
};

}  // namespace cohort
