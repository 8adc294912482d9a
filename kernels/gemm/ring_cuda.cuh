// Rings of stages in shared memory through which kernels stream operands to the tensor cores. Only for files that are
// compiled with CUDA.
#pragma once

#include <cstdint>

#include "kernels/core/tma.cuh"
#include "kernels/core/wgmma.cuh"

namespace cohort::cuda {

inline constexpr int kMaxRingStages = 32;
inline constexpr int kNumMultiplierWarps = kWarpgroupThreads / 32;
inline constexpr int kRowBytes = 128;     // of a tile's row of elements of K, as far as a swizzle reaches
inline constexpr int kGroupBytes = 1024;  // of eight rows; a tile begins at a multiple of it

// Barriers of a ring's stages: `full` is complete when what loaders asked for has come, `empty` when it is multiplied.
struct RingBarriers {
  SharedBarrier full[kMaxRingStages];
  SharedBarrier empty[kMaxRingStages];

  __device__ void init(int stage, int num_loaders) {
    full[stage].init(num_loaders);
    empty[stage].init(kNumMultiplierWarps);
  }
};

// A way through a ring. What loads and multiplies must be short between two stages.
class Ring {
 public:
  __device__ Ring(RingBarriers& barriers, char* tiles, int num_stages, int stage_bytes)
      : barriers_(barriers), first_tiles_(tiles), num_stages_(num_stages), stage_bytes_(stage_bytes), tiles_(tiles) {}

  __device__ SharedBarrier& full() const { return barriers_.full[stage_]; }
  __device__ SharedBarrier& empty() const { return barriers_.empty[stage_]; }
  __device__ char* tiles() const { return tiles_; }
  __device__ void wait_until_full() const { full().wait(static_cast<int>(turn_ & 1)); }
  // At once in the first turn.
  __device__ void wait_until_empty() const { empty().wait(static_cast<int>(~turn_ & 1)); }
  __device__ void advance() {
    ++stage_;
    tiles_ += stage_bytes_;
    if (stage_ < num_stages_) return;
    stage_ = 0;
    tiles_ = first_tiles_;
    ++turn_;
  }

 private:
  RingBarriers& barriers_;
  char* const first_tiles_;
  const int num_stages_;
  const int stage_bytes_;
  char* tiles_;
  int stage_ = 0;
  uint32_t turn_ = 0;
};

// The aligned beginning of dynamic shared memory, which is to have kGroupBytes more than is used.
__device__ inline char* align_tiles(char* smem) {
  const uint32_t offset = shared_address(smem) % kGroupBytes;
  return smem + (offset == 0 ? 0 : kGroupBytes - offset);
}

// A tile as an operand of a product, from its first element of K on.
__device__ inline uint64_t operand(const char* tile) { return matrix_descriptor<kRowBytes>(tile, 16, kGroupBytes); }

// sums [64, kRows] of the warpgroup = the products of the ring's next `num_steps` stages, at least one. Of each of its
// kBlocks blocks of kBlockK of K a stage has a tile of weights, the first operand of a product, of `weight_bytes`; then
// of each one of x. Blocks are summed apart, so that a product need not wait for the one before.
template <typename T, int kBlocks, int kBlockK, int kRows>
__device__ void multiply_stages(float (&sums)[kRows / 2], Ring& ring, int num_steps, int weight_bytes) {
  constexpr int kProductK = 16;
  const auto release = [](SharedBarrier* empty) {
    if (threadIdx.x % 32 == 0) empty->arrive();
  };
  float block_sums[kBlocks][kRows / 2] = {};
  SharedBarrier* multiplied = nullptr;  // of the stage before, when its products are done
  for (int step = 0; step < num_steps; ++step) {
    ring.wait_until_full();
    begin_products();
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const uint64_t weights = operand(ring.tiles() + b * weight_bytes);
      const uint64_t x = operand(ring.tiles() + kBlocks * weight_bytes + b * kRows * kRowBytes);
#pragma unroll
      for (int k = 0; k < kBlockK; k += kProductK) {
        multiply_shared<T>(block_sums[b], advance(weights, k * 2), advance(x, k * 2), 1);
      }
    }
    commit_products();
    wait_for_products<1>();
    if (step > 0) release(multiplied);
    multiplied = &ring.empty();
    ring.advance();
  }
  wait_for_products<0>();
  release(multiplied);
#pragma unroll
  for (auto& of_block : block_sums) pin(of_block);
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {
    sums[i] = block_sums[0][i];
#pragma unroll
    for (int b = 1; b < kBlocks; ++b) sums[i] += block_sums[b][i];
  }
}

// Boxes of kRowBytes of `box_rows` rows of a matrix [num_rows, k].
template <typename T>
CUtensorMap make_tile_map(const void* data, int64_t num_rows, int64_t k, int64_t stride, int box_rows) {
  const TensorBox<2> tensor{.dims = {static_cast<uint64_t>(k), static_cast<uint64_t>(num_rows)},
                            .strides = {static_cast<uint64_t>(stride) * sizeof(T)},
                            .box = {kRowBytes / sizeof(T), static_cast<uint32_t>(box_rows)}};
  return make_tensor_map<T>(data, tensor, kRowBytes, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
}

}  // namespace cohort::cuda
