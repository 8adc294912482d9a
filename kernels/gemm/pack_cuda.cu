// Weights on their way to the device: a piece is read into pinned memory while the piece before is copied, converted
// and transposed.
#include <cstring>
#include <mutex>
#include <utility>

#include "kernels/core/cuda_vector.cuh"
#include "kernels/core/mirrored_buffer.h"
#include "kernels/gemm/gemm_cuda.h"

namespace cohort::cuda {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // of threads
constexpr int kNumSlots = 2;
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// A block's tile of `from` [num_rows, num_columns] is written to `to`: in the same order, [.., to_stride], or with
// rows and columns exchanged. float16 to bfloat16 goes by float32, and is rounded once.
template <typename To, typename From, bool kIsTransposed>
__global__ void __launch_bounds__(kTile* kTileRows)
    convert_kernel(To* to, const From* from, int64_t num_rows, int64_t num_columns, int64_t from_stride,
                   int64_t to_stride) {
  __shared__ float tile[kTile][kTile + 1];
  const int64_t first_column = int64_t{blockIdx.x} * kTile;
  const int x = static_cast<int>(threadIdx.x);
  for (int64_t first_row = int64_t{blockIdx.y} * kTile; first_row < num_rows; first_row += int64_t{gridDim.y} * kTile) {
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t row = first_row + y;
      if (row >= num_rows || first_column + x >= num_columns) continue;
      const float value = to_float(from[row * from_stride + first_column + x]);
      if constexpr (kIsTransposed) {
        tile[y][x] = value;
      } else {
        to[row * to_stride + first_column + x] = round_to<To>(value);
      }
    }
    if constexpr (!kIsTransposed) continue;
    __syncthreads();  // the tile is written
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      const int64_t column = first_column + y;
      if (column >= num_columns || first_row + x >= num_rows) continue;
      to[column * to_stride + first_row + x] = round_to<To>(tile[x][y]);
    }
    __syncthreads();  // the tile is read
  }
}

// Where the packed weight is, and in which order the source has it.
struct Target {
  void* packed;  // [n, k]
  DType dtype;
  WeightLayout layout;
  int64_t k;
};

// Queues the conversion of source rows [first_row, first_row + num_rows), which lie on the device, to their places.
void convert(const Target& target, const ConstTensorView& rows, int64_t first_row, cudaStream_t handle) {
  constexpr int64_t kMaxGridY = 65535;
  const int64_t num_rows = rows.dim(0);
  const int64_t num_columns = rows.dim(1);
  const dim3 grid(static_cast<unsigned>((num_columns + kTile - 1) / kTile),
                  static_cast<unsigned>(std::min((num_rows + kTile - 1) / kTile, kMaxGridY)));
  const dim3 block(kTile, kTileRows);
  dispatch_float(target.dtype, [&]<typename To>() {
    dispatch_float(rows.dtype(), [&]<typename From>() {
      auto* const to = static_cast<DeviceType<To>*>(target.packed);
      const auto* const from = static_cast<const DeviceType<From>*>(rows.data());
      if (target.layout == WeightLayout::kOutIn) {
        convert_kernel<DeviceType<To>, DeviceType<From>, false><<<grid, block, 0, handle>>>(
            to + first_row * target.k, from, num_rows, num_columns, rows.stride(0), target.k);
      } else {
        convert_kernel<DeviceType<To>, DeviceType<From>, true>
            <<<grid, block, 0, handle>>>(to + first_row, from, num_rows, num_columns, rows.stride(0), target.k);
      }
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

// Two pieces on their way, for one weight at a time. Kept, since pinned memory takes long to make, and never destroyed:
// CUDA may be gone before static objects are.
struct Staging {
  std::mutex mutex;
  MirroredBuffer slots[kNumSlots];

  void reserve(int64_t num_bytes, Device device) {
    for (MirroredBuffer& slot : slots) {
      if (slot.num_bytes() < num_bytes || slot.device() != device) slot = MirroredBuffer(num_bytes, device);
    }
  }
};

Staging& staging() {
  static Staging* const instance = new Staging;
  return *instance;
}

// Rows, which may be strided, one after the other.
void gather_rows(char* to, const ConstTensorView& rows) {
  const int64_t row_bytes = dtype_bytes(rows.dtype(), rows.dim(1));
  const int64_t stride_bytes = dtype_bytes(rows.dtype(), rows.stride(0));
  const char* const from = static_cast<const char*>(rows.data());
  if (rows.is_dense()) {
    std::memcpy(to, from, static_cast<size_t>(rows.dim(0) * row_bytes));
    return;
  }
  for (int64_t i = 0; i < rows.dim(0); ++i) {
    std::memcpy(to + i * row_bytes, from + i * stride_bytes, static_cast<size_t>(row_bytes));
  }
}

void pack_from_host(const Target& target, const ConstTensorView& weight, Stream& stream) {
  const int64_t row_bytes = dtype_bytes(weight.dtype(), weight.dim(1));
  const int64_t piece_rows = std::max<int64_t>(1, kPieceBytes / row_bytes);
  Staging& memory = staging();
  const std::scoped_lock lock(memory.mutex);
  memory.reserve(std::max(kPieceBytes, row_bytes), stream.device());
  Event uploaded[kNumSlots] = {Event(stream.device()), Event(stream.device())};
  int slot = 0;
  for (int64_t begin = 0; begin < weight.dim(0); begin += piece_rows, slot = (slot + 1) % kNumSlots) {
    const int64_t end = std::min(begin + piece_rows, weight.dim(0));
    const MirroredBuffer& piece = memory.slots[slot];
    uploaded[slot].synchronize();  // the copy before from this pinned memory; at once if there was none
    gather_rows(piece.host(), weight.slice(0, begin, end));
    piece.upload(0, (end - begin) * row_bytes, stream);
    uploaded[slot].record(stream);
    convert(target, {piece.device_data(), weight.dtype(), {end - begin, weight.dim(1)}, stream.device()}, begin,
            static_cast<cudaStream_t>(stream.handle()));
  }
  stream.synchronize();  // before another weight, perhaps on another stream, takes the memory
}

}  // namespace

void pack_weight(void* packed, DType dtype, ConstTensorView weight, WeightLayout layout, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const Target target{packed, dtype, layout, weight.dim(layout == WeightLayout::kOutIn ? 1 : 0)};
  if (weight.device() == kCpuDevice) return pack_from_host(target, weight, stream);
  convert(target, weight, 0, handle);
  stream.synchronize();
}

}  // namespace cohort::cuda
