// What of the program itself must be the same on every rank.
#pragma once

#include <string>

namespace cohort {

// "key=value\n" lines for Job::check_same: version, a hash of the executable, and in which order this CPU sums, on
// which the bits of an answer depend.
std::string build_facts();

// "0.1.0 (4bc84abd7a7c)": the version, and the commit that the program was built from, with "-dirty" behind it if files
// differed from it, or "unknown" where git did not tell.
std::string build_version();

}  // namespace cohort
