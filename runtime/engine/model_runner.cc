#include "runtime/engine/model_runner.h"

#include <algorithm>

#include "kernels/core/device_memory.h"

namespace cohort {
namespace {

int64_t max_blocks_per_seq(const ModelSpec& spec, const EngineOptions& options) {
  return std::min(options.num_blocks, (spec.max_position + options.block_size - 1) / options.block_size);
}

KvCacheShape cache_shape(const Decoder& decoder, const EngineOptions& options) {
  return {.num_layers = num_layer_caches(decoder.spec(), decoder.shard().layers.size()),
          .num_kv_heads = decoder.shard().kv_heads.size(),
          .head_dim = decoder.spec().head_dim,
          .block_size = options.block_size,
          .num_blocks = options.num_blocks,
          .dtype = decoder.dtype()};
}

// The source of `sequence` as a sequence of its own.
Sequence source_of(const Sequence& sequence) {
  Sequence source;
  source.id = sequence.id;
  source.prompt = sequence.source;
  source.block_table = sequence.source_table;
  return source;
}

}  // namespace

std::vector<int64_t> graph_batch_sizes(int64_t max_seqs) {
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size < max_seqs;) {
    sizes.push_back(size);
    size += size < 8 ? size : size < 64 ? 8 : size < 256 ? 16 : 64;
  }
  sizes.push_back(max_seqs);
  return sizes;
}

ModelRunner::ModelRunner(const Decoder& decoder, const RankComms& comms, const EngineOptions& options, Stream& stream,
                         Monitor* monitor)
    : decoder_(decoder),
      comms_(comms),
      options_(options),
      stream_(stream),
      monitor_(monitor),
      cache_(cache_shape(decoder, options), stream.device()),
      workspace_(decoder.spec(), decoder.shard(), decoder.dtype(), options.max_tokens_per_step,
                 max_logit_rows(decoder.spec(), options), stream.device()),
      batch_(options.max_tokens_per_step, options.max_seqs, max_blocks_per_seq(decoder.spec(), options),
             options.block_size, stream.device(), logit_rows_of(decoder.spec()), decoder.spec().has_source()),
      sampled_(DType::kI32, Shape{options.max_seqs}, stream.device()) {
  if (decoder.spec().has_source()) {
    source_batch_.emplace(options.max_tokens_per_step, options.max_seqs, max_blocks_per_seq(decoder.spec(), options),
                          options.block_size, stream.device());
  }
  if (!comms.layout.is_sampler()) return;
  if (decoder.spec().is_encoder()) {
    encoder_.emplace(decoder.spec(), options, stream.device());
  } else {
    sampler_.emplace(options.max_seqs, decoder.spec().vocab, decoder.spec().max_position, stream.device());
  }
}

void ModelRunner::warm_up_prefill() {
  const Deadline deadline(monitor_, "warming up", options_.step_timeout);
  const int64_t num_tokens = std::min({options_.max_tokens_per_step, decoder_.spec().max_position,
                                       max_blocks_per_seq(decoder_.spec(), options_) * options_.block_size});
  Sequence sequence;
  sequence.prompt.assign(static_cast<size_t>(num_tokens), 0);
  for (int32_t block = 0; block * options_.block_size < num_tokens; ++block) sequence.block_table.push_back(block);
  const GemmTuning tuning;
  if (source_batch_) {
    sequence.source = sequence.prompt;
    sequence.source_table = sequence.block_table;
    source_batch_->clear();
    source_batch_->add(source_of(sequence), num_tokens);
    encode_sources();
  }
  batch_.clear();
  batch_.add(sequence, num_tokens);
  batch_.upload(stream_);
  forward(batch_.view());
  stream_.synchronize();
}

void ModelRunner::prepare(const std::function<void(int64_t, int64_t)>& report) {
  if (stream_.device() == kCpuDevice) return;
  warm_up_prefill();
  if (!options_.use_graphs || decoder_.spec().is_encoder()) return;
  const int64_t num_free_before = num_free_cuda_bytes(stream_.device());
  const std::vector<int64_t> sizes = graph_batch_sizes(options_.max_seqs);
  for (const int64_t size : sizes) {
    const Deadline deadline(monitor_, "making a graph", options_.step_timeout);
    batch_.clear();
    batch_.pad_to(size);
    batch_.upload(stream_);
    {
      const GemmTuning tuning;
      forward(batch_.lasting_view());
      stream_.synchronize();
    }
    StepGraph& step = graphs_[size];
    comms_.recorder->set_log(&step.calls);
    step.graph = DeviceGraph::capture(stream_, [&] { forward(batch_.lasting_view()); });
    comms_.recorder->set_log(nullptr);
    if (report) report(static_cast<int64_t>(graphs_.size()), static_cast<int64_t>(sizes.size()));
  }
  num_graph_bytes_ = num_free_before - num_free_cuda_bytes(stream_.device());
}

