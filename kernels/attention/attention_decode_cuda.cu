// Attention of few queries a sequence: at the speed of the memory, whatever the lengths of the sequences.
//
// As many blocks as multiprocessors divide the tiles of all sequences among themselves (DecodeShares), from context
// lengths that only the device knows, so that one launch serves every context. One warp of a block plans and loads:
// tiles come by bulk copies into a ring of stages, with what is to be known of each. The others attend to all tiles
// alike (FlashAttention-2, Dao 2023, with mma.sync), each to the positions of its own, and merge their states when an
// item ends. What was cut is put together by a second kernel.
#include "kernels/attention/attention_args.cuh"
#include "kernels/attention/attention_dispatch.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tma.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kNumDecodeThreads = (kDecodeWarps + 1) * 32;
constexpr int kTilesPerStep = 32 / kDecodeChunks;  // whose chunks the loading warp looks up at once, one a lane
constexpr int kConsumerBarrier = 1;                // of the warps that compute

constexpr int kMergeWarps = 8;

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

__device__ int lane_index() { return static_cast<int>(threadIdx.x) % 32; }
__device__ int warp_index() { return static_cast<int>(threadIdx.x) / 32; }

// The sequence in which a tile lies, and where.
struct Cursor {
  int seq = 0;
  int context_length = 0;
  int first_query = 0;
  int num_queries = 0;
  int tiles_per_head = 0;  // 0 for a sequence that is not the decode kernel's
  int offset = 0;          // of the tile, from the first of the sequence

  __device__ void load(const AttentionArgs& args) {
    context_length = args.context_lengths[seq];
    first_query = args.query_starts[seq];
    num_queries = args.query_starts[seq + 1] - first_query;
    check_on_device(num_queries <= context_length || context_length == 0);
    check_on_device(context_length <= args.table_positions);
    tiles_per_head = num_queries > 0 && num_queries <= args.max_decode_queries ? decode_tiles(context_length) : 0;
  }
  __device__ int num_tiles(const AttentionArgs& args) const { return tiles_per_head * args.num_kv_heads; }
  // Requires that so many tiles follow.
  __device__ void advance(const AttentionArgs& args, int tiles) {
    offset += tiles;
    while (offset >= num_tiles(args)) {
      offset -= num_tiles(args);
      ++seq;
      load(args);
    }
  }
};

__device__ int warp_inclusive_sum(int x) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(~0u, x, distance);
    if (lane_index() >= distance) x += below;
  }
  return x;
}

// The lengths of all sequences, as a warp reads them.
class Lengths {
 public:
  __device__ explicit Lengths(const AttentionArgs& args) : args_(args) {
    int sum = 0;
    for (int first = 0; first < args.num_seqs; first += 32) {
      const Cursor cursor = load(first);
      if (first == 0) own_ = cursor;
      sum += cursor.num_tiles(args);
    }
    num_tiles_ = static_cast<int>(__reduce_add_sync(~0u, static_cast<unsigned>(sum)));
  }

  __device__ int num_tiles() const { return num_tiles_; }  // of all sequences

  // Sequence first + lane; one without tiles if there is none.
  __device__ Cursor load(int first) const {
    Cursor cursor;
    cursor.seq = first + lane_index();
    if (cursor.seq < args_.num_seqs) cursor.load(args_);
    return cursor;
  }

  // False if there are not so many tiles.
  __device__ bool find(int tile, Cursor& found) const {
    int before = 0;
    for (int first = 0; first < args_.num_seqs; first += 32) {
      const Cursor cursor = first == 0 ? own_ : load(first);
      const int end = before + warp_inclusive_sum(cursor.num_tiles(args_));
      const unsigned is_behind = __ballot_sync(~0u, tile < end);
      if (is_behind == 0) {
        before = __shfl_sync(~0u, end, 31);
        continue;
      }
      const int lane = __ffs(static_cast<int>(is_behind)) - 1;
      found.seq = first + lane;
      found.context_length = __shfl_sync(~0u, cursor.context_length, lane);
      found.first_query = __shfl_sync(~0u, cursor.first_query, lane);
      found.num_queries = __shfl_sync(~0u, cursor.num_queries, lane);
      found.tiles_per_head = __shfl_sync(~0u, cursor.tiles_per_head, lane);
      found.offset = tile - __shfl_sync(~0u, end - cursor.num_tiles(args_), lane);
      return true;
    }
    return false;
  }

