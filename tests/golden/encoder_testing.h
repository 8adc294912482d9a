// The encoders of tests/data/golden_encoders, what transformers makes of their inputs (make_golden_encoders.py), and
// what the engine does.
#pragma once

#include <gtest/gtest.h>

#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/files.h"
#include "tests/golden/golden_data.h"

namespace cohort::test {

inline constexpr int kNumEncoderPrompts = 4;
// bfloat16 has 8 bits, and every weight and activation is rounded to them.
inline constexpr double kBfloat16Tolerance = 4e-2;
inline constexpr int64_t kMaskedStep = 16;  // logits over the vocabulary are kept of every so manyth token

inline std::filesystem::path encoder_dir() { return data_dir() / "golden_encoders"; }

inline std::vector<std::string> encoder_names() { return names_in(encoder_dir()); }

// For all that the model has of the prompt.
inline GenerationRequest encoder_request(const Expected& expected, const ModelSpec& spec, int prompt) {
  const std::string prefix = "prompt" + std::to_string(prompt);
  GenerationRequest request;
  request.prompt = expected.ids(prefix + ".ids");
  if (expected.has(prefix + ".types")) request.token_types = expected.ids(prefix + ".types");
  request.encoding = {
      .hidden_states = true, .pooler_output = spec.has_pooler, .embedding = true, .logits = num_logits(spec) > 0};
  return request;
}

// What becomes of the requests, all submitted at once; nothing where one fails.
inline std::vector<Encoding> encode(Engine& engine, const std::vector<GenerationRequest>& requests) {
  std::vector<Encoding> encodings(requests.size());
  std::map<int64_t, size_t> places;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto id = engine.submit(requests[i]);
    EXPECT_TRUE(id.ok()) << id.status().message();
    if (id.ok()) places[*id] = i;
  }
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) {
      EXPECT_EQ(event.finish, FinishReason::kStop);
      if (event.encoding) encodings[places.at(event.request_id)] = *event.encoding;
    }
  }
  EXPECT_EQ(engine.blocks().num_owned(), 0);
  return encodings;
}

// The mean of the rows of [num_tokens, hidden], of length 1.
inline std::vector<float> mean_embedding(const std::vector<float>& hidden_states, size_t hidden) {
  std::vector<double> sums(hidden);
  for (size_t i = 0; i < hidden_states.size(); ++i) sums[i % hidden] += double{hidden_states[i]};
  double squares = 0;
  for (const double sum : sums) squares += sum * sum;
  std::vector<float> embedding;
  for (const double sum : sums) embedding.push_back(static_cast<float>(sum / std::sqrt(squares)));
  return embedding;
}

// Expects of everything that transformers gave that `actual` is within `tolerance` of it, relatively.
inline void expect_encoding(const Encoding& actual, const Expected& expected, const ModelSpec& spec, int prompt,
                            double tolerance) {
  const std::string prefix = "prompt" + std::to_string(prompt) + ".";
  const auto hidden = static_cast<size_t>(spec.hidden);
  if (expected.has(prefix + "last_hidden_state")) {
    const std::vector<float> states = expected.floats(prefix + "last_hidden_state");
    EXPECT_LT(relative_error(actual.hidden_states, states), tolerance) << prefix;
    EXPECT_LT(relative_error(actual.embedding, mean_embedding(states, hidden)), tolerance) << prefix;
  }
  if (expected.has(prefix + "pooler_output")) {
    EXPECT_LT(relative_error(actual.pooler_output, expected.floats(prefix + "pooler_output")), tolerance) << prefix;
  }
  if (!expected.has(prefix + "logits")) return;
  std::vector<float> logits = actual.logits;
  if (spec.head == HeadKind::kMaskedToken) {
    std::vector<float> kept;
    for (auto row = logits.begin(); row < logits.end(); row += kMaskedStep * spec.vocab) {
      kept.insert(kept.end(), row, row + spec.vocab);
      if (logits.end() - row < kMaskedStep * spec.vocab) break;
    }
    logits = kept;
  }
  EXPECT_LT(relative_error(logits, expected.floats(prefix + "logits")), tolerance) << prefix;
}

// All parts one after the other: equal for equal bits.
inline std::vector<float> all_values(const Encoding& encoding) {
  std::vector<float> values;
  for (const auto* part : {&encoding.hidden_states, &encoding.pooler_output, &encoding.embedding, &encoding.logits}) {
    values.insert(values.end(), part->begin(), part->end());
  }
  return values;
}

}  // namespace cohort::test
