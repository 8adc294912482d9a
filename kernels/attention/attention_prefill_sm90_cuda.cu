// Prefill attention for Hopper, after FlashAttention-3 (Shah et al. 2024): one warp has the copy engine bring keys and
// values, two warpgroups take turns, so that the softmax of one runs under the tensor cores' products of the other, and
// within each the products of a tile with values under the softmax of the next.
#include <algorithm>
#include <limits>

#include "kernels/attention/attention_prefill_order.h"
#include "kernels/attention/attention_prefill_sm90.h"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tma.cuh"
#include "kernels/attention/attention_wgmma.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kNumConsumers = 2;  // warpgroups, of 64 rows each
constexpr int kNumPrefillThreads = (1 + kNumConsumers) * kWarpgroupThreads;
constexpr int kProducerWarps = 4;
constexpr int kNumConsumerWarps = kNumConsumers * kWarpgroupThreads / 32;
// 512 a thread of each kind of warpgroup together: what the register file has for 384 threads.
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;
static_assert(kPrefillRows == kNumConsumers * 64);

// Named barriers; 0 is the block's.
constexpr int kTurnBarrier = 1;       // and 2: a consumer's turn to queue products
constexpr int kWarpgroupBarrier = 3;  // and 4: the threads of a consumer

// Tiles are in shared memory as wgmma reads them. Rows are cut into panels, whose width in bytes is the swizzle; eight
// rows of a panel are an atom. Of keys and values eight positions, all their panels, follow each other, so that a
// block's part is contiguous, of queries all rows of a panel.
template <typename T_, int kDim_>
struct PrefillConfig {
  using T = T_;  // __half or __nv_bfloat16
  static constexpr int kDim = kDim_;
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
  int first_visible;  // positions that the first row sees
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

  __device__ void init() {
    queries_full.init(1);
    queries_empty.init(kNumConsumerWarps);
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
};

// Which stage the i-th tile of all that a block goes through is in, and the parity of the stage's turn.
template <class C>
struct StageOf {
  int stage;
  int parity;
  __device__ explicit StageOf(int i) : stage(i % C::kStages), parity(i / C::kStages % 2) {}
};

// The four warps that bring tiles. Each queues a part of the copies, because a copy is small where blocks are and takes
// long to queue; what is once for a tile is the first warp's.
template <class C>
class PrefillProducer {
 public:
  __device__ PrefillProducer(const PrefillParams& params, PrefillShared<C>& shared, int warp)
      : params_(params), args_(params.args), shared_(shared), warp_(warp) {}

