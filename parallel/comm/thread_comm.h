// Ranks as threads of one process: for tests, sanitizers and debuggers.
//
// ThreadWorld owns the channels between its ranks; the HostComms that it gives out, and all that are split from them,
// borrow it. When a rank fails, every wait of the others throws instead of lasting for ever.
#pragma once

#include <functional>
#include <memory>

#include "parallel/comm/host_comm.h"

namespace cohort {

class ThreadChannels;

class ThreadWorld {
 public:
  explicit ThreadWorld(int num_ranks);
  ~ThreadWorld();

  // The world communicator of `rank`, for the thread that plays it.
  std::unique_ptr<HostComm> comm(int rank);
  // Every wait in progress or to come throws std::runtime_error with `reason`.
  void abort(const std::string& reason);

 private:
  int num_ranks_;
  std::unique_ptr<ThreadChannels> channels_;
};

// Runs body on a thread a rank and returns when all are done. Rethrows what the first rank to fail threw, once the
// others have been stopped.
void run_thread_ranks(int num_ranks, const std::function<void(HostComm& world)>& body);

}  // namespace cohort
