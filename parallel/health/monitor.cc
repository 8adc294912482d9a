#include "parallel/health/monitor.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <utility>

namespace cohort {
namespace {

constexpr std::chrono::milliseconds kMaxPause{100};

std::string seconds_text(std::chrono::nanoseconds duration) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f s", std::chrono::duration<double>(duration).count());
  return text;
}

}  // namespace

Monitor::Monitor(std::unique_ptr<HostComm> comm, MonitorOptions options, OnFailure on_failure)
    : comm_(std::move(comm)),
      options_(std::move(options)),
      on_failure_(std::move(on_failure)),
      last_heard_(static_cast<size_t>(comm_->size()), Clock::now()),
      parent_(getppid()),
      thread_([this] { run(); }) {}

Monitor::~Monitor() {
  stop_.store(true, std::memory_order_relaxed);
  thread_.join();
}

void Monitor::set_deadline(const char* what, std::chrono::milliseconds limit) {
  what_.store(what, std::memory_order_relaxed);
  limit_ms_.store(limit.count(), std::memory_order_relaxed);
  const auto deadline = std::chrono::duration_cast<std::chrono::nanoseconds>((Clock::now() + limit).time_since_epoch());
  deadline_ns_.store(deadline.count(), std::memory_order_release);
}

void Monitor::clear_deadline() { deadline_ns_.store(0, std::memory_order_relaxed); }

void Monitor::run() {
  const auto pause = std::min<std::chrono::milliseconds>(options_.interval, kMaxPause);
  Clock::time_point next_beat = Clock::now();
  Clock::time_point last_turn = next_beat;
  while (!stop_.load(std::memory_order_relaxed)) {
    const Clock::time_point now = Clock::now();
    std::string reason;
    try {
      if (now >= next_beat) {
        next_beat = now + options_.interval;
        for (int peer = 0; peer < comm_->size(); ++peer) {
          const bool is_heard = (comm_->rank() == 0) != (peer == 0);  // rank 0 beats to all, all beat to rank 0
          if (is_heard) comm_->send(peer, "");
        }
      }
      // This process itself may have been stopped: what it did not hear meanwhile is no sign against the others.
      if (now - last_turn > options_.timeout / 2) {
        std::fill(last_heard_.begin(), last_heard_.end(), now);
      }
      last_turn = now;
      reason = find_failure(now);
    } catch (const std::exception& error) {
      reason = std::string("heartbeat: ") + error.what();
    }
    if (!reason.empty()) {
      on_failure_(reason);
      return;
    }
    std::this_thread::sleep_for(pause);
  }
}

std::string Monitor::find_failure(Clock::time_point now) {
  if (getppid() != parent_) return "the launcher that started this rank is gone";
  std::string reason = find_silent_peer(now);
  return reason.empty() ? find_overdue(now) : reason;
}

std::string Monitor::find_silent_peer(Clock::time_point now) {
  for (int peer = 0; peer < comm_->size(); ++peer) {
    if ((comm_->rank() == 0) == (peer == 0)) continue;
    auto& last_heard = last_heard_[static_cast<size_t>(peer)];
    while (comm_->try_receive(peer)) last_heard = now;
    if (now - last_heard > options_.timeout) {
      return options_.peer_names[static_cast<size_t>(peer)] + " has not been heard for " +
             seconds_text(now - last_heard) + ": it is gone, stopped or cut off";
    }
  }
  return "";
}

std::string Monitor::find_overdue(Clock::time_point now) const {
  const int64_t deadline_ns = deadline_ns_.load(std::memory_order_acquire);
  const int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  if (deadline_ns == 0 || now_ns <= deadline_ns) return "";
  return std::string(what_.load(std::memory_order_relaxed)) + " has taken more than " +
         seconds_text(std::chrono::milliseconds(limit_ms_.load(std::memory_order_relaxed)));
}

}  // namespace cohort
