#include "kernels/position/rotary.h"

#include <algorithm>

#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

RotaryConfig plain_config(int64_t head_dim, int64_t rotary_dim) {
  RotaryConfig config;
  config.head_dim = head_dim;
  config.rotary_dim = rotary_dim;
  config.max_position = 64;
  return config;
}

RotaryConfig scaled_config(RopeScalingKind kind) {
  RotaryConfig config = plain_config(64, 64);
  config.scaling.kind = kind;
  config.scaling.factor = 4;
  config.scaling.original_max_position = 2048;
  config.max_position = 2048;
  return config;
}

RotaryEmbedding make(const RotaryConfig& config) {
  Result<RotaryEmbedding> rotary = RotaryEmbedding::create(config);
  EXPECT_TRUE(rotary.ok()) << rotary.status().message();
  return *std::move(rotary);
}

// The formulas as transformers has them (modeling_rope_utils.py), in float32 where it computes in
// float32.
std::vector<float> plain_inv_freq(double base, int64_t dim) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    inv_freq.push_back(1.0f / std::pow(static_cast<float>(base), exponent));
  }
  return inv_freq;
}

std::vector<float> yarn_inv_freq(const RotaryConfig& config) {
  const RopeScaling& s = config.scaling;
  const auto dim = static_cast<double>(config.rotary_dim);
  const auto correction = [&](double rotations) {
    return dim * std::log(static_cast<double>(s.original_max_position) / (rotations * 2 * M_PI)) /
           (2 * std::log(config.theta));
  };
  double low = correction(s.beta_fast);
  double high = correction(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  std::vector<float> inv_freq = plain_inv_freq(config.theta, config.rotary_dim);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const auto extrapolation = static_cast<float>(1 - ramp);
    inv_freq[i] = inv_freq[i] / static_cast<float>(s.factor) * (1 - extrapolation) + inv_freq[i] * extrapolation;
  }
  return inv_freq;
}

std::vector<float> llama3_inv_freq(const RotaryConfig& config) {
  const RopeScaling& s = config.scaling;
  std::vector<float> inv_freq = plain_inv_freq(config.theta, config.rotary_dim);
  const auto length = static_cast<double>(s.original_max_position);
  for (float& f : inv_freq) {
    const double wavelength = 2 * M_PI / f;
    if (wavelength > length / s.low_freq_factor) {
      f = static_cast<float>(f / s.factor);
    } else if (wavelength >= length / s.high_freq_factor) {
      const double smooth = (length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
      f = static_cast<float>((1 - smooth) * f / s.factor + smooth * f);
    }
  }
  return inv_freq;
}

void expect_close(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 2e-6 * expected[i]) << "pair " << i;
  }
}

TEST(RotaryFrequencies, Plain) {
  for (const int64_t dim : {2, 4, 6, 10, 64, 128}) {
    expect_close(make(plain_config(dim, dim)).inv_freq(1), plain_inv_freq(10000, dim));
  }
  EXPECT_EQ(make(plain_config(64, 64)).attention_factor(), 1);
}

TEST(RotaryFrequencies, Linear) {
  std::vector<float> expected = plain_inv_freq(10000, 64);
  for (float& f : expected) f /= 4;
  expect_close(make(scaled_config(RopeScalingKind::kLinear)).inv_freq(5000), expected);
}

TEST(RotaryFrequencies, DynamicGrowsBeyondMaxPosition) {
  const RotaryEmbedding rotary = make(scaled_config(RopeScalingKind::kDynamic));
  for (const int64_t length : {1, 2047, 2048}) {
    expect_close(rotary.inv_freq(length), plain_inv_freq(10000, 64));
  }
  for (const int64_t length : {2049, 5000, 100000}) {
    const double growth = 4.0 * static_cast<double>(length) / 2048 - 3;
    expect_close(rotary.inv_freq(length), plain_inv_freq(10000 * std::pow(growth, 64.0 / 62.0), 64));
  }
}

