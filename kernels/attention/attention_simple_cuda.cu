#include "kernels/attention/attention_args.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kRowsPerBlock = 4;  // (query, head) pairs, a warp each
constexpr int kRun = 32;          // positions whose scores are softmaxed together, one a lane
constexpr int kLaneDims = 8;      // output dimensions that a lane sums at a time

__device__ float warp_max(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, mask));
  return x;
}

__device__ float warp_sum(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, mask));
  return x;
}

// One query under one head, by one warp.
template <typename T>
struct Row {
  T* out;
  const T* q;
  const T* keys;    // block 0 of the KV head
  const T* values;  // likewise
  const int32_t* block_table;
  int head;
  int position;
  int first_visible, num_visible;

  // Elements from the first of the KV head to a position.
  __device__ int64_t offset(const AttentionArgs& args, int position) const {
    const int block = block_table[position / args.block_size];
    check_on_device(block >= 0 && block < args.num_blocks);
    const int64_t slot = int64_t{block} * args.num_kv_heads * args.block_size + position % args.block_size;
    return slot * args.head_dim;
  }
};

template <typename T>
__device__ float product(const AttentionArgs& args, const Row<T>& row, int64_t offset) {
  float sum = 0.0f;
  for (int d = 0; d < args.head_dim; ++d) {
    sum = __fmaf_rn(to_float(row.q[d]) * args.scale, to_float(row.keys[offset + d]), sum);
  }
  return sum;
}

template <typename T>
__device__ float score(const AttentionArgs& args, const Row<T>& row, int64_t offset, int position) {
  const AttentionVariant& variant = args.variant;
  float score = product(args, row, offset);
  if (variant.soft_cap > 0.0f) score = variant.soft_cap * tanhf(score / variant.soft_cap);
  if (variant.alibi_slopes != nullptr) {
    score = __fmaf_rn(variant.alibi_slopes[row.head], static_cast<float>(position - row.position), score);
  }
  if (variant.position_bias != nullptr) score += variant.bias_of(row.head)[variant.distance(position, row.position)];
  return score;
}

// Dimensions begin + lane + 32 i of the output of a row; the scores are computed anew for each `begin`.
template <typename T>
__device__ void attend(const AttentionArgs& args, const Row<T>& row, int begin) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float max = -INFINITY;
  float sum = 0.0f;
  float total[kLaneDims] = {};
  for (int first = row.first_visible; first < row.num_visible; first += kRun) {
    const bool is_seen = first + lane < row.num_visible;
    const int64_t offset = is_seen ? row.offset(args, first + lane) : 0;
    const float s = is_seen ? score(args, row, offset, first + lane) : -INFINITY;
    const float new_max = fmaxf(max, warp_max(s));
    const float p = expf(s - new_max);
    const float correction = expf(max - new_max);
    max = new_max;
    sum = __fmaf_rn(sum, correction, warp_sum(p));
#pragma unroll
    for (int i = 0; i < kLaneDims; ++i) total[i] *= correction;
    const int count = min(kRun, row.num_visible - first);
    for (int j = 0; j < count; ++j) {
      const float weight = __shfl_sync(~0u, p, j);
      const T* const v = row.values + __shfl_sync(~0u, offset, j);
#pragma unroll
      for (int i = 0; i < kLaneDims; ++i) {
        const int d = begin + lane + 32 * i;
        if (d < args.head_dim) total[i] = __fmaf_rn(weight, to_float(v[d]), total[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kLaneDims; ++i) {
    const int d = begin + lane + 32 * i;
    if (d < args.head_dim) row.out[d] = round_to<T>(row.num_visible > 0 ? total[i] / sum : 0.0f);
  }
}

// For any dtype, dimension and alignment, and not made to be fast. What a row computes depends on that row alone.
template <typename T>
__global__ void __launch_bounds__(kRowsPerBlock * 32)
    attention_simple_kernel(const __grid_constant__ AttentionArgs args, int64_t num_rows) {
  let_next_begin();
  wait_for_previous();
  const int64_t index = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / 32;
  if (index >= num_rows) return;
  const int num_heads = args.num_kv_heads * args.group_size;
  const auto token = index / num_heads;
  const auto head = static_cast<int>(index % num_heads);
  const int seq = find_sequence(args.num_seqs, token, [&](int s) { return args.query_starts[s]; });
  const SequenceView<false> sequence(args, seq);
  const auto query = static_cast<int>(token - sequence.first_query);
  if (query >= sequence.num_queries) return;  // behind the last sequence
  const int64_t kv_head = int64_t{head / args.group_size} * args.block_size * args.head_dim;
  const Row<T> row{static_cast<T*>(args.out) + token * args.out_stride + head * args.out_head_stride,
                   static_cast<const T*>(args.q) + token * args.q_stride + head * args.q_head_stride,
                   static_cast<const T*>(args.keys) + kv_head,
                   static_cast<const T*>(args.values) + kv_head,
                   sequence.block_table,
                   head,
                   sequence.position(query),
                   sequence.first_visible(args, query),
                   sequence.num_visible(args, query)};
  for (int begin = 0; begin < args.head_dim; begin += 32 * kLaneDims) attend(args, row, begin);
}

}  // namespace

void launch_simple(const AttentionArgs& args, int64_t num_tokens, DType dtype, cudaStream_t stream) {
  const int64_t num_rows = num_tokens * args.num_kv_heads * args.group_size;
  const auto num_blocks = static_cast<unsigned>((num_rows + kRowsPerBlock - 1) / kRowsPerBlock);
  dispatch_float(dtype, [&]<typename T>() {
    launch_chained(attention_simple_kernel<DeviceType<T>>, num_blocks, kRowsPerBlock * 32, 0, stream, args, num_rows);
  });
}

}  // namespace cohort::cuda
