#include "parallel/comm/flight_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>

namespace cohort {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

uint64_t FlightRecorder::begin(const char* kind, const char* where, int64_t num_bytes, int peer) {
  const uint64_t number = next_.load(kRelaxed);
  Entry& entry = entries_[number % kCapacity];
  entry.kind.store(kind, kRelaxed);
  entry.where.store(where, kRelaxed);
  entry.num_bytes.store(num_bytes, kRelaxed);
  entry.peer.store(peer, kRelaxed);
  entry.step.store(step_.load(kRelaxed), kRelaxed);
  entry.end_ns.store(0, kRelaxed);
  const int64_t now = now_ns();
  entry.begin_ns.store(now, kRelaxed);
  if (log_ != nullptr) log_->push_back({kind, where, num_bytes, peer, step_.load(kRelaxed), now, 0});
  next_.store(number + 1, std::memory_order_release);
  return number;
}

void FlightRecorder::end(uint64_t number) {
  const int64_t now = now_ns();
  // What lasted for many others may have lost its place to one of them.
  if (next_.load(kRelaxed) - number <= kCapacity) entries_[number % kCapacity].end_ns.store(now, kRelaxed);
  if (log_ != nullptr) (*log_)[number - log_begin_].end_ns = now;
}

void FlightRecorder::set_log(std::vector<Call>* log) {
  log_ = log;
  log_begin_ = next_.load(kRelaxed) - (log == nullptr ? 0 : log->size());
}

std::string FlightRecorder::dump() const {
  const uint64_t next = next_.load(std::memory_order_acquire);
  const int64_t now = now_ns();
  std::string text;
  for (uint64_t number = next - std::min<uint64_t>(next, kCapacity); number < next; ++number) {
    const Entry& entry = entries_[number % kCapacity];
    const int64_t begin = entry.begin_ns.load(kRelaxed);
    const int64_t end = entry.end_ns.load(kRelaxed);
    const int peer = entry.peer.load(kRelaxed);
    fmt::format_to(std::back_inserter(text), "  step {} {} {}{} {} bytes, {:.3f} s ago, {}\n",
                   entry.step.load(kRelaxed), entry.kind.load(kRelaxed), entry.where.load(kRelaxed),
                   peer < 0 ? "" : fmt::format(" peer {}", peer), entry.num_bytes.load(kRelaxed),
                   static_cast<double>(now - begin) / 1e9,
                   end == 0 ? "not done" : fmt::format("took {:.3f} ms", static_cast<double>(end - begin) / 1e6));
  }
  return text;
}

}  // namespace cohort
