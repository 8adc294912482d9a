// EngineClient: the gateway's side of the engine, as the handlers of its protocols see it. What implements it speaks
// over the engine link (engine_link_client.h); tests have one of their own.
//
// One thread: the gateway's io thread calls, and is called back on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/decoding/engine_stats.h"
#include "runtime/decoding/request.h"

namespace cohort {

enum class EngineState {
  kLoading,
  kReady,
  kBroken,  // for good
};

struct EngineHealth {
  EngineState state = EngineState::kLoading;
  std::string what;     // what it is loading, or why it is broken
  double fraction = 0;  // of what it is loading, 0 to 1
};

struct EngineFacts {
  int64_t vocab = 0;
  int64_t max_position = 0;  // the longest sequence, prompt and output
  int64_t block_size = 0;    // positions a block of the cache
  int64_t num_blocks = 0;
  int64_t max_seqs = 0;     // that run at once
  int64_t max_waiting = 0;  // that wait; more are refused
  bool has_source = false;  // as in limits()

  SequenceLimits limits() const { return {.vocab = vocab, .max_position = max_position, .has_source = has_source}; }
};

// A token of a request, or how it ended.
struct EngineEvent {
  // Not ok: the request ends here, without a token. kResourceExhausted: the queue is full; kInvalidArgument: it can
  // never run; kUnavailable: the engine has failed.
  Status status;
  int32_t token = -1;
  float logprob = 0;                          // of the token, natural logarithm; where top_logprobs >= 0 was asked for
  std::vector<TokenLogprob> top_logprobs;     // as many as asked for
  FinishReason finish = FinishReason::kNone;  // kError, with no token: the logits were not numbers
  int64_t num_cached_tokens = 0;              // of the prompt, found in the cache; with the first token
  double queue_seconds = 0;                   // from arrival to its first step; with the first token
  std::shared_ptr<const Encoding> encoding;   // of an encoder, with no token

  bool is_last() const { return !status.ok() || finish != FinishReason::kNone; }
};

class EngineClient {
 public:
  using OnEvent = std::function<void(const EngineEvent& event)>;

  virtual ~EngineClient() = default;

  virtual const EngineHealth& health() const = 0;
  // Zeros until the engine is ready.
  virtual const EngineFacts& facts() const = 0;
  // As last heard, at most a second ago while the engine is well.
  virtual const EngineStats& stats() const = 0;

  // Requires that the engine is ready. on_event is called for every token, and never before this returns; the last time
  // with an event that is_last(), unless the request is cancelled before. Returns a number for cancel().
  virtual uint64_t submit(GenerationRequest request, OnEvent on_event) = 0;
  // Of a request that has not ended: on_event is not called again.
  virtual void cancel(uint64_t id) = 0;
};

}  // namespace cohort
