// OpenAiGeneration: one completion or chat completion under way: its sequences in the engine, and its answer.
//
// Of the gateway's io thread. Kept alive by the engine's callbacks until each sequence has ended, and by its owner.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/gateway/completion_stream.h"
#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/openai_model.h"
#include "launcher/gateway/openai_response.h"

namespace cohort {

using SteadyTime = std::chrono::steady_clock::time_point;

// A sequence, as metrics want it. Times that were not reached are negative.
struct SequenceRecord {
  int64_t num_prompt_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_output_tokens = 0;
  double queue_seconds = -1;        // until its first step
  double first_token_seconds = -1;  // since the request came
  double last_token_seconds = -1;   // since the request came
};

// How a generation went.
struct GenerationRecord {
  std::string_view outcome;  // "stop" or "length" (of its last sequence), "error", "abort" (the client has gone)
  double total_seconds = 0;  // since the request came
  std::vector<SequenceRecord> sequences;
};

class OpenAiGeneration : public std::enable_shared_from_this<OpenAiGeneration> {
 public:
  struct Environment {
    EngineClient& engine;
    TokenTexts& texts;
    // Between two tokens of a sequence.
    std::function<void(double seconds)> on_token_gap;
    // Once, when it is over.
    std::function<void(const GenerationRecord& record)> on_end;
  };

  // `arrival` is when the request came; `created` is in seconds since 1970.
  OpenAiGeneration(std::shared_ptr<const OpenAiModel> model, PreparedRequest request,
                   std::shared_ptr<HttpExchange> exchange, Environment environment, SteadyTime arrival,
                   int64_t created);

  // Hands its sequences to the engine, which is ready. `seed` counts unless the client has one.
  void start(uint64_t seed);

  // Ends it with an error, in the answer or in its stream.
  void fail(const ApiError& error);

  // The client has gone: nothing more is written.
  void abandon();

 private:
  struct Sequence {
    size_t prompt = 0;  // which of the request
    CompletionStream stream;
    ChoiceWriter choice;
    uint64_t engine_id = 0;
    bool is_in_engine = false;
    bool has_begun = false;  // in the stream of the answer
    SequenceRecord record;
  };

  CompletionStream::Options stream_options() const;
  void on_event(size_t index, const EngineEvent& event);
  void note_times(Sequence& sequence, const EngineEvent& event);
  void write_part(Sequence& sequence);
  void complete();
  void respond_whole();
  void cancel_all();
  void end(std::string_view outcome);
  TokenUsage usage() const;
  double seconds_since_arrival() const;

  std::shared_ptr<const OpenAiModel> model_;
  PreparedRequest request_;
  std::shared_ptr<HttpExchange> exchange_;
  Environment environment_;
  SteadyTime arrival_;
  ResponseWriter writer_;
  std::vector<Sequence> sequences_;  // best_of for each prompt
  size_t num_finished_ = 0;
  bool has_stream_ = false;  // has begun
  bool has_ended_ = false;
};

}  // namespace cohort
