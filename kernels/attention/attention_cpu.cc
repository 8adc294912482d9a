#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "kernels/attention/attention_backends.h"
#include "kernels/attention/product.h"
#include "kernels/core/vector_math.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kRun = 64;        // positions whose scores are softmaxed together; runs begin at multiples
constexpr int64_t kTileRows = 48;   // (query, head) pairs that share the loads of a run
constexpr int64_t kTileDims = 256;  // dimensions of a head at a time; a larger head_dim takes turns

// What one tile needs, about 170 KB of its thread's stack.
struct alignas(64) Scratch {
  float q[kTileRows * kTileDims];    // [row, dim], scaled
  float kv[kRun * kTileDims];        // keys as [dim, position], then values as [position, dim]; panels,
                                     // see product.h
  float scores[kTileRows * kRun];    // [row, position]; probabilities after the softmax
  float acc[kTileRows * kTileDims];  // [row, dim]: sum of probabilities times values
  float max[kTileRows];
  float sum[kTileRows];
};

// What is more to scores than scale * q k^T, for the heads of a KV head.
struct ScoreChanges {
  float soft_cap;              // or 0
  const float* alibi_slopes;   // [group_size], or null
  const float* position_bias;  // [group_size, 2 * max_distance + 1], or null
  int64_t max_distance;

  bool empty() const { return soft_cap == 0 && alibi_slopes == nullptr && position_bias == nullptr; }
};

// Some rows of one sequence and one KV head. Row r is query r / group_size under the KV head's
// query head r % group_size, so that rows see later and later positions.
template <typename T>
struct Tile {
  const T* q;  // query 0, first head of the group
  T* out;      // likewise
  int64_t q_stride, q_head_stride, out_stride, out_head_stride;
  const T* keys;    // block 0 of the KV head
  const T* values;  // likewise
  const int32_t* block_table;
  int64_t num_blocks, block_stride, block_size, head_dim;
  int64_t group_size;
  int64_t context_length;
  int64_t first_position;  // of query 0
  int64_t first_row, num_rows;
  float scale;
  bool is_causal;
  int64_t window;  // or 0
  ScoreChanges changes;

  int64_t query(int64_t row) const { return (first_row + row) / group_size; }
  int64_t head(int64_t row) const { return (first_row + row) % group_size; }
  int64_t position(int64_t row) const { return first_position + query(row); }
  // A row sees the positions [first_visible(), num_visible()).
  int64_t num_visible(int64_t row) const { return is_causal ? position(row) + 1 : context_length; }
  int64_t first_visible(int64_t row) const {
    return window == 0 ? 0 : std::max<int64_t>(0, position(row) + 1 - window);
  }
  const T* q_row(int64_t row) const { return q + query(row) * q_stride + head(row) * q_head_stride; }
  T* out_row(int64_t row) const { return out + query(row) * out_stride + head(row) * out_head_stride; }
};

// Up to kRun positions, and where they are in the keys, and alike in the values, of a KV head. What lies before all
// that the tile's rows see has the place of the first position that one sees.
struct Run {
  int64_t begin;
  int64_t count;
  int64_t offsets[kRun];
};

template <typename T>
void find_run(Run& run, const Tile<T>& tile, int64_t begin, int64_t end) {
  run.begin = begin;
  run.count = std::max<int64_t>(0, std::min(kRun, end - begin));
  const int64_t num_hidden = std::clamp<int64_t>(tile.first_visible(0) - begin, 0, run.count);
  int64_t block_index = (begin + num_hidden) / tile.block_size;
  int64_t in_block = (begin + num_hidden) % tile.block_size;
  int64_t i = num_hidden;
  while (i < run.count) {
    const int64_t block = tile.block_table[block_index];
    COHORT_CHECK(block >= 0 && block < tile.num_blocks,
                 "block " + std::to_string(block) + " of " + std::to_string(tile.num_blocks));
    int64_t offset = block * tile.block_stride + in_block * tile.head_dim;
    for (; i < run.count && in_block < tile.block_size; ++i, ++in_block, offset += tile.head_dim) {
      run.offsets[i] = offset;
    }
    in_block = 0;
    ++block_index;
  }
  if (num_hidden > 0) std::fill_n(run.offsets, num_hidden, run.offsets[num_hidden]);
}