 private:
  const AttentionArgs& args_;
  Cursor own_;
  int num_tiles_ = 0;
};

// Queues a copy of `num_bytes` to shared memory; they count for the barrier's current phase. All are multiples of 16.
__device__ void copy_bulk(char* to, const void* from, int num_bytes, SharedBarrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(num_bytes), "r"(shared_address(&barrier.state))
               : "memory");
}

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

// The warp that plans and loads.
class Loader {
 public:
  __device__ Loader(const AttentionArgs& args, const DecodeLayout& layout, const Ring& ring)
      : args_(args), layout_(layout), ring_(ring) {}

  __device__ void run() {
    const Lengths lengths(args_);
    const DecodeShares shares(lengths.num_tiles(), static_cast<int>(gridDim.x));
    begin_ = shares.first_tile(static_cast<int>(blockIdx.x));
    end_ = shares.first_tile(static_cast<int>(blockIdx.x) + 1);
    if (!args_.cuts_items) {
      begin_ = whole_items(begin_, lengths);
      end_ = whole_items(end_, lengths);
    }
    if (args_.cuts_items) tell_of_none(lengths);
    Cursor cursor;
    if (begin_ < end_ && lengths.find(begin_, cursor)) load_tiles(cursor, shares);
    end_ring();
  }

 private:
  // The positions that a lane copies.
  struct Chunk {
    Cursor cursor;
    int kv_head = 0;
    int tile = 0;            // of its item
    int first_position = 0;  // of the sequence
    int num_positions = 0;   // of the sequence from there on
    int block = 0;           // of the cache
  };

  __device__ static int index_in_tile() { return lane_index() % kDecodeChunks; }
  // A lane's tile is so many behind the first of a step.
  __device__ static int tiles_ahead() { return lane_index() / kDecodeChunks; }

  // The first tile of an item, not before `tile`.
  __device__ int whole_items(int tile, const Lengths& lengths) const {
    Cursor cursor;
    if (!lengths.find(tile, cursor)) return lengths.num_tiles();
    const int into_item = cursor.offset % cursor.tiles_per_head;
    return into_item == 0 ? tile : tile - into_item + cursor.tiles_per_head;
  }

  // As DecodeWorkspace says.
  __device__ bool has_few_items() const { return args_.num_seqs * args_.num_kv_heads < static_cast<int>(gridDim.x); }

  // What no tile is there to say.
  __device__ void tell_of_none(const Lengths& lengths) const {
    if (!has_few_items()) {
      if (begin_ == end_ && lane_index() == 0) tell(static_cast<int>(blockIdx.x), {});
    } else if (blockIdx.x == 0) {
      for (int first = 0; first < args_.num_seqs; first += 32) {
        const Cursor cursor = lengths.load(first);
        if (cursor.seq >= args_.num_seqs || cursor.tiles_per_head > 0) continue;
        for (int head = 0; head < args_.num_kv_heads; ++head) tell(cursor.seq * args_.num_kv_heads + head, {});
      }
    }
  }

  __device__ void tell(int i, const CutItem& item) const {
    *reinterpret_cast<CutItem*>(args_.workspace + args_.decode_workspace.cut_item(i)) = item;
  }

  __device__ void load_tiles(Cursor cursor, const DecodeShares& shares) {
    if (begin_ + tiles_ahead() < end_) cursor.advance(args_, tiles_ahead());
    Chunk chunk = look_up(cursor);
    for (int first = begin_; first < end_; first += kTilesPerStep) {
      if (first + kTilesPerStep + tiles_ahead() < end_) cursor.advance(args_, kTilesPerStep);
      const Chunk next = look_up(cursor);  // what is read here is on its way while this step's tiles wait for stages
      for (int i = 0; i < min(kTilesPerStep, end_ - first); ++i) {
        ring_.wait_until_free();
        __syncwarp();  // a lane that fell behind by a round of the ring would wait for a phase of the next
        if (tiles_ahead() == i) load_tile(chunk, first + i, shares);
        ring_.advance();
      }
      chunk = next;
    }
  }

