#include "runtime/scheduler/sampling_message.h"

#include <string>

#include "kernels/core/check.h"

namespace cohort {

void write_sampling(wire::Sampling& out, const GenerationRequest& request) {
  const SamplingParams& sampling = request.sampling;
  out.set_temperature(sampling.temperature);
  out.set_top_k(sampling.top_k);
  out.set_top_p(sampling.top_p);
  out.set_min_p(sampling.min_p);
  out.set_repetition_penalty(sampling.repetition_penalty);
  out.set_presence_penalty(sampling.presence_penalty);
  out.set_frequency_penalty(sampling.frequency_penalty);
  out.set_seed(sampling.seed);
  for (const auto& [token, bias] : sampling.logit_bias) {
    out.add_bias_tokens(token);
    out.add_bias_values(bias);
  }
  out.set_top_logprobs(request.top_logprobs);
  out.set_logprob(request.logprob);
  if (request.min_tokens == 0 || request.ignore_stop_ids) return;
  out.set_min_tokens(request.min_tokens);
  out.mutable_stop_ids()->Add(request.stop_ids.begin(), request.stop_ids.end());
}

SamplingParams read_sampling(const wire::Sampling& in) {
  COHORT_CHECK(in.bias_tokens_size() == in.bias_values_size(), std::to_string(in.bias_values_size()) + " biases");
  SamplingParams params{.temperature = in.temperature(),
                        .top_k = in.top_k(),
                        .top_p = in.top_p(),
                        .min_p = in.min_p(),
                        .repetition_penalty = in.repetition_penalty(),
                        .presence_penalty = in.presence_penalty(),
                        .frequency_penalty = in.frequency_penalty(),
                        .seed = in.seed()};
  for (int i = 0; i < in.bias_tokens_size(); ++i) params.logit_bias.emplace_back(in.bias_tokens(i), in.bias_values(i));
  return params;
}

}  // namespace cohort
