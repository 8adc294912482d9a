// Attention of few queries a sequence whose bits depend on the sequence alone: contexts are cut into runs of kRunLength
// positions, and what a block computes of a run, or a second kernel of all, it computes in one order.
#include "kernels/attention/attention_tile.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kMergeRowsPerBlock = 4;  // one warp each
constexpr int kMergeBatch = 8;         // states whose loads are on their way at once

// One block for each split along a sequence's positions, tile of rows and KV head, and sequence.
template <class C>
__global__ void __launch_bounds__(kNumTileThreads, C::kDim > 128 || C::kRows > 16 ? 2 : 3)
    attention_runs_kernel(const __grid_constant__ AttentionArgs args) {
  extern __shared__ __align__(16) char shared[];
  let_next_begin();
  wait_for_previous();
  RowTile tile;
  tile.seq = static_cast<int>(blockIdx.z);
  tile.kv_head = static_cast<int>(blockIdx.y) % args.num_kv_heads;
  tile.first_row = static_cast<int>(blockIdx.y) / args.num_kv_heads * C::kRows;
  const SequenceView<C::kIsPlain> sequence(args, tile.seq);
  if (sequence.num_queries > args.max_decode_queries) return;  // the prefill kernel's
  tile.num_rows = min(C::kRows, sequence.num_queries * args.group_size - tile.first_row);
  if (tile.num_rows <= 0) return;
  const int split_length = args.run_length * args.runs_per_split;
  const int split = static_cast<int>(blockIdx.x) * split_length;
  tile.first_visible = sequence.first_visible(args, tile.first_row / args.group_size);
  tile.begin = C::kIsPlain ? split : max(split, tile.first_visible / C::kTile * C::kTile);
  tile.end =
      min(split + split_length, sequence.num_visible(args, (tile.first_row + tile.num_rows - 1) / args.group_size));
  if (tile.begin >= tile.end && tile.begin > 0) return;  // the first writes where there is nothing to attend to
  TileKernel<C>(args, tile, shared).run();
}

// The merged states of one query and head in the registers of a warp. Lane l has the dimensions 4 l + 128 i.
struct MergedState {
  static constexpr int kPieces = kMaxTileDim / 128;
  float max = -INFINITY;
  float sum = 0.0f;
  float4 values[kPieces] = {};

  __device__ static int dim(int piece) { return 4 * (static_cast<int>(threadIdx.x) % 32) + 128 * piece; }

  // Merges states [0, count) behind `row`, at most kMergeBatch, in order.
  __device__ void add(const AttentionArgs& args, int64_t row, int count) {
    const auto* const states = reinterpret_cast<const float2*>(args.workspace + args.partials.max_and_sum(row));
    float2 state[kMergeBatch];
    float4 added[kMergeBatch][kPieces];
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      state[i] = i < count ? states[i] : make_float2(-INFINITY, 0.0f);
      const float* const from = args.workspace + args.partials.values(row + i);
#pragma unroll
      for (int j = 0; j < kPieces; ++j) {
        const bool is_there = i < count && dim(j) < args.head_dim;
        added[i][j] = is_there ? *reinterpret_cast<const float4*>(from + dim(j)) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
    }
#pragma unroll
    for (int i = 0; i < kMergeBatch; ++i) {
      const MergeWeights weights = merge_weights(max, state[i].x, args.scale_log2);
      max = weights.max;
      sum = merge(sum, state[i].y, weights);
#pragma unroll
      for (int j = 0; j < kPieces; ++j) {
        values[j].x = merge(values[j].x, added[i][j].x, weights);
        values[j].y = merge(values[j].y, added[i][j].y, weights);
        values[j].z = merge(values[j].z, added[i][j].z, weights);
        values[j].w = merge(values[j].w, added[i][j].w, weights);
      }
    }
  }

  template <typename T>
  __device__ void store(T* out, int head_dim) const {
    const float inverse = inverse_of_sum(sum);
#pragma unroll
    for (int j = 0; j < kPieces; ++j) {
      if (dim(j) >= head_dim) break;
      const uint2 packed = {pack_pair<T>(__fmul_rn(values[j].x, inverse), __fmul_rn(values[j].y, inverse)),
                            pack_pair<T>(__fmul_rn(values[j].z, inverse), __fmul_rn(values[j].w, inverse))};
      *reinterpret_cast<uint2*>(out + dim(j)) = packed;
    }
  }
};

// Merges the partial states of one query and head in the order of their positions; a warp each.
template <typename T, bool kIsPlain>
__global__ void __launch_bounds__(kMergeRowsPerBlock * 32)
    merge_runs_kernel(const __grid_constant__ AttentionArgs args) {
  let_next_begin();
  wait_for_previous();
  const PartialLayout& partials = args.partials;
  const int64_t index = int64_t{blockIdx.x} * kMergeRowsPerBlock + threadIdx.x / 32;
  const int64_t head = index % partials.num_heads;
  const auto query = static_cast<int>(index / partials.num_heads % partials.max_queries);
  const int64_t seq = index / partials.num_heads / partials.max_queries;
  if (seq >= partials.num_seqs) return;
  const SequenceView<kIsPlain> sequence(args, static_cast<int>(seq));
  if (sequence.num_queries > args.max_decode_queries || query >= sequence.num_queries) return;
  if (sequence.context_length <= args.run_length) return;  // there was one state, and it has gone out

  const int first = sequence.first_visible(args, query) / args.run_length;
  const int count = (sequence.num_visible(args, query) + args.run_length - 1) / args.run_length - first;
  const int64_t row = partials.row(seq, query, head) + first;
  MergedState merged;
  for (int i = 0; i < count; i += kMergeBatch) merged.add(args, row + i, min(kMergeBatch, count - i));
  merged.store(
      static_cast<T*>(args.out) + (sequence.first_query + query) * args.out_stride + head * args.out_head_stride,
      args.head_dim);
}

template <class C>
void launch_kernel(const AttentionArgs& args, const AttentionPlan& plan, cudaStream_t stream) {
  const int num_bytes = TileLayout{C::kDim, C::kRows, args.folds}.num_bytes();
  set_shared_memory(attention_runs_kernel<C>, num_bytes);
  const dim3 grid(static_cast<unsigned>(plan.num_splits), static_cast<unsigned>(plan.num_row_tiles * args.num_kv_heads),
                  static_cast<unsigned>(args.num_seqs));
  launch_chained(attention_runs_kernel<C>, grid, kNumTileThreads, static_cast<size_t>(num_bytes), stream, args);
}

}  // namespace

void launch_runs(const AttentionArgs& args, const AttentionPlan& plan, DType dtype, cudaStream_t stream) {
  dispatch_tile(dtype, args.head_dim, args.is_plain, [&]<typename T, int kDim, bool kIsPlain>() {
    if constexpr (kIsPlain) {  // others have no kernel for few rows, which would be compiled for little
      if (plan.decode_rows == 16) launch_kernel<TileConfig<T, kDim, 1, 1, true>>(args, plan, stream);
    }
    if (plan.decode_rows > 16) launch_kernel<TileConfig<T, kDim, 4, 1, kIsPlain>>(args, plan, stream);
    if (plan.num_partials == 0) return;
    const int64_t num_rows = args.partials.num_seqs * args.partials.max_queries * args.partials.num_heads;
    const auto num_blocks = static_cast<unsigned>((num_rows + kMergeRowsPerBlock - 1) / kMergeRowsPerBlock);
    launch_chained(merge_runs_kernel<T, kIsPlain>, num_blocks, kMergeRowsPerBlock * 32, 0, stream, args);
  });
}

}  // namespace cohort::cuda
