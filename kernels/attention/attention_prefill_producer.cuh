// The part of Hopper's prefill kernel that chooses the work and brings its tiles. Internal to this folder.
#pragma once

#include "kernels/attention/attention_prefill_sm90.cuh"

namespace cohort::cuda {

// The four warps that bring tiles. Each queues a part of the copies, because a copy is small where blocks are and takes
// long to queue; what is once for a tile is the first warp's.
template <class C>
class PrefillProducer {
 public:
  __device__ PrefillProducer(const PrefillParams& params, PrefillShared<C>& shared, int warp)
      : params_(params), args_(params.args), shared_(shared), warp_(warp) {}

  __device__ void run() {
    const int num_items = params_.order.num_items();
    int num_works = 0;
    int round = 0;
    for (int index = index_of(round); index < num_items; index = index_of(++round)) {
      if (!find(params_.order.item(index))) continue;
      load_keys(work_.num_tiles - 1);
      load_queries(num_works++);
      for (int tile = work_.num_tiles - 2; tile >= 0; --tile) {
        load_keys(tile);
        load_values(tile + 1);
      }
      load_values(0);
    }
    if (!is_first()) return;
    shared_.queries_empty.wait((num_works & 1) ^ 1);
    shared_.work.num_tiles = 0;
    shared_.queries_full.arrive();
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ bool is_first() const { return threadIdx.x == 0; }

  // Which item is this block's in a round; where none is left, one behind the last.
  __device__ int index_of(int round) const {
    const int num_blocks = static_cast<int>(gridDim.x);
    const int block = static_cast<int>(blockIdx.x);
    if (params_.num_taken == nullptr) {  // forth and back, so that no block has the longest of every round
      return round * num_blocks + (round % 2 == 0 ? block : num_blocks - 1 - block);
    }
    if (round == 0) return block;
    int& index = shared_.next_index[round % 2];  // the other may still be read
    if (is_first()) index = num_blocks + atomicAdd(params_.num_taken, 1);
    sync_threads(kProducerBarrier, kWarpgroupThreads);
    return index;
  }

  // Makes the item the work at hand, unless it has no rows or is another kernel's.
  __device__ bool find(const PrefillItem& item) {
    const PrefillOrder& order = params_.order;
    int seq = 0;
    int tile = 0;
    if (order.tiles_per_seq > 0) {
      seq = item.tile / order.tiles_per_seq;
      tile = item.tile % order.tiles_per_seq;
    } else {
      seq = find_sequence(args_.num_seqs, item.tile, [&](int s) { return order.first_tile(s, args_.query_starts[s]); });
      tile = item.tile - order.first_tile(seq, args_.query_starts[seq]);
    }
    const int first_query = args_.query_starts[seq];
    const int num_queries = args_.query_starts[seq + 1] - first_query;
    const int first_row = tile * kPrefillRows;
    const int num_rows = (num_queries << order.heads_per_slot_log2) - first_row;
    if (num_queries <= args_.max_decode_queries || num_rows <= 0) return false;
    const SequenceView<C::kIsPlain> sequence(args_, seq);
    if (C::kIsPlain && sequence.context_length == 0) return false;
    const int last_row = first_row + min(num_rows, kPrefillRows) - 1;
    end_ = sequence.num_visible(args_, last_row >> order.heads_per_slot_log2);
    block_table_ = sequence.block_table;
    kv_head_ = (item.slot << order.heads_per_slot_log2) / args_.group_size;
    work_.first_token = first_query + (first_row >> order.heads_per_slot_log2);
    work_.first_head = item.slot << order.heads_per_slot_log2;
    work_.num_rows = num_rows;
    work_.num_tiles = (end_ + C::kTile - 1) / C::kTile;
    work_.first_visible = sequence.position(first_row >> order.heads_per_slot_log2) + 1;
    work_.context_length = sequence.context_length;
    if constexpr (!C::kIsPlain) {
      begin_ = sequence.first_visible(args_, first_row >> order.heads_per_slot_log2);
      work_.num_tiles = max(1, work_.num_tiles - begin_ / C::kTile);  // one of zeros where there is no context
    }
    return true;
  }

  __device__ void load_queries(int i) {
    if (is_first()) {
      shared_.queries_empty.wait((i & 1) ^ 1);
      shared_.work = work_;
      shared_.queries_full.arrive_and_expect(C::kQueryBytes);
      load_box(shared_.queries, params_.queries, shared_.queries_full, {0, work_.first_head, work_.first_token, 0});
    }
    __syncwarp();
  }

  __device__ void load_keys(int tile) {
    const StageOf<C> at(num_keys_++);
    load(shared_.keys[at.stage], params_.keys, tile, at, shared_.keys_full, shared_.keys_empty);
  }
  __device__ void load_values(int tile) {
    const StageOf<C> at(num_values_++);
    load(shared_.values[at.stage], params_.values, tile, at, shared_.values_full, shared_.values_empty);
  }

  // A lane may have one of the tile's blocks. Where no row sees one there is none, and zeros come. Bytes may arrive
  // before they are announced: the phase waits for the announcement.
  __device__ void load(char* to, const CUtensorMap& map, int tile, const StageOf<C>& at,
                       SharedBarrier (&full)[C::kStages], SharedBarrier (&empty)[C::kStages]) {
    const int offset = (lane() * kProducerWarps + warp_) * args_.block_size;
    const int position = (begin_ / C::kTile + tile) * C::kTile + offset;
    const bool is_before = !C::kIsPlain && position + args_.block_size <= begin_;
    int block = args_.num_blocks;  // lies outside of the tensor
    if (offset < C::kTile && position < end_ && !is_before) {
      block = block_table_[position / args_.block_size];
      check_on_device(block >= 0 && block < args_.num_blocks);
    }
    empty[at.stage].wait(at.parity ^ 1);
    if (is_first()) full[at.stage].arrive_and_expect(C::kTileBytes);
    if (offset < C::kTile) {
      load_box(to + offset * C::kDim * 2, map, full[at.stage], {0, 0, 0, 0, block * args_.num_kv_heads + kv_head_});
    }
    __syncwarp();
  }

  const PrefillParams& params_;
  const AttentionArgs& args_;
  PrefillShared<C>& shared_;
  const int warp_;
  PrefillWork work_{};
  const int32_t* block_table_ = nullptr;
  int kv_head_ = 0;
  int begin_ = 0;  // of the positions that the first row sees; in plain attention always 0
  int end_ = 0;    // of those that the last row sees
  int num_keys_ = 0;
  int num_values_ = 0;
};

}  // namespace cohort::cuda
