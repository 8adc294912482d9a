// The CUDA backend of attention against the CPU's, on the same bytes.
#include "tests/op/attention_cuda_testing.h"

namespace cohort {
namespace {

using namespace test;

TEST_F(AttentionCuda, EveryHeadDim) {
  for (const DType dtype : kTiledDTypes) {
    for (const int64_t dim : {8, 24, 40, 64, 72, 80, 96, 112, 128, 192, 256}) {
      expect_like_the_cpu(dtype, {4, 2, dim}, kMixed, {});
      expect_like_the_cpu(dtype, {4, 2, dim}, kDecodes, {});
    }
  }
}

TEST_F(AttentionCuda, EveryGroupSize) {
  for (const Heads heads : {Heads{3, 3, 128}, Heads{4, 2, 128}, Heads{8, 2, 128}, Heads{16, 2, 64}, Heads{16, 1, 128},
                            Heads{10, 2, 96}, Heads{32, 1, 64}, Heads{71, 1, 64}, Heads{142, 2, 64}}) {
    expect_like_the_cpu(DType::kBF16, heads, kMixed, {});
    expect_like_the_cpu(DType::kBF16, heads, kDecodes, {});
  }
}

TEST_F(AttentionCuda, EveryBlockSize) {
  for (const int64_t block_size : {1, 5, 16, 32, 64, 100, 1024}) {
    for (const int64_t dim : {64, 256}) {
      expect_like_the_cpu(DType::kF16, {4, 2, dim}, kMixed, {.block_size = block_size, .shuffle = 2});
      expect_like_the_cpu(DType::kF16, {4, 2, dim}, kDecodes, {.block_size = block_size, .shuffle = 3});
    }
  }
}

TEST_F(AttentionCuda, EveryContextLength) {
  std::vector<Chunk> decodes;
  uint32_t id = 0;
  for (const int64_t length : {1,   2,   15,  16,  17,  31,  32,  33,  63,  64,   65,   127,  128,
                               129, 255, 256, 257, 511, 512, 513, 767, 768, 1025, 2047, 2999, 3000}) {
    decodes.push_back({id++, length - 1, length});
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, {decodes.back()}, {});
  }
  expect_like_the_cpu(DType::kBF16, {8, 2, 128}, decodes, {});
  expect_like_the_cpu(DType::kBF16, {2, 2, 256}, decodes, {});
}

TEST_F(AttentionCuda, ChunksInTheMiddleOfAContext) {
  for (const int64_t num_queries : {2, 5, 16, 17, 64, 65, 127, 128, 129, 300}) {
    for (const int64_t begin : {0, 1, 63, 255, 256, 1500}) {
      expect_like_the_cpu(DType::kBF16, {4, 2, 128}, {{1, begin, begin + num_queries}}, {});
    }
  }
  expect_like_the_cpu(DType::kF16, {2, 1, 256}, {{1, 1000, 1200}, {2, 0, 1100}}, {});
}

TEST_F(AttentionCuda, FewQueriesOfLongContexts) {
  const std::vector<Chunk> drafts = {{1, 2995, 3000}, {2, 100, 103}, {3, 1023, 1024}, {4, 0, 4}, {5, 500, 500}};
  for (const Heads heads : {Heads{4, 4, 64}, Heads{8, 2, 128}, Heads{8, 1, 80}, Heads{32, 1, 64}}) {
    expect_like_the_cpu(DType::kBF16, heads, drafts, {});
    expect_like_the_cpu(DType::kBF16, heads, drafts, {.has_workspace = false});
  }
}

// The host may know no more than limits.
TEST_F(AttentionCuda, LimitsMayExceedTheBatch) {
  for (const int64_t slack : {1, 50, 3000}) {
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, kMixed, {.slack = slack});
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, kDecodes, {.slack = slack});
  }
}

