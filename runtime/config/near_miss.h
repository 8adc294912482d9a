// What a misspelt name was meant to be.
//
// Free functions without shared state: thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace cohort {

// Insertions, deletions and substitutions of a character between two names (Levenshtein 1966), or nothing when they
// are more than `max_distance`.
std::optional<size_t> edit_distance(std::string_view a, std::string_view b, size_t max_distance);

// The nearest of `names` within `max_distance`, the first of several; empty if there is none.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> names, size_t max_distance);

}  // namespace cohort