  // Without branches, so that nothing waits for the block table here.
  __device__ Chunk look_up(const Cursor& cursor) const {
    Chunk chunk;
    chunk.cursor = cursor;
    chunk.kv_head = cursor.offset / cursor.tiles_per_head;
    chunk.tile = cursor.offset - chunk.kv_head * cursor.tiles_per_head;
    chunk.first_position = chunk.tile * kDecodeTile + index_in_tile() * kDecodeChunk;
    chunk.num_positions = cursor.context_length - chunk.first_position;
    const int index = chunk.num_positions > 0 ? chunk.first_position / args_.block_size : 0;
    chunk.block = args_.block_tables[cursor.seq * args_.block_table_stride + index];
    return chunk;
  }

  // Of a chunk, in bytes from the first of keys or values.
  __device__ int64_t offset_of(const Chunk& chunk) const {
    const int64_t row = (int64_t{chunk.block} * args_.num_kv_heads + chunk.kv_head) * args_.block_size +
                        chunk.first_position % args_.block_size;
    return row * layout_.row_bytes();
  }

  // By the lanes that have the chunks of one tile.
  __device__ void load_tile(const Chunk& chunk, int tile, const DecodeShares& shares) const {
    const Cursor& cursor = chunk.cursor;
    const int item = tile - chunk.tile;  // its first tile
    const bool is_first = tile == max(item, begin_);
    const int num_rows = is_first ? cursor.num_queries * args_.group_size : 0;  // of queries to load
    if (index_in_tile() == 0) {
      const int item_end = item + cursor.tiles_per_head;
      const bool is_last = tile + 1 == min(item_end, end_);
      const int block = static_cast<int>(blockIdx.x);
      ring_.note() = {.kind = (is_first ? TileNote::kFirst : 0) | (is_last ? TileNote::kLast : 0),
                      .num_positions = chunk.num_positions,
                      .num_queries = cursor.num_queries,
                      .first_query = cursor.first_query,
                      .kv_head = chunk.kv_head,
                      .place = args_.cuts_items ? shares.place_of(block, item, item_end) : -1};
      if (args_.cuts_items && (has_few_items() ? tile == item : tile + 1 == end_)) {
        tell(has_few_items() ? cursor.seq * args_.num_kv_heads + chunk.kv_head : block,
             {.num_states = shares.num_states(block, item, item_end),
              .first_block = block,
              .num_rows = cursor.num_queries * args_.group_size,
              .first_query = cursor.first_query,
              .kv_head = chunk.kv_head});
      }
      const int num_positions = max(0, min(chunk.num_positions, kDecodeTile));
      ring_.full().arrive_and_expect((2 * num_positions + num_rows) * layout_.row_bytes());
    }
    for (int row = index_in_tile(); row < num_rows; row += kDecodeChunks) {
      const int64_t query = cursor.first_query + row / args_.group_size;
      const int64_t head = chunk.kv_head * args_.group_size + row % args_.group_size;
      copy_bulk(ring_.stage() + layout_.queries() + row * layout_.query_row_bytes(),
                static_cast<const char*>(args_.q) + (query * args_.q_stride + head * args_.q_head_stride) * 2,
                layout_.row_bytes(), ring_.full());
    }
    if (chunk.num_positions <= 0) return;
    check_on_device(chunk.block >= 0 && chunk.block < args_.num_blocks);
    char* const to = ring_.stage() + index_in_tile() * layout_.chunk_bytes();
    const int num_bytes = min(chunk.num_positions, kDecodeChunk) * layout_.row_bytes();
    copy_bulk(to + layout_.keys(), static_cast<const char*>(args_.keys) + offset_of(chunk), num_bytes, ring_.full());
    copy_bulk(to + layout_.values(), static_cast<const char*>(args_.values) + offset_of(chunk), num_bytes,
              ring_.full());
  }

