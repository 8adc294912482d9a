// What of the program itself must be the same on every rank.
#pragma once

#include <string>

namespace cohort {

// "key=value\n" lines for Job::check_same: version, a hash of the executable, and in which order this CPU sums, on
// which the bits of an answer depend.
std::string build_facts();

}  // namespace cohort
