#include "runtime/engine/engine.h"

#include <algorithm>

namespace cohort {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t max_blocks_per_seq(const ModelSpec& spec, const EngineOptions& options) {
  return std::min(options.num_blocks, ceil_div(spec.max_position, options.block_size));
}

KvCacheShape cache_shape(const Decoder& decoder, const EngineOptions& options) {
  const ModelSpec& spec = decoder.spec();
  return {.num_layers = spec.num_layers,
          .num_kv_heads = spec.num_kv_heads,
          .head_dim = spec.head_dim,
          .block_size = options.block_size,
          .num_blocks = options.num_blocks,
          .dtype = decoder.dtype()};
}

}  // namespace

Engine::Engine(const Decoder& decoder, const EngineOptions& options, Stream& stream)
    : decoder_(decoder),
      options_(options),
      stream_(stream),
      blocks_(options.num_blocks),
      cache_(cache_shape(decoder, options), stream.device()),
      workspace_(decoder.spec(), decoder.dtype(), options.max_tokens_per_step, options.max_seqs, stream.device()),
      batch_(options.max_tokens_per_step, options.max_seqs, max_blocks_per_seq(decoder.spec(), options),
             options.block_size),
      sampled_(DType::kI32, Shape{options.max_seqs}, stream.device()) {
  COHORT_CHECK(options.max_tokens_per_step >= options.max_seqs && options.max_seqs >= 1,
               "a step must have room for a token of every sequence");
}

int64_t Engine::blocks_needed(const GenerationRequest& request) const {
  // The last token that is sampled is never fed back.
  const int64_t length =
      static_cast<int64_t>(request.prompt.size()) + request.output_limit(decoder_.spec().max_position) - 1;
  return ceil_div(length, options_.block_size);
}

Result<int64_t> Engine::submit(GenerationRequest request) {
  COHORT_RETURN_IF_ERROR(request.validate(decoder_.spec().vocab, decoder_.spec().max_position));
  const int64_t num_blocks = blocks_needed(request);
  if (num_blocks > blocks_.num_blocks()) {
    return resource_exhausted("prompt and output need " + std::to_string(num_blocks) +
                              " blocks of the cache, which has " + std::to_string(blocks_.num_blocks()));
  }
  Sequence sequence;
  sequence.request_id = next_request_id_++;
  sequence.output.reserve(static_cast<size_t>(request.output_limit(decoder_.spec().max_position)));
  sequence.request = std::move(request);
  waiting_.push_back(std::move(sequence));
  return waiting_.back().request_id;
}

void Engine::admit() {
  while (!waiting_.empty() && static_cast<int64_t>(running_.size()) < options_.max_seqs) {
    auto table = blocks_.allocate(blocks_needed(waiting_.front().request));
    if (!table) return;
    running_.push_back(std::move(waiting_.front()));
    running_.back().block_table = *std::move(table);
    waiting_.pop_front();
  }
}

std::vector<int64_t> Engine::plan() {
  batch_.clear();
  std::vector<int64_t> counts(running_.size());
  // Every sequence gets one token before any prompt gets a chunk, so that decodes never wait for prefills.
  int64_t spare = options_.max_tokens_per_step - static_cast<int64_t>(running_.size());
  for (size_t i = 0; i < running_.size(); ++i) {
    const int64_t num_pending = running_[i].length() - running_[i].num_computed;
    counts[i] = 1 + std::min(num_pending - 1, spare);
    spare -= counts[i] - 1;
    batch_.add(running_[i], counts[i]);
  }
  return counts;
}

std::vector<TokenEvent> Engine::step() {
  admit();
  COHORT_CHECK(!running_.empty(), "step() without work");
  const std::vector<int64_t> counts = plan();
  const TensorView logits =
      decoder_.forward(batch_.view(), cache_.layers(), workspace_, probe_ ? &probe_ : nullptr, stream_);
  std::vector<size_t> rows;  // the sequence of each logit row
  for (size_t i = 0; i < running_.size(); ++i) {
    running_[i].num_computed += counts[i];
    if (running_[i].num_computed == running_[i].length()) rows.push_back(i);
  }
  std::vector<TokenEvent> events = sample_rows(logits, rows);
  retire_finished();
  return events;
}

std::vector<TokenEvent> Engine::sample_rows(TensorView logits, const std::vector<size_t>& rows) {
  const int64_t vocab = decoder_.spec().vocab;
  std::vector<TokenEvent> events(rows.size());
  std::vector<SamplingRequest> requests(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const Sequence& sequence = running_[rows[i]];
    requests[i] = {&sequence.request.sampling, sequence.request.prompt, sequence.output};
    events[i].request_id = sequence.request_id;
    if (sequence.request.top_logprobs > 0) {  // before sample() changes the logits
      const std::span row(logits.row<float>(static_cast<int64_t>(i)), static_cast<size_t>(vocab));
      events[i].top_logprobs = top_logprobs(row, sequence.request.top_logprobs);
    }
  }
  const TensorView tokens = sampled_->slice(0, 0, static_cast<int64_t>(rows.size()));
  sample(tokens, logits, requests, stream_);

  is_finished_.assign(running_.size(), false);
  for (size_t i = 0; i < rows.size(); ++i) {
    Sequence& sequence = running_[rows[i]];
    events[i].token = tokens.data<int32_t>()[i];
    if (events[i].token < 0) {
      events[i].finish = FinishReason::kError;
    } else {
      sequence.output.push_back(events[i].token);
      events[i].finish = finish_reason(sequence.request, sequence.output, decoder_.spec().max_position);
    }
    is_finished_[rows[i]] = events[i].finish != FinishReason::kNone;
  }
  return events;
}

void Engine::retire_finished() {
  size_t kept = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    if (is_finished_[i]) {
      blocks_.release(running_[i].block_table);
    } else {
      if (kept != i) running_[kept] = std::move(running_[i]);
      ++kept;
    }
  }
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(kept), running_.end());
}

}  // namespace cohort
