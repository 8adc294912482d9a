#include "runtime/jinja/text.h"

#include <algorithm>

namespace cohort::jinja {

Text::Text(std::string bytes, bool is_data) : bytes_(std::move(bytes)) {
  if (!bytes_.empty()) runs_.push_back({bytes_.size(), is_data});
}

void Text::append(std::string_view bytes, bool is_data) {
  if (bytes.empty()) return;
  bytes_.append(bytes);
  if (!runs_.empty() && runs_.back().is_data == is_data) {
    runs_.back().end = bytes_.size();
  } else {
    runs_.push_back({bytes_.size(), is_data});
  }
}

void Text::append(const Text& other, size_t begin, size_t end) {
  other.visit_runs(begin, end, [&](std::string_view bytes, bool is_data) { append(bytes, is_data); });
}

Text Text::slice(size_t begin, size_t end) const {
  Text part;
  part.append(*this, begin, end);
  part.is_markup_ = is_markup_;
  return part;
}

size_t Text::first_run(size_t offset) const {
  const auto run =
      std::upper_bound(runs_.begin(), runs_.end(), offset, [](size_t at, const Run& r) { return at < r.end; });
  return static_cast<size_t>(run - runs_.begin());
}

}  // namespace cohort::jinja
