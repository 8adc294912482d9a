// Hopper's prefill kernel, and what takes its place elsewhere, against the CPU's attention.
#include "tests/op/attention_cuda_testing.h"

namespace cohort {
namespace {

using namespace test;

using AttentionPrefillCuda = AttentionCuda;

// Every shape of tile, with tails of blocks and of tiles.
TEST_F(AttentionPrefillCuda, EveryHeadDimAndBlockSize) {
  const std::vector<Chunk> chunks = {{1, 0, 300}, {2, 77, 205}, {3, 640, 700}, {4, 0, 128}, {5, 0, 1}, {6, 3, 131}};
  for (const DType dtype : kTiledDTypes) {
    for (const int64_t dim : {64, 80, 96, 128, 256}) {
      for (const int64_t block_size : {16, 32, 64}) {
        expect_like_the_cpu(dtype, {4, 2, dim}, chunks, {.block_size = block_size, .margin = 8});
      }
    }
  }
}

TEST_F(AttentionPrefillCuda, AroundTheEdgesOfTiles) {
  for (const Heads heads : {Heads{2, 2, 128}, Heads{8, 1, 128}, Heads{12, 2, 64}, Heads{32, 1, 96}}) {
    for (const int64_t length : {18, 63, 64, 65, 127, 128, 129, 143, 144, 145, 255, 256, 257, 384, 513}) {
      expect_like_the_cpu(DType::kBF16, heads, {{1, 0, length}}, {});
      expect_like_the_cpu(DType::kF16, heads, {{2, 250, 250 + length}}, {.block_size = 32});
    }
  }
}

// So many that each multiprocessor has several tiles, of sequences that are alike and of others.
TEST_F(AttentionPrefillCuda, ManySequences) {
  std::vector<Chunk> alike;
  std::vector<Chunk> others;
  for (uint32_t id = 0; id < 40; ++id) {
    alike.push_back({id, id, int64_t{id} + 150});
    others.push_back({id, 2 * id, 2 * id + 1 + id % 3 * 110});
  }
  for (const Heads heads : {Heads{12, 12, 64}, Heads{16, 2, 128}}) {
    expect_like_the_cpu(DType::kBF16, heads, alike, {});
    expect_like_the_cpu(DType::kBF16, heads, others, {});
    expect_like_the_cpu(DType::kBF16, heads, others, {.has_workspace = false, .slack = 100});
  }
}

}  // namespace
}  // namespace cohort