const DeviceGraph* ModelRunner::pad_for_graph() {
  if (graphs_.empty() || probe_ || !batch_.is_decode()) return nullptr;
  const auto place = graphs_.lower_bound(batch_.num_seqs());
  if (place == graphs_.end()) return nullptr;
  batch_.pad_to(place->first);
  return &place->second.graph;
}

void ModelRunner::start(const wire::StepPlan& plan) {
  const Deadline deadline(monitor_, "a step", options_.step_timeout);
  comms_.recorder->set_step(plan.step());
  const FlightRecord record(comms_.recorder.get(), "step", "engine", 0, -1);
  fill_batch(plan);
  const DeviceGraph* const graph = pad_for_graph();
  if (timer_ != nullptr) timer_->begin(stream_);
  encode_sources();
  batch_.upload(stream_);  // behind the sources: see AttentionBatch
  if (decoder_.spec().is_encoder()) {
    encode_step(plan.step(), forward(batch_.view()));
  } else {
    if (graph != nullptr) {
      graph->launch(stream_);
    } else {
      forward(batch_.view());
    }
    sample_step(plan.step());
  }
  if (timer_ != nullptr) timer_->end(stream_);
}

wire::StepResult ModelRunner::finish() {
  const Deadline deadline(monitor_, "a step", options_.step_timeout);
  return encoder_ ? encoder_->finish() : sampler_.value().finish();
}

void ModelRunner::fill_batch(const wire::StepPlan& plan) {
  sequences_.apply(plan);
  batch_.clear();
  if (source_batch_) source_batch_->clear();
  for (const wire::SequenceWork& work : plan.work()) {
    const SequenceTable::Entry& entry = sequences_.at(work.id());
    if (entry.sequence.is_source_pending()) {
      source_batch_.value().add(source_of(entry.sequence), entry.sequence.source_length());
    }
    batch_.add(entry.sequence, work.num_tokens(), entry.sampled_row);
  }
  sampled_sequences_.clear();
  for (const wire::SequenceWork& work : plan.work()) {
    SequenceTable::Entry& entry = sequences_.at(work.id());
    entry.sequence.num_computed += work.num_tokens();
    if (entry.sequence.num_pending() > 0) continue;
    entry.sampled_row = static_cast<int32_t>(sampled_sequences_.size());
    sampled_sequences_.push_back(&entry);
  }
}

void ModelRunner::encode_sources() {
  if (!source_batch_ || source_batch_->num_seqs() == 0) return;
  source_batch_->upload(stream_);
  decoder_.encode(source_batch_->view(), cache_.layers(), workspace_, comms_, probe_ ? &probe_ : nullptr, stream_);
}

TensorView ModelRunner::forward(const BatchView& batch) {
  if (options_.overlap_steps && !decoder_.spec().is_encoder()) batch_.feed(sampled_, stream_);
  return decoder_.forward(batch, cache_.layers(), workspace_, comms_, probe_ ? &probe_ : nullptr, stream_);
}

void ModelRunner::encode_step(int64_t step, TensorView logits) {
  if (!encoder_) return;
  const BatchView batch = batch_.view();
  const EncodedStep encoded{.hidden_states = decoder_.hidden_states(batch, workspace_),
                            .pooler_output = decoder_.pooler_output(batch, workspace_),
                            .logits = logits};
  encoder_->start(step, sampled_sequences_, batch_, encoded, stream_);
}

void ModelRunner::sample_step(int64_t step) {
  const TensorView tokens = sampled_->slice(0, 0, static_cast<int64_t>(sampled_sequences_.size()));
  if (sampler_) sampler_->start(step, sampled_sequences_, tokens, workspace_.logits, stream_);
  if (options_.overlap_steps && comms_.tensor != nullptr && !tokens.empty()) {
    comms_.tensor->broadcast(tokens, 0, stream_);  // to be fed
  }
}

}  // namespace cohort
