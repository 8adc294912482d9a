// A family of models is data: how its config.json becomes a ModelSpec, and what its tensors are called. Adding one
// adds a file `family_NAME.cc` and a line in family.cc.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/models/config_reader.h"
#include "runtime/models/model_spec.h"
#include "runtime/models/weight_map.h"

namespace cohort {

struct Family {
  std::string_view model_type;    // `model_type` of config.json
  std::string_view architecture;  // `architectures[0]`
  // Reads the facts; what is missing or wrong is left in the reader's status.
  ModelSpec (*read_spec)(ConfigReader& config);
  // Names without base_prefix, which with_base_prefix() adds.
  WeightMap (*weight_map)(const ModelSpec& spec);
  // Hugging Face stores the same tensors with this prefix (a model with a head) or without (the base model alone).
  std::string_view base_prefix;
  // More of `architectures[0]`: the same model with other heads, which read_spec tells apart.
  std::span<const std::string_view> other_architectures = {};
};

// The activation that `key` names; an unknown one is left in the reader's status.
Activation read_activation(ConfigReader& config, std::string_view key, std::string_view fallback);

// dividend / divisor, values of config.json under these keys; that there is a remainder is left in the reader's status.
int64_t read_divided(ConfigReader& config, std::string_view dividend_key, int64_t dividend,
                     std::string_view divisor_key, int64_t divisor);

extern const Family kBertFamily;
extern const Family kBloomFamily;
extern const Family kDistilBertFamily;
extern const Family kFalconFamily;
extern const Family kGemma2Family;
extern const Family kGpt2Family;
extern const Family kGptJFamily;
extern const Family kGptNeoxFamily;
extern const Family kLlamaFamily;
extern const Family kMistralFamily;
extern const Family kMixtralFamily;
extern const Family kOptFamily;
extern const Family kPhi3Family;
extern const Family kQwen2Family;
extern const Family kQwen3Family;
extern const Family kRobertaFamily;
extern const Family kT5Family;
extern const Family kXlmRobertaFamily;

std::span<const Family* const> families();

// A model directory's configuration, read and checked.
struct ModelConfig {
  const Family* family = nullptr;
  ModelSpec spec;
  GenerationDefaults generation;
};

// Reads config.json and, where there is one, generation_config.json. Errors name the file and the key; an unknown
// family is told which are known.
Result<ModelConfig> read_model_config(const std::filesystem::path& model_dir);

}  // namespace cohort
