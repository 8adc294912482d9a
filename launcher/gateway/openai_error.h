// Errors as clients of the OpenAI API read them: {"error": {"message", "type", "param", "code"}}, code being the HTTP
// status.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "launcher/gateway/http.h"

namespace cohort {

struct ApiError {
  int http_status = 500;
  std::string message;     // any bytes, of any length; what is sent is UTF-8 and short
  std::string type = {};   // empty: after the status
  std::string param = {};  // the field at fault, or empty
};

// kInvalidArgument and kUnimplemented are a 400 that names the field which the message begins with, kNotFound a 404,
// kResourceExhausted a 429, kUnavailable and kCancelled a 503, others a 500.
ApiError api_error(const Status& status);

// 400 with the type context_length_exceeded.
ApiError context_length_error(std::string message, std::string param);

// A message as it can be sent: UTF-8, and short.
std::string sendable(std::string_view message);

std::string error_json(const ApiError& error);
// With Retry-After where it makes sense.
HttpResponse error_response(const ApiError& error);
inline HttpResponse error_response(const Status& status) { return error_response(api_error(status)); }

}  // namespace cohort
