#include "runtime/engine/step_encoder.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/core/check.h"
#include "kernels/core/convert.h"
#include "kernels/pooling/pooling.h"
#include "runtime/scheduler/encoding_message.h"

namespace cohort {
namespace {

int64_t float_bytes(int64_t count) { return dtype_bytes(DType::kF32, count); }

bool is_bad(const std::vector<float>& values) {
  return std::any_of(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
}

bool is_bad(const Encoding& encoding) {
  return is_bad(encoding.hidden_states) || is_bad(encoding.pooler_output) || is_bad(encoding.embedding) ||
         is_bad(encoding.logits);
}

// Rows [begin, end) of a buffer of rows of `width`.
std::vector<float> rows_of(const PinnedBuffer& buffer, int64_t begin, int64_t end, int64_t width) {
  const float* const values = buffer.data<float>();
  return {values + begin * width, values + end * width};
}

}  // namespace

LogitRows logit_rows_of(const ModelSpec& spec) {
  if (!spec.is_encoder()) return LogitRows::kLast;
  return has_logits_of_tokens(spec) ? LogitRows::kAll : LogitRows::kFirst;
}

int64_t max_logit_rows(const ModelSpec& spec, const EngineOptions& options) {
  return logit_rows_of(spec) == LogitRows::kAll ? options.max_tokens_per_step : options.max_seqs;
}

int64_t StepEncoder::num_bytes_for(const ModelSpec& spec, const EngineOptions& options, Device device) {
  const int64_t num_floats = float_bytes((options.max_seqs + options.max_tokens_per_step) * spec.hidden);
  if (device != kCpuDevice) return num_floats;
  const int64_t slot = (2 * options.max_seqs + options.max_tokens_per_step) * spec.hidden +
                       max_logit_rows(spec, options) * num_logits(spec);
  return num_floats + kMaxUnderWay * float_bytes(slot);
}

StepEncoder::Slot::Slot(const ModelSpec& spec, const EngineOptions& options, Device device)
    : hidden_states(float_bytes(options.max_tokens_per_step * spec.hidden), device),
      pooler_output(float_bytes(options.max_seqs * spec.hidden), device),
      embeddings(float_bytes(options.max_seqs * spec.hidden), device),
      logits(float_bytes(max_logit_rows(spec, options) * num_logits(spec)), device),
      done(device) {}

StepEncoder::StepEncoder(const ModelSpec& spec, const EngineOptions& options, Device device)
    : spec_(spec),
      slots_{Slot(spec, options, device), Slot(spec, options, device)},
      embeddings_(DType::kF32, {options.max_seqs, spec.hidden}, device),
      floats_(DType::kF32, {options.max_tokens_per_step, spec.hidden}, device) {}

void StepEncoder::bring(const PinnedBuffer& to, ConstTensorView x, Stream& stream) {
  if (x.dtype() != DType::kF32) {
    const TensorView floats = floats_->slice(0, 0, x.dim(0));
    convert(floats, x, stream);
    x = floats;
  }
  to.copy_from(x.data(), x.num_bytes(), stream);
}

void StepEncoder::start(int64_t step, std::span<const SequenceTable::Entry* const> sequences, const StepBatch& batch,
                        const EncodedStep& encoded, Stream& stream) {
  COHORT_CHECK(num_under_way() < kMaxUnderWay, "step " + std::to_string(step));
  COHORT_CHECK(static_cast<int64_t>(sequences.size()) == batch.num_seqs(), "a sequence was not computed whole");
  Slot& slot = slots_[next_slot_];
  next_slot_ = (next_slot_ + 1) % slots_.size();
  Step& started = under_way_.emplace_back(Step{step, &slot, {}});
  EncodingParts wanted;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const EncodingParts& parts = sequences[i]->encoding;
    const int64_t begin = batch.query_starts()[i];
    started.rows.push_back({sequences[i]->sequence.id, parts, begin, batch.query_starts()[i + 1] - begin});
    wanted.hidden_states = wanted.hidden_states || parts.hidden_states;
    wanted.pooler_output = wanted.pooler_output || parts.pooler_output;
    wanted.embedding = wanted.embedding || parts.embedding;
    wanted.logits = wanted.logits || parts.logits;
  }
  if (wanted.hidden_states) bring(slot.hidden_states, encoded.hidden_states, stream);
  if (wanted.pooler_output) bring(slot.pooler_output, encoded.pooler_output, stream);
  if (wanted.embedding) {
    const TensorView embeddings = embeddings_->slice(0, 0, batch.num_seqs());
    pool_sequences(embeddings, encoded.hidden_states, batch.view().attention.query_starts, spec_.pooling,
                   spec_.normalizes_embedding, stream);
    bring(slot.embeddings, embeddings, stream);
  }
  if (wanted.logits) bring(slot.logits, encoded.logits, stream);
  slot.done.record(stream);
}

std::vector<float> StepEncoder::logits_of(const Row& row, const Slot& slot, int64_t index) const {
  const int64_t width = num_logits(spec_);
  if (!has_logits_of_tokens(spec_)) return rows_of(slot.logits, index, index + 1, width);
  if (row.parts.logits_of.empty()) return rows_of(slot.logits, row.begin, row.begin + row.num_tokens, width);
  std::vector<float> logits;
  for (const int32_t token : row.parts.logits_of) {
    const std::vector<float> one = rows_of(slot.logits, row.begin + token, row.begin + token + 1, width);
    logits.insert(logits.end(), one.begin(), one.end());
  }
  return logits;
}

wire::EncodedSequence StepEncoder::encoded_sequence(const Step& step, int64_t index) const {
  const Row& row = step.rows[static_cast<size_t>(index)];
  const Slot& slot = *step.slot;
  const int64_t end = row.begin + row.num_tokens;
  Encoding encoding;
  if (row.parts.hidden_states) encoding.hidden_states = rows_of(slot.hidden_states, row.begin, end, spec_.hidden);
  if (row.parts.pooler_output) encoding.pooler_output = rows_of(slot.pooler_output, index, index + 1, spec_.hidden);
  if (row.parts.embedding) encoding.embedding = rows_of(slot.embeddings, index, index + 1, spec_.hidden);
  if (row.parts.logits) encoding.logits = logits_of(row, slot, index);
  wire::EncodedSequence message;
  message.set_id(row.id);
  if (is_bad(encoding)) {
    message.set_is_bad(true);
  } else {
    write_encoding(message, encoding);
  }
  return message;
}

wire::StepResult StepEncoder::finish() {
  COHORT_CHECK(!under_way_.empty(), "no step under way");
  const Step step = std::move(under_way_.front());
  under_way_.pop_front();
  step.slot->done.synchronize();
  wire::StepResult result;
  result.set_step(step.step);
  for (size_t i = 0; i < step.rows.size(); ++i) {
    *result.add_encoded() = encoded_sequence(step, static_cast<int64_t>(i));
  }
  return result;
}

}  // namespace cohort
