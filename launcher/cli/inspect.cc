// cohort inspect: what a model directory holds.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/command.h"
#include "runtime/engine/load_model.h"
#include "runtime/models/family.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

struct InspectOptions {
  std::string model;
  bool json = false;
};

bool has_weights(const std::filesystem::path& model_dir) {
  for (const auto& entry : std::filesystem::directory_iterator(model_dir)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

std::string_view name_of(RopeScalingKind kind) {
  switch (kind) {
    case RopeScalingKind::kNone:
      return "none";
    case RopeScalingKind::kLinear:
      return "linear";
    case RopeScalingKind::kDynamic:
      return "dynamic";
    case RopeScalingKind::kYarn:
      return "yarn";
    case RopeScalingKind::kLlama3:
      return "llama3";
    case RopeScalingKind::kLongRope:
      return "longrope";
  }
  return "";
}

nlohmann::ordered_json describe_spec(const ModelSpec& spec) {
  nlohmann::ordered_json json = {
      {"layers", spec.num_layers},
      {"hidden", spec.hidden},
      {"heads", spec.num_heads},
      {"kv_heads", spec.num_kv_heads},
      {"head_dim", spec.head_dim},
      {"ffn", spec.ffn},
      {"vocab", spec.vocab},
      {"max_position", spec.max_position},
      {"norm", spec.norm == NormKind::kRmsNorm ? "rmsnorm" : "layernorm"},
      {"gated_mlp", spec.gated_mlp},
      {"tied_embeddings", spec.tied_embeddings},
  };
  if (spec.has_source()) json["encoder_layers"] = spec.num_encoder_layers;
  if (spec.position == PositionKind::kRotary) {
    json["positions"] = "rotary";
    json["rope_theta"] = spec.rotary.theta;
    json["rope_scaling"] = name_of(spec.rotary.scaling.kind);
  } else {
    json["positions"] = spec.position == PositionKind::kAlibi      ? "alibi"
                        : spec.position == PositionKind::kRelative ? "relative"
                                                                   : "learned";
  }
  return json;
}

int64_t num_parameters(const WeightMap& map) {
  int64_t total = 0;
  for (const TensorRef& tensor : all_tensors(map)) total += tensor.shape.num_elements();
  return total;
}

Status run_inspect(const InspectOptions& options) {
  COHORT_ASSIGN_OR_RETURN(const ModelConfig config, read_model_config(options.model));
  const ModelSpec& spec = config.spec;
  const WeightMap map = config.family->weight_map(spec);

  nlohmann::ordered_json json;
  json["family"] = spec.family;
  json["spec"] = describe_spec(spec);
  json["parameters"] = num_parameters(map);
  json["dtype"] = dtype_name(spec.checkpoint_dtype);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    json["weight_bytes"][std::string(dtype_name(dtype))] = dtype_bytes(dtype, num_parameters(map));
    json["kv_bytes_per_token"][std::string(dtype_name(dtype))] =
        shard_kv_bytes_per_token(spec, whole_model(spec), dtype);
  }
  if (has_weights(options.model)) {
    COHORT_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(options.model));
    COHORT_RETURN_IF_ERROR(check_checkpoint(resolve_weight_map(config, checkpoint), checkpoint));
    json["checkpoint"] = {{"files", checkpoint.files().size()}, {"bytes", checkpoint.total_bytes()}};
    for (const auto& [dtype, bytes] : checkpoint.bytes_per_dtype()) {
      json["checkpoint"]["bytes_per_dtype"][dtype] = bytes;
    }
  }
  if (options.json) {
    fmt::print("{}\n", json.dump());
    return flush_output();
  }
  // The same facts, a line each.
  const nlohmann::ordered_json flat = json.flatten();
  for (const auto& [key, value] : flat.items()) {
    std::string name = key.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    fmt::print("{:<36} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return flush_output();
}

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("inspect", "Show what a model directory holds");
  auto options = std::make_shared<InspectOptions>();
  command.add_option("model", options->model, "Hugging Face model directory")->required()->type_name("DIR");
  command.add_flag("--json", options->json, "One JSON object instead of a line a fact");
  command.callback([options, &run] { run = [options] { return run_inspect(*options); }; });
}

}  // namespace cohort