  __device__ void run() {
    const int num_items = params_.order.num_items();
    const int num_blocks = static_cast<int>(gridDim.x);
    const int block = static_cast<int>(blockIdx.x);
    int num_works = 0;
    // Blocks take turns forth and back, so that none has the longest of every round.
    for (int round = 0; round * num_blocks < num_items; ++round) {
      const int index = round * num_blocks + (round % 2 == 0 ? block : num_blocks - 1 - block);
      if (index >= num_items || !find(params_.order.item(index))) continue;
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
    const SequenceView sequence(args_, seq);
    if (sequence.context_length == 0) return false;
    const int last_row = first_row + min(num_rows, kPrefillRows) - 1;
    end_ = sequence.num_visible(last_row >> order.heads_per_slot_log2);
    block_table_ = sequence.block_table;
    kv_head_ = (item.slot << order.heads_per_slot_log2) / args_.group_size;
    work_.first_token = first_query + (first_row >> order.heads_per_slot_log2);
    work_.first_head = item.slot << order.heads_per_slot_log2;
    work_.num_rows = num_rows;
    work_.num_tiles = (end_ + C::kTile - 1) / C::kTile;
    work_.first_visible = sequence.num_visible(first_row >> order.heads_per_slot_log2);
    work_.context_length = sequence.context_length;
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

  // A lane may have one of the tile's blocks. Behind the end there are none, and zeros come. Bytes may arrive before
  // they are announced: the phase waits for the announcement.
  __device__ void load(char* to, const CUtensorMap& map, int tile, const StageOf<C>& at,
                       SharedBarrier (&full)[C::kStages], SharedBarrier (&empty)[C::kStages]) {
    const int offset = (lane() * kProducerWarps + warp_) * args_.block_size;
    const int position = tile * C::kTile + offset;
    int block = args_.num_blocks;  // lies outside of the tensor
    if (offset < C::kTile && position < end_) {
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
  int end_ = 0;  // positions that the last row sees
  int num_keys_ = 0;
  int num_values_ = 0;
};

// A warpgroup that computes for 64 rows. It goes through tiles from the last one, some of whose positions are not seen.
template <class C>
class PrefillConsumer {
  using T = typename C::T;
  using Scores = float[C::kTile / 2];

 public:
  __device__ PrefillConsumer(const PrefillParams& params, PrefillShared<C>& shared, int warp)
      : params_(params), args_(params.args), shared_(shared), warp_(warp), group_(warp / 4) {}

  __device__ void run() {
    if (group_ == 1) give_turn();  // to the first, which begins
    for (int num_works = 0; begin(num_works); ++num_works) {
      start();
      int i = 1;
      for (; i < num_tiles_ && is_masked(i); ++i) step<true>(i);
      for (; i < num_tiles_; ++i) step<false>(i);
      finish();
      store();
      first_tile_ += num_tiles_;
    }
    if (group_ == 0) take_turn();  // the last that was given
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  __device__ void take_turn() const {
    asm volatile("bar.sync %0, %1;" ::"r"(kTurnBarrier + group_), "n"(kNumConsumers * kWarpgroupThreads) : "memory");
  }
  __device__ void give_turn() const {
    asm volatile("bar.arrive %0, %1;" ::"r"(kTurnBarrier + (group_ ^ 1)), "n"(kNumConsumers * kWarpgroupThreads)
                 : "memory");
  }
  __device__ void release(SharedBarrier& barrier) const {
    if (lane() == 0) barrier.arrive();
  }

  // Row of the slot, from the tile's first, that half h of the thread's accumulators belongs to.
  __device__ int row(int h) const { return warp_ * 16 + h * 8 + lane() / 4; }
  // Tiles are counted in the order in which they are gone through; the i-th begins with this position.
  __device__ int begin_of(int i) const { return (num_tiles_ - 1 - i) * C::kTile; }
  __device__ bool is_masked(int i) const { return begin_of(i) + C::kTile > first_visible_; }

  // Waits for the next work; false if there is none.
  __device__ bool begin(int num_works) {
    shared_.queries_full.wait(num_works & 1);
    const PrefillWork work = shared_.work;
    num_tiles_ = work.num_tiles;
    first_visible_ = work.first_visible;
    first_token_ = work.first_token;
    first_head_ = work.first_head;
    num_rows_ = work.num_rows;
    context_length_ = work.context_length;
    return num_tiles_ > 0;
  }

  // Scores and probabilities of the first tile.
  __device__ void start() {
#pragma unroll
    for (int part = 0; part < C::kParts; ++part) {
#pragma unroll
      for (float& value : values_[part]) value = 0.0f;
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      max_[h] = -INFINITY;
      sum_[h] = 0.0f;
    }
    Scores scores;
    queue_scores(scores, 0);
    wait_for_products<0>();
    pin(scores);
    release_keys(0);
    float correction[2];
    add_scores<true>(scores, 0, correction);
    make_probabilities(scores);
    clear_unwritten_values();
  }

  // Adds the values of tile i - 1 under the softmax of tile i.
  template <bool kMasks>
  __device__ void step(int i) {
    Scores scores;
    take_turn();
    queue_scores(scores, i);
    queue_values(i - 1);
    give_turn();
    wait_for_products<1>();
    pin(scores);
    release_keys(i);
    float correction[2];
    add_scores<kMasks>(scores, i, correction);
    wait_for_products<0>();
    pin_values();
    release(shared_.values_empty[StageOf<C>(first_tile_ + i - 1).stage]);
    rescale(correction);
    make_probabilities(scores);
  }

  // Adds the values of the last tile.
  __device__ void finish() {
    queue_values(num_tiles_ - 1);
    wait_for_products<0>();
    pin_values();
    release(shared_.values_empty[StageOf<C>(first_tile_ + num_tiles_ - 1).stage]);
  }

  __device__ void queue_scores(Scores& scores, int i) {
    const StageOf<C> at(first_tile_ + i);
    shared_.keys_full[at.stage].wait(at.parity);
    const uint64_t q =
        matrix_descriptor<C::kPanelBytes>(shared_.queries + group_ * 64 * C::kPanelBytes, 16, C::kAtomBytes);
    const uint64_t k = matrix_descriptor<C::kPanelBytes>(shared_.keys[at.stage], 16, C::kGroupBytes);
    pin(scores);
    begin_products();
#pragma unroll
    for (int depth = 0; depth < C::kDim; depth += 16) {
      const int panel = depth / C::kPanel;
      const int within = depth % C::kPanel * 2;
      multiply_shared<T>(scores, advance(q, panel * kPrefillRows * C::kPanelBytes + within),
                         advance(k, panel * C::kAtomBytes + within), depth > 0 ? 1 : 0);
    }
    commit_products();
  }

  __device__ void release_keys(int i) {
    release(shared_.keys_empty[StageOf<C>(first_tile_ + i).stage]);
    if (i == num_tiles_ - 1) release(shared_.queries_empty);
  }

  __device__ void queue_values(int i) {
    const StageOf<C> at(first_tile_ + i);
    shared_.values_full[at.stage].wait(at.parity);
    const uint64_t v = matrix_descriptor<C::kPanelBytes>(shared_.values[at.stage], C::kAtomBytes, C::kGroupBytes);
    pin_values();
    pin(probabilities_);
    begin_products();
#pragma unroll
    for (int j = 0; j < C::kTile / 16; ++j) {
#pragma unroll
      for (int part = 0; part < C::kParts; ++part) {
        const int offset = j * 2 * C::kGroupBytes + part * (C::kPartDim / C::kPanel) * C::kAtomBytes;
        multiply_add_registers<T>(values_[part], probabilities_ + 4 * j, advance(v, offset));
      }
    }
    commit_products();
  }

  // Scores become probabilities, not yet divided by their sum; `correction` is what was summed before is to be
  // multiplied by.
  template <bool kMasks>
  __device__ void add_scores(Scores& scores, int i, float (&correction)[2]) {
    if constexpr (kMasks) mask(scores, begin_of(i));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float new_max = max_[h];
#pragma unroll
      for (int n = 0; n < C::kTile / 8; ++n) {
        new_max = fmaxf(new_max, fmaxf(scores[4 * n + 2 * h], scores[4 * n + 2 * h + 1]));
      }
      new_max = quad_max(new_max);
      // A row may see nothing of tiles that are masked; of the others it sees everything.
      const float offset = kMasks ? score_offset(new_max) : new_max;
      const float scaled_offset = offset * args_.scale_log2;
      correction[h] = exp2_approx((max_[h] - offset) * args_.scale_log2);
      max_[h] = new_max;
      float tile_sum = 0.0f;
#pragma unroll
      for (int n = 0; n < C::kTile / 8; ++n) {
#pragma unroll
        for (int e = 4 * n + 2 * h; e < 4 * n + 2 * h + 2; ++e) {
          scores[e] = exp2_approx(fmaf(scores[e], args_.scale_log2, -scaled_offset));
          tile_sum += scores[e];
        }
      }
      sum_[h] = fmaf(sum_[h], correction[h], tile_sum);
    }
  }

  // What a row does not see becomes -infinity.
  __device__ void mask(Scores& scores, int begin) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int num_visible = first_visible_ + (row(h) >> params_.order.heads_per_slot_log2);
      const int limit = num_visible - begin - lane() % 4 * 2;
#pragma unroll
      for (int n = 0; n < C::kTile / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (n * 8 + e >= limit) scores[4 * n + 2 * h + e] = -INFINITY;
        }
      }
    }
  }

  __device__ void make_probabilities(const Scores& scores) {
#pragma unroll
    for (int i = 0; i < C::kTile / 4; ++i) probabilities_[i] = pack_pair<T>(scores[2 * i], scores[2 * i + 1]);
  }

  __device__ void rescale(const float (&correction)[2]) {
#pragma unroll
    for (int part = 0; part < C::kParts; ++part) {
#pragma unroll
      for (int i = 0; i < C::kPartDim / 2; ++i) values_[part][i] *= correction[i / 2 % 2];
    }
  }

  __device__ void pin_values() {
#pragma unroll
    for (int part = 0; part < C::kParts; ++part) pin(values_[part]);
  }

  // The block in which a sequence ends may hold anything behind the end, NaN as well, which a probability of zero would
  // not take away. It is in the first tile that is gone through, if at all. Both groups write the same zeros.
  __device__ void clear_unwritten_values() {
    const StageOf<C> at(first_tile_);
    const int first = context_length_ - begin_of(0);
    const int block_end = (first + args_.block_size - 1) / args_.block_size * args_.block_size;
    if (first >= C::kTile || first == block_end) return;
    shared_.values_full[at.stage].wait(at.parity);
    constexpr int kPanelChunks = C::kPanelBytes / 16;
    for (int i = static_cast<int>(threadIdx.x) % kWarpgroupThreads; i < (block_end - first) * C::kDim / 8;
         i += kWarpgroupThreads) {
      const int position = first + i / (C::kDim / 8);
      const int chunk = i % (C::kDim / 8);
      char* const to = shared_.values[at.stage] + position / 8 * C::kGroupBytes + chunk / kPanelChunks * C::kAtomBytes +
                       position % 8 * C::kPanelBytes + chunk % kPanelChunks * 16;
      *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    }
    publish_to_async_units();
    asm volatile("bar.sync %0, %1;" ::"r"(kWarpgroupBarrier + group_), "n"(kWarpgroupThreads) : "memory");
  }

  __device__ void store() const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = inverse_of_sum(quad_sum(sum_[h]));
      const int r = row(h);
      const int log2 = params_.order.heads_per_slot_log2;
      T* const out = static_cast<T*>(args_.out) + (first_token_ + (r >> log2)) * args_.out_stride +
                     (first_head_ + (r & ((1 << log2) - 1))) * args_.out_head_stride;
      // Neighbours exchange pairs, so that each has four columns of one of two tiles of eight.
      const bool is_odd = lane() % 2 != 0;
#pragma unroll
      for (int n = 0; n < C::kDim / 8; n += 2) {
        const uint32_t first = value_pair(n, h, inverse);
        const uint32_t second = value_pair(n + 1, h, inverse);
        const uint32_t other = __shfl_xor_sync(~0u, is_odd ? first : second, 1);
        const int column = n * 8 + (is_odd ? 8 : 0) + lane() % 4 / 2 * 4;
        if (r < num_rows_) {
          *reinterpret_cast<uint2*>(out + column) = is_odd ? make_uint2(other, second) : make_uint2(first, other);
        }
      }
    }
  }

