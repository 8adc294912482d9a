// Generation: one request under way: its sequences in the engine, whatever protocol it came by. GenerationAnswer: what
// a protocol makes of it.
//
// Of the gateway's io thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/gateway/completion_stream.h"
#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/http.h"

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
  std::string_view outcome;    // "stop" or "length" (of its last sequence), "error", "abort" (the client has gone)
  double prepare_seconds = 0;  // from when the request came until the engine had it
  double total_seconds = 0;    // since the request came
  std::vector<SequenceRecord> sequences;
};

// A sequence that is to run.
struct SequencePlan {
  GenerationRequest request;  // without tenant and name
  CompletionStream::Options output;
};

// A sequence that runs.
struct GeneratedSequence {
  CompletionStream stream;
  std::shared_ptr<const Encoding> encoding;  // of an encoder, once it has finished; nothing comes of the stream
  SequenceRecord record;
  uint64_t engine_id = 0;
  bool is_in_engine = false;
};

// Writes the answer to the exchange. One of complete() and fail() is called, once and last, unless the client goes
// away.
class GenerationAnswer {
 public:
  virtual ~GenerationAnswer() = default;
  // A token of a sequence has come, or its encoding; also of the last, before complete().
  virtual void on_token(size_t index, GeneratedSequence& sequence) = 0;
  // All have finished.
  virtual void complete(std::span<GeneratedSequence> sequences) = 0;
  // kResourceExhausted: the queue is full; kInvalidArgument: it can never run; kUnavailable, kInternal.
  virtual void fail(const Status& status) = 0;
};

// Kept alive by the engine's callbacks until each sequence has ended, and by its owner.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  struct Environment {
    EngineClient& engine;
    const Tokenizer& tokenizer;
    // Between two tokens of a sequence.
    std::function<void(double seconds)> on_token_gap;
    // Once, when it is over.
    std::function<void(const GenerationRecord& record)> on_end;
  };

  // `arrival` is when the request came.
  Generation(std::shared_ptr<HttpExchange> exchange, std::unique_ptr<GenerationAnswer> answer, Environment environment,
             SteadyTime arrival);

  // Hands its sequences, at least one, to the engine, which is ready.
  void start(std::vector<SequencePlan> plans);

  // Ends it with an error, in the answer or in its stream.
  void fail(const Status& status);

  // The client has gone: nothing more is written.
  void abandon();

 private:
  void on_event(size_t index, const EngineEvent& event);
  void take_token(GeneratedSequence& sequence, const EngineEvent& event);
  void note_times(SequenceRecord& record, const EngineEvent& event);
  void complete();
  void cancel_all();
  void end(std::string_view outcome);
  double seconds_since_arrival() const;

  std::shared_ptr<HttpExchange> exchange_;
  std::unique_ptr<GenerationAnswer> answer_;
  Environment environment_;
  SteadyTime arrival_;
  double prepare_seconds_ = 0;
  std::vector<GeneratedSequence> sequences_;
  size_t num_finished_ = 0;
  bool has_ended_ = false;
};

}  // namespace cohort