// More sequences than a warp has lanes, and items that are cut, shared by several blocks, or many to a block.
TEST_F(AttentionCuda, RaggedBatches) {
  std::mt19937 random(5);
  for (const int64_t num_seqs : {2, 31, 33, 150}) {
    std::vector<Chunk> decodes;
    for (int64_t i = 0; i < num_seqs; ++i) {
      const auto length = static_cast<int64_t>(random() % (i % 16 == 0 ? 3000 : 150)) + 1;
      decodes.push_back({static_cast<uint32_t>(i), length - 1, length});
    }
    for (const Heads heads : {Heads{3, 3, 64}, Heads{8, 1, 128}, Heads{16, 1, 128}}) {
      expect_like_the_cpu(DType::kBF16, heads, decodes, {.block_size = 32});
      expect_like_the_cpu(DType::kBF16, heads, decodes, {.has_workspace = false});
    }
  }
}

// Sequences that are the decode kernel's between others that are not.
TEST_F(AttentionCuda, ManyDecodesAmongPrefills) {
  std::mt19937 random(6);
  for (const Heads heads : {Heads{40, 40, 64}, Heads{16, 2, 128}}) {
    std::vector<Chunk> prompts = {{0, 0, 150}, {1, 0, 150}, {2, 0, 90}};
    for (uint32_t id = 3; id < 63; ++id) prompts.push_back({id, 0, 1});
    expect_like_the_cpu(DType::kBF16, heads, prompts, {});
    std::vector<Chunk> mixed;
    for (uint32_t id = 0; id < 64; ++id) {
      const auto length = static_cast<int64_t>(random() % (id % 8 == 0 ? 600 : 17)) + 1;
      const int64_t num_queries = id % 5 == 0 ? std::min<int64_t>(length, 2 + id % 15) : id == 33 ? length : 1;
      mixed.push_back({id, length - num_queries, length});
    }
    mixed.push_back({64, 10, 110});
    expect_like_the_cpu(DType::kBF16, heads, mixed, {});
  }
}

TEST_F(AttentionCuda, OneRecordedCallServesEveryContext) {
  const std::vector<Chunk> longest = {{1, 2999, 3000}, {2, 2999, 3000}, {3, 2999, 3000}};
  const std::vector<std::vector<int32_t>> lengths = {{1, 1, 1},      {3000, 3000, 3000}, {1, 2999, 64},
                                                     {700, 65, 129}, {2, 3, 2500},       {1, 1, 1}};
  for (const Heads heads : {Heads{4, 4, 64}, Heads{8, 1, 128}, Heads{71, 1, 64}}) {
    for (const bool deterministic : {false, true}) {
      const Options options{.deterministic = deterministic};
      SCOPED_TRACE(name_of(DType::kBF16, heads, options));
      Batch batch(DType::kBF16, heads, longest, options);
      const std::vector<Tensor> outs = batch.replay(lengths);
      for (size_t i = 0; i < lengths.size(); ++i) {
        SCOPED_TRACE(i);
        batch.set_lengths(lengths[i]);
        expect_near(outs[i], values_of(batch.run(kCpuDevice)), 2.1 * rounding_of(DType::kBF16),
                    2 * rounding_of(DType::kBF16));
      }
    }
  }
}

// Only older positions may be read before the kernel before has ended.
TEST_F(AttentionCuda, KernelsBeforeStoreWhatTheQueriesBring) {
  std::vector<Chunk> many;
  for (uint32_t id = 0; id < 64; ++id) many.push_back({id, 20 + 7 * id, 21 + 7 * id});
  const std::vector<Chunk> drafts = {{1, 2995, 3000}, {2, 100, 103}, {3, 1023, 1024}, {4, 0, 4}};
  for (const Heads heads : {Heads{40, 40, 128}, Heads{8, 2, 64}, Heads{8, 8, 256}}) {
    for (const std::vector<Chunk>& chunks : {kDecodes, many, drafts}) {
      const Options options{};
      SCOPED_TRACE(name_of(DType::kBF16, heads, options));
      const Batch batch(DType::kBF16, heads, chunks, options);
      expect_near(batch.run_in_a_step(), values_of(batch.run(kCuda)), 0, 0);
    }
  }
}