  __device__ uint32_t value_pair(int n, int h, float inverse) const {
    const int part = n / (C::kPartDim / 8);
    const float* const pair = values_[part] + n % (C::kPartDim / 8) * 4 + 2 * h;
    return pack_pair<T>(pair[0] * inverse, pair[1] * inverse);
  }

  const PrefillParams& params_;
  const AttentionArgs& args_;
  PrefillShared<C>& shared_;
  const int warp_;      // among the consumers'
  const int group_;     // 0 or 1
  int first_tile_ = 0;  // tiles gone through in works before
  int num_tiles_ = 0, first_visible_ = 0, first_token_ = 0, first_head_ = 0, num_rows_ = 0, context_length_ = 0;
  float values_[C::kParts][C::kPartDim / 2];
  uint32_t probabilities_[C::kTile / 4];
  float max_[2];
  float sum_[2];  // of this thread's columns
};

template <class C>
__global__ void __launch_bounds__(kNumPrefillThreads, 1)
    attention_prefill_sm90_kernel(const __grid_constant__ PrefillParams params) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) char memory[];
  auto& shared = *reinterpret_cast<PrefillShared<C>*>(memory);
  // The same for all lanes, and known to be.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) {
    prefetch(params.queries);
    prefetch(params.keys);
    prefetch(params.values);
    shared.init();
  }
  __syncthreads();  // the barriers are there
  wait_for_previous();
  let_next_begin();
  if (warp < kProducerWarps) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    PrefillProducer<C>(params, shared, warp).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    PrefillConsumer<C>(params, shared, warp - kProducerWarps).run();
  }
