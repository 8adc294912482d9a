#include "kernels/core/convert_backends.h"
#include "kernels/core/cuda_vector.cuh"

namespace cohort::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // of threads

// A block's tiles of `in` [num_rows, num_columns] are written to `out`, in the same order or with rows and columns
// exchanged. float16 to bfloat16 goes by float32, and is rounded once.
template <typename Out, typename In, bool kIsTransposed>
__global__ void __launch_bounds__(kTile* kTileRows)
    convert_kernel(Out* out, const In* in, int64_t num_rows, int64_t num_columns, int64_t out_stride,
                   int64_t in_stride) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t first_column = int64_t{blockIdx.x} * kTile;
  const int x = static_cast<int>(threadIdx.x);
  for (int64_t first_row = int64_t{blockIdx.y} * kTile; first_row < num_rows; first_row += int64_t{gridDim.y} * kTile) {
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t row = first_row + y;
      if (row >= num_rows || first_column + x >= num_columns) continue;
      const float value = to_float(in[row * in_stride + first_column + x]);
      if constexpr (kIsTransposed) {
        tile[y][x] = value;
      } else {
        out[row * out_stride + first_column + x] = round_to<Out>(value);
      }
    }
    if constexpr (!kIsTransposed) continue;
    __syncthreads();  // the tile is written
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t column = first_column + y;
      if (column >= num_columns || first_row + x >= num_rows) continue;
      out[column * out_stride + first_row + x] = round_to<Out>(tile[x][y]);
    }
    __syncthreads();  // the tile is read
  }
}

template <bool kIsTransposed>
void launch(const TensorView& out, const ConstTensorView& in, Stream& stream) {
  constexpr int64_t kMaxGridY = 65535;
  const cudaStream_t handle = enter(stream);
  const dim3 grid(static_cast<unsigned>((in.dim(1) + kTile - 1) / kTile),
                  static_cast<unsigned>(std::min((in.dim(0) + kTile - 1) / kTile, kMaxGridY)));
  const dim3 block(kTile, kTileRows);
  dispatch_float(out.dtype(), [&]<typename Out>() {
    dispatch_float(in.dtype(), [&]<typename In>() {
      convert_kernel<DeviceType<Out>, DeviceType<In>, kIsTransposed><<<grid, block, 0, handle>>>(
          static_cast<DeviceType<Out>*>(out.data()), static_cast<const DeviceType<In>*>(in.data()), in.dim(0),
          in.dim(1), out.stride(0), in.stride(0));
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void convert(TensorView out, ConstTensorView in, Stream& stream) { launch<false>(out, in, stream); }
void transpose(TensorView out, ConstTensorView in, Stream& stream) { launch<true>(out, in, stream); }

}  // namespace cohort::cuda
