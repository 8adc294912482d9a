#include "tests/files.h"

namespace cohort::test {

// Here alone: what is compiled in one checkout is found in the compilers' cache from another.
std::filesystem::path source_dir() { return COHORT_SOURCE_DIR; }

}  // namespace cohort::test
