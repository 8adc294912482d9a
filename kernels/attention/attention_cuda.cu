#include <limits>
#include <string>

#include "kernels/attention/attention_args.cuh"
#include "kernels/attention/attention_backends.h"
#include "kernels/attention/attention_prefill_sm90.h"
#include "kernels/core/cuda_device.h"

namespace cohort::cuda {
namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr int64_t kMaxGridYZ = 65535;

// 0 where no sequence is longer than the window.
int64_t window_of(const AttentionParams& params, const AttentionBatch& batch) {
  return params.window < batch.max_context_length ? params.window : 0;
}

bool changes_scores(const AttentionParams& params) {
  return params.soft_cap > 0 || !params.alibi_slopes.empty() || !params.position_bias.empty();
}

// Bits of a causal window that no sequence fills are those of plain attention.
bool is_plain(const AttentionParams& params, const AttentionBatch& batch) {
  return params.is_causal && window_of(params, batch) == 0 && !changes_scores(params);
}

AttentionProblem problem_of(const ConstTensorView& q, const KvCacheView& cache, const AttentionBatch& batch,
                            const AttentionParams& params, const TensorView& workspace, const Stream& stream) {
  return {.num_seqs = batch.num_seqs(),
          .num_tokens = q.dim(0),
          .max_query_length = batch.max_query_length,
          .max_context_length = batch.max_context_length,
          .num_heads = q.dim(1),
          .num_kv_heads = cache.num_kv_heads(),
          .head_dim = q.dim(2),
          .block_size = cache.block_size(),
          .table_positions = batch.block_tables.dim(1) * cache.block_size(),
          .deterministic = params.deterministic,
          .is_plain = is_plain(params, batch),
          .window = window_of(params, batch),
          .has_bulk_copies = has_sm90a_kernels(),
          .num_multiprocessors = num_multiprocessors(stream),
          .workspace_bytes = workspace.num_bytes()};
}

void check(const AttentionProblem& p, const KvCacheView& cache, const AttentionBatch& batch,
           const AttentionParams& params, const TensorView& workspace, const Stream& stream) {
  COHORT_CHECK(p.max_query_length > 0 && (p.max_query_length <= p.max_context_length || !params.is_causal) &&
                   p.max_context_length > 0 && p.max_context_length <= batch.block_tables.dim(1) * cache.block_size(),
               "max_query_length " + std::to_string(p.max_query_length) + ", max_context_length " +
                   std::to_string(p.max_context_length) + ", block_tables " + batch.block_tables.shape().to_string());
  COHORT_CHECK(workspace.empty() || (workspace.device() == stream.device() && is_aligned(workspace.data())),
               to_string(workspace.device()));
  COHORT_CHECK(p.num_seqs <= kMaxGridYZ && p.num_heads <= kMaxGridYZ && p.num_tokens * p.num_heads <= kMaxInt &&
                   p.max_context_length < kMaxInt / 2,
               std::to_string(p.num_seqs) + " sequences, " + std::to_string(p.num_tokens) + " tokens of " +
                   std::to_string(p.num_heads) + " heads");
}

// Whether the tensor core kernels take it: 16-byte copies of rows, and positions counted in 16 bytes as an int.
bool can_tile(const TensorView& out, const ConstTensorView& q, const KvCacheView& cache) {
  const bool is_16_bit = q.dtype() == DType::kBF16 || q.dtype() == DType::kF16;
  const bool is_vectorized = is_aligned(q, q.stride(0)) && is_aligned(q, q.stride(1)) &&
                             is_aligned(out, out.stride(0)) && is_aligned(out, out.stride(1)) &&
                             is_aligned(cache.keys.data()) && is_aligned(cache.values.data());
  return is_16_bit && is_vectorized && q.dim(2) % 8 == 0 && q.dim(2) <= kMaxTileDim &&
         cache.keys.num_bytes() / 16 <= kMaxInt;
}

AttentionVariant variant_of(const AttentionParams& params, const AttentionBatch& batch) {
  AttentionVariant variant{};
  variant.is_causal = params.is_causal;
  variant.window = static_cast<int>(window_of(params, batch));
  variant.changes_scores = changes_scores(params);
  variant.scale_log2 = params.scale * kLog2E;
  variant.soft_cap = params.soft_cap;
  variant.cap_log2 = params.soft_cap * kLog2E;
  variant.cap_factor = params.soft_cap > 0 ? 2 * params.scale / params.soft_cap * kLog2E : 0;
  if (!params.alibi_slopes.empty()) variant.alibi_slopes = params.alibi_slopes.data<float>();
  if (!params.position_bias.empty()) {
    variant.position_bias = params.position_bias.data<float>();
    variant.max_distance = static_cast<int>((params.position_bias.dim(1) - 1) / 2);
  }
  return variant;
}

AttentionArgs args_of(const TensorView& out, const ConstTensorView& q, const KvCacheView& cache,
                      const AttentionBatch& batch, const AttentionParams& params) {
  AttentionArgs args{};
  args.out = out.data();
  args.q = q.data();
  args.keys = cache.keys.data();
  args.values = cache.values.data();
  args.query_starts = batch.query_starts.data<int32_t>();
  args.context_lengths = batch.context_lengths.data<int32_t>();
  args.block_tables = batch.block_tables.data<int32_t>();
  args.out_stride = out.stride(0);
  args.out_head_stride = out.stride(1);
  args.q_stride = q.stride(0);
  args.q_head_stride = q.stride(1);
  args.block_table_stride = batch.block_tables.stride(0);
  args.num_seqs = static_cast<int>(batch.num_seqs());
  args.num_blocks = static_cast<int>(cache.num_blocks());
  args.num_kv_heads = static_cast<int>(cache.num_kv_heads());
  args.group_size = static_cast<int>(q.dim(1) / cache.num_kv_heads());
  args.head_dim = static_cast<int>(q.dim(2));
  args.block_size = static_cast<int>(cache.block_size());
  args.max_context_length = static_cast<int>(batch.max_context_length);
  args.scale = params.scale;
  args.variant = variant_of(params, batch);
  args.is_plain = is_plain(params, batch);
  args.scale_log2 = args.variant.changes_scores ? 1 : params.scale * kLog2E;
  return args;
}

void launch_tiled(AttentionArgs args, const AttentionProblem& problem, const TensorView& workspace, DType dtype,
                  cudaStream_t stream) {
  const AttentionPlan plan = plan_attention(problem);
  args.max_decode_queries = static_cast<int>(plan.max_decode_queries);
  args.workspace = static_cast<float*>(workspace.data());
  if (plan.decode == DecodeKernel::kShares) {
    args.table_positions = static_cast<int>(problem.table_positions);
    args.cuts_items = plan.cuts_items;
    args.decode_workspace = decode_workspace(problem, plan);
    launch_decode(args, dtype, stream);
  }
  if (plan.decode == DecodeKernel::kRuns) {
    args.run_length = static_cast<int>(kRunLength);
    args.runs_per_split = static_cast<int>(plan.runs_per_split);
    args.partials = partial_layout(problem, plan);
    args.folds = plan.num_partials == 0 && problem.max_context_length > kRunLength;
    launch_runs(args, plan, dtype, stream);
  }
  if (plan.runs_prefill && can_prefill_sm90(args, problem)) {
    launch_prefill_sm90(args, problem, dtype, stream);
  } else if (plan.runs_prefill) {  // nothing is cut here, so only the deterministic mode has runs
    args.run_length = static_cast<int>(problem.deterministic ? kRunLength : kMaxInt);
    args.partials = {};
    args.folds = problem.max_context_length > args.run_length;
    launch_prefill(args, plan, dtype, stream);
  }
}

}  // namespace

void paged_attention(TensorView out, ConstTensorView q, KvCacheView cache, const AttentionBatch& batch,
                     const AttentionParams& params, TensorView workspace, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const AttentionProblem problem = problem_of(q, cache, batch, params, workspace, stream);
  check(problem, cache, batch, params, workspace, stream);
  const AttentionArgs args = args_of(out, q, cache, batch, params);
  if (can_tile(out, q, cache)) {
    launch_tiled(args, problem, workspace, q.dtype(), handle);
  } else {
    launch_simple(args, q.dim(0), q.dtype(), handle);
  }
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