  __device__ void end_ring() const {
    ring_.wait_until_free();
    if (lane_index() != 0) return;
    ring_.note() = {.kind = TileNote::kEnd};
    ring_.full().arrive();
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  Ring ring_;
  int begin_ = 0;
  int end_ = 0;
};

// A warp that attends to the positions 2 w and 2 w + 1 of each chunk of the tiles that come.
template <typename T, int kDim>
class Attender {
 public:
  __device__ Attender(const AttentionArgs& args, const DecodeLayout& layout, char* shared)
      : args_(args), layout_(layout), shared_(shared) {}

  __device__ void run(Ring ring) {
    while (true) {
      ring.wait_until_full();
      const char* const stage = ring.stage();
      const TileNote note = ring.note();
      if (note.kind == TileNote::kEnd) return;
      if ((note.kind & TileNote::kFirst) != 0) {
        states_.clear();
        load_queries(stage + layout_.queries(), note.num_queries * args_.group_size);
      }
      if (note.num_positions - note.num_queries + 1 >= kDecodeTile) {
        attend<false>(stage, note);
      } else {
        attend<true>(stage, note);
      }
      __syncwarp();  // all lanes have read
      if (lane_index() == 0) ring.free().arrive();
      ring.advance();
      if ((note.kind & TileNote::kLast) != 0) finish(note);
    }
  }

 private:
  static constexpr int kSteps = kDim / 16;  // of products along the dimension
  using Scores = float[1][2][4];            // of 16 rows and a warp's 16 positions of a tile

  // Position of column `column` of the scores, in its tile: of column tile t it is position 2 w + t of chunk `column`.
  __device__ static int position_of(int column_tile, int column) {
    return column * kDecodeChunk + 2 * warp_index() + column_tile;
  }
  __device__ static int column(int e) { return lane_index() % 4 * 2 + e; }
  // Rows that only fill the tile are like the last.
  __device__ static int row(int h, int num_rows) { return min(h * 8 + lane_index() / 4, num_rows - 1); }

  __device__ void load_queries(const char* queries, int num_rows) {
    const char* const q =
        queries + min(lane_index() % 16, num_rows - 1) * layout_.query_row_bytes() + lane_index() / 16 * 16;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      load_matrices(q_[i], q + i * 32);
    }
  }

  // kIsCut: not every row sees all of the tile.
  template <bool kIsCut>
  __device__ void attend(const char* stage, const TileNote& note) {
    Scores scores = {};
    score(scores, stage + layout_.keys());
    if constexpr (kIsCut) mask(scores, note);
    states_.add_scores(scores, args_.scale_log2);
    uint32_t is_stored[2] = {~0u, ~0u};  // of pairs of positions: those behind the end may be NaN
    if constexpr (kIsCut) {
#pragma unroll
      for (int t = 0; t < 2; ++t) {
        is_stored[t] = (position_of(t, column(0)) < note.num_positions ? 0xffffu : 0u) |
                       (position_of(t, column(1)) < note.num_positions ? 0xffff0000u : 0u);
      }
    }
    add_values<kIsCut>(scores, stage + layout_.values(), is_stored);
  }

  // scores += q k^T
  __device__ void score(Scores& scores, const char* keys) const {
    const char* const k = keys + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 16) * layout_.row_bytes() + lane_index() / 8 % 2 * 16;
    float odd[2][4] = {};  // halves the chain of dependent products
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      uint32_t b[4];
      load_matrices(b, k + i * 32);
      if (i % 2 == 0) {
        multiply_add<T>(scores[0][0], q_[i], b[0], b[1]);
        multiply_add<T>(scores[0][1], q_[i], b[2], b[3]);
      } else {
        multiply_add<T>(odd[0], q_[i], b[0], b[1]);
        multiply_add<T>(odd[1], q_[i], b[2], b[3]);
      }
    }
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[0][t][e] += odd[t][e];
    }
  }

  // What a row does not see becomes -infinity.
  __device__ void mask(Scores& scores, const TileNote& note) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int query = row(h, note.num_queries * args_.group_size) / args_.group_size;
      const int num_visible = note.num_positions - note.num_queries + query + 1;
