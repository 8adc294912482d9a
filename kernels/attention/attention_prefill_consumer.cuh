// The part of Hopper's prefill kernel that computes. Internal to this folder.
#pragma once

#include <climits>
#include <cmath>

#include "kernels/attention/attention_prefill_sm90.cuh"
#include "kernels/attention/attention_scores.cuh"
#include "kernels/attention/attention_softmax.cuh"

namespace cohort::cuda {

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
      for (; i < num_tiles_; ++i) {
        if (!C::kIsPlain && is_masked(i)) {  // a window begins in it
          step<true>(i);
        } else {
          step<false>(i);
        }
      }
      finish();
      store();
      first_tile_ += num_tiles_;
    }
    if (group_ == 0) take_turn();  // the last that was given
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  __device__ void take_turn() const { sync_threads(kTurnBarrier + group_, kNumConsumers * kWarpgroupThreads); }
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
  __device__ int begin_of(int i) const {
    const int begin = (num_tiles_ - 1 - i) * C::kTile;
    return C::kIsPlain ? begin : first_position_ + begin;
  }
  __device__ bool is_masked(int i) const {
    if (begin_of(i) + C::kTile > num_visible(0)) return true;
    if (C::kIsPlain || args_.variant.window == 0) return false;
    return begin_of(i) < num_visible(kPrefillRows - 1) - args_.variant.window;
  }
  // Where ends what a row sees.
  __device__ int num_visible(int row) const {
    if (!C::kIsPlain && !args_.variant.is_causal) return context_length_;
    return first_visible_ + (row >> params_.order.heads_per_slot_log2);
  }

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
    if constexpr (!C::kIsPlain) {
      const int window = args_.variant.window;
      first_position_ = window == 0 ? 0 : max(0, first_visible_ - window) / C::kTile * C::kTile;
    }
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
    if (i == num_tiles_ - 1) shared_.queries_empty.arrive();
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
    if constexpr (!C::kIsPlain) {
      if (args_.variant.changes_scores) change(scores, begin_of(i));
    }
    if constexpr (kMasks) mask(scores, begin_of(i));
    float new_max[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float parts[4] = {max_[h], max_[h], max_[h], max_[h]};  // one alone would be a long chain
#pragma unroll
      for (int n = 0; n < C::kTile / 8; ++n) {
        parts[n % 4] = fmaxf(parts[n % 4], fmaxf(scores[4 * n + 2 * h], scores[4 * n + 2 * h + 1]));
      }
      new_max[h] = quad_max(fmaxf(fmaxf(parts[0], parts[1]), fmaxf(parts[2], parts[3])));
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      // A row may see nothing of tiles that are masked; of the others it sees everything.
      const float offset = kMasks ? score_offset(new_max[h]) : new_max[h];
      const float scaled_offset = offset * args_.scale_log2;
      correction[h] = exp2_approx((max_[h] - offset) * args_.scale_log2);
      max_[h] = new_max[h];
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
      const int limit = num_visible(row(h)) - begin - lane() % 4 * 2;
      const int first = C::kIsPlain || args_.variant.window == 0 ? INT_MIN : limit - args_.variant.window;
#pragma unroll
      for (int n = 0; n < C::kTile / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int position = n * 8 + e;
          if (position >= limit || (!C::kIsPlain && position < first)) scores[4 * n + 2 * h + e] = -INFINITY;
        }
      }
    }
  }

  __device__ void change(Scores& scores, int begin) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int log2 = params_.order.heads_per_slot_log2;
      const int column = begin + lane() % 4 * 2;
      const int head = first_head_ + (row(h) & ((1 << log2) - 1));
      change_scores<C::kTile / 4>(
          args_.variant, head, slope_log2(args_.variant, head), first_visible_ - 1 + (row(h) >> log2),
          [&](int i) -> float& { return scores[i / 2 * 4 + 2 * h + i % 2]; },
          [&](int i) { return column + i / 2 * 8 + i % 2; });
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
  // not take away. It is in the first tile that is gone through, if at all.
  __device__ void clear_unwritten_values() {
    const StageOf<C> at(first_tile_);
    const int first = context_length_ - begin_of(0);
    const int block_end = (first + args_.block_size - 1) / args_.block_size * args_.block_size;
    if (first >= C::kTile || first == block_end) return;
    shared_.values_full[at.stage].wait(at.parity);
    constexpr int kPanelChunks = C::kPanelBytes / 16;
    constexpr int kNumThreads = kNumConsumers * kWarpgroupThreads;
    for (int i = warp_ * 32 + lane(); i < (block_end - first) * C::kDim / 8; i += kNumThreads) {
      const int position = first + i / (C::kDim / 8);
      const int chunk = i % (C::kDim / 8);
      char* const to = shared_.values[at.stage] + position / 8 * C::kGroupBytes + chunk / kPanelChunks * C::kAtomBytes +
                       position % 8 * C::kPanelBytes + chunk % kPanelChunks * 16;
      *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
    }
    publish_to_async_units();
    sync_threads(kConsumersBarrier, kNumThreads);
  }

  __device__ void store() const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float inverse = inverse_of_sum(quad_sum(sum_[h]));
      const int r = row(h);
      const int log2 = params_.order.heads_per_slot_log2;
      // Neighbours exchange pairs, so that each has four columns of one of two tiles of eight.
      const bool is_odd = lane() % 2 != 0;
      T* const out = static_cast<T*>(args_.out) + (is_odd ? 8 : 0) + lane() % 4 / 2 * 4 +
                     (first_token_ + (r >> log2)) * args_.out_stride +
                     (first_head_ + (r & ((1 << log2) - 1))) * args_.out_head_stride;
#pragma unroll
      for (int n = 0; n < C::kDim / 8; n += 2) {
        const uint32_t first = value_pair(n, h, inverse);
        const uint32_t second = value_pair(n + 1, h, inverse);
        const uint32_t other = __shfl_xor_sync(~0u, is_odd ? first : second, 1);
        const uint2 columns = is_odd ? make_uint2(other, second) : make_uint2(first, other);
        if (r < num_rows_) *reinterpret_cast<uint2*>(out + n * 8) = columns;
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
  int first_position_ = 0;  // of the tiles; in plain attention always 0
  float values_[C::kParts][C::kPartDim / 2];
  uint32_t probabilities_[C::kTile / 4];
  float max_[2];
  float sum_[2];  // of this thread's columns
};

}  // namespace cohort::cuda
