#include "kernels/core/check.h"

namespace cohort {

void check_failed(const char* file, int line, const char* expression, const std::string& message) {
  throw CheckError(std::string(file) + ":" + std::to_string(line) + ": check failed: " + expression + ": " + message);
}

}  // namespace cohort
