// Ranks with a model made up: every token depends on all tokens before it, as read from a paged cache that the plans'
// block tables index. Whoever reads a block that is not his, or not yet, or no more, gets other tokens than alone.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "runtime/decoding/request.h"
#include "runtime/engine/sequence_table.h"
#include "runtime/scheduler/scheduler.h"

namespace cohort::test {

// What a request gets when it is alone; without a token that stands for an error.
struct SimulatedOutput {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  bool operator==(const SimulatedOutput&) const = default;
};
SimulatedOutput simulate_alone(const GenerationRequest& request, const SchedulerOptions& options, int num_stages);

// Requests of this seed sample a token and then fail.
inline constexpr uint64_t kFailingSeed = 13;

// The stages of a pipeline, each with a cache of its own, which execute plans in their order but when they like.
class SimulatedRanks {
 public:
  SimulatedRanks(const SchedulerOptions& options, int num_stages);

  void start(const wire::StepPlan& plan);
  // One plan moves on by one stage, if there is a plan on its way. Which one is up to `random`.
  bool advance(std::mt19937_64& random);
  // Whether the oldest plan that was not taken has left the last stage.
  bool has_result() const { return !results_.empty(); }
  wire::StepResult take_result();

  // Sequences that the ranks know of.
  size_t num_sequences() const { return stages_.front().table.size(); }

 private:
  struct Plan {
    wire::StepPlan plan;
    std::vector<uint64_t> hidden;  // of each token, as the stage before left it
  };
  struct Stage {
    SequenceTable table;
    std::vector<uint64_t> cache;   // [num_blocks * block_size]
    std::vector<int32_t> sampled;  // by the plan before
    std::deque<Plan> plans;        // to execute
  };

  // Of the next `num_tokens` tokens of a sequence, from `hidden` on.
  void run_sequence(Stage& stage, int stage_index, SequenceTable::Entry& entry, int64_t num_tokens, uint64_t* hidden);
  void execute(int stage_index);

  const SchedulerOptions options_;
  std::vector<Stage> stages_;
  std::deque<wire::StepResult> results_;
};

}  // namespace cohort::test
