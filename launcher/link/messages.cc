#include "launcher/link/messages.h"

#include "runtime/scheduler/sampling_message.h"

namespace cohort {

wire::SubmitRequest write_request(uint64_t id, const GenerationRequest& request) {
  wire::SubmitRequest message;
  message.set_id(id);
  message.set_name(request.name);
  message.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
  message.set_max_tokens(request.max_tokens);
  message.set_min_tokens(request.min_tokens);
  write_sampling(*message.mutable_sampling(), request);
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
  request.sampling = read_sampling(message.sampling());
  request.logprob = message.sampling().logprob();
  request.top_logprobs = message.sampling().top_logprobs();
  request.stop_ids.assign(message.stop_ids().begin(), message.stop_ids().end());
  request.ignore_stop_ids = message.ignore_stop_ids();
  request.priority = message.priority();
  request.cache_salt = message.cache_salt();
  request.tenant = message.tenant();
  return request;
}

}  // namespace cohort
