#include "runtime/weights/device_loader.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/core/convert.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {
namespace {

// `view` as [num_rows, n]. Dense memory is one row.
template <typename View>
View as_rows(const View& view, bool is_one_row) {
  return is_one_row ? view.reshape(Shape{1, view.num_elements()}) : view;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How rows are cut into pieces of at most kPieceBytes: several rows, or part of one.
struct Pieces {
  int64_t num_rows, num_columns;      // of the tensor
  int64_t piece_rows, piece_columns;  // of a piece, or fewer at the ends
  int64_t num_across;                 // pieces of a row

  explicit Pieces(const ConstTensorView& rows) : num_rows(rows.dim(0)), num_columns(rows.dim(1)) {
    const int64_t max_elements = DeviceLoader::kPieceBytes / dtype_bytes(rows.dtype(), 1);
    piece_columns = std::min(num_columns, max_elements);
    piece_rows = max_elements / piece_columns;
    num_across = ceil_div(num_columns, piece_columns);
    if (num_across > 1) piece_rows = 1;
  }

  int64_t count() const { return ceil_div(num_rows, piece_rows) * num_across; }

  template <typename View>
  View of(const View& rows, int64_t i) const {
    const int64_t row = i / num_across * piece_rows;
    const int64_t column = i % num_across * piece_columns;
    return rows.slice(0, row, std::min(row + piece_rows, num_rows))
        .slice(1, column, std::min(column + piece_columns, num_columns));
  }
};

// Rows, which may be strided, one after the other.
void gather_rows(char* to, const ConstTensorView& rows) {
  const char* const from = static_cast<const char*>(rows.data());
  if (rows.is_dense()) {
    std::memcpy(to, from, static_cast<size_t>(rows.num_bytes()));
    return;
  }
  const int64_t row_bytes = dtype_bytes(rows.dtype(), rows.dim(1));
  const int64_t stride_bytes = dtype_bytes(rows.dtype(), rows.stride(0));
  for (int64_t i = 0; i < rows.dim(0); ++i) {
    std::memcpy(to + i * row_bytes, from + i * stride_bytes, static_cast<size_t>(row_bytes));
  }
}

}  // namespace

DeviceLoader::DeviceLoader(Stream& stream, int num_threads)
    : stream_(stream), threads_(num_threads), staging_(2 * num_threads * kPieceBytes, stream.device()) {
  for (size_t slot = 0; slot < 2 * static_cast<size_t>(num_threads); ++slot) {
    copied_.emplace_back(stream.device());
    free_slots_.push_back(slot);
  }
}

DeviceLoader::~DeviceLoader() {
  try {
    stream_.synchronize();
  } catch (const CheckError&) {  // whoever uses the stream next is told of it
  }
}

size_t DeviceLoader::take_slot() {
  size_t slot = 0;
  {
    const std::lock_guard lock(mutex_);
    slot = free_slots_.front();  // there are more than threads
    free_slots_.pop_front();
  }
  copied_[slot].synchronize();
  return slot;
}

void DeviceLoader::load_piece(const TensorView& out, const ConstTensorView& from) {
  const size_t slot = take_slot();
  const int64_t begin = static_cast<int64_t>(slot) * kPieceBytes;
  gather_rows(staging_.host() + begin, from);

  const std::lock_guard lock(mutex_);
  cuda::set_device(stream_.device().index);  // a thread of the pool begins with the first
  if (from.dtype() == out.dtype() && out.is_dense()) {
    cuda::copy_async(out.data(), staging_.host() + begin, out.num_bytes(), stream_.handle());
  } else {
    staging_.upload(begin, begin + from.num_bytes(), stream_);
    convert(out, {staging_.device_data() + begin, from.dtype(), from.shape(), stream_.device()}, stream_);
  }
  copied_[slot].record(stream_);
  free_slots_.push_back(slot);
}

void DeviceLoader::load(const TensorView& out, const ConstTensorView& from, const WillRead& will_read) {
  COHORT_CHECK(out.shape() == from.shape() && out.device() == stream_.device() && from.device() == kCpuDevice,
               out.shape().to_string() + " from " + from.shape().to_string());
  if (out.empty()) return;
  const bool is_one_row = out.rank() < 2 || (out.is_dense() && from.is_dense());
  const TensorView out_rows = as_rows(out, is_one_row);
  const ConstTensorView from_rows = as_rows(from, is_one_row);
  const Pieces pieces(from_rows);
  threads_.parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ConstTensorView piece = pieces.of(from_rows, i);
      will_read(piece);
      load_piece(pieces.of(out_rows, i), piece);
    }
  });
}

}  // namespace cohort