#else
  __trap();
#endif
}

// [panel, token, head, element of the panel]
template <class C>
CUtensorMap query_map(const AttentionArgs& args, const AttentionProblem& problem, const PrefillOrder& order) {
  const uint32_t heads_per_slot = 1u << order.heads_per_slot_log2;
  const TensorBox<4> tensor{.dims = {C::kPanel, static_cast<uint64_t>(problem.num_heads),
                                     static_cast<uint64_t>(problem.num_tokens), C::kPanels},
                            .strides = {static_cast<uint64_t>(args.q_head_stride * 2),
                                        static_cast<uint64_t>(args.q_stride * 2), C::kPanelBytes},
                            .box = {C::kPanel, heads_per_slot, kPrefillRows / heads_per_slot, C::kPanels}};
  return make_tensor_map<typename C::T>(args.q, tensor, C::kPanelBytes);
}

// [block and KV head, eight positions, panel, position, element of the panel]
template <class C>
CUtensorMap cache_map(const void* base, const AttentionArgs& args) {
  const auto num_groups = static_cast<uint32_t>(args.block_size / 8);
  const auto num_boxes = static_cast<uint64_t>(args.num_blocks) * static_cast<uint64_t>(args.num_kv_heads);
  constexpr uint64_t kRowBytes = C::kDim * 2;
  const TensorBox<5> tensor{.dims = {C::kPanel, 8, C::kPanels, num_groups, num_boxes},
                            .strides = {kRowBytes, C::kPanelBytes, 8 * kRowBytes, args.block_size * kRowBytes},
                            .box = {C::kPanel, 8, C::kPanels, num_groups, 1}};
  return make_tensor_map<typename C::T>(base, tensor, C::kPanelBytes);
}

