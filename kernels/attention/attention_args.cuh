// What the CUDA attention kernels are given, and how they find their part of it. Internal to this folder.
#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {

inline constexpr float kLog2E = 1.4426950408889634f;

// What makes attention more than plain: causal over all positions, with scores of scale * q k^T. Kernels have an
// instance for plain attention, and one that asks here for all the rest.
struct AttentionVariant {
  bool is_causal;
  bool changes_scores;  // by a cap or biases; AttentionArgs::scale_log2 is 1 then
  int window;           // positions that a query sees at most; 0: as many as there are
  // Of changes_scores:
  float scale_log2;            // scale / ln 2
  float soft_cap;              // or 0
  float cap_log2;              // soft_cap / ln 2
  float cap_factor;            // 2 scale / (soft_cap ln 2)
  const float* alibi_slopes;   // [num_heads], or null
  const float* position_bias;  // [num_heads, 2 * max_distance + 1], or null
  int max_distance;

  // A head's biases, that of distance 0 first.
  __device__ const float* bias_of(int head) const {
    return position_bias + int64_t{head} * (2 * max_distance + 1) + max_distance;
  }
  __device__ int distance(int key_position, int query_position) const {
    return min(max(key_position - query_position, -max_distance), max_distance);
  }
};

struct AttentionArgs {
  void* out;
  const void* q;
  const void* keys;    // of block 0
  const void* values;  // likewise
  const int32_t* query_starts;
  const int32_t* context_lengths;
  const int32_t* block_tables;
  float* workspace;  // as `decode_workspace` or `partials` says
  int64_t out_stride, out_head_stride, q_stride, q_head_stride, block_table_stride;
  int num_seqs, num_blocks, num_kv_heads, group_size, head_dim, block_size;
  int max_decode_queries, max_context_length;
  int table_positions;  // that a row of the block tables has room for
  // Of the decode kernel:
  bool cuts_items;
  DecodeWorkspace decode_workspace;
  // Of the kernels that go by runs:
  int run_length, runs_per_split;  // positions; runs of a block
  bool folds;                      // the block has room to merge the states of several runs
  PartialLayout partials;
  float scale;
  float scale_log2;  // scale / ln 2, so that exponentials are powers of two
  bool is_plain;     // the kernels' instance
  AttentionVariant variant;
};

// One sequence of the batch. One that only fills it up may have queries though it has no positions. Row r of a KV head
// is query r / group_size under the head's query head r % group_size, so that rows see later and later positions.
template <bool kIsPlain>
struct SequenceView {
  int first_query;  // row of q
  int num_queries;
  int context_length;
  const int32_t* block_table;

  __device__ SequenceView(const AttentionArgs& args, int seq)
      : first_query(args.query_starts[seq]),
        num_queries(args.query_starts[seq + 1] - first_query),
        context_length(args.context_lengths[seq]),
        block_table(args.block_tables + seq * args.block_table_stride) {
    check_on_device(num_queries <= context_length || context_length == 0 || (!kIsPlain && !args.variant.is_causal));
    check_on_device(context_length <= args.max_context_length);
  }

  __device__ int position(int query) const { return context_length - num_queries + query; }

  // A query sees the positions [first_visible(), num_visible()).
  __device__ int num_visible(const AttentionArgs& args, int query) const {
    return kIsPlain || args.variant.is_causal ? position(query) + 1 : context_length;
  }
  __device__ int first_visible(const AttentionArgs& args, int query) const {
    return kIsPlain || args.variant.window == 0 ? 0 : max(0, position(query) + 1 - args.variant.window);
  }
};

// The last sequence for which first_of(sequence) <= i. Requires that it is so for the first and that first_of does not
// fall.
template <typename F>
__device__ int find_sequence(int num_seqs, int64_t i, const F& first_of) {
  int begin = 0;
  int end = num_seqs;
  while (end - begin > 1) {
    const int middle = (begin + end) / 2;
    if (first_of(middle) <= i) {
      begin = middle;
    } else {
      end = middle;
    }
  }
  return begin;
}

// Each queues its kernels; the caller checks the launch. All but the last require what can_tile() of attention_cuda.cu
// requires.
void launch_decode(const AttentionArgs& args, DType dtype, cudaStream_t stream);
void launch_runs(const AttentionArgs& args, const AttentionPlan& plan, DType dtype, cudaStream_t stream);
void launch_prefill(const AttentionArgs& args, const AttentionPlan& plan, DType dtype, cudaStream_t stream);
void launch_simple(const AttentionArgs& args, int64_t num_tokens, DType dtype, cudaStream_t stream);

}  // namespace cohort::cuda
