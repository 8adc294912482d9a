// What a rank's communications take of a decode step.
//
// CPU: the time that the rank's thread spends in calls of its communicators, as the flight recorder's log has it.
// Waiting for a rank that is behind counts.
//
// CUDA: the calls are in graphs, where no clock of the host sees them. So the calls of a step, of the same kinds and
// sizes and in the same order, are recorded in a graph of their own, over the same communicators, and its replays are
// timed. That is what communications cost by themselves: without what a rank waits for others that are behind, and
// without what other work hides. A sum over shards that includes residual and norm counts for what it takes longer than
// residual and norm alone.
#pragma once

#include <cstdint>
#include <vector>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/rank_engine.h"
#include "parallel/comm/flight_recorder.h"

namespace cohort {

struct StepComms {
  double tensor_ms = 0;    // with the other shards of the stage
  double pipeline_ms = 0;  // with the stages before and after
};

// Of a step, the mean of steps [begin, end) of `log`. Requires that they are all in it.
StepComms logged_step_comms(const std::vector<FlightRecorder::Call>& log, int64_t begin, int64_t end);

// Milliseconds from the begin of step `begin` to that of step `end`, as this rank's thread saw them.
double logged_ms(const std::vector<FlightRecorder::Call>& log, int64_t begin, int64_t end);

// CUDA: of a decode step of `num_seqs` sequences. Calls that steps make outside of their graph are those of step `step`
// of `log`. Every rank of `job` takes part, and no step is under way. Throws CheckError for a call that it does not
// know.
StepComms replayed_step_comms(Job& job, RankEngine& rank, int64_t num_seqs,
                              const std::vector<FlightRecorder::Call>& log, int64_t step);

}  // namespace cohort
