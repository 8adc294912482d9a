// Attention of few queries a sequence: at the speed of the memory, whatever the lengths of the sequences.
//
// As many blocks as multiprocessors divide the tiles of all sequences among themselves (DecodeShares), from context
// lengths that only the device knows, so that one launch serves every context. One warp of a block plans and loads:
// tiles come by bulk copies into a ring of stages, with what is to be known of each. The others attend to all tiles
// alike (FlashAttention-2, Dao 2023, with mma.sync), each to the positions of its own, and merge their states when an
// item ends. What was cut is put together by a second kernel.
#include "kernels/attention/attention_decode_attender.cuh"
#include "kernels/attention/attention_decode_loader.cuh"
#include "kernels/attention/attention_dispatch.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kNumDecodeThreads = (kDecodeWarps + 1) * 32;
constexpr int kMergeWarps = 8;

template <typename T, int kDim>
__global__ void __launch_bounds__(kNumDecodeThreads, 1)
    attention_decode_kernel(const __grid_constant__ AttentionArgs args) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) char shared[];
  const DecodeLayout layout{args.head_dim, args.max_decode_queries * args.group_size};
  const decode::Ring ring(layout, shared);
  if (threadIdx.x == 0) ring.init();
  let_next_begin();
  __syncthreads();  // the barriers are there
  wait_for_previous();
  if (decode::warp_index() == kDecodeWarps) {
    decode::Loader(args, layout, ring).run();
  } else {
    decode::Attender<T, kDim>(args, layout, shared).run(ring);
  }
#else
  __trap();
#endif
}

// A part of a row's state in the registers of a warp. Lane l has the dimensions 4 l + 128 i.
template <int kDim>
struct RowState {
  static constexpr int kPieces = (kDim + 127) / 128;
  float max = -INFINITY;
  float sum = 0.0f;
  float4 values[kPieces] = {};

  __device__ static int dim(int piece) { return 4 * decode::lane_index() + 128 * piece; }

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
  const auto item =
      *reinterpret_cast<const decode::CutItem*>(args.workspace + at.cut_item(static_cast<int>(blockIdx.x)));
  if (item.num_states == 0) return;
  const int row = static_cast<int>(blockIdx.y) * (kMergeWarps / kRowWarps) + decode::warp_index() / kRowWarps;
  const int part = decode::warp_index() % kRowWarps;
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
    if (decode::lane_index() == 0) max_and_sum[decode::warp_index()] = make_float2(merged.max, merged.sum);
#pragma unroll
    for (int j = 0; j < RowState<kDim>::kPieces; ++j) {
      if (merged.dim(j) < args.head_dim) values[decode::warp_index()][merged.dim(j) / 4] = merged.values[j];
    }
    __syncthreads();  // all warps' parts are there
#pragma unroll
    for (int i = 1; i < kRowWarps; ++i) {
      if (part != 0) break;
      RowState<kDim> other;
      const int warp = decode::warp_index() + i;
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
