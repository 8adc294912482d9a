// The order in which the Hopper prefill kernel goes through its work: pure functions. Internal to this folder and its
// tests; the host counts by them and the device indexes.
//
// An item is a tile of rows of one sequence and a slot of query heads. Row r of a slot is query r / heads_per_slot
// under the slot's head r % heads_per_slot, so that rows see later and later positions. A slot has heads of one KV
// head, a power of two of them.
#pragma once

#include <cstdint>

#include "kernels/attention/attention_layout.h"
#include "kernels/attention/attention_plan.h"

namespace cohort::cuda {

inline constexpr int kPrefillRows = 128;  // of a tile

struct PrefillItem {
  int tile;
  int slot;
};

// Tiles are numbered through all sequences, slots through all heads. Slots form sections whose keys and values stay in
// the L2 cache; within one, work begins with the last tiles, which see most, and those of all slots follow each other.
struct PrefillOrder {
  int num_tiles;          // of a slot, of all sequences; where sequences differ some have no rows
  int tiles_per_seq;      // 0 where sequences differ
  int num_slots;          // num_heads / heads_per_slot
  int slots_per_section;  // the last section may have fewer
  int heads_per_slot_log2;

  COHORT_HOST_DEVICE int num_items() const { return num_tiles * num_slots; }

  // Whether no item sees more than the one before it, as far as the host knows.
  bool is_sorted() const { return tiles_per_seq == num_tiles && slots_per_section == num_slots; }

  COHORT_HOST_DEVICE PrefillItem item(int index) const {
    const int section_items = num_tiles * slots_per_section;
    const int first_slot = index / section_items * slots_per_section;
    const int rest = index % section_items;
    const int slots_left = num_slots - first_slot;
    const int num_section_slots = slots_left < slots_per_section ? slots_left : slots_per_section;
    return {num_tiles - 1 - rest / num_section_slots, first_slot + rest % num_section_slots};
  }

  // The first tile of a sequence whose queries begin at row `query_start` of q, where sequences differ: it may own one
  // more than its queries fill, and no two sequences share one.
  COHORT_HOST_DEVICE int first_tile(int seq, int query_start) const {
    return static_cast<int>((int64_t{query_start} << heads_per_slot_log2) / kPrefillRows) + seq;
  }
};

// Requires that num_tokens * num_heads and num_seqs * num_heads fit an int.
PrefillOrder order_prefill(const AttentionProblem& problem);

}  // namespace cohort::cuda