// Asks for dimensions [begin, begin + num_dims) of positions [first, first + kLanes) of a run: the
// blocks of a sequence lie anywhere, which the hardware does not foresee.
template <typename T>
void prefetch(const T* cache, const Run& run, int64_t first, int64_t begin, int64_t num_dims) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = first; i < std::min(first + kLanes, run.count); ++i) {
    const T* const row = cache + run.offsets[i] + begin;
    for (int64_t d = 0; d < num_dims; d += kLine) __builtin_prefetch(row + d);
  }
}

// Rows of q, dimensions [begin, begin + num_dims), times the scale.
template <typename T>
void pack_queries(Scratch& s, const Tile<T>& tile, int64_t begin, int64_t num_dims) {
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    const T* const q = tile.q_row(row) + begin;
    float* const packed = s.q + row * kTileDims;
    for_each_vector(num_dims, [&](int64_t d, auto extent) { store8(packed + d, load8(q + d, extent) * tile.scale); });
  }
}

// Keys of a run transposed to [dim, position]; up to seven positions behind them repeat the last
// one.
template <typename T>
void pack_keys(Scratch& s, const Tile<T>& tile, const Run& run, int64_t begin, int64_t num_dims) {
  for (int64_t j = 0; j < run.count; j += kLanes) {
    prefetch(tile.values, run, j, begin, num_dims);
    const T* row[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      row[i] = tile.keys + run.offsets[std::min(j + i, run.count - 1)] + begin;
    }
    float* const packed = s.kv + j / kPanelColumns * (num_dims * kPanelColumns) + j % kPanelColumns;
    int64_t d = 0;
    for (; d + kLanes <= num_dims; d += kLanes) {
      Float8 x[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) x[i] = load8(row[i] + d);
      transpose8(x);
      for (int64_t i = 0; i < kLanes; ++i) store8(packed + (d + i) * kPanelColumns, x[i]);
    }
    for (; d < num_dims; ++d) {
      for (int64_t i = 0; i < kLanes; ++i) packed[d * kPanelColumns + i] = static_cast<float>(row[i][d]);
    }
  }
}

// Values of a run, dimensions [begin, begin + num_dims), as [position, dim] with rows of whole
// vectors. Meanwhile the keys of the next run come nearer.
template <typename T>
void pack_values(Scratch& s, const Tile<T>& tile, const Run& run, const Run& next, int64_t begin, int64_t num_dims) {
  for (int64_t j = 0; j < run.count; ++j) {
    if (j % kLanes == 0) prefetch(tile.keys, next, j, begin, num_dims);
    const T* const row = tile.values + run.offsets[j] + begin;
    float* const packed = s.kv + j * kPanelColumns;
    for_each_vector(num_dims, [&](int64_t d, auto extent) {
      const int64_t panel = d / kPanelColumns * (kRun * kPanelColumns);
      store8(packed + panel + d % kPanelColumns, load8(row + d, extent));
    });
  }
}

// scores = q k^T of rows [first_row, num_rows) for a run, which may be the tile's first. Each score
// is one sum over the dimensions in order.
template <typename T>
void score_run(Scratch& s, const Tile<T>& tile, int64_t first_row, const Run& run, bool is_first) {
  const int64_t num_rows = tile.num_rows - first_row;
  std::fill_n(s.scores + first_row * kRun, num_rows * kRun, 0.0f);
  for (int64_t begin = 0; begin < tile.head_dim; begin += kTileDims) {
    const int64_t num_dims = std::min(kTileDims, tile.head_dim - begin);
    if (is_first || tile.head_dim > kTileDims) pack_queries(s, tile, begin, num_dims);
    pack_keys(s, tile, run, begin, num_dims);
    const Product product{s.scores + first_row * kRun, kRun,    s.q + first_row * kTileDims, kTileDims, s.kv,
                          num_dims * kPanelColumns,    num_dims};
    add_product(product, num_rows, (run.count + kLanes - 1) / kLanes);
  }
}