#pragma unroll
      for (int t = 0; t < 2; ++t) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (position_of(t, column(e)) >= num_visible) scores[0][t][2 * h + e] = -INFINITY;
        }
      }
    }
  }

  // values of the states += probabilities v
  template <bool kIsCut>
  __device__ void add_values(const Scores& p, const char* values, const uint32_t (&is_stored)[2]) {
    const char* const v = values + lane_index() % 8 * layout_.chunk_bytes() +
                          (2 * warp_index() + lane_index() / 8 % 2) * layout_.row_bytes() + lane_index() / 16 * 16;
    const uint32_t a[4] = {pack_pair<T>(p[0][0][0], p[0][0][1]), pack_pair<T>(p[0][0][2], p[0][0][3]),
                           pack_pair<T>(p[0][1][0], p[0][1][1]), pack_pair<T>(p[0][1][2], p[0][1][3])};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * 16 >= args_.head_dim) break;
      uint32_t b[4];
      load_matrices_transposed(b, v + i * 32);
      if constexpr (kIsCut) {
#pragma unroll
        for (int j = 0; j < 4; ++j) b[j] &= is_stored[j % 2];
      }
      multiply_add<T>(states_.values[0][2 * i], a, b[0], b[1]);
      multiply_add<T>(states_.values[0][2 * i + 1], a, b[2], b[3]);
    }
  }

  // The item ends, in this block: its state is that of all warps. Two take those of the other two, one that of the
  // other. What a state holds where, a thread of any warp has alike.
  __device__ void finish(const TileNote& note) {
    states_.reduce_sums();
    const int num_rows = note.num_queries * args_.group_size;
    const int num_halves = num_rows > 8 ? 2 : 1;
    const int warp = warp_index();
    wait_for_warps();  // warp 0 has taken the last item's states
    if (warp >= 2) give_state(warp - 2, num_halves);
    wait_for_warps();  // for the states of the warps 2 and 3
    if (warp < 2) take_state(warp, num_halves);
    if (warp == 1) give_state(1, num_halves);
    wait_for_warps();  // for the state of warp 1
    if (warp != 0) return;
    take_state(1, num_halves);
    if (note.place >= 0) {
      store_state(note.place, num_rows);
    } else {
      store_output(note, num_rows);
    }
  }

  __device__ static void wait_for_warps() {
    asm volatile("bar.sync %0, %1;" ::"n"(kConsumerBarrier), "n"(kDecodeWarps * 32) : "memory");
  }

  __device__ float2* state(int i) const { return reinterpret_cast<float2*>(shared_ + layout_.state(i)) + lane_index(); }

  __device__ void give_state(int to, int num_halves) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h == num_halves) break;
      float2* const part = state(to) + h * (kDim / 8 + 1) * 32;
      part[0] = make_float2(states_.max[0][h], states_.sum[0][h]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        part[(n + 1) * 32] = make_float2(states_.values[0][n][2 * h], states_.values[0][n][2 * h + 1]);
      }
    }
  }

  __device__ void take_state(int from, int num_halves) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (h == num_halves) break;
      const float2* const part = state(from) + h * (kDim / 8 + 1) * 32;
      const float2 head = part[0];
      const MergeWeights weights = merge_weights(states_.max[0][h], head.x, args_.scale_log2);
      states_.max[0][h] = weights.max;
      states_.sum[0][h] = merge(states_.sum[0][h], head.y, weights);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float2 other = part[(n + 1) * 32];
        float(&values)[4] = states_.values[0][n];
        values[2 * h] = merge(values[2 * h], other.x, weights);
        values[2 * h + 1] = merge(values[2 * h + 1], other.y, weights);
      }
    }
  }

  __device__ void store_state(int place, int num_rows) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = h * 8 + lane_index() / 4;
      if (row >= num_rows) continue;
      const int64_t to = args_.decode_workspace.row(place, row);
      float* const values = args_.workspace + args_.decode_workspace.values(to);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= args_.head_dim) break;
        *reinterpret_cast<float2*>(values + n * 8 + column(0)) =
            make_float2(states_.values[0][n][2 * h], states_.values[0][n][2 * h + 1]);
      }
      if (lane_index() % 4 == 0) {
        *reinterpret_cast<float2*>(args_.workspace + args_.decode_workspace.max_and_sum(to)) =
            make_float2(states_.max[0][h], states_.sum[0][h]);
      }
    }
  }

  __device__ void store_output(const TileNote& note, int num_rows) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = h * 8 + lane_index() / 4;
      if (row >= num_rows) continue;
      const int query = note.first_query + row / args_.group_size;
      const int head = note.kv_head * args_.group_size + row % args_.group_size;
      T* const out = static_cast<T*>(args_.out) + query * args_.out_stride + head * args_.out_head_stride;
      const float inverse = inverse_of_sum(states_.sum[0][h]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (n * 8 >= args_.head_dim) break;
        *reinterpret_cast<uint32_t*>(out + n * 8 + column(0)) =
            pack_pair<T>(states_.values[0][n][2 * h] * inverse, states_.values[0][n][2 * h + 1] * inverse);
      }
    }
  }

  const AttentionArgs& args_;
  const DecodeLayout& layout_;
  char* const shared_;
  uint32_t q_[kSteps][4];
  SoftmaxStates<1, kDim> states_;
};

