// Operations on texts whose result may be much larger than what they are made of: counted as they are done.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/jinja/value.h"

namespace cohort::jinja {

// str.split with a separator, which must not be empty, or at white space. `max_splits` below 0: no limit.
Result<std::vector<Value>> split(Budget& budget, const Text& text, std::string_view separator, int64_t max_splits);
Result<std::vector<Value>> split_at_space(Budget& budget, const Text& text, int64_t max_splits);
Result<std::vector<Value>> rsplit(Budget& budget, const Text& text, std::string_view separator, int64_t max_splits);
Result<std::vector<Value>> rsplit_at_space(Budget& budget, const Text& text, int64_t max_splits);
Result<std::vector<Value>> split_lines(Budget& budget, const Text& text, bool keep_ends);

enum class Fill { kBefore, kAfter, kAround };

// str.replace; see replace() in strings.h.
Result<Value> replace_charged(Budget& budget, const Text& text, std::string_view from, const Text& to,
                              int64_t max_count);

// `text` with as many of `fill`, which is one character, as make it `width` characters.
Result<Value> align_charged(Budget& budget, const Text& text, Int width, const Text& fill, Fill place);

}  // namespace cohort::jinja
