// The tiled product of float32: one fused multiply-add after the other along a chunk, as the CPU does, and its bits.
#include "kernels/core/cuda_launch.cuh"
#include "kernels/gemm/tiled_cuda.cuh"

namespace cohort::cuda {
namespace {

constexpr int kTile = 32;  // columns and rows of a block, and elements of K of a step
constexpr int kSide = 16;  // of the block of threads, each of which has 2 x 2 sums
constexpr int kPitch = kTile + 1;
constexpr int kNumThreads = kSide * kSide;

using Args = TiledArgs<float, float>;

// into [kTile rows, kTile elements of K] = rows of x or weight, zero beyond `num_rows` and `end`.
__device__ void load_tile(float (&into)[kTile][kPitch], const float* from, int64_t stride, int64_t first_row,
                          int64_t num_rows, int64_t begin, int64_t end) {
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += kNumThreads) {
    const int64_t row = first_row + i / kTile;
    const int64_t k = begin + i % kTile;
    into[i / kTile][i % kTile] = row < num_rows && k < end ? from[row * stride + k] : 0.0f;
  }
}

template <int kLevels>
__global__ void __launch_bounds__(kNumThreads) tiled_f32_gemm_kernel(const Args args) {
  let_next_begin();
  wait_for_previous();
  __shared__ float rows[kTile][kPitch];
  __shared__ float columns[kTile][kPitch];
  const int64_t first_row = int64_t{blockIdx.x} * kTile;
  const int64_t first_column = int64_t{blockIdx.y} * kTile;
  const int row = static_cast<int>(threadIdx.x) / kSide;
  const int column = static_cast<int>(threadIdx.x) % kSide;
  const ChunkSteps<kTile> steps(args);
  SumTree<kLevels, 4> tree;
  float sums[4] = {};
  for (int step = 0; step < steps.num_steps; ++step) {
    if (step > 0 && steps.closes_chunk(step - 1)) {
#pragma unroll
      for (float& sum : sums) sum = 0;
    }
    __syncthreads();  // the tiles of the step before are read
    load_tile(rows, args.x, args.x_stride, first_row, args.num_rows, steps.begin(step), steps.end(step));
    load_tile(columns, args.weight, args.k, first_column, args.n, steps.begin(step), steps.end(step));
    __syncthreads();  // these are written
#pragma unroll 8
    for (int k = 0; k < kTile; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[i] = fmaf(rows[row + i / 2 * kSide][k], columns[column + i % 2 * kSide][k], sums[i]);
      }
    }
    if (steps.closes_chunk(step)) tree.add(sums, steps.chunk(step));
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    args.store(first_row + row + i / 2 * kSide, first_column + column + i % 2 * kSide, sums[i]);
  }
}

}  // namespace

void run_tiled_f32_gemm(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight,
                        const ConstTensorView& bias, const Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const Args args = tiled_args<float, float>(out, x, weight, bias);
  const dim3 grid(static_cast<unsigned>((args.num_rows + kTile - 1) / kTile),
                  static_cast<unsigned>((args.n + kTile - 1) / kTile));
  const auto kernel = args.num_chunks > 1 ? tiled_f32_gemm_kernel<kMaxTreeLevels> : tiled_f32_gemm_kernel<0>;
  launch_chained(kernel, grid, dim3(kNumThreads), 0, handle, args);
}

}  // namespace cohort::cuda