template <typename T, int kDim>
__global__ void __launch_bounds__(kNumDecodeThreads, 1)
    attention_decode_kernel(const __grid_constant__ AttentionArgs args) {
  extern __shared__ __align__(16) char shared[];
  const DecodeLayout layout{args.head_dim, args.max_decode_queries * args.group_size};
  const Ring ring(layout, shared);
  if (threadIdx.x == 0) ring.init();
  let_next_begin();
  __syncthreads();  // the barriers are there
  wait_for_previous();
  if (warp_index() == kDecodeWarps) {
    Loader(args, layout, ring).run();
  } else {
    Attender<T, kDim>(args, layout, shared).run(ring);
  }
}

// A part of a row's state in the registers of a warp. Lane l has the dimensions 4 l + 128 i.
template <int kDim>
struct RowState {
  static constexpr int kPieces = (kDim + 127) / 128;
  float max = -INFINITY;
  float sum = 0.0f;
  float4 values[kPieces] = {};

  __device__ static int dim(int piece) { return 4 * lane_index() + 128 * piece; }

  __device__ void load(const float2* max_and_sum, const float* row, int head_dim) {
    max = max_and_sum->x;
    sum = max_and_sum->y;
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) < head_dim) values[j] = *reinterpret_cast<const float4*>(row + dim(j));
    }
  }

  __device__ void add(const RowState& other, float scale_log2) {
    const MergeWeights weights = merge_weights(max, other.max, scale_log2);
    max = weights.max;
    sum = merge(sum, other.sum, weights);
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      values[j].x = merge(values[j].x, other.values[j].x, weights);
      values[j].y = merge(values[j].y, other.values[j].y, weights);
      values[j].z = merge(values[j].z, other.values[j].z, weights);
      values[j].w = merge(values[j].w, other.values[j].w, weights);
    }
  }

  template <typename T>
  __device__ void store(T* out, int head_dim) const {
    const float inverse = inverse_of_sum(sum);
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) >= head_dim) break;
      *reinterpret_cast<uint2*>(out + dim(j)) = {pack_pair<T>(values[j].x * inverse, values[j].y * inverse),
                                                 pack_pair<T>(values[j].z * inverse, values[j].w * inverse)};
    }
  }
};

