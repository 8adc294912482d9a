// What a rank goes through from configuration to an engine that can run: look at the model, plan memory with the other
// ranks, load, connect, make graphs. For the commands that run models.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/rank_plan.h"
#include "runtime/config/config.h"
#include "runtime/engine/model_runner.h"

namespace cohort {

// A model that has been looked at, and this rank's place among those that will run it.
struct RankModel {
  Device device;
  ParallelLayout layout;
  OpenModel model;
};

// Every rank takes part. JobFailure when the ranks do not fit the configuration, when the model cannot be read, or when
// ranks see different ones.
RankModel open_rank_model(Job& job, const Config& config);

// A rank that is ready for steps. Not to be moved: its parts refer to each other.
class RankEngine {
 public:
  // Told what is under way and how much of it is done, 0 to 1, on rank 0.
  using Observe = std::function<void(const std::string& what, double fraction)>;

  // Loads the weights of `plan` and makes everything ready. Every rank takes part. `quiet`: no progress on standard
  // error. `observe` may be empty.
  RankEngine(Job& job, RankModel model, const RankPlan& plan, int num_threads, bool quiet,
             const Observe& observe = nullptr);
  ~RankEngine();
  RankEngine(const RankEngine&) = delete;
  RankEngine& operator=(const RankEngine&) = delete;

  bool is_leader() const { return comms_->layout.is_leader(); }
  ModelRunner& runner() { return *runner_; }
  const RankComms& comms() const { return *comms_; }
  Stream& stream() { return stream_; }
  double load_seconds() const { return load_seconds_; }

  // Where load_seconds() went on this rank, waits for the others counted.
  struct StartUp {
    double weights_s = 0;
    double communicators_s = 0;
    double graphs_s = 0;  // and cache, activations and the steps that warm up
  };
  const StartUp& start_up() const { return start_up_; }

 private:
  Stream stream_;
  LoadedModel loaded_;
  std::unique_ptr<RankComms> comms_;
  std::unique_ptr<ModelRunner> runner_;
  double load_seconds_ = 0;
  StartUp start_up_;
};

// Runs `body` as one rank of a job that runs a model by the configuration of `flags`, once all ranks agree that it can
// be; or prints the configuration, if that is what the flags ask for. `name` is what a message calls the command.
Status run_model_job(const ConfigFlags& flags, std::string_view name,
                     const std::function<Status(Job&, const Config&)>& body);

// Rank 0 prints every rank's part, for --dry-run. Every rank takes part.
Status print_rank_table(Job& job, const RankPlan& plan);

}  // namespace cohort
