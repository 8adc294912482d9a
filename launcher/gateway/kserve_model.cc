#include "launcher/gateway/kserve_model.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "launcher/gateway/kserve_request.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& object) {
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// With a batch dimension; -1: any.
std::vector<int64_t> metadata_shape(bool is_list) { return {-1, is_list ? -1 : 1}; }

ordered_json duration(const InferenceStatistics::Duration& duration) {
  return {{"count", duration.count}, {"ns", duration.ns}};
}

}  // namespace

std::string kserve_server_metadata(std::string_view version) {
  return text_of(
      {{"name", "cohort"},
       {"version", version},
       {"extensions",
        {"binary_tensor_data", "generate", "model_configuration", "parameters", "schedule_policy", "statistics"}}});
}

std::string kserve_model_metadata(std::string_view model_name) {
  ordered_json inputs = ordered_json::array();
  for (const KserveInput& input : kKserveInputs) {
    inputs.push_back(
        {{"name", input.name}, {"datatype", input.datatype.name}, {"shape", metadata_shape(input.is_list)}});
  }
  ordered_json outputs = ordered_json::array();
  for (const KserveOutput& output : kKserveOutputs) {
    outputs.push_back(
        {{"name", output.name}, {"datatype", output.datatype.name}, {"shape", metadata_shape(output.is_list)}});
  }
  return text_of({{"name", model_name},
                  {"versions", {kKserveVersion}},
                  {"platform", "cohort"},
                  {"inputs", std::move(inputs)},
                  {"outputs", std::move(outputs)}});
}

int64_t kserve_max_batch(const EngineFacts& facts) {
  return std::min(static_cast<int64_t>(kMaxPrompts), facts.max_seqs + facts.max_waiting);
}

std::string kserve_model_config(std::string_view model_name, const EngineFacts& facts) {
  const auto dims = [](bool is_list) { return ordered_json::array({is_list ? -1 : 1}); };
  ordered_json inputs = ordered_json::array();
  for (const KserveInput& input : kKserveInputs) {
    inputs.push_back({{"name", input.name},
                      {"data_type", input.datatype.config_name},
                      {"dims", dims(input.is_list)},
                      {"optional", !input.is_required}});
  }
  ordered_json outputs = ordered_json::array();
  for (const KserveOutput& output : kKserveOutputs) {
    outputs.push_back(
        {{"name", output.name}, {"data_type", output.datatype.config_name}, {"dims", dims(output.is_list)}});
  }
  return text_of({{"name", model_name},
                  {"platform", ""},
                  {"backend", "cohort"},
                  {"version_policy", {{"latest", {{"num_versions", 1}}}}},
                  {"max_batch_size", kserve_max_batch(facts)},
                  {"input", std::move(inputs)},
                  {"output", std::move(outputs)},
                  {"model_transaction_policy", {{"decoupled", false}}}});
}

std::string kserve_model_statistics(std::string_view model_name, const InferenceStatistics& statistics,
                                    const EngineStats& stats) {
  const InferenceStatistics::Duration none{.count = statistics.success.count, .ns = 0};
  const ordered_json inference = {{"success", duration(statistics.success)},
                                  {"fail", duration(statistics.fail)},
                                  {"queue", duration(statistics.queue)},
                                  {"compute_input", duration(statistics.compute_input)},
                                  {"compute_infer", duration(statistics.compute_infer)},
                                  {"compute_output", duration(none)},
                                  {"cache_hit", duration({})},
                                  {"cache_miss", duration({})},
                                  {"cancel", duration(statistics.cancel)}};
  return text_of({{"model_stats", ordered_json::array({{{"name", model_name},
                                                        {"version", kKserveVersion},
                                                        {"last_inference", statistics.last_inference_ms},
                                                        {"inference_count", statistics.num_sequences},
                                                        {"execution_count", stats.num_steps},
                                                        {"inference_stats", inference},
                                                        {"batch_stats", ordered_json::array()}}})}});
}

std::string kserve_repository_index(std::string_view model_name, std::string_view not_ready, bool ready_only) {
  ordered_json index = ordered_json::array();
  if (not_ready.empty() || !ready_only) {
    index.push_back({{"name", model_name},
                     {"version", kKserveVersion},
                     {"state", not_ready.empty() ? "READY" : "UNAVAILABLE"},
                     {"reason", not_ready}});
  }
  return text_of(index);
}

}  // namespace cohort