// Caps and biases the scores of a row for positions [begin, begin + count).
template <typename T>
void change_scores(Scratch& s, const Tile<T>& tile, int64_t row, int64_t begin, int64_t count) {
  const ScoreChanges& changes = tile.changes;
  float* const scores = s.scores + row * kRun;
  const int64_t first_distance = begin - tile.position(row);
  if (changes.soft_cap > 0) {
    const float factor = 2 / changes.soft_cap;
    for (int64_t j = 0; j < count; j += kLanes) {  // tanh(x) = 1 - 2 / (1 + e^2x)
      const Float8 e = exp8(load8(scores + j) * factor);
      store8(scores + j, changes.soft_cap - 2 * changes.soft_cap / (1.0f + e));
    }
  }
  if (changes.alibi_slopes != nullptr) {
    const float slope = changes.alibi_slopes[tile.head(row)];
    for (int64_t j = 0; j < count; ++j) scores[j] = std::fma(slope, static_cast<float>(first_distance + j), scores[j]);
  }
  if (changes.position_bias != nullptr) {
    const int64_t max = changes.max_distance;
    const float* const bias = changes.position_bias + tile.head(row) * (2 * max + 1) + max;
    for (int64_t j = 0; j < count; ++j) scores[j] += bias[std::clamp(first_distance + j, -max, max)];
  }
}

// Makes probabilities (not yet divided by their sum) of the scores of a run, and rescales what was
// summed before to their new largest score. Positions [first, count) of the run are visible to the row.
void softmax_run(Scratch& s, int64_t row, int64_t first, int64_t count, int64_t num_acc_dims) {
  float* const scores = s.scores + row * kRun;
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(scores, scores + first, -std::numeric_limits<float>::infinity());
  std::fill(scores + count, scores + padded, -std::numeric_limits<float>::infinity());
  Float8 lane_max = load8(scores);
  for (int64_t j = kLanes; j < padded; j += kLanes) lane_max = max8(load8(scores + j), lane_max);
  const float max = std::max(s.max[row], max_of8(lane_max));
  Float8 lane_sum = {};
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Float8 p = exp8(load8(scores + j) - max);
    store8(scores + j, p);
    lane_sum += p;
  }
  const float correction = exp_float(s.max[row] - max);
  s.max[row] = max;
  s.sum[row] = s.sum[row] * correction + sum_of8(lane_sum);
  if (correction == 1.0f) return;
  float* const acc = s.acc + row * kTileDims;
  for (int64_t d = 0; d < num_acc_dims; d += kLanes) store8(acc + d, load8(acc + d) * correction);
}

// acc += probabilities * values for rows [first_row, end_row), each over the positions it sees, in
// order. The values are packed. The positions that all rows see go through the blocked product; a
// position that a row does not see is not multiplied by zero but left out, because what is stored
// there may be infinite.
template <typename T>
void add_values(Scratch& s, const Tile<T>& tile, int64_t first_row, int64_t end_row, const Run& run, int64_t num_dims) {
  const int64_t num_vectors = (num_dims + kLanes - 1) / kLanes;
  const auto add = [&](int64_t row, int64_t num_rows, int64_t first, int64_t count) {
    const Product product{
        s.acc + row * kTileDims, kTileDims, s.scores + row * kRun + first, kRun, s.kv + first * kPanelColumns,
        kRun * kPanelColumns,    count};
    add_product(product, num_rows, num_vectors);
  };
  const auto first_seen = [&](int64_t row) { return std::max<int64_t>(0, tile.first_visible(row) - run.begin); };
  const auto num_seen = [&](int64_t row) { return std::min(run.count, tile.num_visible(row) - run.begin); };
  const int64_t first_common = first_seen(end_row - 1);
  const int64_t num_common = std::max(num_seen(first_row), first_common);
  for (int64_t row = first_row; row < end_row && first_seen(row) < first_common; ++row) {
    add(row, 1, first_seen(row), std::min(first_common, num_seen(row)) - first_seen(row));
  }
  if (num_common > first_common) add(first_row, end_row - first_row, first_common, num_common - first_common);
  for (int64_t row = first_row; row < end_row; ++row) {
    if (num_seen(row) > num_common) add(row, 1, num_common, num_seen(row) - num_common);
  }
}

