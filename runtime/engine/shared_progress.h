// SharedProgress: one progress bar, on rank 0, for what all ranks load at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "parallel/comm/host_comm.h"
#include "runtime/weights/progress.h"

namespace cohort {

class SharedProgress {
 public:
  // Every rank of `world` takes part; `world` outlives this. num_bytes: what this rank will load. `options` count on
  // rank 0, as does `observe`, which may be empty: it is told how much of all is loaded, 0 to 1.
  SharedProgress(HostComm& world, int64_t num_bytes, ProgressOptions options,
                 std::function<void(double fraction)> observe = nullptr);

  // Tell it of this rank's bytes.
  Progress& progress() { return *progress_; }

  // This rank has loaded all, or failed to. On rank 0 returns when every rank has, and goes on showing until then.
  void finish();

 private:
  int64_t poll_others();  // bytes that the other ranks have loaded

  std::unique_ptr<HostComm> comm_;
  std::vector<bool> is_finished_;    // by rank, as last heard
  std::vector<int64_t> done_bytes_;  // likewise
  std::unique_ptr<Progress> progress_;
};

}  // namespace cohort
