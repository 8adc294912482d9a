// Errors as clients of KServe's protocol read them: {"error": "..."}.
#pragma once

#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "launcher/gateway/http.h"

namespace cohort {

// {"error": message}, the message as UTF-8 and short.
std::string kserve_error_json(std::string_view message);

// kInvalidArgument is a 400, kNotFound a 404, kUnimplemented a 501, what is full or unavailable a 503 with Retry-After,
// others a 500.
HttpResponse kserve_error(const Status& status);

}  // namespace cohort
