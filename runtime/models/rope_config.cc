#include "runtime/models/rope_config.h"

#include <algorithm>

namespace cohort {
namespace {

RopeScalingKind read_kind(ConfigReader& config, ConfigReader& rope, std::string_view rope_key) {
  const std::string name = rope.text("rope_type", rope.text("type", "default"));
  if (name == "default" || name == "none") return RopeScalingKind::kNone;
  if (name == "linear") return RopeScalingKind::kLinear;
  if (name == "dynamic") return RopeScalingKind::kDynamic;
  if (name == "yarn") return RopeScalingKind::kYarn;
  if (name == "llama3") return RopeScalingKind::kLlama3;
  if (name == "longrope" || name == "su") return RopeScalingKind::kLongRope;
  config.fail(rope_key,
              "rope type \"" + name + "\" is not known; known: default, linear, dynamic, yarn, llama3, longrope");
  return RopeScalingKind::kNone;
}

// A list of numbers, empty if absent.
std::vector<double> read_numbers(ConfigReader& rope, const char* key) {
  std::vector<double> numbers;
  if (!rope.has(key)) return numbers;
  const nlohmann::json& list = rope.json().at(key);
  const bool is_list = list.is_array() && std::all_of(list.begin(), list.end(),
                                                      [](const nlohmann::json& value) { return value.is_number(); });
  if (!is_list) {
    rope.fail(key, "expected a list of numbers");
    return numbers;
  }
  for (const nlohmann::json& value : list) numbers.push_back(value.get<double>());
  return numbers;
}

}  // namespace

RotaryConfig read_rotary_config(ConfigReader& config, int64_t head_dim, int64_t max_position) {
  const std::string_view rope_key = config.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  ConfigReader rope = config.object(rope_key);

  RotaryConfig rotary;
  rotary.head_dim = head_dim;
  rotary.max_position = max_position;
  rotary.theta = rope.positive_number(
      "rope_theta", config.positive_number("rope_theta", config.positive_number("rotary_emb_base", 10000)));
  // GPT-NeoX has called these rotary_emb_base and rotary_pct.
  const double partial =
      rope.positive_number("partial_rotary_factor",
                           config.positive_number("partial_rotary_factor", config.positive_number("rotary_pct", 1)));
  if (partial > 1) config.fail("partial_rotary_factor", "expected a number in (0, 1]");
  rotary.rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);

  RopeScaling& scaling = rotary.scaling;
  scaling.kind = read_kind(config, rope, rope_key);
  scaling.factor = rope.positive_number("factor", 1);
  scaling.original_max_position = config.positive_int(
      "original_max_position_embeddings", rope.positive_int("original_max_position_embeddings", max_position));
  scaling.low_freq_factor = rope.positive_number("low_freq_factor", 1);
  scaling.high_freq_factor = rope.positive_number("high_freq_factor", 4);
  scaling.beta_fast = rope.positive_number("beta_fast", 32);
  scaling.beta_slow = rope.positive_number("beta_slow", 1);
  scaling.truncate = rope.boolean("truncate", true);
  scaling.attention_factor = rope.number("attention_factor", 0);
  scaling.mscale = rope.number("mscale", 0);
  scaling.mscale_all_dim = rope.number("mscale_all_dim", 0);
  scaling.short_factor = read_numbers(rope, "short_factor");
  scaling.long_factor = read_numbers(rope, "long_factor");
  if (scaling.kind == RopeScalingKind::kLongRope) {
    scaling.factor = rope.positive_number(
        "factor", static_cast<double>(max_position) / static_cast<double>(scaling.original_max_position));
  } else if (scaling.kind != RopeScalingKind::kNone && !rope.has("factor")) {
    rope.fail("factor", "missing, expected a number of at least 1");
  }
  config.merge(rope);
  return rotary;
}

int64_t longest_sequence(const RotaryConfig& rotary) {
  const RopeScaling& scaling = rotary.scaling;
  const auto scaled = [&](int64_t trained) {
    constexpr double kMax = 1e18;  // for factors that are refused later
    return static_cast<int64_t>(std::min(static_cast<double>(trained) * scaling.factor, kMax));
  };
  switch (scaling.kind) {
    case RopeScalingKind::kLinear:
    case RopeScalingKind::kDynamic:
      return scaled(rotary.max_position);
    case RopeScalingKind::kYarn:
      return std::max(rotary.max_position, scaled(scaling.original_max_position));
    case RopeScalingKind::kNone:
    case RopeScalingKind::kLlama3:
    case RopeScalingKind::kLongRope:
      break;
  }
  return rotary.max_position;
}

}  // namespace cohort