// Dimensions [begin, begin + num_dims) of the output of a tile, num_dims at most kTileDims.
template <typename T>
void attend(const Tile<T>& tile, int64_t begin, int64_t num_dims) {
  Scratch s;
  const int64_t num_acc_dims = (num_dims + kLanes - 1) / kLanes * kLanes;
  std::fill_n(s.max, tile.num_rows, -std::numeric_limits<float>::infinity());
  std::fill_n(s.sum, tile.num_rows, 0.0f);
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    std::fill_n(s.acc + row * kTileDims, num_acc_dims, 0.0f);
  }
  const int64_t num_positions = tile.num_visible(tile.num_rows - 1);
  const int64_t first_run = tile.first_visible(0) / kRun;
  Run runs[2];  // the one in work and the next
  find_run(runs[first_run % 2], tile, first_run * kRun, num_positions);
  int64_t first_row = 0;  // rows before it see nothing of the run
  int64_t end_row = 0;    // nor do rows from it on
  for (int64_t i = first_run; i * kRun < num_positions; ++i) {
    const Run& run = runs[i % 2];
    Run& next = runs[(i + 1) % 2];
    find_run(next, tile, run.begin + kRun, num_positions);
    while (tile.num_visible(first_row) <= run.begin) ++first_row;
    while (end_row < tile.num_rows && tile.first_visible(end_row) < run.begin + kRun) ++end_row;
    score_run(s, tile, first_row, run, i == first_run);
    for (int64_t row = first_row; row < end_row; ++row) {
      const int64_t first_seen = std::max<int64_t>(0, tile.first_visible(row) - run.begin);
      const int64_t num_seen = std::min(run.count, tile.num_visible(row) - run.begin);
      if (!tile.changes.empty()) change_scores(s, tile, row, run.begin, num_seen);
      softmax_run(s, row, first_seen, num_seen, num_acc_dims);
    }
    pack_values(s, tile, run, next, begin, num_dims);
    add_values(s, tile, first_row, end_row, run, num_dims);
  }
  for (int64_t row = 0; row < tile.num_rows; ++row) {
    const float scale = s.sum[row] == 0 ? 0.0f : 1.0f / s.sum[row];  // there may be nothing to attend to
    T* const out = tile.out_row(row) + begin;
    const float* const acc = s.acc + row * kTileDims;
    for_each_vector(num_dims, [&](int64_t d, auto extent) { store8(out + d, load8(acc + d) * scale, extent); });
  }
}

void check_sequences(const AttentionBatch& batch, int64_t num_tokens, int64_t block_size, bool is_causal) {
  const int32_t* const starts = batch.query_starts.data<int32_t>();
  const int32_t* const lengths = batch.context_lengths.data<int32_t>();
  const int64_t num_seqs = batch.num_seqs();
  COHORT_CHECK(starts[0] == 0 && starts[num_seqs] == num_tokens, "queries from " + std::to_string(starts[0]) + " to " +
                                                                     std::to_string(starts[num_seqs]) + " of " +
                                                                     std::to_string(num_tokens));
  for (int64_t i = 0; i < num_seqs; ++i) {
    const int64_t num_queries = starts[i + 1] - starts[i];
    COHORT_CHECK(num_queries >= 0 && (num_queries <= lengths[i] || !is_causal) && lengths[i] >= 0 &&
                     lengths[i] <= batch.block_tables.dim(1) * block_size,
                 "sequence " + std::to_string(i) + ": " + std::to_string(num_queries) + " queries, context length " +
                     std::to_string(lengths[i]));
  }
}

// The work of a batch, cut into (sequence, KV head, tile of rows) items. A sequence is not cut
// along its positions: that would change the order of its sums with the number of pieces.
template <typename T>
class Items {
 public:
  Items(const TensorView& out, const ConstTensorView& q, const KvCacheView& cache, const AttentionBatch& batch,
        const AttentionParams& params)
      : out_(out), q_(q), cache_(cache), batch_(batch), params_(params), group_size_(q.dim(1) / cache.num_kv_heads()) {}

