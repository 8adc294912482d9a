#include "kernels/attention/attention_prefill_order.h"

#include <algorithm>

namespace cohort::cuda {
namespace {

// Keys and values of a sequence that are taken as one section, and of a section where there is more: Hopper's L2 cache
// has 50 MB, through which queries and results pass as well.
constexpr int64_t kMaxWholeBytes = 48 << 20;
constexpr int64_t kSectionBytes = 24 << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

PrefillOrder order_prefill(const AttentionProblem& p) {
  const int64_t group_size = p.num_heads / p.num_kv_heads;
  PrefillOrder order{};
  while (group_size % (2 << order.heads_per_slot_log2) == 0 && 2 << order.heads_per_slot_log2 <= kPrefillRows) {
    ++order.heads_per_slot_log2;
  }
  const int64_t heads_per_slot = int64_t{1} << order.heads_per_slot_log2;
  const bool is_even = p.num_tokens == p.num_seqs * p.max_query_length;  // then no sequence is shorter
  if (p.num_seqs == 1 || is_even) {
    order.tiles_per_seq = static_cast<int>(ceil_div(p.num_tokens / p.num_seqs * heads_per_slot, kPrefillRows));
  }
  order.num_tiles =
      static_cast<int>(order.tiles_per_seq > 0 ? order.tiles_per_seq * p.num_seqs
                                               : p.num_tokens * heads_per_slot / kPrefillRows + p.num_seqs);
  order.num_slots = static_cast<int>(p.num_heads / heads_per_slot);

  const int64_t kv_head_bytes = 2 * p.max_context_length * p.head_dim * 2;  // of 16 bits
  const bool is_whole = kv_head_bytes * p.num_kv_heads <= kMaxWholeBytes;
  const int64_t fitting =
      is_whole ? p.num_kv_heads : std::clamp<int64_t>(kSectionBytes / kv_head_bytes, 1, p.num_kv_heads);
  const int64_t num_sections = ceil_div(p.num_kv_heads, fitting);
  order.slots_per_section = static_cast<int>(ceil_div(p.num_kv_heads, num_sections) * (group_size / heads_per_slot));
  return order;
}

}  // namespace cohort::cuda
