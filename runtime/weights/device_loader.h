// DeviceLoader: brings tensors of files to a CUDA device at the speed of the bus.
//
// Threads read pieces of a tensor into pinned memory while pieces before are copied; dtypes are converted on the
// device. The staging memory, twice as many pieces as there are threads, is all that a load takes of host and device
// besides the tensors themselves.
//
// One thread calls load().
#pragma once

#include <deque>
#include <functional>
#include <mutex>

#include "kernels/core/mirrored_buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/core/thread_pool.h"

namespace cohort {

class DeviceLoader {
 public:
  static constexpr int64_t kPieceBytes = int64_t{4} << 20;

  // Copies are queued on `stream`, of a CUDA device; it must outlive this. num_threads: of at least 1, the calling
  // thread counted.
  DeviceLoader(Stream& stream, int num_threads);
  ~DeviceLoader();  // waits for what is queued
  DeviceLoader(const DeviceLoader&) = delete;
  DeviceLoader& operator=(const DeviceLoader&) = delete;

  // Told of each piece before it is read, by several threads at once.
  using WillRead = std::function<void(const ConstTensorView& piece)>;

  // out = from, element by element, rounded to the dtype of `out`; float32, float16 or bfloat16. Equal shapes; of more
  // than two dimensions only dense ones; rows may be strided. `from`, in host memory, may be unaligned. Returns when
  // all is read; work that is queued on the stream from then on finds it in `out`.
  void load(const TensorView& out, const ConstTensorView& from, const WillRead& will_read);

 private:
  void load_piece(const TensorView& out, const ConstTensorView& from);
  size_t take_slot();

  Stream& stream_;
  ThreadPool threads_;
  MirroredBuffer staging_;         // a piece a slot
  std::deque<Event> copied_;       // by slot: the last copy from it
  std::mutex mutex_;               // guards free_slots_ and submission to the stream
  std::deque<size_t> free_slots_;  // those first whose copies were queued first
};

}  // namespace cohort