TEST(RotaryFrequencies, Yarn) {
  RotaryConfig config = scaled_config(RopeScalingKind::kYarn);
  expect_close(make(config).inv_freq(1), yarn_inv_freq(config));
  EXPECT_FLOAT_EQ(make(config).attention_factor(), static_cast<float>(0.1 * std::log(4.0) + 1));
  config.scaling.truncate = false;
  config.scaling.beta_fast = 17;
  config.scaling.beta_slow = 0.5;
  config.theta = 500000;
  expect_close(make(config).inv_freq(1), yarn_inv_freq(config));
  config.scaling.mscale = 0.707;
  EXPECT_FLOAT_EQ(make(config).attention_factor(), static_cast<float>(0.1 * std::log(4.0) + 1));
  config.scaling.mscale_all_dim = 1;
  EXPECT_FLOAT_EQ(make(config).attention_factor(),
                  static_cast<float>((0.0707 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1)));
  config.scaling.attention_factor = 1.25;
  EXPECT_EQ(make(config).attention_factor(), 1.25f);
  config.scaling.attention_factor = 0;
  config.scaling.factor = 1;
  EXPECT_EQ(make(config).attention_factor(), 1);
}

TEST(RotaryFrequencies, YarnRampWithoutWidth) {
  RotaryConfig config = scaled_config(RopeScalingKind::kYarn);
  config.scaling.beta_fast = config.scaling.beta_slow = 4;
  config.scaling.truncate = false;
  const std::vector<float> got = make(config).inv_freq(1);
  expect_close(got, yarn_inv_freq(config));
  for (const float f : got) EXPECT_TRUE(std::isfinite(f));
}

TEST(RotaryFrequencies, Llama3) {
  RotaryConfig config = scaled_config(RopeScalingKind::kLlama3);
  config.theta = 500000;
  config.scaling.factor = 8;
  config.scaling.original_max_position = 8192;
  const std::vector<float> got = make(config).inv_freq(1);
  expect_close(got, llama3_inv_freq(config));
  EXPECT_EQ(got[0], 1);  // short wavelengths stay
  EXPECT_NEAR(got[31], plain_inv_freq(500000, 64)[31] / 8, 1e-12);
}

RotaryConfig longrope_config() {
  RotaryConfig config = plain_config(16, 12);
  config.max_position = 4096;
  config.scaling.kind = RopeScalingKind::kLongRope;
  config.scaling.factor = 64;
  config.scaling.original_max_position = 64;
  config.scaling.short_factor = {1, 1.02, 1.1, 1.25, 1.5, 2};
  config.scaling.long_factor = {1.05, 1.5, 3.25, 8, 24.5, 64};
  return config;
}

// The numbers of transformers 5.17: Phi3RotaryEmbedding of this configuration, of 64 and of 65 positions.
TEST(RotaryFrequencies, LongRope) {
  const RotaryEmbedding rotary = make(longrope_config());
  const std::vector<float> short_freq = {1,
                                         0.21121908724308014f,
                                         0.042196255177259445f,
                                         0.00800000037997961f,
                                         0.0014362895162776113f,
                                         0.00023207947378978133f};
  const std::vector<float> long_freq = {0.9523810148239136f,    0.14362896978855133f,   0.014281810261309147f,
                                        0.0012499999720603228f, 8.793609595159069e-05f, 7.252483555930667e-06f};
  for (const int64_t length : {1, 64}) expect_close(rotary.inv_freq(length), short_freq);
  for (const int64_t length : {65, 4096}) expect_close(rotary.inv_freq(length), long_freq);
  EXPECT_FLOAT_EQ(rotary.attention_factor(), 1.4142135623730951f);
  RotaryConfig config = longrope_config();
  config.scaling.factor = 2;
  EXPECT_FLOAT_EQ(make(config).attention_factor(), 1.0801234497346435f);
  config.scaling.factor = 0.5;
  EXPECT_EQ(make(config).attention_factor(), 1);
  config.scaling.attention_factor = 1.25;
  EXPECT_EQ(make(config).attention_factor(), 1.25f);
}

