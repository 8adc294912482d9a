// Engine: runs the requests of one replica, step by step. It is the leader's; the other ranks follow().
//
// The leader's scheduler makes a plan, every rank executes its part of it, and the rank that samples sends the tokens
// back. With a pipeline as many plans are under way as there are stages; with one stage on CUDA the next plan is made
// and started while the last one runs.
//
// One thread.
#pragma once

#include <vector>

#include "runtime/engine/model_runner.h"
#include "runtime/scheduler/scheduler.h"

namespace cohort {

// What a model takes.
SequenceLimits sequence_limits(const ModelSpec& spec);

class Engine {
 public:
  // Both outlive the engine. Requires that the rank is the leader.
  Engine(ModelRunner& runner, const RankComms& comms);
  // The followers are told to stop, unless stop() did.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // As Scheduler::submit, at the time that it is. INVALID_ARGUMENT also where the model has not what is to be encoded.
  Result<int64_t> submit(GenerationRequest request);
  // As Scheduler::cancel. The request may still be in a step under way, for which has_work().
  void cancel(int64_t id) { scheduler_.cancel(id); }
  bool has_work() const { return scheduler_.has_work(); }

  // Starts as many steps as may be under way and returns the tokens of the oldest, if any. Takes as long as a step.
  // Requires has_work().
  std::vector<TokenEvent> step();

  // Lets the followers return from follow(). Requires that no step is under way.
  void stop();

  EngineStats stats() const { return scheduler_.stats(); }
  const BlockAllocator& blocks() const { return scheduler_.blocks(); }

 private:
  void start(const wire::StepPlan& plan);
  wire::StepResult receive_result();

  ModelRunner& runner_;
  const RankComms& comms_;
  Scheduler scheduler_;
  bool is_stopped_ = false;
};

// Executes the leader's plans until it stops.
void follow(ModelRunner& runner, const RankComms& comms);

}  // namespace cohort
