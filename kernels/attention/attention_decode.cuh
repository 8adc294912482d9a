// What the warps of the decode kernel have in common: the rings between them, and what is said along with a tile.
// Internal to this folder; attention_decode_cuda.cu tells how it works.
#pragma once

#include "kernels/attention/attention_args.cuh"
#include "kernels/core/tma.cuh"

namespace cohort::cuda::decode {

// Warps of a block: those that attend, one that loads, those that store.
constexpr int kLoader = kDecodeWarps;
constexpr int kFirstFinisher = kLoader + 1;
constexpr int kFinishers = 3;  // more, and registers would not suffice for heads of 256
constexpr int kNumWarps = kFirstFinisher + kFinishers;

// What the loading warp says of a tile, beside it in its stage; of an item's last tile, it is said of the result too.
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
static_assert(sizeof(TileNote) == DecodeLayout::kNoteBytes);

__device__ inline int lane_index() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_index() { return static_cast<int>(threadIdx.x) / 32; }

// A ring in shared memory, as one side goes through it: who fills a place waits until it is free, then makes it full.
class Ring {
 public:
  __device__ Ring(const RingLayout& layout, char* shared) : layout_(layout), shared_(shared) {}

  __device__ void init(int num_filling, int num_freeing) const {
    for (int i = 0; i < layout_.num_places; ++i) {
      barrier(layout_.full(i)).init(num_filling);
      barrier(layout_.free(i)).init(num_freeing);
    }
  }

  __device__ int num_places() const { return layout_.num_places; }
  __device__ char* place() const { return shared_ + layout_.place(index_); }
  __device__ SharedBarrier& full() const { return barrier(layout_.full(index_)); }
  __device__ SharedBarrier& free() const { return barrier(layout_.free(index_)); }
  __device__ void wait_until_full() const { full().wait(parity_); }
  __device__ void wait_until_free() const { free().wait(parity_ ^ 1); }
  __device__ void advance() { advance(1); }
  // At most as far as there are places.
  __device__ void advance(int count) {
    index_ += count;
    if (index_ >= layout_.num_places) {
      index_ -= layout_.num_places;
      parity_ ^= 1;
    }
  }

 private:
  __device__ SharedBarrier& barrier(int at) const { return *reinterpret_cast<SharedBarrier*>(shared_ + at); }

  RingLayout layout_;
  char* shared_;
  int index_ = 0;
  int parity_ = 0;
};

__device__ inline TileNote& note_at(char* place) { return *reinterpret_cast<TileNote*>(place); }

}  // namespace cohort::cuda::decode
