#include "runtime/engine/shared_progress.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

namespace cohort {
namespace {

constexpr std::chrono::milliseconds kPollInterval{50};
constexpr std::string_view kFinished = "finished";

}  // namespace

SharedProgress::SharedProgress(HostComm& world, int64_t num_bytes, ProgressOptions options,
                               std::function<void(double fraction)> observe)
    : comm_(world.split(0)), is_finished_(static_cast<size_t>(world.size())), done_bytes_(is_finished_.size()) {
  int64_t total_bytes = 0;
  for (const std::string& bytes : all_gather(*comm_, std::to_string(num_bytes))) total_bytes += std::stoll(bytes);
  if (comm_->rank() == 0) {
    options.others = [this] { return poll_others(); };
    if (observe) {
      options.report = [this, total_bytes, observe = std::move(observe)](int64_t done_bytes) {
        const auto done = static_cast<double>(done_bytes + poll_others());
        observe(std::min(1.0, done / static_cast<double>(std::max<int64_t>(total_bytes, 1))));
      };
    }
  } else {
    options.quiet = true;
    options.report = [this](int64_t done_bytes) { comm_->send(0, std::to_string(done_bytes)); };
  }
  progress_ = std::make_unique<Progress>(total_bytes, std::move(options));
}

int64_t SharedProgress::poll_others() {
  int64_t total = 0;
  for (int peer = 1; peer < comm_->size(); ++peer) {
    const auto i = static_cast<size_t>(peer);
    while (!is_finished_[i]) {
      const auto message = comm_->try_receive(peer);
      if (!message) break;
      if (*message == kFinished) {
        is_finished_[i] = true;
      } else {
        done_bytes_[i] = std::stoll(*message);
      }
    }
    total += done_bytes_[i];
  }
  return total;
}

void SharedProgress::finish() {
  if (comm_->rank() != 0) {
    comm_->send(0, std::to_string(progress_->done_bytes()));
    comm_->send(0, kFinished);
    return;
  }
  is_finished_[0] = true;
  while (std::find(is_finished_.begin(), is_finished_.end(), false) != is_finished_.end()) {
    progress_->add(0);  // shows what the others have done, now and then
    poll_others();
    std::this_thread::sleep_for(kPollInterval);
  }
  progress_->finish();
}

}  // namespace cohort
