// Which frequencies a model has: the rules of Hugging Face transformers, modeling_rope_utils.py.
// There inv_freq is computed in float32; here in double and rounded once, which agrees to the last
// few bits.
#include "kernels/position/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "kernels/position/rotary_backends.h"

namespace cohort {
namespace {

Status field_error(std::string_view field, std::string_view expected, double got) {
  return invalid_argument(std::string(field) + ": expected " + std::string(expected) + ", got " + std::to_string(got));
}

// The frequency of pair i without scaling.
double plain_inv_freq(double theta, int64_t pair, int64_t rotary_dim) {
  return 1.0 / std::pow(theta, 2.0 * static_cast<double>(pair) / static_cast<double>(rotary_dim));
}

// "By parts" (yarn, section 3.2): pairs that turn often keep their frequency, pairs that turn less
// than once in the original length are interpolated, with a ramp between.
struct YarnRamp {
  double low = 0;
  double high = 0;

  explicit YarnRamp(const RotaryConfig& config) {
    const auto dim = static_cast<double>(config.rotary_dim);
    const auto pair_of = [&](double num_rotations) {
      const double length = static_cast<double>(config.scaling.original_max_position);
      return dim * std::log(length / (num_rotations * 2 * std::numbers::pi)) / (2 * std::log(config.theta));
    };
    low = pair_of(config.scaling.beta_fast);
    high = pair_of(config.scaling.beta_slow);
    if (config.scaling.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, dim - 1);
    if (low == high) high += 0.001;
  }

