#include "runtime/jinja/charged_strings.h"

#include <algorithm>
#include <optional>

#include "runtime/jinja/strings.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort::jinja {
namespace {

// The parts of a text that is split, counted as they are made: a text may have as many as characters.
class Parts {
 public:
  explicit Parts(Budget& budget) : budget_(budget) {}

  int64_t size() const { return static_cast<int64_t>(parts_.size()); }

  Status add(Text part) {
    COHORT_RETURN_IF_ERROR(budget_.charge_text(64 + part.size()));
    parts_.emplace_back(std::move(part));
    return ok_status();
  }

  std::vector<Value> take() && { return std::move(parts_); }

  std::vector<Value> take_reversed() && {
    std::reverse(parts_.begin(), parts_.end());
    return std::move(parts_);
  }

 private:
  Budget& budget_;
  std::vector<Value> parts_;
};

// The line break at `pos`: its bytes, 0 where there is none.
size_t line_break_at(std::string_view text, size_t pos) {
  const auto byte = static_cast<unsigned char>(text[pos]);
  if (byte == '\r') return text.substr(pos).starts_with("\r\n") ? 2 : 1;
  if ((byte >= 0x0A && byte <= 0x0C) || (byte >= 0x1C && byte <= 0x1E)) return 1;
  const std::string_view rest = text.substr(pos);
  if (rest.starts_with("\xC2\x85")) return 2;
  return rest.starts_with("\xE2\x80\xA8") || rest.starts_with("\xE2\x80\xA9") ? 3 : 0;
}

}  // namespace

Result<std::vector<Value>> split(Budget& budget, const Text& text, std::string_view separator, int64_t max_splits) {
  Parts parts(budget);
  size_t begin = 0;
  for (int64_t i = 0; max_splits < 0 || i < max_splits; ++i) {
    const size_t end = find_bytes(text.view(), separator, begin);
    if (end == std::string_view::npos) break;
    COHORT_RETURN_IF_ERROR(parts.add(text.slice(begin, end)));
    begin = end + separator.size();
  }
  COHORT_RETURN_IF_ERROR(parts.add(text.slice(begin, text.size())));
  return std::move(parts).take();
}

Result<std::vector<Value>> split_at_space(Budget& budget, const Text& text, int64_t max_splits) {
  Parts parts(budget);
  Text rest = strip(text, Side::kLeft, std::nullopt);
  const std::string_view view = rest.view();
  size_t begin = 0;
  for (size_t pos = 0; pos < view.size();) {
    const size_t at = pos;
    if (!is_python_space(next_char(view, pos))) continue;
    if (at > begin) {
      if (max_splits >= 0 && parts.size() == max_splits) break;
      COHORT_RETURN_IF_ERROR(parts.add(rest.slice(begin, at)));
    }
    begin = pos;
  }
  if (begin < view.size()) COHORT_RETURN_IF_ERROR(parts.add(rest.slice(begin, view.size())));
  return std::move(parts).take();
}

Result<std::vector<Value>> rsplit(Budget& budget, const Text& text, std::string_view separator, int64_t max_splits) {
  Parts parts(budget);
  size_t end = text.size();
  for (int64_t i = 0; max_splits < 0 || i < max_splits; ++i) {
    COHORT_RETURN_IF_ERROR(budget.charge_text(end));  // each search reads all that is left
    const size_t begin = rfind_bytes(text.view().substr(0, end), separator);
    if (begin == std::string_view::npos) break;
    COHORT_RETURN_IF_ERROR(parts.add(text.slice(begin + separator.size(), end)));
    end = begin;
  }
  COHORT_RETURN_IF_ERROR(parts.add(text.slice(0, end)));
  return std::move(parts).take_reversed();
}

Result<std::vector<Value>> rsplit_at_space(Budget& budget, const Text& text, int64_t max_splits) {
  Parts parts(budget);
  Text rest = strip(text, Side::kRight, std::nullopt);
  while (!rest.empty() && (max_splits < 0 || parts.size() < max_splits)) {
    COHORT_RETURN_IF_ERROR(budget.charge_text(rest.size()));  // each part copies what is left
    size_t begin = rest.size();
    while (begin > 0 && !is_python_space(char_before(rest.view(), begin))) {
      do --begin;
      while ((rest.view()[begin] & 0xC0) == 0x80);
    }
    COHORT_RETURN_IF_ERROR(parts.add(rest.slice(begin, rest.size())));
    rest = strip(rest.slice(0, begin), Side::kRight, std::nullopt);
  }
  if (!rest.empty()) COHORT_RETURN_IF_ERROR(parts.add(std::move(rest)));
  return std::move(parts).take_reversed();
}

Result<std::vector<Value>> split_lines(Budget& budget, const Text& text, bool keep_ends) {
  Parts lines(budget);
  const std::string_view view = text.view();
  size_t begin = 0;
  for (size_t pos = 0; pos < view.size();) {
    const size_t length = line_break_at(view, pos);
    if (length == 0) {
      pos += utf8_length(view[pos]);
      continue;
    }
    COHORT_RETURN_IF_ERROR(lines.add(text.slice(begin, keep_ends ? pos + length : pos)));
    pos += length;
    begin = pos;
  }
  if (begin < view.size()) COHORT_RETURN_IF_ERROR(lines.add(text.slice(begin, view.size())));
  return std::move(lines).take();
}

Result<Value> replace_charged(Budget& budget, const Text& text, std::string_view from, const Text& to,
                              int64_t max_count) {
  COHORT_RETURN_IF_ERROR(budget.charge_text(text.size()));
  size_t num_found = 0;
  if (from.empty()) {
    num_found = count_chars(text.view()) + 1;
  } else {
    for (size_t at = 0; (at = find_bytes(text.view(), from, at)) != std::string_view::npos; at += from.size()) {
      ++num_found;
    }
  }
  if (max_count >= 0) num_found = std::min(num_found, static_cast<size_t>(max_count));
  COHORT_RETURN_IF_ERROR(budget.charge_items(num_found));
  COHORT_RETURN_IF_ERROR(budget.charge_text(text.size() + num_found * to.size()));
  return Value(replace(text, from, to, max_count));
}

Result<Value> align_charged(Budget& budget, const Text& text, Int width, const Text& fill, Fill place) {
  const size_t length = count_chars(text.view());
  const Int missing = std::max(width - static_cast<Int>(length), Int{0});
  const size_t limit = budget.limits().max_text_bytes;
  if (missing > static_cast<Int>(limit)) return budget.check_size(limit + 1);
  const auto num_fills = static_cast<size_t>(missing);
  COHORT_RETURN_IF_ERROR(budget.charge_text(text.size() + num_fills * fill.size()));
  // Python's center() puts the odd one on the left where the width is odd.
  size_t num_before = place == Fill::kBefore ? num_fills : 0;
  if (place == Fill::kAround) num_before = num_fills / 2 + (num_fills & static_cast<size_t>(width) & 1);
  Text out;
  for (size_t i = 0; i < num_before; ++i) out.append(fill);
  out.append(text);
  for (size_t i = num_before; i < num_fills; ++i) out.append(fill);
  return Value(std::move(out));
}

}  // namespace cohort::jinja
