// Requests to tiny models whose answers are compared bit for bit, for tests of layouts.
#pragma once

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/sampling/sampled_logprobs.h"
#include "runtime/engine/engine.h"

namespace cohort::test {

inline std::vector<int32_t> prompt_of(int64_t length, uint64_t seed, int64_t vocab) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) {
    prompt.push_back(
        static_cast<int32_t>((static_cast<uint64_t>(i * i) * 37 + seed * 11 + 5) % static_cast<uint64_t>(vocab)));
  }
  return prompt;
}

struct Output {
  std::vector<int32_t> tokens;
  // Of as many tokens as there can be: their sum is over the whole vocabulary, so equality is that of bits.
  std::vector<std::vector<std::pair<int32_t, float>>> logprobs;
  FinishReason finish = FinishReason::kNone;
  bool operator==(const Output&) const = default;
};

// Prompts of several lengths; greedy and drawn, with penalties and biases.
inline std::vector<GenerationRequest> some_requests(int64_t vocab) {
  std::vector<GenerationRequest> requests;
  uint64_t seed = 0;
  for (const int64_t length : {1, 7, 16, 33, 64}) {
    GenerationRequest& request = requests.emplace_back();
    request.prompt = prompt_of(length, seed, vocab);
    request.max_tokens = 6 + static_cast<int64_t>(seed);
    request.sampling.seed = seed;
    request.sampling.temperature = seed % 2 == 0 ? 0.0f : 0.9f;
    request.sampling.repetition_penalty = seed == 3 ? 1.3f : 1;
    request.sampling.frequency_penalty = seed == 1 ? 0.4f : 0;
    if (seed == 4) request.sampling.logit_bias = {{3, 2.5f}, {17, -1.0f}};
    request.top_logprobs = kMaxTopLogprobs;
    ++seed;
  }
  return requests;
}

// Runs the requests to their end.
inline std::vector<Output> generate(Engine& engine, const std::vector<GenerationRequest>& requests) {
  for (const GenerationRequest& request : requests) EXPECT_TRUE(engine.submit(request).ok());
  std::vector<Output> outputs(requests.size());
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) {
      Output& output = outputs[static_cast<size_t>(event.request_id)];
      output.tokens.push_back(event.token);
      output.finish = event.finish;
      auto& row = output.logprobs.emplace_back();
      for (const TokenLogprob& t : event.top_logprobs) row.emplace_back(t.id, t.logprob);
    }
  }
  EXPECT_EQ(engine.blocks().num_owned(), 0);
  return outputs;
}

}  // namespace cohort::test
