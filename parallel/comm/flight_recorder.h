// FlightRecorder: a ring of what a rank did last, for the day it hangs: collectives, sends, receives and steps, with
// when they began and ended.
//
// One thread records; another may dump at any time, and then sees each entry as it was or as it is becoming. A record
// costs two clock reads and a few stores.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace cohort {

class FlightRecorder {
 public:
  static constexpr size_t kCapacity = 64;

  // An entry in a log.
  struct Call {
    const char* kind = nullptr;
    const char* where = nullptr;
    int64_t num_bytes = 0;
    int peer = -1;
    int64_t step = 0;
    int64_t begin_ns = 0;  // of std::chrono::steady_clock
    int64_t end_ns = 0;    // 0: not done
  };

  // `kind` and `where` are static strings, or live until clear(). `peer` is -1 for all, bytes 0 for none. Returns the
  // number of the entry.
  uint64_t begin(const char* kind, const char* where, int64_t num_bytes, int peer);
  void end(uint64_t number);
  // Every entry that begins from now on is added to `log`, and its end noted there, too; null switches that off. For
  // benches. For the thread that records, while no entry is under way.
  void set_log(std::vector<Call>* log);
  // Forgets all entries, before what their texts point at ends. For the thread that records.
  void clear() { next_.store(0, std::memory_order_release); }
  // Of the step under way, put into every entry.
  void set_step(int64_t step) { step_.store(step, std::memory_order_relaxed); }

  // A line an entry, the oldest first: "step 12 all_reduce tensor 20480 bytes, 0.213 s ago, took 0.1 ms" or "..., not
  // done".
  std::string dump() const;

 private:
  struct Entry {
    std::atomic<const char*> kind{nullptr};
    std::atomic<const char*> where{nullptr};
    std::atomic<int64_t> num_bytes{0};
    std::atomic<int> peer{-1};
    std::atomic<int64_t> step{0};
    std::atomic<int64_t> begin_ns{0};
    std::atomic<int64_t> end_ns{0};  // 0: not done
  };

  std::array<Entry, kCapacity> entries_;
  std::atomic<uint64_t> next_{0};
  std::atomic<int64_t> step_{0};
  std::vector<Call>* log_ = nullptr;
  uint64_t log_begin_ = 0;  // the number of its first entry
};

// An entry as long as it lives. Does nothing without a recorder.
class FlightRecord {
 public:
  FlightRecord(FlightRecorder* recorder, const char* kind, const char* where, int64_t num_bytes, int peer)
      : recorder_(recorder), number_(recorder != nullptr ? recorder->begin(kind, where, num_bytes, peer) : 0) {}
  ~FlightRecord() {
    if (recorder_ != nullptr) recorder_->end(number_);
  }
  FlightRecord(const FlightRecord&) = delete;
  FlightRecord& operator=(const FlightRecord&) = delete;

 private:
  FlightRecorder* recorder_;
  uint64_t number_;
};

}  // namespace cohort