  // 0 keeps the frequency, 1 interpolates it.
  double at(int64_t pair) const { return std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0); }
};

double llama3_inv_freq(double plain, const RopeScaling& scaling) {
  const auto length = static_cast<double>(scaling.original_max_position);
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength < length / scaling.high_freq_factor) return plain;
  if (wavelength > length / scaling.low_freq_factor) return plain / scaling.factor;
  const double smooth =
      (length / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * plain / scaling.factor + smooth * plain;
}

// Of `dynamic` (NTK-aware) beyond max_position.
double dynamic_theta(const RotaryConfig& config, int64_t length) {
  const double factor = config.scaling.factor;
  const auto dim = static_cast<double>(config.rotary_dim);
  const double growth = factor * static_cast<double>(length) / static_cast<double>(config.max_position) - (factor - 1);
  return config.theta * std::pow(growth, dim / (dim - 2));
}

double yarn_attention_factor(const RopeScaling& scaling) {
  if (scaling.attention_factor != 0) return scaling.attention_factor;
  const auto mscale = [&](double weight) {
    return scaling.factor <= 1 ? 1.0 : 0.1 * weight * std::log(scaling.factor) + 1.0;
  };
  if (scaling.mscale != 0 && scaling.mscale_all_dim != 0) {
    return mscale(scaling.mscale) / mscale(scaling.mscale_all_dim);
  }
  return mscale(1);
}

double longrope_attention_factor(const RopeScaling& scaling) {
  if (scaling.attention_factor != 0) return scaling.attention_factor;
  if (scaling.factor <= 1) return 1;
  return std::sqrt(1 + std::log(scaling.factor) / std::log(static_cast<double>(scaling.original_max_position)));
}

float attention_factor_of(const RopeScaling& scaling) {
  if (scaling.kind == RopeScalingKind::kYarn) return static_cast<float>(yarn_attention_factor(scaling));
  if (scaling.kind == RopeScalingKind::kLongRope) return static_cast<float>(longrope_attention_factor(scaling));
  return 1;
}

Status check_longrope(const RotaryConfig& config) {
  const RopeScaling& s = config.scaling;
  if (s.original_max_position <= 1) {
    return field_error("original_max_position_embeddings", "more than 1 position",
                       static_cast<double>(s.original_max_position));
  }
  if (!(s.attention_factor >= 0)) {
    return field_error("attention_factor", "a positive number", s.attention_factor);
  }
  for (const auto& [field, factors] : {std::pair{"short_factor", &s.short_factor}, {"long_factor", &s.long_factor}}) {
    if (static_cast<int64_t>(factors->size()) != config.rotary_dim / 2) {
      return field_error(field, std::to_string(config.rotary_dim / 2) + " numbers",
                         static_cast<double>(factors->size()));
    }
    for (const double factor : *factors) {
      if (!(factor > 0) || !std::isfinite(factor)) return field_error(field, "positive numbers", factor);
    }
  }
  return ok_status();
}

Status check_yarn(const RotaryConfig& config) {
  const RopeScaling& s = config.scaling;
  if (s.original_max_position <= 0) {
    return field_error("original_max_position_embeddings", "a positive number of positions",
                       static_cast<double>(s.original_max_position));
  }
  if (config.theta <= 1) return field_error("rope_theta", "a number above 1 for yarn", config.theta);
  if (!(s.beta_slow > 0)) return field_error("beta_slow", "a positive number", s.beta_slow);
  if (!(s.beta_fast >= s.beta_slow)) {
    return field_error("beta_fast", "a number of at least beta_slow", s.beta_fast);
  }
  if (!(s.attention_factor >= 0)) {
    return field_error("attention_factor", "a positive number", s.attention_factor);
  }
  if (!(s.mscale >= 0)) return field_error("mscale", "a positive number", s.mscale);
  if (!(s.mscale_all_dim >= 0)) {
    return field_error("mscale_all_dim", "a positive number", s.mscale_all_dim);
  }
  return ok_status();
}

Status check_llama3(const RopeScaling& s) {
  if (s.original_max_position <= 0) {
    return field_error("original_max_position_embeddings", "a positive number of positions",
                       static_cast<double>(s.original_max_position));
  }
  if (!(s.low_freq_factor > 0)) {
    return field_error("low_freq_factor", "a positive number", s.low_freq_factor);
  }
  if (!(s.high_freq_factor > s.low_freq_factor)) {
    return field_error("high_freq_factor", "a number above low_freq_factor", s.high_freq_factor);
  }
  return ok_status();
}

Status check_scaling(const RotaryConfig& config) {
  const RopeScaling& s = config.scaling;
  if (s.kind == RopeScalingKind::kNone) return ok_status();
  if (s.kind == RopeScalingKind::kLongRope) return check_longrope(config);
  if (!(s.factor >= 1) || !std::isfinite(s.factor)) {
    return field_error("factor", "a number of at least 1", s.factor);
  }
  switch (s.kind) {
    case RopeScalingKind::kNone:
    case RopeScalingKind::kLinear:
    case RopeScalingKind::kLongRope:
      return ok_status();
    case RopeScalingKind::kYarn:
      return check_yarn(config);
    case RopeScalingKind::kLlama3:
      return check_llama3(s);
    case RopeScalingKind::kDynamic:
      break;
  }
  if (config.max_position <= 0) {
    return field_error("max_position_embeddings", "a positive number of positions",
                       static_cast<double>(config.max_position));
  }
  if (config.rotary_dim <= 2) {
    return field_error("rotary_dim", "more than 2 dimensions for dynamic", static_cast<double>(config.rotary_dim));
  }
  return ok_status();
}

Status check_config(const RotaryConfig& config) {
  if (config.head_dim <= 0) {
    return field_error("head_dim", "a positive number", static_cast<double>(config.head_dim));
  }
  if (config.rotary_dim <= 0 || config.rotary_dim % 2 != 0 || config.rotary_dim > config.head_dim) {
    return field_error("rotary_dim", "a positive even number of at most head_dim = " + std::to_string(config.head_dim),
                       static_cast<double>(config.rotary_dim));
  }
  if (!(config.theta > 0) || !std::isfinite(config.theta)) {
    return field_error("rope_theta", "a positive number", config.theta);
  }
  return check_scaling(config);
}

}  // namespace

void check_rotary(const TensorView& q, const TensorView& k, const ConstTensorView& positions,
                  const ConstTensorView& lengths, int64_t head_dim, const Stream& stream) {
  COHORT_CHECK(q.rank() == 3 && k.rank() == 3 && q.dim(0) == k.dim(0) && q.dim(2) == head_dim && k.dim(2) == head_dim,
               "q " + q.shape().to_string() + ", k " + k.shape().to_string());
  COHORT_CHECK(q.dtype() == k.dtype(), dtype_name(k.dtype()));
  COHORT_CHECK(
      positions.rank() == 1 && positions.dim(0) == q.dim(0) && lengths.rank() == 1 && lengths.dim(0) == q.dim(0),
      "positions " + positions.shape().to_string() + ", lengths " + lengths.shape().to_string());
  for (const ConstTensorView& x : {ConstTensorView(q), ConstTensorView(k), positions, lengths}) {
    COHORT_CHECK(x.device() == stream.device(), to_string(x.device()));
  }
}