TEST(RotaryCreate, NamesTheFieldThatCannotBe) {
  const auto expect_error = [](const RotaryConfig& config, const std::string& field) {
    const Result<RotaryEmbedding> rotary = RotaryEmbedding::create(config);
    ASSERT_FALSE(rotary.ok()) << field;
    EXPECT_EQ(rotary.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(rotary.status().message().rfind(field + ": ", 0), 0u) << rotary.status().message();
  };
  expect_error(plain_config(0, 0), "head_dim");
  for (const int64_t dim : {-2, 0, 3, 10}) expect_error(plain_config(8, dim), "rotary_dim");
  RotaryConfig config = plain_config(8, 8);
  for (const double theta : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    config.theta = theta;
    expect_error(config, "rope_theta");
  }
  using enum RopeScalingKind;
  for (const RopeScalingKind kind : {kLinear, kDynamic, kYarn, kLlama3}) {
    config = scaled_config(kind);
    for (const double factor : {0.0, 0.5, std::nan(""), HUGE_VAL}) {
      config.scaling.factor = factor;
      expect_error(config, "factor");
    }
  }
  for (const RopeScalingKind kind : {kYarn, kLlama3}) {
    config = scaled_config(kind);
    config.scaling.original_max_position = 0;
    expect_error(config, "original_max_position_embeddings");
  }
  config = scaled_config(kDynamic);
  config.max_position = 0;
  expect_error(config, "max_position_embeddings");
  config = scaled_config(kDynamic);
  config.rotary_dim = 2;
  expect_error(config, "rotary_dim");
  config = scaled_config(kYarn);
  config.scaling.beta_slow = 0;
  expect_error(config, "beta_slow");
  config.scaling.beta_slow = 64;
  expect_error(config, "beta_fast");
  config = scaled_config(kYarn);
  config.scaling.attention_factor = -1;
  expect_error(config, "attention_factor");
  config = scaled_config(kYarn);
  config.theta = 1;
  expect_error(config, "rope_theta");
  config = scaled_config(kLlama3);
  config.scaling.low_freq_factor = 0;
  expect_error(config, "low_freq_factor");
  config.scaling.low_freq_factor = 4;
  expect_error(config, "high_freq_factor");
  config = longrope_config();
  config.scaling.short_factor.pop_back();
  expect_error(config, "short_factor");
  config = longrope_config();
  config.scaling.long_factor[3] = 0;
  expect_error(config, "long_factor");
  config = longrope_config();
  config.scaling.original_max_position = 1;
  expect_error(config, "original_max_position_embeddings");
  config = longrope_config();
  config.scaling.attention_factor = -1;
  expect_error(config, "attention_factor");
}

// Turned heads in double precision, from the angles that float32 gives.
std::vector<double> reference(const RotaryEmbedding& rotary, const ConstTensorView& x,
                              const std::vector<int32_t>& positions, const std::vector<int32_t>& lengths) {
  std::vector<double> out = values_of(x);
  const RotaryConfig& config = rotary.config();
  const int64_t half = config.rotary_dim / 2;
  for (int64_t t = 0; t < x.dim(0); ++t) {
    const std::vector<float> inv_freq = rotary.inv_freq(lengths[t]);
    for (int64_t h = 0; h < x.dim(1); ++h) {
      double* const head = out.data() + (t * x.dim(1) + h) * config.head_dim;
      for (int64_t i = 0; i < half; ++i) {
        const bool is_halves = config.pairing == RotaryPairing::kHalves;
        double& a = head[is_halves ? i : 2 * i];
        double& b = head[is_halves ? i + half : 2 * i + 1];
        const float angle = static_cast<float>(positions[t]) * inv_freq[i];
        const double cos = std::cos(static_cast<double>(angle)) * rotary.attention_factor();
        const double sin = std::sin(static_cast<double>(angle)) * rotary.attention_factor();
        const double turned = a * cos - b * sin;
        b = b * cos + a * sin;
        a = turned;
      }
    }
  }
  return out;
}

const std::vector<int32_t> kPositions = {0, 1, 5, 63, 64, 2047, 2048, 5000, 131071};
const std::vector<int32_t> kLengths = {1, 3000, 6, 64, 4000, 2048, 2049, 5001, 131072};

TEST(Rotary, AgreesWithDoublePrecision) {
  for (const DType dtype : kFloatDTypes) {
    for (const RotaryPairing pairing : {RotaryPairing::kHalves, RotaryPairing::kInterleaved}) {
      for (const auto& [head_dim, rotary_dim] :
           {std::pair{2, 2}, {5, 4}, {12, 12}, {17, 6}, {64, 64}, {77, 34}, {600, 600}}) {
        RotaryConfig config = scaled_config(RopeScalingKind::kDynamic);
        if (rotary_dim == 2) config = plain_config(2, 2);
        config.head_dim = head_dim;
        config.rotary_dim = rotary_dim;
        config.pairing = pairing;
        const RotaryEmbedding rotary = make(config);
        Stream stream(kCpuDevice, 2);
        GuardedTensor q(dtype, 9, 3 * head_dim, head_dim);
        GuardedTensor k(dtype, 9, head_dim, head_dim);
        fill_random(q, 1);
        fill_random(k, 2);
        const auto expected_q = reference(rotary, q, kPositions, kLengths);
        const auto expected_k = reference(rotary, k, kPositions, kLengths);
        rotary.apply(q, k, int32_tensor(kPositions), int32_tensor(kLengths), stream);
        expect_near(q, expected_q, 1.01 * rounding_of(dtype) + 1e-7, 1e-6);
        expect_near(k, expected_k, 1.01 * rounding_of(dtype) + 1e-7, 1e-6);
        q.expect_guards_untouched();
        k.expect_guards_untouched();
      }
    }
  }
}

TEST(Rotary, LongSequencesTurnByTheLongFactors) {
  const RotaryEmbedding rotary = make(longrope_config());
  const std::vector<int32_t> positions = {0, 5, 5, 63, 64, 63, 4000};
  const std::vector<int32_t> lengths = {1, 6, 65, 64, 65, 100, 4001};
  Stream stream(kCpuDevice, 2);
  GuardedTensor q(DType::kF32, 7, 2 * 16, 16);
  GuardedTensor k(DType::kF32, 7, 16, 16);
  fill_random(q, 1);
  fill_random(k, 2);
  const std::vector<double> expected_q = reference(rotary, q, positions, lengths);
  const std::vector<double> expected_k = reference(rotary, k, positions, lengths);
  rotary.apply(q, k, int32_tensor(positions), int32_tensor(lengths), stream);
  expect_near(q, expected_q, 1e-6, 2e-6);
  expect_near(k, expected_k, 1e-6, 2e-6);
}

TEST(Rotary, BitsOfATokenDependOnNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    const RotaryEmbedding rotary = make(scaled_config(RopeScalingKind::kDynamic));
    std::string bits;
    for (const int num_threads : kThreadCounts) {
      Stream stream(kCpuDevice, num_threads);
      GuardedTensor q(dtype, 9, 31 * 64, 64);
      GuardedTensor k(dtype, 9, 64, 64);
      fill_random(q, 1);
      fill_random(k, 2);
      GuardedTensor alone(dtype, 9, 31 * 64, 64);
      fill_random(alone, 1);
      rotary.apply(q, k, int32_tensor(kPositions), int32_tensor(kLengths), stream);
      if (bits.empty()) bits = q.bytes();
      EXPECT_EQ(bits, q.bytes());
      for (int64_t i = 0; i < 9; ++i) {
        GuardedTensor no_heads(dtype, 1, 64, 64);
        rotary.apply(alone.view().slice(0, i, i + 1), no_heads, int32_tensor({kPositions[i]}),
                     int32_tensor({kLengths[i]}), stream);
        EXPECT_EQ(alone.bytes_of_row(i), q.bytes_of_row(i));
      }
    }
  }
}

TEST(Rotary, NoTokensIsNothing) {
  Stream stream(kCpuDevice, 1);
  const RotaryEmbedding rotary = make(plain_config(8, 8));
  GuardedTensor none(DType::kF32, 0, 8, 8);
  rotary.apply(none, none, int32_tensor({}), int32_tensor({}), stream);
}

TEST(Rotary, RefusesShapesThatDiffer) {
  Stream stream(kCpuDevice, 1);
  const RotaryEmbedding rotary = make(plain_config(8, 8));
  GuardedTensor q(DType::kF32, 2, 8, 8);
  GuardedTensor narrow(DType::kF32, 2, 8, 4);
  GuardedTensor half(DType::kF16, 2, 8, 8);
  const Tensor two = int32_tensor({0, 1});
  const Tensor one = int32_tensor({0});
  EXPECT_THROW(rotary.apply(q, narrow, two, two, stream), CheckError);
  EXPECT_THROW(rotary.apply(q, half, two, two, stream), CheckError);
  EXPECT_THROW(rotary.apply(q, q, one, two, stream), CheckError);
  EXPECT_THROW(rotary.apply(q, q, two, one, stream), CheckError);
}

}  // namespace
}  // namespace cohort
