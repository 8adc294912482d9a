#include "runtime/tokenizer/unicode_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "kernels/core/check.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr char32_t kPlaneSize = 0x10000;

int utf8proc_options(UnicodeForm form) {
  switch (form) {
    case UnicodeForm::kNfc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case UnicodeForm::kNfd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case UnicodeForm::kNfkc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case UnicodeForm::kNfkd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
  }
  return 0;
}

using CodePoints = std::vector<utf8proc_int32_t>;

utf8proc_propval_t combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Brings each run of combining marks into canonical order (UAX #15, D109).
void order_marks(CodePoints& buffer) {
  const auto is_before = [](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); };
  for (auto begin = buffer.begin(); begin != buffer.end();) {
    const auto end = std::find_if(begin, buffer.end(), [](utf8proc_int32_t c) { return combining_class(c) == 0; });
    if (!std::is_sorted(begin, end, is_before)) std::stable_sort(begin, end, is_before);
    begin = end == buffer.end() ? end : end + 1;
  }
}

// Decomposes and, if `options` say so, composes into `buffer`; returns the number of code points. Not by
// utf8proc_decompose(), which orders marks by exchanging neighbours: a long text of nothing else takes it for ever.
size_t normalize_into(std::string_view text, int options, CodePoints& buffer) {
  constexpr size_t kMaxDecomposed = 32;  // code points of one; Unicode's longest has 18
  const auto option_bits = static_cast<utf8proc_option_t>(options);
  std::array<utf8proc_int32_t, kMaxDecomposed> parts{};
  int boundary_class = 0;  // of grapheme clusters, which these options do not look for
  buffer.clear();
  for (size_t pos = 0; pos < text.size();) {
    const auto c = static_cast<utf8proc_int32_t>(next_char(text, pos));
    const auto count = utf8proc_decompose_char(c, parts.data(), kMaxDecomposed, option_bits, &boundary_class);
    COHORT_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(kMaxDecomposed), std::to_string(count));
    buffer.insert(buffer.end(), parts.begin(), parts.begin() + count);
  }
  order_marks(buffer);
  const auto length =
      utf8proc_normalize_utf32(buffer.data(), static_cast<utf8proc_ssize_t>(buffer.size()), option_bits);
  COHORT_CHECK(length >= 0, utf8proc_errmsg(length));
  return static_cast<size_t>(length);
}

bool is_surrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

// Planes beyond the first: emoji and the first blocks of rare CJK have no decompositions and
// combine with nothing.
bool is_stable_beyond_first_plane(char32_t c) {
  return (c >= 0x1F300 && c <= 0x1FAFF) || (c >= 0x20000 && c <= 0x2EBE0);
}

}  // namespace

UnicodeNormalizer::UnicodeNormalizer(UnicodeForm form) : options_(utf8proc_options(form)), stable_(kPlaneSize, false) {
  const bool composes = (options_ & UTF8PROC_COMPOSE) != 0;
  CodePoints buffer;
  std::string text;
  std::vector<char32_t> second_of_composition;
  for (char32_t c = 0; c < kPlaneSize; ++c) {
    if (is_surrogate(c)) continue;
    text.clear();
    append_utf8(c, text);
    const bool unchanged = normalize_into(text, options_, buffer) == 1 && static_cast<char32_t>(buffer[0]) == c;
    stable_[c] = unchanged && combining_class(static_cast<utf8proc_int32_t>(c)) == 0;
    if (!composes) continue;
    const size_t length = normalize_into(text, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, buffer);
    for (size_t i = 1; i < length; ++i) second_of_composition.push_back(static_cast<char32_t>(buffer[i]));
  }
  for (const char32_t c : second_of_composition) {
    if (c < kPlaneSize) stable_[c] = false;
  }
}

const UnicodeNormalizer& UnicodeNormalizer::get(UnicodeForm form) {
  static const UnicodeNormalizer nfc(UnicodeForm::kNfc);
  if (form == UnicodeForm::kNfc) return nfc;
  static const UnicodeNormalizer nfd(UnicodeForm::kNfd);
  if (form == UnicodeForm::kNfd) return nfd;
  static const UnicodeNormalizer nfkc(UnicodeForm::kNfkc);
  if (form == UnicodeForm::kNfkc) return nfkc;
  static const UnicodeNormalizer nfkd(UnicodeForm::kNfkd);
  return nfkd;
}

bool UnicodeNormalizer::is_stable(char32_t c) const {
  return c < kPlaneSize ? stable_[c] : is_stable_beyond_first_plane(c);
}

// The end of the characters from `pos` on that neither change nor combine with the one before them.
size_t UnicodeNormalizer::stable_run(std::string_view text, size_t pos) const {
  while (pos < text.size()) {
    if (static_cast<unsigned char>(text[pos]) < 0x80) {  // ASCII is stable in every form
      ++pos;
      continue;
    }
    size_t next = pos;
    if (!is_stable(next_char(text, next))) return pos;
    pos = next;
  }
  return pos;
}

bool UnicodeNormalizer::is_trivial(std::string_view text) const { return stable_run(text, 0) == text.size(); }

void UnicodeNormalizer::append(std::string_view text, std::string& out) const {
  size_t pos = 0;
  while (pos < text.size()) {
    size_t stable_end = stable_run(text, pos);
    if (stable_end == text.size()) {
      out.append(text.substr(pos));
      return;
    }
    // The last stable character may combine with what follows it, so it is normalized with the
    // unstable run.
    size_t run_begin = stable_end;
    if (run_begin > pos) {
      do --run_begin;
      while ((static_cast<unsigned char>(text[run_begin]) & 0xC0) == 0x80);
    }
    size_t run_end = stable_end;
    for (size_t next = run_end; run_end < text.size(); run_end = next) {
      if (is_stable(next_char(text, next))) break;
    }
    out.append(text.substr(pos, run_begin - pos));
    append_run(text.substr(run_begin, run_end - run_begin), out);
    pos = run_end;
  }
}

void UnicodeNormalizer::append_run(std::string_view run, std::string& out) const {
  thread_local CodePoints buffer;
  const size_t length = normalize_into(run, options_, buffer);
  for (size_t i = 0; i < length; ++i) append_utf8(static_cast<char32_t>(buffer[i]), out);
}

}  // namespace cohort
