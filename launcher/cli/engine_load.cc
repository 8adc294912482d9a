#include "launcher/cli/engine_load.h"

#include <chrono>

#include "runtime/models/shard_size.h"

namespace cohort {

std::vector<GenerationRequest> make_requests(int64_t count, int64_t input_length, int64_t output_length,
                                             int64_t vocab) {
  std::vector<GenerationRequest> requests(static_cast<size_t>(count));
  uint64_t state = 1;
  for (GenerationRequest& request : requests) {
    for (int64_t i = 0; i < input_length; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
      request.prompt.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab)));
    }
    request.max_tokens = output_length;
    request.sampling.temperature = 0;
    request.ignore_stop_ids = true;
  }
  return requests;
}

Result<EngineRun> run_requests(Engine& engine, std::vector<GenerationRequest> requests) {
  using Clock = std::chrono::steady_clock;
  EngineRun run;
  run.results_of.resize(requests.size());
  int64_t first_id = -1;
  const Clock::time_point start = Clock::now();
  for (GenerationRequest& request : requests) {
    COHORT_ASSIGN_OR_RETURN(const int64_t id, engine.submit(std::move(request)));
    if (first_id < 0) first_id = id;
  }
  while (engine.has_work()) {
    const std::vector<TokenEvent> events = engine.step();
    for (const TokenEvent& event : events) {
      if (event.finish == FinishReason::kError) return Status(StatusCode::kInternal, "logits are not numbers");
      run.results_of[static_cast<size_t>(event.request_id - first_id)].push_back(run.result_ms.size());
    }
    run.result_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    run.num_tokens.push_back(static_cast<int64_t>(events.size()));
  }
  return run;
}

StepBytes step_bytes(const Decoder& decoder) {
  const int64_t tables = dtype_bytes(decoder.dtype(), num_table_elements(decoder.spec(), decoder.shard()));
  const int64_t cached = shard_kv_bytes_per_token(decoder.spec(), decoder.shard(), decoder.dtype());
  const int64_t others = tables + decoder.num_encoder_bytes();
  return {static_cast<double>(decoder.num_weight_bytes() - others), static_cast<double>(cached)};
}

double idle_share(const StepTimer::Times& times, size_t begin, size_t end) {
  double busy = times.step_ms[begin];
  double idle = 0;
  for (size_t i = begin + 1; i < end; ++i) {
    busy += times.step_ms[i];
    idle += times.wait_ms[i - 1];
  }
  return busy + idle > 0 ? idle / (busy + idle) : 0;
}

}  // namespace cohort