Result<RotaryEmbedding> RotaryEmbedding::create(const RotaryConfig& config) {
  COHORT_RETURN_IF_ERROR(check_config(config));
  RotaryEmbedding rotary;
  rotary.config_ = config;
  rotary.attention_factor_ = attention_factor_of(config.scaling);
  rotary.inv_freq_ = rotary.inv_freq(0);
  if (config.scaling.kind == RopeScalingKind::kLongRope) {
    rotary.long_inv_freq_ = rotary.inv_freq(config.scaling.original_max_position + 1);
  }
  return rotary;
}

void RotaryEmbedding::prepare(Stream& stream) {
  if (stream.device().kind != DeviceKind::kCuda) return;
  std::vector<float> all = inv_freq_;
  all.insert(all.end(), long_inv_freq_.begin(), long_inv_freq_.end());
  device_inv_freq_ = Tensor(DType::kF32, {static_cast<int64_t>(all.size())}, stream.device());
  copy_bytes(device_inv_freq_->data(), stream.device(), all.data(), kCpuDevice, device_inv_freq_->num_bytes());
}

std::vector<float> RotaryEmbedding::inv_freq(int64_t length) const {
  std::vector<float> inv_freq(static_cast<size_t>(config_.rotary_dim / 2));
  compute_inv_freq(config_, length, 0, inv_freq);
  return inv_freq;
}

void RotaryEmbedding::apply(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                            Stream& stream) const {
  check_rotary(q, k, positions, lengths, config_.head_dim, stream);
  if (q.empty() && k.empty()) return;
  if (stream.device().kind != DeviceKind::kCuda) {
    return cpu::apply_rotary(q, k, positions, lengths, angles(stream), stream);
  }
  cuda::apply_rotary(q, k, positions, lengths, angles(stream), nullptr, stream);
}

RotaryAngles RotaryEmbedding::angles(const Stream& stream) const {
  const bool has_long = !long_inv_freq_.empty();
  if (stream.device().kind != DeviceKind::kCuda) {
    return {config_, inv_freq_.data(), has_long ? long_inv_freq_.data() : nullptr, attention_factor_};
  }
  COHORT_CHECK(!device_inv_freq_->empty() && device_inv_freq_->device() == stream.device(),
               "not prepared for " + to_string(stream.device()));
  const float* const inv_freq = device_inv_freq_->data<float>();
  return {config_, inv_freq, has_long ? inv_freq + inv_freq_.size() : nullptr, attention_factor_};
}

bool depends_on_length(const RotaryConfig& config, int64_t length) {
  if (config.scaling.kind == RopeScalingKind::kLongRope) return length > config.scaling.original_max_position;
  return config.scaling.kind == RopeScalingKind::kDynamic && length > config.max_position;
}

void compute_inv_freq(const RotaryConfig& config, int64_t length, int64_t first_pair, std::span<float> out) {
  const bool is_long = depends_on_length(config, length);
  const bool is_dynamic = config.scaling.kind == RopeScalingKind::kDynamic;
  const double theta = is_long && is_dynamic ? dynamic_theta(config, length) : config.theta;
  const std::vector<double>& divisors = is_long ? config.scaling.long_factor : config.scaling.short_factor;
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t pair = first_pair + static_cast<int64_t>(i);
    double inv_freq = plain_inv_freq(theta, pair, config.rotary_dim);
    switch (config.scaling.kind) {
      case RopeScalingKind::kLinear:
        inv_freq /= config.scaling.factor;
        break;
      case RopeScalingKind::kLlama3:
        inv_freq = llama3_inv_freq(inv_freq, config.scaling);
        break;
      case RopeScalingKind::kYarn: {
        const double ramp = YarnRamp(config).at(pair);
        inv_freq = inv_freq / config.scaling.factor * ramp + inv_freq * (1 - ramp);
        break;
      }
      case RopeScalingKind::kLongRope:
        inv_freq /= divisors[static_cast<size_t>(pair)];
        break;
      case RopeScalingKind::kNone:
      case RopeScalingKind::kDynamic:
        break;
    }
    out[i] = static_cast<float>(inv_freq);
  }
}

}  // namespace cohort