TEST_F(AttentionCuda, RowsThatFillABatchUpBecomeZero) {
  const Chunk padding{0, -1, 0};
  std::vector<Chunk> padded = {padding};
  padded.insert(padded.end(), kDecodes.begin(), kDecodes.end());
  padded.insert(padded.end(), {padding, padding});
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : {Heads{4, 4, 64}, Heads{8, 1, 128}, Heads{71, 1, 64}, Heads{4, 2, 20}}) {
      for (const bool deterministic : {false, true}) {
        const Options options{.deterministic = deterministic};
        SCOPED_TRACE(name_of(dtype, heads, options));
        const std::vector<double> real = values_of(Batch(dtype, heads, kDecodes, options).run(kCpuDevice));
        const auto width = static_cast<size_t>(heads.num_heads * heads.head_dim);
        std::vector<double> expected(width, 0.0);
        expected.insert(expected.end(), real.begin(), real.end());
        expected.insert(expected.end(), 2 * width, 0.0);
        const double absolute = dtype == DType::kF32 ? 1e-5 : 2 * rounding_of(dtype);
        expect_near(Batch(dtype, heads, padded, options).run(kCuda), expected, 2.1 * rounding_of(dtype), absolute);
        const std::vector<double> none(width, 0.0);
        expect_near(Batch(dtype, heads, {padding}, options).run(kCuda), none, 0, 0);
      }
    }
  }
}

TEST_F(AttentionCuda, EveryVisiblePositionCountsOnce) {
  const std::vector<Chunk> chunks = {{1, 0, 200}, {2, 1299, 1300}, {3, 30, 31}, {4, 700, 1000}};
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t dim : {64, 80, 128, 256}) {
      const Options options{.uniform = true};
      for (const std::vector<Chunk>& batch : {chunks, std::vector<Chunk>{{2, 1299, 1300}, {3, 30, 31}}}) {
        SCOPED_TRACE(name_of(dtype, {2, 1, dim}, options));
        std::vector<double> expected;
        for (const Chunk& c : batch) {
          for (int64_t position = c.begin; position < c.end; ++position) {
            for (int64_t i = 0; i < 2 * dim; ++i) {
              const int64_t count = position / dim + (i % dim <= position % dim ? 1 : 0);
              expected.push_back(static_cast<double>(count) / static_cast<double>(position + 1));
            }
          }
        }
        expect_near(Batch(dtype, {2, 1, dim}, batch, options).run(kCuda), expected, 1.01 * rounding_of(dtype) + 1e-5,
                    0);
      }
    }
  }
}

// What the tensor core kernels do not take.
TEST_F(AttentionCuda, AnyDTypeDimensionAndAlignment) {
  for (const int64_t dim : {1, 5, 64, 128, 300}) {
    expect_like_the_cpu(DType::kF32, {4, 2, dim}, kMixed, {.block_size = 7});
  }
  expect_like_the_cpu(DType::kF32, {71, 1, 64}, kDecodes, {});
  expect_like_the_cpu(DType::kBF16, {4, 2, 20}, kMixed, {});
  expect_like_the_cpu(DType::kF16, {4, 2, 264}, kMixed, {});
  expect_like_the_cpu(DType::kBF16, {4, 2, 128}, kMixed, {.margin = 5});
}

constexpr Heads kBitHeads[] = {{4, 4, 64}, {8, 2, 128}, {10, 2, 80}, {71, 1, 64}, {2, 1, 256}};

TEST_F(AttentionCuda, DeterministicBitsAreThoseOfTheSequenceAlone) {
  for (const Heads heads : kBitHeads) {
    for (const DType dtype : kTiledDTypes) {
      const Options options{.deterministic = true};
      SCOPED_TRACE(name_of(dtype, heads, options));
      for (const std::vector<Chunk>& chunks : {kMixed, kDecodes}) {
        const std::vector<std::string> together = Batch(dtype, heads, chunks, options).bytes(kCuda);
        const Options other{.block_size = 5, .shuffle = 9, .deterministic = true, .slack = 7};
        for (size_t i = 0; i < chunks.size(); ++i) {
          if (chunks[i].begin == chunks[i].end) continue;
          EXPECT_TRUE(Batch(dtype, heads, {chunks[i]}, other).bytes(kCuda)[0] == together[i]) << "sequence " << i;
        }
      }
    }
  }
}

