// What KServe's protocol says of a server and its one model: metadata, configuration, statistics, as JSON.
//
// Free functions; thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/serving_metrics.h"

namespace cohort {

inline constexpr std::string_view kKserveVersion = "1";  // of the model

// Of GET /v2; `version` is Cohort's.
std::string kserve_server_metadata(std::string_view version);

// Of GET /v2/models/NAME.
std::string kserve_model_metadata(std::string_view model_name);

// Requests that one inference request may have.
int64_t kserve_max_batch(const EngineFacts& facts);

// Of GET /v2/models/NAME/config, as Triton has it.
std::string kserve_model_config(std::string_view model_name, const EngineFacts& facts);

// Of GET /v2/models/NAME/stats.
std::string kserve_model_statistics(std::string_view model_name, const InferenceStatistics& statistics,
                                    const EngineStats& stats);

// Of POST /v2/repository/index; `not_ready`: why the model is not, or empty. With `ready_only` a model that is not is
// left out.
std::string kserve_repository_index(std::string_view model_name, std::string_view not_ready, bool ready_only);

}  // namespace cohort
