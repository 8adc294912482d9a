// How CUDA kernels that work element by element go through rows: the layout that the host makes, the launch that fits
// it, and the threads' walk over it. Only for files that are compiled with CUDA.
#pragma once

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {

inline constexpr int kNumRowThreads = 256;  // of a block, along and across rows

// Rows of n elements; row i of an operand begins i * stride elements after its first.
struct RowLayout {
  int64_t num_rows;
  int64_t n;
  int64_t out_stride;
  int64_t x_stride;
};

// Of rank 2. Dense rows without a vector of their own are one long row.
inline RowLayout layout_of(const TensorView& out, const ConstTensorView& x, bool is_one_row) {
  if (is_one_row || out.dim(0) == 1) return {1, out.num_elements(), 0, 0};
  return {out.dim(0), out.dim(1), out.stride(0), x.stride(0)};
}

// Calls body(row, begin) for the thread's pieces of kVecSize elements; the last of a row may have fewer.
template <int kVecSize, typename Body>
__device__ void for_each_piece(const RowLayout& layout, const Body& body) {
  const int64_t column_step = int64_t{gridDim.x} * blockDim.x * kVecSize;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < layout.num_rows;
       row += int64_t{gridDim.y} * blockDim.y) {
    int64_t begin = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kVecSize;
    for (; begin < layout.n; begin += column_step) body(row, begin);
  }
}

struct LaunchConfig {
  dim3 grid;
  dim3 block;
};

inline int ceil_div(int64_t a, int64_t b) { return static_cast<int>(std::min<int64_t>((a + b - 1) / b, 1 << 30)); }

// Threads along the row as far as it reaches, the rest across rows. A thread has one piece, as far as a grid reaches:
// blocks that come and go keep the memory busier than blocks that stay (of a large copy on an H200, 99% of what it can
// do against 92%).
inline LaunchConfig choose_config(const RowLayout& layout, int vec_size) {
  constexpr int kMaxGridY = 65535;
  const int num_pieces = ceil_div(layout.n, vec_size);
  int threads_x = 32;
  while (threads_x < kNumRowThreads && threads_x < num_pieces) threads_x *= 2;
  const int threads_y = kNumRowThreads / threads_x;
  const int blocks_x = ceil_div(num_pieces, threads_x);
  const int blocks_y = std::min(ceil_div(layout.num_rows, threads_y), kMaxGridY);
  return {dim3(static_cast<unsigned>(blocks_x), static_cast<unsigned>(blocks_y)),
          dim3(static_cast<unsigned>(threads_x), static_cast<unsigned>(threads_y))};
}

// What a chained kernel does that has nothing to fetch before its input is there.
__device__ inline void begin_chained() {
  let_next_begin();
  wait_for_previous();
}

}  // namespace cohort::cuda
