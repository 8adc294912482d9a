// The one check header: for what must hold unless the machine or the program is broken. Throws; the launcher
// catches once and adds rank, host, device and step. What a user can cause returns a Status (status.h).
#pragma once

#include <stdexcept>
#include <string>

namespace cohort {

// "file:line: check failed: expression: message"
class CheckError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void check_failed(const char* file, int line, const char* expression, const std::string& message);

}  // namespace cohort

// COHORT_CHECK(a == b, "what is wrong"): the message is only built when the check fails.
#define COHORT_CHECK(expression, message)                                            \
  do {                                                                               \
    if (!(expression)) [[unlikely]]                                                  \
      ::cohort::check_failed(__FILE__, __LINE__, #expression, std::string(message)); \
  } while (false)
