#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/weights/random_weights.h"
#include "runtime/weights/weight_source.h"

namespace cohort {
namespace {

Stream& cpu() {
  static Stream stream(kCpuDevice, 1);
  return stream;
}

std::vector<float> values_of(const ConstTensorView& view) {  // of a dense view
  std::vector<float> values(static_cast<size_t>(view.num_elements()));
  dispatch_float(view.dtype(), [&]<typename T>() {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(view.data<T>()[i]);
  });
  return values;
}

std::vector<float> load(WeightSource& source, std::string_view name, const Shape& shape) {
  const Result<WeightSlice> slice = source.load(name, shape);
  EXPECT_TRUE(slice.ok());
  return values_of(slice->view);
}

TEST(RandomSource, DependsOnSeedAndName) {
  const auto source = random_source(1, DType::kF32, nullptr, cpu());
  const auto values = load(*source, "a.weight", Shape{8, 8});
  EXPECT_EQ(values, load(*source, "a.weight", Shape{8, 8}));
  EXPECT_EQ(values, load(*random_source(1, DType::kF32, nullptr, cpu()), "a.weight", Shape{8, 8}));
  EXPECT_NE(values, load(*source, "b.weight", Shape{8, 8}));
  EXPECT_NE(values, load(*random_source(2, DType::kF32, nullptr, cpu()), "a.weight", Shape{8, 8}));
  EXPECT_TRUE(source->contains("anything"));
  EXPECT_TRUE(source->finish({}).ok());
  EXPECT_EQ(source->bytes_read(), 3 * 64 * 4);
}

// Written down, so that a change of the generator, or another compiler or machine, is noticed.
TEST(RandomSource, IsTheSameEverywhere) {
  const auto values =
      load(*random_source(42, DType::kF32, nullptr, cpu()), "model.layers.0.self_attn.q_proj.weight", Shape{2, 4096});
  uint64_t hash = 0xcbf29ce484222325u;
  for (const float value : values) {
    const auto level = static_cast<int64_t>(std::lround(value * 64 * 147.8));
    hash = (hash ^ static_cast<uint64_t>(level)) * 0x100000001b3u;
  }
  EXPECT_EQ(hash, 718648608465466613u);
}

TEST(RandomSource, ASliceEqualsTheSliceOfTheWhole) {
  const Shape shape{6, 5, 700};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto source = random_source(7, dtype, nullptr, cpu());
    const Result<WeightSlice> whole = source->load("w", shape);
    ASSERT_TRUE(whole.ok());
    const std::vector<float> all = values_of(whole->view);
    for (const auto& [dim, begin, end] : {std::tuple(0, 2, 5), {0, 3, 3}, {1, 1, 4}, {2, 13, 613}, {2, 699, 700}}) {
      const Result<WeightSlice> slice = source->load("w", shape, dim, begin, end);
      ASSERT_TRUE(slice.ok());
      const ConstTensorView expected = whole->view.slice(dim, begin, end);
      ASSERT_EQ(slice->view.shape(), expected.shape());
      const std::vector<float> values = values_of(slice->view);
      size_t i = 0;
      for (int64_t a = 0; a < expected.dim(0); ++a) {
        for (int64_t b = 0; b < expected.dim(1); ++b) {
          for (int64_t c = 0; c < expected.dim(2); ++c, ++i) {
            const int64_t at = (dim == 0 ? begin : 0) * 3500 + (dim == 1 ? begin : 0) * 700 + (dim == 2 ? begin : 0) +
                               a * 3500 + b * 700 + c;
            ASSERT_EQ(values[i], all[static_cast<size_t>(at)]) << dim << " " << i;
          }
        }
      }
    }
  }
}

TEST(RandomSource, ElementsBeyond32BitsDiffer) {
  // 2^33 elements, of which a few rows around 2^32 are made.
  const Shape shape{int64_t{1} << 23, 1024};
  const auto source = random_source(7, DType::kF32, nullptr, cpu());
  const auto rows = [&](int64_t begin, int64_t end) {
    return values_of(source->load("w", shape, 0, begin, end)->view);
  };
  const int64_t middle = int64_t{1} << 22;
  const std::vector<float> around = rows(middle - 1, middle + 1);
  const std::vector<float> before = rows(middle - 1, middle), after = rows(middle, middle + 1);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), around.begin()));
  EXPECT_TRUE(std::equal(after.begin(), after.end(), around.begin() + 1024));
  EXPECT_NE(after, rows(0, 1));
}

