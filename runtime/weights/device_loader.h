// DeviceLoader: brings tensors of files to a CUDA device at the speed of the bus.
//
// Threads of its own read pieces into pinned memory, each into one of two while the other is copied; dtypes are
// converted on the device. load() only queues, so that the next tensor's memory is taken while this one is read. Two
// pieces a thread are all that a load takes of the host besides the tensors themselves, and of the device where it
// converts. The threads queue work on one stream at once, which CUDA allows.
//
// One thread calls load() and wait().
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

class DeviceLoader {
 public:
  static constexpr int64_t kPieceBytes = int64_t{4} << 20;
  // More are not faster: measured on an H200, 8 / 12 / 16 threads loaded 41 / 45 / 43 GB/s.
  static constexpr int kMaxThreads = 12;

  // Writes rows of what is loaded, [num_rows, n] and maybe strided, to `to`, one after the other. Called by several
  // threads at once.
  using Read = std::function<Status(void* to, const ConstTensorView& rows)>;

  // Copies are queued on `stream`, of a CUDA device; it must outlive this. num_threads of at least 1, of which at most
  // kMaxThreads are used.
  DeviceLoader(Stream& stream, int num_threads);
  // Gives up what is not read yet, and waits for what is under way.
  ~DeviceLoader();
  DeviceLoader(const DeviceLoader&) = delete;
  DeviceLoader& operator=(const DeviceLoader&) = delete;

  // Begins out = from, element by element, rounded to the dtype of `out`; float32, float16 or bfloat16. Equal shapes;
  // of more than two dimensions only dense ones; rows may be strided. `from` says what `read` is to read, and may be
  // unaligned. The memory of `out`, and what `read` needs, must stay until wait().
  void load(const TensorView& out, const ConstTensorView& from, Read read);

  // Returns when all is read: the first failure of a read since the last wait(). What is queued on the stream from then
  // on finds the values. Throws what a thread threw.
  Status wait();

 private:
  // How the rows of a tensor are cut into pieces of at most kPieceBytes: several rows, or part of one.
  struct Job {
    TensorView out;        // [num_rows, n]
    ConstTensorView from;  // likewise
    Read read;
    int64_t piece_rows = 0, piece_columns = 0;  // fewer at the ends
    int64_t num_across = 0;                     // pieces of a row
    int64_t num_pieces = 0;
    int64_t next = 0;  // the first that nobody has taken
  };
  struct Piece {
    TensorView out;
    ConstTensorView from;
    Read read;
  };
  class Slots;  // the pieces of a thread that are on their way

  void run_thread();
  bool take_piece(Piece& piece);  // false when there will be none any more
  Status load_piece(const Piece& piece, Slots& slots);
  void finish_piece(const Status& status, std::exception_ptr error);

  Stream& stream_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable has_work_;
  std::condition_variable is_idle_;
  std::deque<Job> jobs_;
  int64_t num_unfinished_ = 0;  // pieces
  bool stops_ = false;
  Status failure_ = ok_status();
  std::exception_ptr error_;

  std::vector<std::thread> threads_;
};

}  // namespace cohort
