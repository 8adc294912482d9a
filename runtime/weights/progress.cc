#include "runtime/weights/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace cohort {
namespace {

using std::chrono::duration_cast;
using std::chrono::nanoseconds;

constexpr int kMinBarColumns = 10;
constexpr int kMaxBarColumns = 30;

int64_t nanoseconds_of(std::chrono::steady_clock::duration duration) {
  return duration_cast<nanoseconds>(duration).count();
}

template <typename... Args>
std::string format(const char* pattern, Args... args) {
  char text[96];
  std::snprintf(text, sizeof(text), pattern, args...);
  return text;
}

std::string duration_text(double seconds) {
  if (seconds < 60) return format("%.0f s", std::ceil(seconds));
  if (seconds < 3600) return format("%d min %02d s", static_cast<int>(seconds) / 60, static_cast<int>(seconds) % 60);
  return format("%.1f h", std::min(seconds / 3600, 1e6));
}

}  // namespace

ProgressOptions stderr_progress_options(std::string label, bool quiet) {
  ProgressOptions options;
  options.label = std::move(label);
  options.quiet = quiet;
  options.is_terminal = ::isatty(STDERR_FILENO) == 1;
  winsize size{};
  if (options.is_terminal && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    options.num_columns = size.ws_col;
  options.write = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  };
  return options;
}

std::string progress_text(std::string_view label, int64_t done_bytes, int64_t total_bytes, double elapsed_seconds,
                          bool with_bar, int num_columns) {
  const double done_gb = static_cast<double>(done_bytes) / 1e9;
  const double total_gb = static_cast<double>(total_bytes) / 1e9;
  const double gb_per_second = elapsed_seconds > 0 ? done_gb / elapsed_seconds : 0;
  const bool has_total = total_bytes > 0;
  const double fraction = has_total ? std::clamp(done_gb / total_gb, 0.0, 1.0) : 0;

  std::string numbers = has_total ? format(" %3.0f%%  %.1f/%.1f GB", std::floor(100 * fraction), done_gb, total_gb)
                                  : format(" %.1f GB", done_gb);
  numbers += format("  %.2f GB/s", gb_per_second);
  if (has_total && fraction < 1 && gb_per_second > 0)
    numbers += "  " + duration_text((total_gb - done_gb) / gb_per_second) + " left";
  else if (has_total && fraction >= 1)
    numbers += "  in " + duration_text(elapsed_seconds);

  std::string text(label);
  const int bar_columns = std::min(kMaxBarColumns, num_columns - static_cast<int>(text.size() + numbers.size()) - 3);
  if (with_bar && has_total && bar_columns >= kMinBarColumns) {
    const auto num_full = static_cast<size_t>(fraction * bar_columns);
    text += " [" + std::string(num_full, '#') + std::string(static_cast<size_t>(bar_columns) - num_full, '-') + "]";
  }
  text += numbers;
  return text.substr(0, static_cast<size_t>(std::max(0, num_columns)));
}

Progress::Progress(int64_t total_bytes, ProgressOptions options)
    : options_(std::move(options)),
      total_bytes_(total_bytes),
      start_(options_.now()),
      next_show_ns_(nanoseconds_of(kSilence)) {}

Progress::~Progress() { finish(); }

bool Progress::is_due(const std::atomic<int64_t>& next_ns, TimePoint now) const {
  return nanoseconds_of(now - start_) >= next_ns.load(std::memory_order_relaxed);
}

void Progress::add(int64_t num_bytes) {
  done_bytes_.fetch_add(num_bytes, std::memory_order_relaxed);
  if (options_.quiet && !options_.report) return;
  const TimePoint now = options_.now();
  const auto wants_report = [&] { return options_.report && is_due(next_report_ns_, now); };
  const auto wants_show = [&] { return !options_.quiet && is_due(next_show_ns_, now); };
  if (!wants_report() && !wants_show()) return;
  // Somebody else is at it if the lock is taken: a loading thread does not wait for a terminal.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || is_finished_) return;
  if (wants_report()) {
    next_report_ns_.store(nanoseconds_of(now - start_ + kReportInterval), std::memory_order_relaxed);
    options_.report(done_bytes());
  }
  if (wants_show()) show(now, false);
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (is_finished_) return;
  is_finished_ = true;
  if (has_shown_) show(options_.now(), true);
}

void Progress::show(TimePoint now, bool is_last) {
  const auto interval = options_.is_terminal ? kRedrawInterval : kLineInterval;
  next_show_ns_.store(nanoseconds_of(now - start_ + interval), std::memory_order_relaxed);
  has_shown_ = true;
  const int64_t all_bytes = done_bytes() + (options_.others ? options_.others() : 0);
  const double elapsed_seconds = std::chrono::duration<double>(now - start_).count();
  // One column is left free: a terminal wraps when its last one is written.
  const int num_columns = options_.is_terminal ? options_.num_columns - 1 : 200;
  std::string text =
      progress_text(options_.label, all_bytes, total_bytes_, elapsed_seconds, options_.is_terminal, num_columns);
  if (options_.is_terminal)
    text = "\r" + text + "\033[K" + (is_last ? "\n" : "");
  else
    text += "\n";
  options_.write(text);
}

}  // namespace cohort
