// The tensor-parallel ops alone, and what shards a model can and cannot be cut into.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/embedding/embedding.h"
#include "kernels/norm/norm.h"
#include "parallel/comm/rank_comms.h"
#include "parallel/tensor/all_reduce_norm.h"
#include "parallel/tensor/row_parallel.h"
#include "parallel/tensor/vocab_parallel.h"
#include "runtime/models/shard_size.h"
#include "tests/files.h"
#include "tests/parallel/rank_test.h"
#include "tests/parallel/tiny_model.h"

namespace cohort {
namespace {

using test::open_tiny;
using test::run_ranks;

Tensor random_tensor(DType dtype, const Shape& shape, uint32_t seed) {
  Tensor tensor(dtype, shape);
  dispatch_float(dtype, [&]<typename T>() {
    for (int64_t i = 0; i < shape.num_elements(); ++i) {
      seed = seed * 1664525u + 1013904223u;
      tensor->data<T>()[i] = static_cast<T>(static_cast<float>(seed >> 8) / (1 << 24) - 0.5f);
    }
  });
  return tensor;
}

bool same_bits(ConstTensorView a, ConstTensorView b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.data(), b.data(), static_cast<size_t>(a.num_bytes())) == 0;
}

class TensorParallelTest : public testing::TestWithParam<int> {};

TEST_P(TensorParallelTest, RowParallelProductsHaveEqualBits) {
  run_ranks(GetParam(), [](HostComm& world) {
    constexpr int64_t kN = 45;
    constexpr int64_t kK = 16 * 6;
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.size() > 1 ? world.make_cpu_comm("tensor") : nullptr;
    const Slice part = even_slice(kK, world.rank(), world.size());
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      const Tensor weight = random_tensor(dtype, Shape{kN, kK}, 1);
      const Tensor bias = random_tensor(DType::kF32, Shape{kN}, 2);
      const PackedWeight whole = PackedWeight::pack(weight, WeightLayout::kOutIn, dtype, 16, stream);
      const PackedWeight mine = PackedWeight::pack(weight->slice(1, part.begin, part.end), WeightLayout::kOutIn, dtype,
                                                   16 / world.size(), stream);
      for (const int64_t num_rows : {0, 1, 7, 120}) {
        ReductionWorkspace workspace(120, kN, kCpuDevice);
        const Tensor x = random_tensor(dtype, Shape{num_rows, kK}, 3);
        Tensor expected(dtype, Shape{num_rows, kN});
        Tensor out(dtype, Shape{num_rows, kN});
        gemm(expected, x, whole, bias, stream);
        row_parallel_gemm(out, x->slice(1, part.begin, part.end), mine, bias, comm.get(), workspace, stream);
        EXPECT_TRUE(same_bits(out, expected)) << dtype_name(dtype) << ", " << num_rows << " rows";
      }
    }
  });
}

