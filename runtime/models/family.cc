#include "runtime/models/family.h"

#include <algorithm>
#include <array>
#include <limits>

#include "runtime/json/json.h"
#include "runtime/models/sentence_pooling.h"

namespace cohort {
namespace {

constexpr std::array kFamilies = {&kBertFamily,    &kBloomFamily, &kDistilBertFamily, &kFalconFamily, &kGemma2Family,
                                  &kGpt2Family,    &kGptJFamily,  &kGptNeoxFamily,    &kLlamaFamily,  &kMistralFamily,
                                  &kMixtralFamily, &kOptFamily,   &kPhi3Family,       &kQwen2Family,  &kQwen3Family,
                                  &kRobertaFamily, &kT5Family,    &kXlmRobertaFamily};
constexpr int64_t kMaxConfigBytes = 16 << 20;

bool has_architecture(const Family& family, std::string_view name) {
  const auto& others = family.other_architectures;
  return family.architecture == name || std::find(others.begin(), others.end(), name) != others.end();
}

const Family* find_family(const std::string& architecture, const std::string& model_type) {
  for (const Family* family : kFamilies) {
    if (!architecture.empty() ? has_architecture(*family, architecture) : family->model_type == model_type) {
      return family;
    }
  }
  return nullptr;
}

std::string known_families() {
  std::string names;
  for (const Family* family : kFamilies) {
    names += (names.empty() ? "" : ", ") + std::string(family->architecture);
    for (const std::string_view other : family->other_architectures) names += ", " + std::string(other);
  }
  return names;
}

// `architectures[0]`, which tells a causal model from a classifier of the same model_type; "" if it is not said.
std::string read_architecture(ConfigReader& config) {
  if (!config.has("architectures")) return "";
  const nlohmann::json& names = config.json()["architectures"];
  if (!names.is_array() || names.empty() || !names[0].is_string()) {
    config.fail("architectures", "expected a list with one name");
    return "";
  }
  return names[0].get<std::string>();
}

DType read_dtype(ConfigReader& config) {
  const std::string_view key = config.has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = config.text(key, "float32");
  const auto dtype = dtype_from_name(name);
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    config.fail(key, "expected float32, float16 or bfloat16, got \"" + name + "\"");
    return DType::kF32;
  }
  return *dtype;
}

// Sizes that no model has, before memory is taken for lists of layers or angles and before they are multiplied.
void check_sizes(ConfigReader& config, const ModelSpec& spec) {
  constexpr int64_t kMaxHeadDim = 1 << 16;
  constexpr double kMaxParameters = 1e17;  // whose bytes 64 bits count
  const auto real = [](int64_t size) { return static_cast<double>(size); };
  const int64_t num_layers = spec.num_layers + spec.num_encoder_layers;
  const double attention = real(2 * (spec.num_heads + spec.num_kv_heads)) * real(spec.head_dim);
  const double mlp = 3 * real(spec.ffn) * real(std::max<int64_t>(spec.num_experts, 1));
  const double rows = real(spec.vocab) + real(spec.max_position) + real(spec.num_token_types);
  const double width = real(std::max(spec.hidden, spec.embedding_dim));
  const double distances = 2 * real(spec.max_position_distance) * real(spec.num_heads);
  const double num_parameters = real(num_layers) * width * (attention + mlp) + rows * width + distances;
  if (num_layers > kMaxLayers) {
    config.fail("layers", "expected at most " + std::to_string(kMaxLayers) + ", got " + std::to_string(num_layers));
  } else if (spec.head_dim > kMaxHeadDim) {
    config.fail("head_dim",
                "expected at most " + std::to_string(kMaxHeadDim) + ", got " + std::to_string(spec.head_dim));
  } else if (spec.max_position > std::numeric_limits<int32_t>::max()) {
    config.fail("rope_scaling", "factor: the longest sequence has more positions than 32 bits can tell apart");
  } else if (num_parameters > kMaxParameters) {
    config.fail("sizes", "a model of more parameters than any machine holds");
  }
}

void check_spec(ConfigReader& config, const ModelSpec& spec) {
  if (spec.num_heads % spec.num_kv_heads != 0) {
    config.fail("num_key_value_heads", "expected a divisor of the " + std::to_string(spec.num_heads) +
                                           " attention heads, got " + std::to_string(spec.num_kv_heads));
  }
  if (spec.position == PositionKind::kRotary && config.status().ok()) {
    const auto rotary = RotaryEmbedding::create(spec.rotary);
    if (!rotary.ok()) config.fail("rope", rotary.status().message());
  }
}

std::vector<int32_t> read_token_ids(ConfigReader& config, std::string_view key) {
  if (!config.has(key)) return {};
  const nlohmann::json& value = config.json()[std::string(key)];
  std::vector<int32_t> ids;
  for (const nlohmann::json& id : value.is_array() ? value : nlohmann::json::array({value})) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<int32_t>::max()) {
      config.fail(key, "expected a token id or a list of them, got " + value.dump().substr(0, 60));
      return {};
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<GenerationDefaults> read_generation(const std::filesystem::path& path, ConfigReader& config) {
  GenerationDefaults defaults;
  defaults.eos_ids = read_token_ids(config, "eos_token_id");
  COHORT_RETURN_IF_ERROR(Status(config.status()));
  if (!std::filesystem::exists(path)) return defaults;

  COHORT_ASSIGN_OR_RETURN(const nlohmann::json json, read_json_file(path, kMaxConfigBytes));
  if (!json.is_object()) return invalid_argument(path.string() + ": expected an object");
  ConfigReader generation(json, path.string());
  if (generation.has("eos_token_id")) defaults.eos_ids = read_token_ids(generation, "eos_token_id");
  defaults.do_sample = generation.boolean("do_sample", false);
  defaults.temperature = static_cast<float>(generation.number("temperature", 1));
  defaults.top_k = generation.int32("top_k", 0);
  defaults.top_p = static_cast<float>(generation.number("top_p", 1));
  defaults.repetition_penalty = static_cast<float>(generation.number("repetition_penalty", 1));
  COHORT_RETURN_IF_ERROR(Status(generation.status()));
  return defaults;
}

}  // namespace

Activation read_activation(ConfigReader& config, std::string_view key, std::string_view fallback) {
  const std::string name = config.text(key, fallback);
  const auto activation = activation_from_name(name);
  if (!activation) config.fail(key, "\"" + name + "\" is not known");
  return activation.value_or(Activation::kSilu);
}

int64_t read_divided(ConfigReader& config, std::string_view dividend_key, int64_t dividend,
                     std::string_view divisor_key, int64_t divisor) {
  if (dividend % divisor != 0) {
    config.fail(divisor_key, "expected a divisor of " + std::string(dividend_key) + " (" + std::to_string(dividend) +
                                 "), got " + std::to_string(divisor));
  }
  return std::max<int64_t>(1, dividend / divisor);
}

std::span<const Family* const> families() { return kFamilies; }

Result<ModelConfig> read_model_config(const std::filesystem::path& model_dir) {
  if (!std::filesystem::is_directory(model_dir)) {
    return not_found(model_dir.string() + ": not a directory; expected a Hugging Face model directory");
  }
  const std::filesystem::path path = model_dir / "config.json";
  COHORT_ASSIGN_OR_RETURN(const nlohmann::json json, read_json_file(path, kMaxConfigBytes));
  if (!json.is_object()) return invalid_argument(path.string() + ": expected an object");

  ConfigReader config(json, path.string());
  const std::string architecture = read_architecture(config);
  const std::string model_type = config.text("model_type", "");
  COHORT_RETURN_IF_ERROR(Status(config.status()));
  ModelConfig model;
  model.family = find_family(architecture, model_type);
  if (model.family == nullptr) {
    config.fail("architectures", "\"" + (architecture.empty() ? model_type : architecture) +
                                     "\" is not known; known: " + known_families());
    return config.status();
  }
  model.spec = model.family->read_spec(config);
  model.spec.family = model.family->model_type;
  if (model.spec.embedding_dim == 0) model.spec.embedding_dim = model.spec.hidden;
  model.spec.checkpoint_dtype = read_dtype(config);
  check_sizes(config, model.spec);
  check_spec(config, model.spec);
  COHORT_RETURN_IF_ERROR(Status(config.status()));
  if (model.spec.head == HeadKind::kNone) COHORT_RETURN_IF_ERROR(read_sentence_pooling(model_dir, model.spec));
  COHORT_ASSIGN_OR_RETURN(model.generation, read_generation(model_dir / "generation_config.json", config));
  return model;
}

}  // namespace cohort
