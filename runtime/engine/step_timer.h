// StepTimer: how long the device works on each step, and how long it waits between them. For benches.
#pragma once

#include <memory>
#include <vector>

#include "kernels/core/stream.h"

namespace cohort {

class StepTimer {
 public:
  // Takes the events of up to `max_steps` steps; later ones are not timed.
  StepTimer(int64_t max_steps, Device device) {
    for (int64_t i = 0; i < max_steps; ++i) {
      steps_.push_back({std::make_unique<Event>(device), std::make_unique<Event>(device)});
    }
  }

  void begin(Stream& stream) {
    if (num_begun_ < steps_.size()) steps_[num_begun_++].begin->record(stream);
  }
  void end(Stream& stream) {
    if (num_ended_ < num_begun_) steps_[num_ended_++].end->record(stream);
  }

  struct Times {
    std::vector<double> step_ms;  // of each step, from its first to its last work
    std::vector<double> wait_ms;  // of the device before each step but the first
  };
  // Waits for the steps.
  Times times() const {
    Times times;
    for (size_t i = 0; i < num_ended_; ++i) {
      steps_[i].end->synchronize();
      times.step_ms.push_back(steps_[i].end->milliseconds_since(*steps_[i].begin));
      if (i > 0) times.wait_ms.push_back(steps_[i].begin->milliseconds_since(*steps_[i - 1].end));
    }
    return times;
  }

 private:
  struct Step {
    std::unique_ptr<Event> begin;
    std::unique_ptr<Event> end;
  };

  std::vector<Step> steps_;
  size_t num_begun_ = 0;
  size_t num_ended_ = 0;
};

}  // namespace cohort
