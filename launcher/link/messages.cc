#include "launcher/link/messages.h"

#include "runtime/scheduler/encoding_message.h"
#include "runtime/scheduler/sampling_message.h"

namespace cohort {

wire::SubmitRequest write_request(uint64_t id, const GenerationRequest& request) {
  wire::SubmitRequest message;
  message.set_id(id);
  message.set_name(request.name);
  message.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
  message.set_max_tokens(request.max_tokens);
  message.set_min_tokens(request.min_tokens);
  if (request.encoding.any()) {
    message.mutable_token_types()->Add(request.token_types.begin(), request.token_types.end());
    write_encoding_parts(*message.mutable_encoding(), request.encoding);
  } else {
    write_sampling(*message.mutable_sampling(), request);
  }
  message.mutable_stop_ids()->Add(request.stop_ids.begin(), request.stop_ids.end());
  message.set_ignore_stop_ids(request.ignore_stop_ids);
  message.set_priority(request.priority);
  message.set_cache_salt(request.cache_salt);
  message.set_tenant(request.tenant);
  return message;
}

Result<GenerationRequest> read_request(const wire::SubmitRequest& message) {
  if (message.sampling().bias_tokens_size() != message.sampling().bias_values_size()) {
    return invalid_argument("logit_bias: expected a value for each token");
  }
  GenerationRequest request;
  request.name = message.name();
  request.prompt.assign(message.prompt().begin(), message.prompt().end());
  request.max_tokens = message.max_tokens();
  request.min_tokens = message.min_tokens();
  if (message.has_sampling()) request.sampling = read_sampling(message.sampling());
  request.token_types.assign(message.token_types().begin(), message.token_types().end());
  request.encoding = read_encoding_parts(message.encoding());
  request.logprob = message.sampling().logprob();
  request.top_logprobs = message.sampling().top_logprobs();
  request.stop_ids.assign(message.stop_ids().begin(), message.stop_ids().end());
  request.ignore_stop_ids = message.ignore_stop_ids();
  request.priority = message.priority();
  request.cache_salt = message.cache_salt();
  request.tenant = message.tenant();
  return request;
}

wire::Stats write_stats(const EngineStats& stats) {
  wire::Stats message;
  message.set_num_steps(stats.num_steps);
  message.set_num_running(stats.num_running);
  message.set_num_waiting(stats.num_waiting);
  message.set_num_owned_blocks(stats.num_owned_blocks);
  message.set_num_cached_blocks(stats.num_cached_blocks);
  message.set_num_blocks(stats.num_blocks);
  message.set_num_prompt_tokens(stats.num_prompt_tokens);
  message.set_num_output_tokens(stats.num_output_tokens);
  message.set_num_prefix_queries(stats.num_prefix_queries);
  message.set_num_prefix_hits(stats.num_prefix_hits);
  message.set_num_preemptions(stats.num_preemptions);
  message.set_num_cancelled(stats.num_cancelled);
  message.set_num_errors(stats.num_errors);
  return message;
}

EngineStats read_stats(const wire::Stats& message) {
  return {.num_steps = message.num_steps(),
          .num_running = message.num_running(),
          .num_waiting = message.num_waiting(),
          .num_owned_blocks = message.num_owned_blocks(),
          .num_cached_blocks = message.num_cached_blocks(),
          .num_blocks = message.num_blocks(),
          .num_prompt_tokens = message.num_prompt_tokens(),
          .num_output_tokens = message.num_output_tokens(),
          .num_prefix_queries = message.num_prefix_queries(),
          .num_prefix_hits = message.num_prefix_hits(),
          .num_preemptions = message.num_preemptions(),
          .num_cancelled = message.num_cancelled(),
          .num_errors = message.num_errors()};
}

}  // namespace cohort