// Puts the items together that blocks of the decode kernel have parts of: blockIdx.x as in DecodeWorkspace. A row has
// kRowWarps warps, which take its states in turn.
template <typename T, int kDim, int kRowWarps>
__global__ void __launch_bounds__(kMergeWarps * 32) merge_items_kernel(const __grid_constant__ AttentionArgs args) {
  __shared__ float2 max_and_sum[kMergeWarps];
  __shared__ float4 values[kMergeWarps][kDim / 4];
  constexpr int kOnTheirWay = 4;
  let_next_begin();
  wait_for_previous();
  const DecodeWorkspace& at = args.decode_workspace;
  const auto item = *reinterpret_cast<const CutItem*>(args.workspace + at.cut_item(static_cast<int>(blockIdx.x)));
  if (item.num_states == 0) return;
  const int row = static_cast<int>(blockIdx.y) * (kMergeWarps / kRowWarps) + warp_index() / kRowWarps;
  const int part = warp_index() % kRowWarps;
  RowState<kDim> merged;
  for (int first = part; row < item.num_rows && first < item.num_states; first += kRowWarps * kOnTheirWay) {
    RowState<kDim> added[kOnTheirWay];
#pragma unroll
    for (int i = 0; i < kOnTheirWay; ++i) {
      const int state = first + i * kRowWarps;
      if (state >= item.num_states) break;
      // The first block of the item has its state at its end, the others at their beginning.
      const int64_t from = at.row(2 * (item.first_block + state) + (state == 0 ? 1 : 0), row);
      added[i].load(reinterpret_cast<const float2*>(args.workspace + at.max_and_sum(from)),
                    args.workspace + at.values(from), args.head_dim);
    }
#pragma unroll
    for (int i = 0; i < kOnTheirWay; ++i) merged.add(added[i], args.scale_log2);
  }
  if constexpr (kRowWarps > 1) {
    if (lane_index() == 0) max_and_sum[warp_index()] = make_float2(merged.max, merged.sum);
#pragma unroll
    for (int j = 0; j < RowState<kDim>::kPieces; ++j) {
      if (merged.dim(j) < args.head_dim) values[warp_index()][merged.dim(j) / 4] = merged.values[j];
    }
    __syncthreads();  // all warps' parts are there
#pragma unroll
    for (int i = 1; i < kRowWarps; ++i) {
      if (part != 0) break;
      RowState<kDim> other;
      const int warp = warp_index() + i;
      other.load(&max_and_sum[warp], reinterpret_cast<const float*>(values[warp]), args.head_dim);
      merged.add(other, args.scale_log2);
    }
  }
  if (part != 0 || row >= item.num_rows) return;
  const int64_t query = item.first_query + row / args.group_size;
  const int64_t head = item.kv_head * args.group_size + row % args.group_size;
  merged.store(static_cast<T*>(args.out) + query * args.out_stride + head * args.out_head_stride, args.head_dim);
}

}  // namespace

void launch_decode(const AttentionArgs& args, DType dtype, cudaStream_t stream) {
  const int max_rows = args.max_decode_queries * args.group_size;
  dispatch_tile(dtype, args.head_dim, [&]<typename T, int kDim>() {
    const int num_bytes = DecodeLayout{args.head_dim, max_rows}.num_bytes();
    set_shared_memory(attention_decode_kernel<T, kDim>, num_bytes);
    const auto num_blocks = static_cast<unsigned>(args.decode_workspace.num_blocks);
    launch_chained(attention_decode_kernel<T, kDim>, num_blocks, kNumDecodeThreads, static_cast<size_t>(num_bytes),
                   stream, args);
    if (!args.cuts_items) return;
    const auto num_items = static_cast<unsigned>(args.num_seqs * args.num_kv_heads);
    const auto num_rows = static_cast<unsigned>(max_rows);
    if (num_items < num_blocks) {  // they are cut into many parts
      launch_chained(merge_items_kernel<T, kDim, kMergeWarps>, dim3(num_items, num_rows), kMergeWarps * 32, 0, stream,
                     args);
    } else {
      launch_chained(merge_items_kernel<T, kDim, 1>, dim3(num_blocks, (num_rows + kMergeWarps - 1) / kMergeWarps),
                     kMergeWarps * 32, 0, stream, args);
    }
  });
}

}  // namespace cohort::cuda
