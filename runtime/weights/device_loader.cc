#include "runtime/weights/device_loader.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "kernels/core/buffer.h"
#include "kernels/core/convert.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {
namespace {

// `view` as [num_rows, n].
template <typename View>
View as_rows(const View& view, bool is_one_row) {
  return is_one_row ? view.reshape(Shape{1, view.num_elements()}) : view;
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Pinned host memory of huge pages, which are quicker to make and to pin than small ones.
class PinnedPages {
 public:
  explicit PinnedPages(int64_t num_bytes)
      : data_(static_cast<char*>(std::aligned_alloc(kHugePageBytes, static_cast<size_t>(num_bytes)))) {
    if (data_ == nullptr) throw std::bad_alloc();
    ::madvise(data_, static_cast<size_t>(num_bytes), MADV_HUGEPAGE);  // a hint
    std::memset(data_, 0, static_cast<size_t>(num_bytes));            // by this thread, not while it is pinned
    try {
      cuda::pin(data_, num_bytes);
    } catch (...) {
      std::free(data_);
      throw;
    }
  }
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;
  ~PinnedPages() {
    cuda::unpin(data_);
    std::free(data_);
  }
  char* data() const { return data_; }

 private:
  static constexpr size_t kHugePageBytes = size_t{2} << 20;

  char* data_;
};

}  // namespace

class DeviceLoader::Slots {
 public:
  explicit Slots(Device device)
      : memory_(kNumSlots * kPieceBytes), copied_{Event(device), Event(device)}, device_(device) {}
  ~Slots() {
    try {
      for (Event& event : copied_) event.synchronize();  // before the memory goes
    } catch (const CheckError&) {                        // whoever uses the stream next is told of it
    }
  }

  // Goes on to the other slot, and waits until it is free.
  void advance() {
    current_ = (current_ + 1) % kNumSlots;
    copied_[current_].synchronize();
  }
  char* host() const { return memory_.data() + static_cast<int64_t>(current_) * kPieceBytes; }
  void* device() {
    Buffer& memory = device_memory_[current_];
    if (memory.num_bytes() == 0) memory = Buffer(kPieceBytes, device_);
    return memory.data();
  }
  Event& copied() { return copied_[current_]; }  // what was in it last

 private:
  static constexpr size_t kNumSlots = 2;

  PinnedPages memory_;
  Event copied_[kNumSlots];
  Buffer device_memory_[kNumSlots];  // where values are converted from
  Device device_;
  size_t current_ = 0;
};

DeviceLoader::DeviceLoader(Stream& stream, int num_threads) : stream_(stream) {
  COHORT_CHECK(stream.device().kind == DeviceKind::kCuda && num_threads >= 1, to_string(stream.device()));
  for (int i = 0; i < std::min(num_threads, kMaxThreads); ++i) threads_.emplace_back([this] { run_thread(); });
}

DeviceLoader::~DeviceLoader() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  has_work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void DeviceLoader::load(const TensorView& out, const ConstTensorView& from, Read read) {
  COHORT_CHECK(out.shape() == from.shape() && out.device() == stream_.device() && from.device() == kCpuDevice,
               out.shape().to_string() + " from " + from.shape().to_string());
  if (out.empty()) return;
  const bool is_one_row = out.rank() < 2 || (out.is_dense() && from.is_dense());
  Job job{.out = as_rows(out, is_one_row), .from = as_rows(from, is_one_row), .read = std::move(read)};
  const int64_t num_columns = job.from.dim(1);
  const int64_t max_elements = kPieceBytes / dtype_bytes(from.dtype(), 1);
  job.piece_columns = std::min(num_columns, max_elements);
  job.num_across = ceil_div(num_columns, job.piece_columns);
  job.piece_rows = job.num_across > 1 ? 1 : max_elements / job.piece_columns;
  job.num_pieces = ceil_div(job.from.dim(0), job.piece_rows) * job.num_across;
  {
    const std::lock_guard lock(mutex_);
    num_unfinished_ += job.num_pieces;
    jobs_.push_back(std::move(job));
  }
  has_work_.notify_all();
}

Status DeviceLoader::wait() {
  std::unique_lock lock(mutex_);
  is_idle_.wait(lock, [&] { return num_unfinished_ == 0; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  return std::exchange(failure_, ok_status());
}

bool DeviceLoader::take_piece(Piece& piece) {
  std::unique_lock lock(mutex_);
  has_work_.wait(lock, [&] { return stops_ || !jobs_.empty(); });
  if (stops_) return false;
  Job& job = jobs_.front();
  const int64_t row = job.next / job.num_across * job.piece_rows;
  const int64_t column = job.next % job.num_across * job.piece_columns;
  const int64_t end_row = std::min(row + job.piece_rows, job.from.dim(0));
  const int64_t end_column = std::min(column + job.piece_columns, job.from.dim(1));
  piece = {job.out.slice(0, row, end_row).slice(1, column, end_column),
           job.from.slice(0, row, end_row).slice(1, column, end_column), job.read};
  if (++job.next == job.num_pieces) jobs_.pop_front();
  return true;
}

void DeviceLoader::finish_piece(const Status& status, std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (failure_.ok()) failure_ = status;
  if (!error_) error_ = std::move(error);
  if (--num_unfinished_ == 0) is_idle_.notify_all();
}

Status DeviceLoader::load_piece(const Piece& piece, Slots& slots) {
  slots.advance();
  COHORT_RETURN_IF_ERROR(piece.read(slots.host(), piece.from));
  if (piece.from.dtype() == piece.out.dtype() && piece.out.is_dense()) {
    cuda::copy_async(piece.out.data(), slots.host(), piece.out.num_bytes(), stream_.handle());
  } else {
    const ConstTensorView staged(slots.device(), piece.from.dtype(), piece.from.shape(), stream_.device());
    cuda::copy_async(slots.device(), slots.host(), staged.num_bytes(), stream_.handle());
    convert(piece.out, staged, stream_);
  }
  slots.copied().record(stream_);
  return ok_status();
}

void DeviceLoader::run_thread() {
  std::optional<Slots> slots;
  Piece piece;
  while (take_piece(piece)) {
    Status status = ok_status();
    std::exception_ptr error;
    try {
      cuda::set_device(stream_.device().index);
      if (!slots) slots.emplace(stream_.device());
      status = load_piece(piece, *slots);
    } catch (...) {
      error = std::current_exception();
    }
    finish_piece(status, std::move(error));
  }
}

}  // namespace cohort
