// What the parts of Hopper's prefill kernel share: the shapes of tiles, where they are in shared memory, how the parts
// wait for each other. Internal to this folder.
//
// After FlashAttention-3 (Shah et al. 2024): a warpgroup has the copy engine bring tiles of keys and values, two others
// take turns, so that the softmax of one runs under the tensor cores' products of the other, and within each the
// products of a tile with values under the softmax of the next.
#pragma once

#include "kernels/attention/attention_args.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/attention/attention_prefill_order.h"
#include "kernels/core/tma.cuh"
#include "kernels/core/wgmma.cuh"

namespace cohort::cuda {

inline constexpr int kNumConsumers = 2;  // warpgroups, of 64 rows each
inline constexpr int kNumPrefillThreads = (1 + kNumConsumers) * kWarpgroupThreads;
inline constexpr int kProducerWarps = 4;
inline constexpr int kNumConsumerWarps = kNumConsumers * kWarpgroupThreads / 32;
// 512 a thread of each kind of warpgroup together: what the register file has for 384 threads.
inline constexpr int kProducerRegisters = 40;
inline constexpr int kConsumerRegisters = 232;
static_assert(kPrefillRows == kNumConsumers * 64);

// Named barriers; 0 is the block's.
inline constexpr int kTurnBarrier = 1;       // and 2: a consumer's turn to queue products
inline constexpr int kConsumersBarrier = 3;  // the threads of all consumers
inline constexpr int kProducerBarrier = 4;

__device__ inline void sync_threads(int barrier, int num_threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(num_threads) : "memory");
}

// Tiles are in shared memory as wgmma reads them. Rows are cut into panels, whose width in bytes is the swizzle; eight
// rows of a panel are an atom. Of keys and values eight positions, all their panels, follow each other, so that a
// block's part is contiguous, of queries all rows of a panel.
template <typename T_, int kDim_, bool kIsPlain_>
struct PrefillConfig {
  using T = T_;  // __half or __nv_bfloat16
  static constexpr int kDim = kDim_;
  static constexpr bool kIsPlain = kIsPlain_;
  static constexpr int kTile = kDim > 128 ? 64 : 128;  // positions
  static constexpr int kStages = 2;
  static constexpr int kPanel = kDim % 64 == 0 ? 64 : kDim % 32 == 0 ? 32 : 16;  // elements
  static constexpr int kPanels = kDim / kPanel;
  static constexpr int kPanelBytes = kPanel * 2;
  static constexpr int kAtomBytes = 8 * kPanelBytes;
  static constexpr int kGroupBytes = kPanels * kAtomBytes;
  static constexpr int kQueryBytes = kPrefillRows * kDim * 2;
  static constexpr int kTileBytes = kTile * kDim * 2;
  // The accumulators of values are in parts that one product can have.
  static constexpr int kParts = kDim > 128 ? 2 : 1;
  static constexpr int kPartDim = kDim / kParts;
  static_assert(kDim % kPanel == 0 && kQueryBytes % 1024 == 0 && kTileBytes % 1024 == 0);
};

// What a block does next, told by the producer to the consumers.
struct PrefillWork {
  int first_token;  // row of q and out
  int first_head;
  int num_rows;       // of the slot's rows from there on that are the sequence's; a tile may have fewer
  int num_tiles;      // of positions, of which some row sees some; 0: nothing more to do
  int first_visible;  // positions up to the first row's, which it sees where attention is causal
  int context_length;
};

template <class C>
struct PrefillShared {
  alignas(1024) char queries[C::kQueryBytes];
  alignas(1024) char keys[C::kStages][C::kTileBytes];
  alignas(1024) char values[C::kStages][C::kTileBytes];
  SharedBarrier queries_full, queries_empty;
  SharedBarrier keys_full[C::kStages], keys_empty[C::kStages];
  SharedBarrier values_full[C::kStages], values_empty[C::kStages];
  PrefillWork work;  // comes and goes with the queries
  int next_index[2];

  __device__ void init() {
    queries_full.init(1);
    queries_empty.init(kNumConsumers * kWarpgroupThreads);  // each for what it read of the work
    for (int stage = 0; stage < C::kStages; ++stage) {
      keys_full[stage].init(1);
      values_full[stage].init(1);
      keys_empty[stage].init(kNumConsumerWarps);
      values_empty[stage].init(kNumConsumerWarps);
    }
    publish_barriers();
  }
};

struct PrefillParams {
  CUtensorMap queries;  // [panel, token, head, element of the panel]
  CUtensorMap keys;     // [block and KV head, eight positions, panel, position, element of the panel]
  CUtensorMap values;   // likewise
  AttentionArgs args;
  PrefillOrder order;
  int* num_taken;  // items, behind those with which blocks begin; null: blocks take turns
};

// Which stage the i-th tile of all that a block goes through is in, and the parity of the stage's turn.
template <class C>
struct StageOf {
  int stage;
  int parity;
  __device__ explicit StageOf(int i) : stage(i % C::kStages), parity(i / C::kStages % 2) {}
};

}  // namespace cohort::cuda
