// What the warps of the decode kernel have in common: the ring of stages between the one that loads and those that
// attend, and what is said along with it. Internal to this folder; attention_decode_cuda.cu tells how it works.
#pragma once

#include "kernels/attention/attention_args.cuh"
#include "kernels/core/tma.cuh"

namespace cohort::cuda::decode {

constexpr int kConsumerBarrier = 1;  // of the warps that compute

// What the loading warp says of a tile, beside it in its stage.
struct alignas(16) TileNote {
  enum Kind : int { kMiddle = 0, kFirst = 1, kLast = 2, kEnd = 4 };  // bits: of the item in this block; of all tiles
  int kind;
  int num_positions;  // of the sequence from the tile's first on, at least the tile's own
  int num_queries;
  int first_query;  // row of q
  int kv_head;
  int place;  // of the state in the workspace; -1 when it is the output's
  int unused[2];
};
static_assert(sizeof(TileNote) == 32, "DecodeLayout says so");

// What the block that an item begins in says of it.
struct alignas(16) CutItem {
  int num_states;  // 0 when it is not cut
  int first_block;
  int num_rows;
  int first_query;
  int kv_head;
  int unused[3];
};
static_assert(sizeof(CutItem) == 32, "DecodeWorkspace says so");

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x) / 32; }

// The ring of stages in shared memory, as one side goes through it.
class Ring {
 public:
  __device__ Ring(const DecodeLayout& layout, char* shared)
      : layout_(layout), num_stages_(layout.num_stages()), shared_(shared) {}

  __device__ void init() const {
    for (int i = 0; i < num_stages_; ++i) {
      barrier(layout_.full(i)).init(1);
      barrier(layout_.free(i)).init(kDecodeWarps);
    }
    publish_barriers();
  }

  __device__ char* stage() const { return shared_ + layout_.stage(stage_); }
  __device__ TileNote& note() const { return *reinterpret_cast<TileNote*>(stage() + layout_.note()); }
  __device__ SharedBarrier& full() const { return barrier(layout_.full(stage_)); }
  __device__ SharedBarrier& free() const { return barrier(layout_.free(stage_)); }
  __device__ void wait_until_full() const { full().wait(parity_); }
  __device__ void wait_until_free() const { free().wait(parity_ ^ 1); }
  __device__ void advance() {
    if (++stage_ == num_stages_) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ SharedBarrier& barrier(int at) const { return *reinterpret_cast<SharedBarrier*>(shared_ + at); }

  const DecodeLayout& layout_;
  const int num_stages_;
  char* const shared_;
  int stage_ = 0;
  int parity_ = 0;
};

}  // namespace cohort::cuda::decode