TEST_P(TensorParallelTest, NormsOfSumsHaveEqualBits) {
  run_ranks(GetParam(), [](HostComm& world) {
    constexpr int64_t kN = 40;
    constexpr int64_t kK = 16 * 6;
    constexpr int64_t kNumRows = 7;
    constexpr float kEps = 1e-5f;
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.size() > 1 ? world.make_cpu_comm("tensor") : nullptr;
    const Slice part = even_slice(kK, world.rank(), world.size());
    const Tensor weight = random_tensor(DType::kBF16, Shape{kN, kK}, 1);
    const Tensor norm_weight = random_tensor(DType::kF32, Shape{kN}, 2);
    const Tensor norm_bias = random_tensor(DType::kF32, Shape{kN}, 3);
    const Tensor x = random_tensor(DType::kBF16, Shape{kNumRows, kK}, 4);
    const PackedWeight whole = PackedWeight::pack(weight, WeightLayout::kOutIn, DType::kBF16, 16, stream);
    const PackedWeight mine = PackedWeight::pack(weight->slice(1, part.begin, part.end), WeightLayout::kOutIn,
                                                 DType::kBF16, 16 / world.size(), stream);
    const Tensor product(DType::kBF16, Shape{kNumRows, kN});
    gemm(product, x, whole, {}, stream);
    for (const bool is_layer_norm : {false, true}) {
      const Tensor expected_residual = random_tensor(DType::kBF16, Shape{kNumRows, kN}, 5);
      const Tensor expected(DType::kBF16, Shape{kNumRows, kN});
      if (is_layer_norm) {
        add_layer_norm(expected, expected_residual, product, norm_weight, norm_bias, kEps, stream);
      } else {
        add_rms_norm(expected, expected_residual, product, norm_weight, kEps, stream);
      }
      ReductionWorkspace workspace(kNumRows, kN, kCpuDevice);
      const Tensor delta(DType::kBF16, Shape{kNumRows, kN});
      const Tensor residual = random_tensor(DType::kBF16, Shape{kNumRows, kN}, 5);
      const Tensor out(DType::kBF16, Shape{kNumRows, kN});
      const ShardedSum sum =
          row_parallel_gemm(delta, x->slice(1, part.begin, part.end), mine, {}, comm.get(), workspace, stream);
      EXPECT_EQ(sum.comm, nullptr);  // complete, as it is on CPUs
      all_reduce_add_norm(out, residual, sum,
                          {is_layer_norm, norm_weight, is_layer_norm ? norm_bias.view() : TensorView(), kEps}, stream);
      EXPECT_TRUE(same_bits(residual, expected_residual));
      EXPECT_TRUE(same_bits(out, expected));
    }
  });
}

TEST_P(TensorParallelTest, EmbeddingsKeepTheirBitsEvenOfZeros) {
  run_ranks(GetParam(), [](HostComm& world) {
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.size() > 1 ? world.make_cpu_comm("tensor") : nullptr;
    constexpr int64_t kHidden = 9;
    for (const int64_t vocab : {3, 8, 1003}) {  // 3: some shards have nothing
      const Slice part = padded_slice(vocab, world.rank(), world.size());
      Tensor table = random_tensor(DType::kBF16, Shape{vocab, kHidden}, 4);
      for (int64_t i = 0; i < vocab; ++i) {  // both zeros, which a sum with +0 would make one
        table->row<bf16>(i)[0] = bf16(-0.0f);
        table->row<bf16>(i)[1] = bf16(0.0f);
      }
      std::vector<int32_t> ids;
      for (int32_t i = 0; i < 40; ++i) ids.push_back(static_cast<int32_t>(i * 31 % vocab));
      const ConstTensorView ids_view(ids.data(), DType::kI32, Shape{40});
      Tensor expected(DType::kBF16, Shape{40, kHidden});
      Tensor out(DType::kBF16, Shape{40, kHidden});
      ReductionWorkspace workspace(40, kHidden, kCpuDevice);
      embedding(expected, ids_view, table, stream);
      vocab_parallel_embedding(out, ids_view, table->slice(0, part.begin, part.end), part, comm.get(), workspace,
                               stream);
      EXPECT_TRUE(same_bits(out, expected)) << vocab;
    }
  });
}

