// What `cohort bench scaling` measures: one model and load over several layouts of a job's ranks, one layout after the
// other. A layout has the first of the ranks; the others wait. What a layout took is given back before the next one
// begins.
#pragma once

#include <cstdint>
#include <vector>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/scaling_layout.h"
#include "launcher/cli/scaling_report.h"
#include "runtime/config/config.h"

namespace cohort {

struct ScalingOptions {
  std::vector<int64_t> batches = {1};  // sequences that run together, measured in turn
  int64_t input_length = 512;          // tokens of a prompt
  int64_t output_length = 128;         // tokens of an output, after all prompts are computed; at least 4
  bool has_weak = false;               // weak scaling, too
  bool quiet = false;                  // no progress on standard error
};

// Every rank takes part, with the same arguments; rank 0 gets the whole report. The configuration's own sizes do not
// count. What cannot be, for the model or the memory, is thrown as JobFailure on all before anything is loaded.
ScalingReport measure_scaling(Job& job, const Config& config, const std::vector<ScalingLayout>& layouts,
                              const ScalingOptions& options);

// Rank 0 prints what the ranks of every layout would hold, and nothing is loaded. Otherwise as measure_scaling().
void print_scaling_plans(Job& job, const Config& config, const std::vector<ScalingLayout>& layouts,
                         const ScalingOptions& options);

}  // namespace cohort