template <typename T, int kDim>
void launch(const AttentionArgs& args, const AttentionProblem& problem, cudaStream_t stream) {
  using C = PrefillConfig<T, kDim>;
  PrefillParams params{};
  params.args = args;
  params.order = order_prefill(problem);
  params.queries = query_map<C>(args, problem, params.order);
  params.keys = cache_map<C>(args.keys, args);
  params.values = cache_map<C>(args.values, args);
  constexpr size_t kNumBytes = sizeof(PrefillShared<C>);
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(attention_prefill_sm90_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(kNumBytes)));
  const int num_blocks = params.order.num_blocks(static_cast<int>(problem.num_multiprocessors));
  launch_chained(attention_prefill_sm90_kernel<C>, dim3(static_cast<unsigned>(num_blocks)), dim3(kNumPrefillThreads),
                 kNumBytes, stream, params);
}

template <typename T>
void dispatch_dim(const AttentionArgs& args, const AttentionProblem& problem, cudaStream_t stream) {
  switch (args.head_dim) {
    case 64:
      return launch<T, 64>(args, problem, stream);
    case 80:
      return launch<T, 80>(args, problem, stream);
    case 96:
      return launch<T, 96>(args, problem, stream);
    case 128:
      return launch<T, 128>(args, problem, stream);
    default:
      return launch<T, 256>(args, problem, stream);
  }
}

bool has_sm90_kernels() {
#ifdef COHORT_HAVE_SM90A
  int device = 0;
  int major = 0;
  int minor = 0;
  COHORT_CUDA_CHECK(cudaGetDevice(&device));
  COHORT_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  COHORT_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return major == 9 && minor == 0;
#else
  return false;
#endif
}

}  // namespace

bool can_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem) {
  const bool is_dim =
      args.head_dim == 64 || args.head_dim == 80 || args.head_dim == 96 || args.head_dim == 128 || args.head_dim == 256;
  const bool is_block = args.block_size == 16 || args.block_size == 32 || args.block_size == 64;
  return is_dim && is_block && !problem.deterministic &&
         problem.num_seqs * problem.num_heads <= std::numeric_limits<int>::max() / 2 && has_sm90_kernels();
}

void launch_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem, DType dtype, cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    dispatch_dim<__nv_bfloat16>(args, problem, stream);
  } else {
    dispatch_dim<__half>(args, problem, stream);
  }
}

}  // namespace cohort::cuda