TEST_P(TensorParallelTest, LogitsAreGatheredInOrder) {
  run_ranks(GetParam(), [](HostComm& world) {
    if (world.size() == 1) return;
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.make_cpu_comm("tensor");
    for (const int64_t vocab : {3, 8, 1003}) {
      for (const int64_t num_rows : {0, 1, 5}) {
        const Slice part = padded_slice(vocab, world.rank(), world.size());
        Tensor local(DType::kF32, Shape{num_rows, part.size()});
        for (int64_t r = 0; r < num_rows; ++r) {
          for (int64_t i = 0; i < part.size(); ++i) {
            local->row<float>(r)[i] = static_cast<float>(r * 10000 + part.begin + i);
          }
        }
        Tensor logits(DType::kF32, Shape{num_rows, vocab});
        Tensor scratch(DType::kF32, Shape{num_rows, padded_slice(vocab, 0, world.size()).size()});
        gather_logits(logits, local, vocab, *comm, scratch, stream);
        for (int64_t r = 0; r < num_rows && comm->rank() == 0; ++r) {
          for (int64_t i = 0; i < vocab; ++i) ASSERT_EQ(logits->row<float>(r)[i], static_cast<float>(r * 10000 + i));
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, TensorParallelTest, testing::Values(1, 2, 4, 8));

ModelShard shard_of(const ModelSpec& spec, int tensor, int pipeline, int rank) {
  const auto shard = shard_model(spec, ParallelLayout({.tensor = tensor, .pipeline = pipeline}, rank));
  EXPECT_TRUE(shard.ok()) << shard.status().message();
  return *shard;
}

TEST(ModelShardTest, AVocabularyThatDoesNotDivide) {
  const OpenModel model = open_tiny(test::kLlamaConfig, DType::kF32);  // 1003
  const std::vector<Slice> expected = {{0, 251}, {251, 502}, {502, 753}, {753, 1003}};
  for (int shard = 0; shard < 4; ++shard) {
    EXPECT_EQ(shard_of(model.config.spec, 4, 1, shard).vocab, expected[static_cast<size_t>(shard)]);
  }
}

TEST(ModelShardTest, ShardsShareAKvHead) {
  const ModelSpec spec = open_tiny(test::kOneKvHeadConfig, DType::kF32).config.spec;
  for (int shard = 0; shard < 4; ++shard) {
    EXPECT_EQ(shard_of(spec, 4, 1, shard).heads, (Slice{2 * shard, 2 * shard + 2}));
    EXPECT_EQ(shard_of(spec, 4, 1, shard).kv_heads, (Slice{0, 1}));
  }
  const ModelSpec llama = open_tiny(test::kLlamaConfig, DType::kF32).config.spec;  // 16 heads, 8 KV heads
  EXPECT_EQ(shard_of(llama, 8, 1, 5).kv_heads, (Slice{5, 6}));
  EXPECT_EQ(shard_of(llama, 16, 1, 5).kv_heads, (Slice{2, 3}));
}

TEST(ModelShardTest, ThreeLayersInTwoStages) {
  const ModelSpec spec = open_tiny(test::kOneKvHeadConfig, DType::kF32).config.spec;
  const ModelShard first = shard_of(spec, 1, 2, 0);
  const ModelShard last = shard_of(spec, 1, 2, 1);
  EXPECT_EQ(first.layers.size() + last.layers.size(), 3);
  EXPECT_EQ(first.layers.end, last.layers.begin);
  EXPECT_TRUE(first.is_first_stage && !first.is_last_stage && !last.is_first_stage && last.is_last_stage);
}

TEST(ModelShardTest, WhatCannotBeSaysWhatCould) {
  ModelSpec spec = open_tiny(test::kLlamaConfig, DType::kF32).config.spec;
  const auto message = [&](int tensor, int pipeline) {
    const auto shard = shard_model(spec, ParallelLayout({.tensor = tensor, .pipeline = pipeline}, 0));
    return shard.ok() ? std::string("ok") : shard.status().message();
  };
  EXPECT_EQ(
      message(3, 1),
      "tensor_parallel_size: 3 shards cannot split this model evenly, which has 16 heads, 8 KV heads and an MLP of "
      "112; expected one of 1, 2, 4, 8, 16");
  EXPECT_EQ(message(1, 4),
            "pipeline_parallel_size: expected 1 to 3, since every stage needs a layer and the model has 3, got 4");
  spec.num_heads = spec.num_kv_heads = 12;
  EXPECT_NE(message(8, 1).find("expected one of 1, 2, 4"), std::string::npos);
  spec.num_kv_heads = 6;  // four shards of three heads would need KV heads 0 and a half
  EXPECT_NE(message(4, 1).find("expected one of 1, 2"), std::string::npos);
  EXPECT_EQ(message(2, 1), "ok");
}

ModelShard with_heads(Slice heads, Slice kv_heads) {
  ModelShard shard;
  shard.heads = heads;
  shard.kv_heads = kv_heads;
  return shard;
}

// The head that each output of a shard's qkv comes from: "q3", "k0", "v0".
std::vector<std::string> heads_of(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard,
                                  const std::vector<std::string>& stored) {
  std::vector<std::string> heads;
  for (const Slice& slice : qkv_slices(spec, map, shard).outputs) {
    EXPECT_EQ(slice.begin % spec.head_dim + slice.end % spec.head_dim, 0);
    for (int64_t h = slice.begin / spec.head_dim; h < slice.end / spec.head_dim; ++h) {
      heads.push_back(stored[static_cast<size_t>(h)]);
    }
  }
  return heads;
}

TEST(LinearSlicesTest, HeadsOfAnyOrderAreFound) {
  ModelSpec spec;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_dim = 3;
  LayerMap map;
  map.qkv.weights = {{"qkv", Shape{8 * 3, 5}}};
  using Names = std::vector<std::string>;
  const Names by_part = {"q0", "q1", "q2", "q3", "k0", "k1", "v0", "v1"};
  const Names by_group = {"q0", "q1", "k0", "v0", "q2", "q3", "k1", "v1"};
  const ModelShard second = with_heads({2, 4}, {1, 2});
  const ModelShard third_of_four = with_heads({2, 3}, {1, 2});
  const ModelShard whole = with_heads({0, 4}, {0, 2});
  for (const QkvOrder order : {QkvOrder::kByPart, QkvOrder::kByGroup}) {
    map.qkv_order = order;
    const Names& stored = order == QkvOrder::kByPart ? by_part : by_group;
    EXPECT_EQ(heads_of(spec, map, whole, stored), by_part);
    EXPECT_EQ(heads_of(spec, map, second, stored), (Names{"q2", "q3", "k1", "v1"}));
    EXPECT_EQ(heads_of(spec, map, third_of_four, stored), (Names{"q2", "k1", "v1"}));
  }
  spec.num_kv_heads = 4;  // a q head a group: BLOOM, GPT-NeoX
  map.qkv.weights = {{"qkv", Shape{12 * 3, 5}}};
  const Names by_head = {"q0", "k0", "v0", "q1", "k1", "v1", "q2", "k2", "v2", "q3", "k3", "v3"};
  EXPECT_EQ(heads_of(spec, map, with_heads({2, 4}, {2, 4}), by_head), (Names{"q2", "q3", "k2", "k3", "v2", "v3"}));
}

TEST(LoadTest, EveryRankReadsItsShareOnly) {
  const std::filesystem::path dir = test::source_dir() / "configs/quickstart/model";
  for (const ParallelSizes sizes : {ParallelSizes{}, ParallelSizes{.tensor = 2}, ParallelSizes{.tensor = 8},
                                    ParallelSizes{.pipeline = 3}, ParallelSizes{.tensor = 4, .pipeline = 2}}) {
    int64_t total = 0;
    int64_t file_bytes = 0;
    int64_t embedding_bytes = 0;
    for (int rank = 0; rank < sizes.num_ranks(); ++rank) {
      auto model = open_model(dir, {});
      ASSERT_TRUE(model.ok()) << model.status().message();
      const ModelSpec spec = model->config.spec;
      file_bytes = model->checkpoint->total_bytes();
      embedding_bytes = spec.vocab * spec.hidden * 2;
      const ModelShard shard = shard_of(spec, sizes.tensor, sizes.pipeline, rank);
      const int64_t expected = 2 * num_shard_elements(spec, model->map, shard);
      Stream stream(kCpuDevice, 1);
      const auto loaded = load_model(*std::move(model), shard, nullptr, stream);
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      EXPECT_EQ(loaded->num_bytes_read, expected);
      if (sizes.pipeline == 1) {
        // 8 shards of 4 KV heads read each KV head twice.
        EXPECT_LE(static_cast<double>(loaded->num_bytes_read), 1.1 * static_cast<double>(file_bytes) / sizes.tensor);
      }
      total += loaded->num_bytes_read;
    }
    // The tied embedding is the first stage's and the last one's.
    const int64_t wanted = file_bytes + (sizes.pipeline > 1 ? embedding_bytes : 0);
    EXPECT_GE(total, wanted);
    EXPECT_LE(static_cast<double>(total), 1.1 * static_cast<double>(wanted));
  }
}

}  // namespace
}  // namespace cohort
