// Products of experts by tiles: any shape, dtype and alignment. A tile has rows of one expert; which, it finds by the
// number of its block. Of a gated product a tile has columns of gate and the same of up, so that a thread has the sums
// of both: by eights in turn, as the lanes of an mma have their rows; in float32, halves.
//
// Every sum is the chain of the products of dense weights (kernels/gemm/tiled_cuda.cu), and has their bits.
#include "kernels/core/cuda_launch.cuh"
#include "kernels/gemm/tile_cuda.cuh"
#include "kernels/moe/gate_cuda.cuh"
#include "kernels/moe/products_cuda.h"

namespace cohort::cuda {
namespace {

using namespace tile;

// Rows of an expert.
struct ExpertRows {
  int expert = -1;  // -1 where the block has none
  int first = 0;
  int end = 0;
};

// Those of tile `index`, of tile_rows rows each, of all experts'.
__device__ ExpertRows find_rows(const ExpertProduct& product, int index, int tile_rows) {
  int first = product.first_rows[0];
  for (int expert = 0; expert < product.num_experts; ++expert) {
    const int end = product.first_rows[expert + 1];
    const int num_tiles = (end - first + tile_rows - 1) / tile_rows;
    if (index < num_tiles) return {expert, first + index * tile_rows, end};
    index -= num_tiles;
    first = end;
  }
  return {};
}

// More tiles than experts' rows can come to.
int max_tiles(const ExpertProduct& product, int tile_rows) {
  const int tiles_of_one = (product.max_expert_rows + tile_rows - 1) / tile_rows;
  const int with_rows = std::min(product.num_experts, product.max_rows);
  return std::min(with_rows * tiles_of_one, product.max_rows / tile_rows + with_rows);
}

// Line i of a tile's columns: its column of the product, and the row of the weights, from the expert's first on.
struct Line {
  int column;
  int weight_row;

