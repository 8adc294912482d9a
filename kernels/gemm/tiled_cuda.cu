// The tiled product of 16-bit elements: any shape and alignment, each sum in the canonical order.
//
// An element of the product is one chain of mma along a chunk, each of 16 elements of K, which starts from zero; the
// last of a chunk is filled with zeros. The chain is the same whatever else the block computes, and so neither the
// number of rows nor the size of the tile changes a bit. The weights are the first operand of the mma, whose second
// takes 8 rows of x at least.
#include "kernels/core/cuda_launch.cuh"
#include "kernels/gemm/tile_cuda.cuh"
#include "kernels/gemm/tiled_cuda.cuh"

namespace cohort::cuda {
namespace {

using namespace tile;

// stage [kColumns + kRows, kPitch] = rows of the weight, then rows of x, at [begin, begin + kStepK) of K; zeros beyond
// `end` and beyond the last row.
template <typename T, typename Out, typename Tile, bool kIsAligned>
__device__ void load_stage(T* stage, const TiledArgs<T, Out>& args, int64_t first_column, int64_t first_row,
                           int64_t begin, int64_t end) {
  constexpr int kElements = kIsAligned ? kVecSize : 1;  // at once
  constexpr int kLoadsPerRow = kStepK / kElements;
  for (int i = static_cast<int>(threadIdx.x); i < (Tile::kColumns + Tile::kRows) * kLoadsPerRow;
       i += Tile::kNumThreads) {
    const int line = i / kLoadsPerRow;
    const int place = i % kLoadsPerRow * kElements;
    const bool is_weight = line < Tile::kColumns;
    const int64_t row = is_weight ? first_column + line : first_row + line - Tile::kColumns;
    const bool is_inside = row < (is_weight ? args.n : args.num_rows) && begin + place < end;
    const T* from = is_weight ? args.weight + row * args.k : args.x + row * args.x_stride;
    from = is_inside ? from + begin + place : args.weight;
    T* const to = stage + line * kPitch + place;
    if constexpr (kIsAligned) {
      copy_vec(to, from, is_inside);
    } else {
      *to = is_inside ? *from : T(0.0f);
    }
  }
}

template <typename T, typename Out, typename Tile>
__device__ void store_sums(const TiledArgs<T, Out>& args, const float (&sums)[Tile::kNumSums], int64_t first_column,
                           int64_t first_row) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t column = first_column + warp % Tile::kWarpsAlongColumns * Tile::kColumnTiles * 16 + lane / 4;
  const int64_t row = first_row + warp / Tile::kWarpsAlongColumns * Tile::kRowTiles * 8 + lane % 4 * 2;
#pragma unroll
  for (int c = 0; c < Tile::kColumnTiles; ++c) {
#pragma unroll
    for (int r = 0; r < Tile::kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        args.store(row + r * 8 + i % 2, column + c * 16 + i / 2 * 8, sums[(c * Tile::kRowTiles + r) * 4 + i]);
      }
    }
  }
}

template <typename T, typename Out, typename Tile, int kLevels, bool kIsAligned>
__global__ void __launch_bounds__(Tile::kNumThreads) tiled_gemm_kernel(const TiledArgs<T, Out> args) {
  let_next_begin();
  wait_for_previous();
  extern __shared__ __align__(16) unsigned char smem[];
  T* const stages = reinterpret_cast<T*>(smem);  // [kStages, kColumns + kRows, kPitch]
  const int64_t first_row = int64_t{blockIdx.x} * Tile::kRows;
  const int64_t first_column = int64_t{blockIdx.y} * Tile::kColumns;
  const ChunkSteps<kStepK> steps(args);
  // Always commits, so that the number of groups says which are done.
  const auto load = [&](int step) {
    if (step < steps.num_steps) {
      load_stage<T, Out, Tile, kIsAligned>(stages + step % Tile::kStages * Tile::kStageElements, args, first_column,
                                           first_row, steps.begin(step), steps.end(step));
    }
    commit_copies();
  };
  SumTree<kLevels, Tile::kNumSums> tree;
  float sums[Tile::kNumSums] = {};
  for (int step = 0; step < Tile::kStages - 1; ++step) load(step);
  for (int step = 0; step < steps.num_steps; ++step) {
    if (step > 0 && steps.closes_chunk(step - 1)) {
#pragma unroll
      for (float& sum : sums) sum = 0;
    }
    wait_for_copies<Tile::kStages - 2>();
    __syncthreads();  // all threads' copies of this stage are there, and the stage before is read
    load(step + Tile::kStages - 1);
    multiply_stage<T, Tile>(sums, stages + step % Tile::kStages * Tile::kStageElements);
    if (steps.closes_chunk(step)) tree.add(sums, steps.chunk(step));
  }
  store_sums<T, Out, Tile>(args, sums, first_column, first_row);
}

template <typename T, typename Out, typename Tile, int kLevels, bool kIsAligned>
void launch(const TiledArgs<T, Out>& args, cudaStream_t handle) {
  const auto kernel = tiled_gemm_kernel<T, Out, Tile, kLevels, kIsAligned>;
  if constexpr (Tile::kSmemBytes > 48 * 1024) {
    COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSmemBytes));
  }
  const dim3 grid(static_cast<unsigned>((args.num_rows + Tile::kRows - 1) / Tile::kRows),
                  static_cast<unsigned>((args.n + Tile::kColumns - 1) / Tile::kColumns));
  launch_chained(kernel, grid, dim3(Tile::kNumThreads), Tile::kSmemBytes, handle, args);
}

}  // namespace

void run_tiled_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                    Stream& stream) {
  if (weight.dtype() == DType::kF32) return run_tiled_f32_gemm(out, x, weight, bias, stream);
  const cudaStream_t handle = enter(stream);
  const auto dispatch_out = [&]<typename T, typename Out>() {
    const TiledArgs<T, Out> args = tiled_args<T, Out>(out, x, weight, bias);
    const bool is_vectorized = is_aligned(x, args.num_rows == 1 ? 0 : args.x_stride) && is_aligned(args.weight) &&
                               args.k % kVecSize == 0 && args.chunk_k % kVecSize == 0;
    dispatch_bool(is_vectorized, [&](auto vectorized) {
      dispatch_bool(args.num_chunks > 1, [&](auto has_tree) {
        dispatch_tile(gemm_internal::choose_tile_size(args.num_rows), [&]<typename Tile>() {
          constexpr int kLevels = decltype(has_tree)::value ? kMaxTreeLevels : 0;
          launch<T, Out, Tile, kLevels, decltype(vectorized)::value>(args, handle);
        });
      });
    });
  };
  const bool is_float_out = out.dtype() == DType::kF32;
  if (weight.dtype() == DType::kBF16) {
    if (is_float_out) return dispatch_out.operator()<__nv_bfloat16, float>();
    return dispatch_out.operator()<__nv_bfloat16, __nv_bfloat16>();
  }
  if (is_float_out) return dispatch_out.operator()<__half, float>();
  dispatch_out.operator()<__half, __half>();
}

}  // namespace cohort::cuda
