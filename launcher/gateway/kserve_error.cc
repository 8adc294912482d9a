#include "launcher/gateway/kserve_error.h"

#include "launcher/gateway/openai_error.h"
#include "launcher/gateway/openai_response.h"

namespace cohort {
namespace {

int http_status(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnimplemented:
      return 501;
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      return 503;
    default:
      return 500;
  }
}

}  // namespace

std::string kserve_error_json(std::string_view message) {
  std::string out = R"({"error":)";
  append_json_string(out, sendable(message));
  out += '}';
  return out;
}

HttpResponse kserve_error(const Status& status) {
  HttpResponse response;
  response.status = http_status(status.code());
  response.body = kserve_error_json(status.message());
  if (response.status == 503) {
    response.headers.emplace_back("Retry-After", status.code() == StatusCode::kResourceExhausted ? "1" : "5");
  }
  return response;
}

}  // namespace cohort