  // `part` lines of gate, then as many of up; ungated, all in order.
  __device__ Line(const ExpertProduct& product, int first_column, int i, int part) {
    if (!product.is_gated) {
      column = weight_row = first_column + i;
      return;
    }
    const bool is_up = i % (2 * part) >= part;
    column = first_column + i / (2 * part) * part + i % part;
    weight_row = is_up ? product.n + column : column;
  }
};

constexpr int kMmaPart = 8;

// stage [kColumns + kRows, kPitch] = lines of the weight, then rows of x, at [begin, begin + kStepK) of K; zeros beyond
// its end and beyond the last column and row. x_rows: shared [kRows], null beyond the last.
template <typename T, typename Tile, bool kIsAligned>
__device__ void load_stage(T* stage, const ExpertProduct& product, const T* weight, const T* const* x_rows,
                           int first_column, int begin) {
  constexpr int kElements = kIsAligned ? kVecSize : 1;  // at once
  constexpr int kLoadsPerRow = kStepK / kElements;
  for (int i = static_cast<int>(threadIdx.x); i < (Tile::kColumns + Tile::kRows) * kLoadsPerRow;
       i += Tile::kNumThreads) {
    const int line = i / kLoadsPerRow;
    const int place = i % kLoadsPerRow * kElements;
    const T* from = nullptr;
    if (line < Tile::kColumns) {
      const Line source(product, first_column, line, kMmaPart);
      if (source.column < product.n) from = weight + int64_t{source.weight_row} * product.k;
    } else {
      from = x_rows[line - Tile::kColumns];
    }
    const bool is_inside = from != nullptr && begin + place < product.k;
    from = is_inside ? from + begin + place : weight;
    T* const to = stage + line * kPitch + place;
    if constexpr (kIsAligned) {
      copy_vec(to, from, is_inside);
    } else {
      *to = is_inside ? *from : T(0.0f);
    }
  }
}

template <typename T, typename Tile>
__device__ void store_sums(const ExpertProduct& product, const float (&sums)[Tile::kNumSums], int first_column,
                           const ExpertRows& rows) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first_tile = warp % Tile::kWarpsAlongColumns * Tile::kColumnTiles;
  const int first_row = rows.first + warp / Tile::kWarpsAlongColumns * Tile::kRowTiles * 8 + lane % 4 * 2;
#pragma unroll
  for (int c = 0; c < Tile::kColumnTiles; ++c) {
#pragma unroll
    for (int r = 0; r < Tile::kRowTiles; ++r) {
      const float* const sum = &sums[(c * Tile::kRowTiles + r) * 4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = first_row + r * 8 + i;
        if (row >= rows.end) continue;
        if (product.is_gated) {
          const int column = first_column + (first_tile + c) * 8 + lane / 4;
          T* const out = static_cast<T*>(product.out) + int64_t{row} * product.n;
          if (column < product.n) out[column] = gated<T>(sum[i], sum[2 + i], product.activation);
        } else {
          const int column = first_column + (first_tile + c) * 16 + lane / 4;
          float* const out = static_cast<float*>(product.out) + int64_t{row} * product.n;
          if (column < product.n) out[column] = sum[i];
          if (column + 8 < product.n) out[column + 8] = sum[2 + i];
        }
      }
    }
  }
}

template <typename T, typename Tile, bool kIsAligned>
__global__ void __launch_bounds__(Tile::kNumThreads) expert_tile_kernel(const ExpertProduct product) {
  let_next_begin();
  wait_for_previous();
  extern __shared__ __align__(16) unsigned char smem[];
  __shared__ const T* x_rows[Tile::kRows];
  T* const stages = reinterpret_cast<T*>(smem);  // [kStages, kColumns + kRows, kPitch]
  const ExpertRows rows = find_rows(product, static_cast<int>(blockIdx.x), Tile::kRows);
  if (rows.expert < 0) return;
  const int first_column = static_cast<int>(blockIdx.y) * (product.is_gated ? Tile::kColumns / 2 : Tile::kColumns);
  const int64_t expert_rows = int64_t{product.n} * (product.is_gated ? 2 : 1);
  const T* const weight = static_cast<const T*>(product.weight) + rows.expert * expert_rows * product.k;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kRows; i += Tile::kNumThreads) {
    const int row = rows.first + i;
    const bool is_inside = row < rows.end;
    const int64_t of_x = !is_inside ? 0 : product.tokens != nullptr ? product.tokens[row] : row;
    x_rows[i] = is_inside ? static_cast<const T*>(product.x) + of_x * product.x_stride : nullptr;
  }
  __syncthreads();  // x_rows are there
  const int num_steps = (product.k + kStepK - 1) / kStepK;
  // Always commits, so that the number of groups says which are done.
  const auto load = [&](int step) {
    if (step < num_steps) {
      load_stage<T, Tile, kIsAligned>(stages + step % Tile::kStages * Tile::kStageElements, product, weight, x_rows,
                                      first_column, step * kStepK);
    }
    commit_copies();
  };
  float sums[Tile::kNumSums] = {};
  for (int step = 0; step < Tile::kStages - 1; ++step) load(step);
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies<Tile::kStages - 2>();
    __syncthreads();  // all threads' copies of this stage are there, and the stage before is read
    load(step + Tile::kStages - 1);
    multiply_stage<T, Tile>(sums, stages + step % Tile::kStages * Tile::kStageElements);
  }
  store_sums<T, Tile>(product, sums, first_column, rows);
}

template <typename T, typename Tile, bool kIsAligned>
void launch(const ExpertProduct& product, cudaStream_t handle) {
  const auto kernel = expert_tile_kernel<T, Tile, kIsAligned>;
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSmemBytes));
  const int columns = product.is_gated ? Tile::kColumns / 2 : Tile::kColumns;
  const dim3 grid(static_cast<unsigned>(max_tiles(product, Tile::kRows)),
                  static_cast<unsigned>((product.n + columns - 1) / columns));
  launch_chained(kernel, grid, dim3(Tile::kNumThreads), Tile::kSmemBytes, handle, product);
}

