// JSON documents as values of templates.
#pragma once

#include <nlohmann/json.hpp>

#include "kernels/core/status.h"
#include "runtime/jinja/value.h"

namespace cohort {

// `is_data` says where its texts come from. kInvalidArgument when it nests deeper than values may, or has a text that
// is not UTF-8.
Result<jinja::Value> value_from_json(const nlohmann::ordered_json& json, bool is_data);

}  // namespace cohort
