#include "kernels/core/convert_backends.h"
#include "kernels/core/cuda_rows.cuh"

namespace cohort::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // of threads
constexpr int kElements = 8;  // of a thread at a time
constexpr int kMaxGridY = 65535;

// Through float32, which rounds once.
template <typename Out, typename In, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads) convert_kernel(Out* out, const In* in, RowLayout layout) {
  for_each_piece<kVecSize>(layout, [&](int64_t row, int64_t begin) {
    const int64_t count = layout.n - begin;
    store<Out, kVecSize>(out + row * layout.out_stride + begin,
                         load<In, kVecSize>(in + row * layout.x_stride + begin, count), count);
  });
}

// A block's tiles of `in` [num_rows, num_columns] are written to `out` with rows and columns exchanged.
template <typename Out, typename In>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(Out* out, const In* in, int64_t num_rows, int64_t num_columns, int64_t out_stride,
                     int64_t in_stride) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t first_column = int64_t{blockIdx.x} * kTile;
  const int x = static_cast<int>(threadIdx.x);
  for (int64_t first_row = int64_t{blockIdx.y} * kTile; first_row < num_rows; first_row += int64_t{gridDim.y} * kTile) {
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t row = first_row + y;
      if (row < num_rows && first_column + x < num_columns) {
        tile[y][x] = to_float(in[row * in_stride + first_column + x]);
      }
    }
    __syncthreads();  // the tile is written
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t column = first_column + y;
      if (column < num_columns && first_row + x < num_rows) {
        out[column * out_stride + first_row + x] = round_to<Out>(tile[x][y]);
      }
    }
    __syncthreads();  // the tile is read
  }
}

// Calls f with the types of the elements, as the device knows them.
template <typename F>
void dispatch_pair(const TensorView& out, const ConstTensorView& in, F&& f) {
  dispatch_float(out.dtype(), [&]<typename Out>() {
    dispatch_float(in.dtype(), [&]<typename In>() {
      f(static_cast<DeviceType<Out>*>(out.data()), static_cast<const DeviceType<In>*>(in.data()));
    });
  });
}

}  // namespace

void convert(TensorView out, ConstTensorView in, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, in, out.is_dense() && in.is_dense());
  const bool is_vectorized = is_aligned(out, layout.out_stride) && is_aligned(in, layout.x_stride);
  const LaunchConfig config = choose_config(layout, is_vectorized ? kElements : 1);
  dispatch_pair(out, in, [&]<typename Out, typename In>(Out* to, const In* from) {
    if (is_vectorized) {
      convert_kernel<Out, In, kElements><<<config.grid, config.block, 0, handle>>>(to, from, layout);
    } else {
      convert_kernel<Out, In, 1><<<config.grid, config.block, 0, handle>>>(to, from, layout);
    }
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

void transpose(TensorView out, ConstTensorView in, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const dim3 grid(static_cast<unsigned>(ceil_div(in.dim(1), kTile)),
                  static_cast<unsigned>(std::min(ceil_div(in.dim(0), kTile), kMaxGridY)));
  dispatch_pair(out, in, [&]<typename Out, typename In>(Out* to, const In* from) {
    transpose_kernel<<<grid, dim3(kTile, kTileRows), 0, handle>>>(to, from, in.dim(0), in.dim(1), out.stride(0),
                                                                  in.stride(0));
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