// Calls f.operator()<Tile>() with the tile that fits as many rows as experts have; all sum alike.
template <typename F>
void dispatch_rows(const ExpertProduct& product, F&& f) {
  const int mean_rows = product.max_rows / product.num_experts;
  if (product.max_expert_rows <= 8) return f.template operator()<Tile<2, 1, 1, 1, 8>>();
  if (mean_rows <= 24) return f.template operator()<Tile<2, 1, 1, 4, 5>>();
  if (mean_rows <= 96) return f.template operator()<Tile<2, 2, 2, 4, 4>>();
  f.template operator()<Tile<2, 4, 4, 4, 3>>();
}

constexpr int kTile = 32;  // columns and rows of a block, and elements of K of a step
constexpr int kSide = 16;  // of the block of threads, each of which has 2 x 2 sums

// One fused multiply-add after the other, as on the CPU.
__global__ void __launch_bounds__(kSide* kSide) expert_f32_kernel(const ExpertProduct product) {
  let_next_begin();
  wait_for_previous();
  __shared__ float of_x[kTile][kTile + 1];
  __shared__ float of_weight[kTile][kTile + 1];
  const ExpertRows rows = find_rows(product, static_cast<int>(blockIdx.x), kTile);
  if (rows.expert < 0) return;
  const int first_column = static_cast<int>(blockIdx.y) * (product.is_gated ? kSide : kTile);
  const int64_t expert_rows = int64_t{product.n} * (product.is_gated ? 2 : 1);
  const float* const weight = static_cast<const float*>(product.weight) + rows.expert * expert_rows * product.k;
  const int y = static_cast<int>(threadIdx.x) / kSide;
  const int x = static_cast<int>(threadIdx.x) % kSide;
  float sums[4] = {};
  for (int begin = 0; begin < product.k; begin += kTile) {
    __syncthreads();  // the tiles of the step before are read
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kTile; i += kSide * kSide) {
      const int line = i / kTile;
      const int k = begin + i % kTile;
      const int row = rows.first + line;
      const Line source(product, first_column, line, kSide);
      float from_x = 0;
      if (row < rows.end && k < product.k) {
        const int64_t token = product.tokens != nullptr ? product.tokens[row] : row;
        from_x = static_cast<const float*>(product.x)[token * product.x_stride + k];
      }
      of_x[line][i % kTile] = from_x;
      of_weight[line][i % kTile] =
          source.column < product.n && k < product.k ? weight[int64_t{source.weight_row} * product.k + k] : 0.0f;
    }
    __syncthreads();  // these are written
#pragma unroll 8
    for (int k = 0; k < kTile; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[i] = fmaf(of_x[y + i / 2 * kSide][k], of_weight[x + i % 2 * kSide][k], sums[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = rows.first + y + i * kSide;
    const int column = first_column + x;
    if (row >= rows.end) continue;
    float* const out = static_cast<float*>(product.out) + int64_t{row} * product.n;
    if (product.is_gated) {
      if (column < product.n) out[column] = gated<float>(sums[2 * i], sums[2 * i + 1], product.activation);
    } else {
      if (column < product.n) out[column] = sums[2 * i];
      if (column + kSide < product.n) out[column + kSide] = sums[2 * i + 1];
    }
  }
}

}  // namespace

void run_tiled_experts(const ExpertProduct& product, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  if (product.dtype == DType::kF32) {
    const int columns = product.is_gated ? kSide : kTile;
    const dim3 grid(static_cast<unsigned>(max_tiles(product, kTile)),
                    static_cast<unsigned>((product.n + columns - 1) / columns));
    return launch_chained(expert_f32_kernel, grid, dim3(kSide * kSide), 0, handle, product);
  }
  const auto is_dense = [&](const void* data, int64_t stride) { return is_aligned(data) && stride % kVecSize == 0; };
  const bool is_vectorized =
      is_dense(product.x, product.max_expert_rows == 1 && product.tokens != nullptr ? 0 : product.x_stride) &&
      is_dense(product.weight, product.k);
  const auto dispatch = [&]<typename T>() {
    dispatch_bool(is_vectorized, [&](auto vectorized) {
      dispatch_rows(product, [&]<typename Tile>() { launch<T, Tile, decltype(vectorized)::value>(product, handle); });
    });
  };
  if (product.dtype == DType::kBF16) return dispatch.operator()<__nv_bfloat16>();
  dispatch.operator()<__half>();
}

}  // namespace cohort::cuda