TEST(RandomSource, HasSaneDistributions) {
  const auto source = random_source(3, DType::kF32, nullptr, cpu());
  const auto expect = [&](std::string_view name, const Shape& shape, double stddev) {
    double sum = 0, squares = 0;
    const std::vector<float> values = load(*source, name, shape);
    for (const float value : values) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    const auto n = static_cast<double>(values.size());
    EXPECT_NEAR(sum / n, 0, 4 * stddev / std::sqrt(n)) << name;
    EXPECT_NEAR(std::sqrt(squares / n), stddev, 0.02 * stddev) << name;
  };
  expect("model.embed_tokens.weight", Shape{1000, 64}, 0.02);
  expect("transformer.wte.weight", Shape{1000, 64}, 0.02);
  expect("model.layers.0.mlp.up_proj.weight", Shape{1000, 64}, 0.125);
  expect("lm_head.weight", Shape{1000, 256}, 1.0 / 16);
  const std::vector<float> ones(5, 1.0f), zeros(5, 0.0f);
  EXPECT_EQ(load(*source, "model.norm.weight", Shape{5}), ones);
  EXPECT_EQ(load(*source, "LayerNorm.gamma", Shape{5}), ones);
  EXPECT_EQ(load(*source, "h.0.ln_1.bias", Shape{5}), zeros);
  EXPECT_EQ(load(*source, "LayerNorm.beta", Shape{5}), zeros);
  EXPECT_EQ(load(*source, "scale", Shape{}), std::vector<float>{1.0f});
  EXPECT_EQ(load(*source, "model.norm.weight", Shape{0}), std::vector<float>{});
}

TEST(RandomSource, DTypesRoundTheSameValues) {
  const auto exact = load(*random_source(1, DType::kF32, nullptr, cpu()), "w", Shape{3, 700});
  const auto rounded = load(*random_source(1, DType::kBF16, nullptr, cpu()), "w", Shape{3, 700});
  for (size_t i = 0; i < exact.size(); ++i) ASSERT_EQ(rounded[i], static_cast<float>(bf16(exact[i])));
}

TEST(RandomSource, ThreadsDoNotMatter) {
  Stream stream(kCpuDevice, 4);
  const auto threaded = random_source(1, DType::kBF16, nullptr, stream);
  const auto single = random_source(1, DType::kBF16, nullptr, cpu());
  for (const Shape& shape : {Shape{1000, 300}, Shape{3, 100000}, Shape{7}, Shape{}, Shape{0, 3}}) {
    EXPECT_EQ(load(*threaded, "w", shape), load(*single, "w", shape));
  }
  EXPECT_EQ(threaded->bytes_read(), single->bytes_read());
}

TEST(RandomSource, FillsAStridedDestinationInPlace) {
  const auto source = random_source(1, DType::kBF16, nullptr, cpu());
  Tensor fused(DType::kBF16, Shape{4, 30});
  std::memset(fused->data(), 0, 240);
  ASSERT_TRUE(source->load_into(fused.view().slice(1, 10, 20), "w", Shape{8, 10}, 0, 2, 6).ok());
  const auto expected = values_of(source->load("w", Shape{8, 10}, 0, 2, 6)->view);
  for (int64_t row = 0; row < 4; ++row) {
    for (int64_t column = 0; column < 30; ++column) {
      const bool is_inside = column >= 10 && column < 20;
      EXPECT_EQ(static_cast<float>(fused->row<bf16>(row)[column]),
                is_inside ? expected[static_cast<size_t>(row * 10 + column - 10)] : 0.0f);
    }
  }
  EXPECT_EQ(source->load("w", Shape{4}, 0, 0, 5).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cohort
