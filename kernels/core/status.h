// Status and Result<T>: how a mistake that a user can cause (a bad file, flag, field or request) is returned.
//
// A broken machine (CUDA, MPI, out of memory) throws instead; see check.h. A message names the thing that is
// wrong and what was expected, as a clause without a full stop: "config.json: num_attention_heads: expected a
// positive integer, got \"8\"".
//
// Values; as thread-safe as std::string.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cohort {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // the caller's input is wrong
  kNotFound,           // a named file, tensor or key does not exist
  kUnimplemented,      // understood, and not supported
  kDataLoss,           // a file is truncated or contradicts itself
  kResourceExhausted,  // memory, blocks or a queue are full
  kUnavailable,        // cannot be done now
  kCancelled,
  kInternal,
};

// "INVALID_ARGUMENT", "NOT_FOUND", ...
std::string_view status_code_name(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same status with "where: " put before its message; an ok status is returned as it is.
  Status annotate(std::string_view where) &&;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status ok_status() { return {}; }
inline Status invalid_argument(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }
inline Status not_found(std::string message) { return {StatusCode::kNotFound, std::move(message)}; }
inline Status unimplemented(std::string message) { return {StatusCode::kUnimplemented, std::move(message)}; }
inline Status data_loss(std::string message) { return {StatusCode::kDataLoss, std::move(message)}; }
inline Status resource_exhausted(std::string message) { return {StatusCode::kResourceExhausted, std::move(message)}; }

// A value, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit, so that `return value;` works
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit, so that `return error;` works

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  // Require ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

#define COHORT_CONCAT_IMPL(a, b) a##b
#define COHORT_CONCAT(a, b) COHORT_CONCAT_IMPL(a, b)

// Returns the status of `expr` from the calling function unless it is ok.
#define COHORT_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                      \
    if (::cohort::Status cohort_status = (expr); !cohort_status.ok()) return cohort_status; \
  } while (false)

// COHORT_ASSIGN_OR_RETURN(auto x, make_x()): x is the value, or the calling function returns the status.
#define COHORT_ASSIGN_OR_RETURN(lhs, expr) COHORT_ASSIGN_OR_RETURN_IMPL(COHORT_CONCAT(result_, __LINE__), lhs, expr)
#define COHORT_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return result.status();             \
  lhs = *std::move(result)

}  // namespace cohort
