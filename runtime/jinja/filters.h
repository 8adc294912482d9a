// The two tables of filters, which find_filter() looks into.
#pragma once

#include <string_view>

#include "runtime/jinja/value.h"

namespace cohort::jinja {

// nullptr where there is none of that name.
Builtin find_text_filter(std::string_view name);
Builtin find_sequence_filter(std::string_view name);

}  // namespace cohort::jinja
