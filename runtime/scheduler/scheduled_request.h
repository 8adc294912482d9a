// ScheduledRequest: what the scheduler knows of a request, from its submission until nothing of it is under way.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/cache/block_key.h"
#include "runtime/decoding/request.h"
#include "runtime/scheduler/sequence.h"
#include "runtime/scheduler/tenant_shares.h"

namespace cohort {

struct ScheduledRequest {
  enum class State {
    kWaiting,  // has no blocks; also after a preemption
    kRunning,  // has blocks for all tokens that are known, and a place among those that run
    kEnded,    // answered or cancelled, but a plan under way samples a token more, in vain
  };

  State state = State::kWaiting;
  GenerationRequest request;  // its prompt has moved into the sequence; max_tokens fit the longest sequence
  Sequence sequence;
  Tenant* tenant = nullptr;

  // Of full blocks of known tokens, in order: of the prompt's from the beginning, of the output's once computed.
  std::vector<BlockKey> keys;
  BlockKey last_key{};             // or, while there is none, the root of its salt
  int64_t num_keyed_blocks = 0;    // leading blocks of the table that the allocator was told the keys of
  size_t num_told_outputs = 0;     // output tokens that plans have told the ranks
  size_t num_told_blocks = 0;      // likewise of the block table
  bool is_known_to_ranks = false;  // plans have admitted it and not released it
  int64_t num_awaited = 0;         // tokens that plans under way sample for it
  int64_t last_step = -1;          // the last plan that it was in

  double arrival_s = 0;
  double queue_s = -1;             // from arrival to its first plan; negative before
  int64_t num_cached_tokens = -1;  // of the prompt, found in the cache when it first ran; negative before

  int64_t id() const { return sequence.id; }
  // Tokens of what the client sent: of the source, where there is one.
  int64_t num_input_tokens() const {
    return sequence.source.empty() ? sequence.prompt_length() : sequence.source_length();
  }
  int32_t priority() const { return request.priority; }
  bool has_run() const { return num_cached_tokens >= 0; }
  // Whether it is served before `other` when there is not enough for both.
  bool goes_before(const ScheduledRequest& other) const {
    return priority() != other.priority() ? priority() < other.priority() : id() < other.id();
  }
};

}  // namespace cohort
