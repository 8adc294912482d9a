// Monitor: notices what launchers do not, and calls `on_failure` once: a rank that is gone, stopped or cut off; a step
// that takes too long; a launcher that died.
//
// A thread sends a heartbeat to rank 0 and hears rank 0's; rank 0 hears everyone's. What a rank does in between is
// watched by a deadline that its own thread sets and clears, at the cost of a clock read and a store.
//
// Thread-safety: set_deadline and clear_deadline are for the rank's main thread; the rest is the monitor's own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "parallel/comm/host_comm.h"

namespace cohort {

struct MonitorOptions {
  std::chrono::milliseconds interval{500};  // between heartbeats
  std::chrono::milliseconds timeout{4000};  // silence after which a peer is given up
  std::vector<std::string> peer_names;      // what to call each rank: "rank 3 (host node7)"
};

class Monitor {
 public:
  using OnFailure = std::function<void(const std::string& reason)>;

  // `comm` is the monitor's alone. on_failure is called by the monitor's thread, at most once, and may end the process.
  Monitor(std::unique_ptr<HostComm> comm, MonitorOptions options, OnFailure on_failure);
  // Stops the thread. Every rank should be past its last need of the others: a barrier comes before.
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Until clear_deadline(), `what` (a static string: "a step", "loading weights") may take so long.
  void set_deadline(const char* what, std::chrono::milliseconds limit);
  void clear_deadline();

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  // Empty, or why the job must end.
  std::string find_failure(Clock::time_point now);
  std::string find_silent_peer(Clock::time_point now);
  std::string find_overdue(Clock::time_point now) const;

  std::unique_ptr<HostComm> comm_;
  const MonitorOptions options_;
  const OnFailure on_failure_;
  std::vector<Clock::time_point> last_heard_;  // by rank
  const int parent_;                           // process id of what started this one

  std::atomic<const char*> what_{""};
  std::atomic<int64_t> limit_ms_{0};
  std::atomic<int64_t> deadline_ns_{0};  // of Clock; 0 for none
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// A deadline as long as it lives. `monitor` may be null.
class Deadline {
 public:
  Deadline(Monitor* monitor, const char* what, std::chrono::milliseconds limit) : monitor_(monitor) {
    if (monitor_ != nullptr) monitor_->set_deadline(what, limit);
  }
  ~Deadline() {
    if (monitor_ != nullptr) monitor_->clear_deadline();
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  Monitor* monitor_;
};

}  // namespace cohort
