#include "runtime/engine/model_runner.h"

#include <algorithm>

namespace cohort {
namespace {

int64_t max_blocks_per_seq(const ModelSpec& spec, const EngineOptions& options) {
  return std::min(options.num_blocks, (spec.max_position + options.block_size - 1) / options.block_size);
}

KvCacheShape cache_shape(const Decoder& decoder, const EngineOptions& options) {
  return {.num_layers = decoder.shard().layers.size(),
          .num_kv_heads = decoder.shard().kv_heads.size(),
          .head_dim = decoder.spec().head_dim,
          .block_size = options.block_size,
          .num_blocks = options.num_blocks,
          .dtype = decoder.dtype()};
}

// Whether logits come from a device to be sampled.
bool samples_on_host(const RankComms& comms, const Stream& stream) {
  return stream.device() != kCpuDevice && comms.layout.is_sampler();
}

}  // namespace

ModelRunner::ModelRunner(const Decoder& decoder, const RankComms& comms, const EngineOptions& options, Stream& stream,
                         Monitor* monitor)
    : decoder_(decoder),
      comms_(comms),
      options_(options),
      stream_(stream),
      monitor_(monitor),
      cache_(cache_shape(decoder, options), stream.device()),
      workspace_(decoder.spec(), decoder.shard(), decoder.dtype(), options.max_tokens_per_step, options.max_seqs,
                 stream.device()),
      batch_(options.max_tokens_per_step, options.max_seqs, max_blocks_per_seq(decoder.spec(), options),
             options.block_size, stream.device()),
      host_stream_(kCpuDevice, samples_on_host(comms, stream) ? 0 : 1),
      host_logits_(DType::kF32, Shape{samples_on_host(comms, stream) ? options.max_seqs : 0, decoder.spec().vocab}),
      sampled_(DType::kI32, Shape{options.max_seqs}) {}

TensorView ModelRunner::on_host(TensorView logits) {
  if (stream_.device() == kCpuDevice) return logits;
  stream_.synchronize();
  const TensorView copy = host_logits_->slice(0, 0, logits.dim(0));
  copy_bytes(copy.data(), kCpuDevice, logits.data(), logits.device(), logits.num_bytes());
  return copy;
}

std::optional<wire::StepResult> ModelRunner::execute(const wire::StepPlan& plan) {
  const Deadline deadline(monitor_, "a step", options_.step_timeout);
  comms_.recorder->set_step(plan.step());
  const FlightRecord record(comms_.recorder.get(), "step", "engine", 0, -1);
  fill_batch(plan);
  const TensorView logits =
      decoder_.forward(batch_.view(stream_), cache_.layers(), workspace_, comms_, probe_ ? &probe_ : nullptr, stream_);
  if (!comms_.layout.is_sampler()) return std::nullopt;
  return sample_rows(plan.step(), on_host(logits));
}

void ModelRunner::fill_batch(const wire::StepPlan& plan) {
  sequences_.apply(plan);
  batch_.clear();
  sampled_sequences_.clear();
  for (const wire::SequenceWork& work : plan.work()) {
    SequenceTable::Entry& entry = sequences_.at(work.id());
    batch_.add(entry.sequence, work.num_tokens());
    entry.sequence.num_computed += work.num_tokens();
    if (entry.sequence.num_pending() == 0) sampled_sequences_.push_back(&entry);
  }
}

wire::StepResult ModelRunner::sample_rows(int64_t step, TensorView logits) {
  wire::StepResult result;
  result.set_step(step);
  std::vector<SamplingRequest> requests;
  for (size_t i = 0; i < sampled_sequences_.size(); ++i) {
    const SequenceTable::Entry& entry = *sampled_sequences_[i];
    requests.push_back({&entry.sampling, entry.sequence.prompt, entry.sequence.output});
    wire::SampledToken& sampled = *result.add_tokens();
    sampled.set_id(entry.sequence.id);
    if (entry.top_logprobs == 0) continue;  // before sample() changes the logits
    const std::span row(logits.row<float>(static_cast<int64_t>(i)), static_cast<size_t>(decoder_.spec().vocab));
    for (const TokenLogprob& t : top_logprobs(row, entry.top_logprobs)) {
      wire::Logprob& logprob = *sampled.add_top_logprobs();
      logprob.set_id(t.id);
      logprob.set_logprob(t.logprob);
    }
  }
  const TensorView tokens = sampled_->slice(0, 0, static_cast<int64_t>(requests.size()));
  sample(tokens, logits, requests, stream_.device() == kCpuDevice ? stream_ : host_stream_);
  for (int i = 0; i < result.tokens_size(); ++i) result.mutable_tokens(i)->set_token(tokens.data<int32_t>()[i]);
  return result;
}

}  // namespace cohort