  int64_t count() const {
    int64_t count = 0;
    for (int64_t seq = 0; seq < batch_.num_seqs(); ++seq) count += count_of(seq);
    return count;
  }

  // Runs items [begin, end).
  void run(int64_t begin, int64_t end) const {
    int64_t first = 0;  // of the sequence
    for (int64_t seq = 0; seq < batch_.num_seqs() && first < end; ++seq) {
      const int64_t count = count_of(seq);
      for (int64_t i = std::max(begin - first, int64_t{0}); i < std::min(end - first, count); ++i) {
        run_item(seq, i / num_tiles(seq), i % num_tiles(seq));
      }
      first += count;
    }
  }

 private:
  int64_t num_queries(int64_t seq) const {
    const int32_t* const starts = batch_.query_starts.data<int32_t>();
    return starts[seq + 1] - starts[seq];
  }
  int64_t num_tiles(int64_t seq) const { return (num_queries(seq) * group_size_ + kTileRows - 1) / kTileRows; }
  int64_t count_of(int64_t seq) const { return num_tiles(seq) * cache_.num_kv_heads(); }

  ScoreChanges changes_of(int64_t kv_head) const {
    const int64_t head = kv_head * group_size_;
    const ConstTensorView& slopes = params_.alibi_slopes;
    const ConstTensorView& bias = params_.position_bias;
    return {.soft_cap = params_.soft_cap,
            .alibi_slopes = slopes.empty() ? nullptr : slopes.data<float>() + head,
            .position_bias = bias.empty() ? nullptr : bias.row<float>(head),
            .max_distance = bias.empty() ? 0 : (bias.dim(1) - 1) / 2};
  }

  void run_item(int64_t seq, int64_t kv_head, int64_t tile_index) const {
    const int64_t first_query = batch_.query_starts.data<int32_t>()[seq];
    const int64_t head_stride = cache_.block_size() * cache_.head_dim();
    Tile<T> tile;
    tile.q = q_.row<T>(first_query) + kv_head * group_size_ * q_.stride(1);
    tile.out = out_.row<T>(first_query) + kv_head * group_size_ * out_.stride(1);
    tile.q_stride = q_.stride(0);
    tile.q_head_stride = q_.stride(1);
    tile.out_stride = out_.stride(0);
    tile.out_head_stride = out_.stride(1);
    tile.keys = cache_.keys.data<T>() + kv_head * head_stride;
    tile.values = cache_.values.data<T>() + kv_head * head_stride;
    tile.block_table = batch_.block_tables.row<int32_t>(seq);
    tile.num_blocks = cache_.num_blocks();
    tile.block_stride = cache_.num_kv_heads() * head_stride;
    tile.block_size = cache_.block_size();
    tile.head_dim = cache_.head_dim();
    tile.group_size = group_size_;
    tile.context_length = batch_.context_lengths.data<int32_t>()[seq];
    tile.first_position = tile.context_length - num_queries(seq);
    tile.first_row = tile_index * kTileRows;
    tile.num_rows = std::min(kTileRows, num_queries(seq) * group_size_ - tile.first_row);
    tile.scale = params_.scale;
    tile.is_causal = params_.is_causal;
    tile.window = params_.window;
    tile.changes = changes_of(kv_head);
    for (int64_t begin = 0; begin < tile.head_dim; begin += kTileDims) {
      attend(tile, begin, std::min(kTileDims, tile.head_dim - begin));
    }
  }

  const TensorView& out_;
  const ConstTensorView& q_;
  const KvCacheView& cache_;
  const AttentionBatch& batch_;
  const AttentionParams& params_;
  int64_t group_size_;
};

}  // namespace

void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, Stream& stream) {
  check_sequences(batch, q.dim(0), cache.block_size(), params.is_causal);
  dispatch_float(q.dtype(), [&]<typename T>() {
    const Items<T> items(out, q, cache, batch, params);
    const auto body = [&](int64_t begin, int64_t end) { items.run(begin, end); };
    stream.parallel_for(items.count(), 1, std::ref(body));
  });
}

}  // namespace cohort::cpu
