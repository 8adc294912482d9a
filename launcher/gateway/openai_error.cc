#include "launcher/gateway/openai_error.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "launcher/gateway/json_fields.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr size_t kMaxMessageBytes = 500;

int http_status(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnimplemented:  // not 501: clients try again what begins with a 5
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kResourceExhausted:
      return 429;
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      return 503;
    default:
      return 500;
  }
}

std::string_view error_type(int http_status) {
  switch (http_status) {
    case 400:
    case 413:
      return "invalid_request_error";
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return "server_error";
  }
}

}  // namespace

std::string sendable(std::string_view message) {
  const bool is_cut = message.size() > kMaxMessageBytes;
  std::string text;
  append_valid_utf8(message.substr(0, kMaxMessageBytes), text);
  return is_cut ? text + "..." : text;
}

ApiError api_error(const Status& status) {
  ApiError error;
  error.http_status = http_status(status.code());
  error.message = status.message();
  if (error.http_status == 400 || error.http_status == 404) error.param = field_of(status.message());
  return error;
}

ApiError context_length_error(std::string message, std::string param) {
  return {
      .http_status = 400, .message = std::move(message), .type = "context_length_exceeded", .param = std::move(param)};
}

std::string error_json(const ApiError& error) {
  nlohmann::ordered_json body;
  body["message"] = sendable(error.message);
  body["type"] = error.type.empty() ? std::string(error_type(error.http_status)) : error.type;
  body["param"] = error.param.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(error.param);
  body["code"] = error.http_status;
  return nlohmann::ordered_json{{"error", std::move(body)}}.dump();
}

HttpResponse error_response(const ApiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.body = error_json(error);
  if (error.http_status == 429) response.headers.emplace_back("Retry-After", "1");
  if (error.http_status == 503) response.headers.emplace_back("Retry-After", "5");
  return response;
}

}  // namespace cohort
