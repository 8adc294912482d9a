// Progress: tells a person how far the loading of weights is.
//
// On a terminal a bar, redrawn at most ten times a second; elsewhere, such as in a log, a line
// every few seconds. What is over within a second says nothing.
//
// Thread-safety: add() may be called by any number of threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace cohort {

struct ProgressOptions {
  std::string label = "loading weights";
  bool quiet = false;                                     // says nothing at all
  bool is_terminal = false;                               // a bar, redrawn in place
  int num_columns = 80;                                   // width of the terminal
  std::function<void(std::string_view)> write = nullptr;  // required unless quiet
  // For loading by several processes, where one shows the progress of all: what the others have done, asked before it
  // is shown. Null for none.
  std::function<int64_t()> others = nullptr;
  // Told of this process's bytes at most every kReportInterval, quiet or not. Null for none.
  std::function<void(int64_t done_bytes)> report = nullptr;
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// For stderr as it is: terminal or not, and how wide.
ProgressOptions stderr_progress_options(std::string label, bool quiet = false);

class Progress {
 public:
  static constexpr std::chrono::milliseconds kSilence{1000};        // before the first word
  static constexpr std::chrono::milliseconds kRedrawInterval{100};  // of the bar
  static constexpr std::chrono::milliseconds kLineInterval{5000};   // between lines, where there is no terminal
  static constexpr std::chrono::milliseconds kReportInterval{100};

  // `total_bytes` of 0 or less: not known; there is neither percentage nor bar nor remaining time
  // then.
  Progress(int64_t total_bytes, ProgressOptions options);
  ~Progress();  // finishes
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(int64_t num_bytes);
  int64_t done_bytes() const { return done_bytes_.load(std::memory_order_relaxed); }

  // Says the last word, if anything was said before. Further calls do nothing.
  void finish();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  bool is_due(const std::atomic<int64_t>& next_ns, TimePoint now) const;
  void show(TimePoint now, bool is_last);

  const ProgressOptions options_;
  const int64_t total_bytes_;
  const TimePoint start_;
  std::atomic<int64_t> done_bytes_{0};
  std::atomic<int64_t> next_show_ns_;  // since start_
  std::atomic<int64_t> next_report_ns_{0};
  std::mutex mutex_;  // guards what follows, and the writing
  bool has_shown_ = false;
  bool is_finished_ = false;
};

// One line without line end, of at most `num_columns`:
// "loading weights [#######---------]  45%  12.3/27.1 GB  3.20 GB/s  5 s left".
std::string progress_text(std::string_view label, int64_t done_bytes, int64_t total_bytes, double elapsed_seconds,
                          bool with_bar, int num_columns);

}  // namespace cohort
