// Requests made up for benches of the engine, what became of them, and what a decode step cannot do without.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/decoding/request.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/step_timer.h"
#include "runtime/layers/decoder.h"

namespace cohort {

// Prompts of random tokens, the same on every run; outputs of exactly max_tokens.
std::vector<GenerationRequest> make_requests(int64_t count, int64_t input_length, int64_t output_length, int64_t vocab);

struct EngineRun {
  std::vector<double> result_ms;    // of each step's result, since the start
  std::vector<int64_t> num_tokens;  // in it
  // [request][token]: the index of the result that has it.
  std::vector<std::vector<size_t>> results_of;
};

// Runs the requests to their end, all of them there at the start.
Result<EngineRun> run_requests(Engine& engine, std::vector<GenerationRequest> requests);

// What a rank's part of a decode step cannot do without reading.
struct StepBytes {
  double weights = 0;             // all but the tables of embeddings, of which a step reads a row a token
  double cache_per_position = 0;  // keys and values
};
StepBytes step_bytes(const Decoder& decoder);

// The share of the device's time between the begin of the first and the end of the last of steps [begin, end) in which
// it has nothing to do. Requires begin < end <= the number of steps.
double idle_share(const StepTimer::Times& times, size_t begin, size_t end);

}  // namespace cohort