TEST_F(AttentionCuda, DeterministicChunksGiveTheBitsOfTheWhole) {
  constexpr int64_t kLength = 613;
  const Options options{.deterministic = true};
  for (const Heads heads : kBitHeads) {
    for (const DType dtype : kTiledDTypes) {
      SCOPED_TRACE(name_of(dtype, heads, options));
      const std::string whole = Batch(dtype, heads, {{9, 0, kLength}}, options).bytes(kCuda)[0];
      const size_t row_bytes = whole.size() / kLength;
      for (const int64_t size : {1, 3, 64, 65, 256, 300}) {
        // Small chunks, where contexts are long as well, cover all cases near the ends of runs.
        for (int64_t begin = size < 60 ? 500 : 0; begin < kLength; begin += size) {
          const Chunk chunk{9, begin, std::min(begin + size, kLength)};
          const std::string bytes = Batch(dtype, heads, {chunk}, options).bytes(kCuda)[0];
          ASSERT_TRUE(bytes == whole.substr(static_cast<size_t>(begin) * row_bytes, bytes.size()))
              << "chunk of " << size << " from " << begin;
        }
      }
    }
  }
}

TEST_F(AttentionCuda, DeterministicBitsDoNotDependOnTheWorkspace) {
  for (const Heads heads : kBitHeads) {
    const Options with{.deterministic = true};
    const Options without{.deterministic = true, .has_workspace = false};
    SCOPED_TRACE(name_of(DType::kBF16, heads, with));
    for (const std::vector<Chunk>& chunks : {std::vector<Chunk>{{1, 2999, 3000}}, kDecodes, kMixed}) {
      EXPECT_TRUE(Batch(DType::kBF16, heads, chunks, with).bytes(kCuda) ==
                  Batch(DType::kBF16, heads, chunks, without).bytes(kCuda));
    }
  }
}

TEST_F(AttentionCuda, NoTokensIsNothing) {
  Stream stream(kCuda);
  const Tensor none(DType::kBF16, {0, 8, 64}, kCuda);
  const Tensor cache(DType::kBF16, {1, 1, 16, 64}, kCuda);
  const Tensor table(DType::kI32, {0, 1}, kCuda);
  const Tensor starts(DType::kI32, {1}, kCuda);
  const Tensor lengths(DType::kI32, {0}, kCuda);
  paged_attention(none, none, {cache, cache}, {starts, lengths, table}, {1.0f}, {}, stream);
  EXPECT_NO_THROW(stream.synchronize());
}

TEST_F(AttentionCuda, RefusesWhatDoesNotFit) {
  Stream stream(kCuda);
  const Tensor q(DType::kBF16, {2, 8, 64}, kCuda);
  const Tensor on_host(DType::kBF16, {2, 8, 64});
  const Tensor cache(DType::kBF16, {1, 1, 16, 64}, kCuda);
  const Tensor table(DType::kI32, {1, 1}, kCuda);
  const Tensor starts(DType::kI32, {2}, kCuda);
  const Tensor lengths(DType::kI32, {1}, kCuda);
  const auto run = [&](const Tensor& out, int64_t max_query_length, int64_t max_context_length, TensorView workspace) {
    paged_attention(out, q, {cache, cache}, {starts, lengths, table, max_query_length, max_context_length}, {1.0f},
                    workspace, stream);
  };
  EXPECT_THROW(run(q, 0, 0, {}), CheckError);
  EXPECT_THROW(run(q, 2, 1, {}), CheckError);
  EXPECT_THROW(run(q, 2, 17, {}), CheckError);  // more than the table has blocks for
  EXPECT_THROW(run(on_host, 2, 2, {}), CheckError);
  EXPECT_THROW(run(q, 2, 2, Tensor(DType::kU8, {1024})), CheckError);
}

}  // namespace
}  // namespace cohort
