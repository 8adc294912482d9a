#include "runtime/engine/step_batch.h"

#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "kernels/embedding/embedding.h"

namespace cohort {

StepBatch::Arrays::Arrays(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, LogitRows which,
                          bool has_sources)
    : num_bytes(0) {
  constexpr int64_t kAlignment = 16;  // of vector loads on a device
  const auto place = [&](auto& array, int64_t count) {
    array.offset = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
    num_bytes = array.end(count);
  };
  place(slots, max_tokens);
  place(token_ids, max_tokens);
  place(sources, max_tokens);
  place(positions, max_tokens);
  place(rope_lengths, max_tokens);
  place(token_types, which == LogitRows::kLast ? 0 : max_tokens);
  place(query_starts, max_seqs + 1);
  place(context_lengths, max_seqs);
  place(logit_rows, which == LogitRows::kAll ? max_tokens : max_seqs);
  place(source_lengths, has_sources ? max_seqs : 0);
  place(source_tables, has_sources ? max_seqs * max_blocks_per_seq : 0);
  place(block_tables, max_seqs * max_blocks_per_seq);
}

StepBatch::StepBatch(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, int64_t block_size,
                     Device device, LogitRows logit_rows, bool has_sources)
    : max_tokens_(max_tokens),
      max_seqs_(max_seqs),
      max_blocks_per_seq_(max_blocks_per_seq),
      block_size_(block_size),
      logit_rows_(logit_rows),
      has_sources_(has_sources),
      arrays_(max_tokens, max_seqs, max_blocks_per_seq, logit_rows, has_sources),
      memory_(arrays_.num_bytes, device),
      copied_(device) {
  clear();
}

void StepBatch::clear() {
  copied_.synchronize();
  num_tokens_ = num_seqs_ = num_logit_rows_ = max_query_length_ = max_context_length_ = max_source_length_ = 0;
  arrays_.query_starts.of(memory_.host())[0] = 0;
}

void StepBatch::add(const Sequence& sequence, int64_t num_tokens, int32_t sampled_row) {
  const int64_t end = sequence.num_computed + num_tokens;
  const auto num_blocks = static_cast<int64_t>(sequence.block_table.size());
  COHORT_CHECK(num_tokens_ + num_tokens <= max_tokens_ && num_seqs_ < max_seqs_ && end <= num_blocks * block_size_ &&
                   num_blocks <= max_blocks_per_seq_,
               "sequence " + std::to_string(sequence.id) + " does not fit the step");
  char* const memory = memory_.host();
  for (int64_t position = sequence.num_computed; position < end; ++position) {
    const int64_t row = num_tokens_++;
    const int64_t block = sequence.block_table[static_cast<size_t>(position / block_size_)];
    const int32_t token = sequence.token(position);
    const bool is_fed = token == Sequence::kFedToken;
    arrays_.token_ids.of(memory)[row] = is_fed ? 0 : token;
    arrays_.sources.of(memory)[row] = is_fed ? sampled_row : -1;
    arrays_.positions.of(memory)[row] = static_cast<int32_t>(position);
    arrays_.rope_lengths.of(memory)[row] = static_cast<int32_t>(sequence.rope_length(position));
    arrays_.slots.of(memory)[row] = block * block_size_ + position % block_size_;
    if (logit_rows_ == LogitRows::kLast) continue;
    arrays_.token_types.of(memory)[row] =
        sequence.token_types.empty() ? 0 : sequence.token_types[static_cast<size_t>(position)];
  }
  max_query_length_ = std::max(max_query_length_, num_tokens);
  max_context_length_ = std::max(max_context_length_, end);
  const int64_t seq = num_seqs_++;
  arrays_.context_lengths.of(memory)[seq] = static_cast<int32_t>(end);
  arrays_.query_starts.of(memory)[seq + 1] = static_cast<int32_t>(num_tokens_);
  std::copy(sequence.block_table.begin(), sequence.block_table.end(),
            arrays_.block_tables.of(memory) + seq * max_blocks_per_seq_);
  if (has_sources_) add_source(sequence, seq);
  add_logit_rows(num_tokens_ - num_tokens, num_tokens_, end == sequence.length());
}

void StepBatch::add_source(const Sequence& sequence, int64_t seq) {
  const int64_t num_blocks = std::ssize(sequence.source_table);
  COHORT_CHECK(sequence.source_length() <= num_blocks * block_size_ && num_blocks <= max_blocks_per_seq_,
               "the source of sequence " + std::to_string(sequence.id) + " does not fit the step");
  char* const memory = memory_.host();
  max_source_length_ = std::max(max_source_length_, sequence.source_length());
  arrays_.source_lengths.of(memory)[seq] = static_cast<int32_t>(sequence.source_length());
  std::copy(sequence.source_table.begin(), sequence.source_table.end(),
            arrays_.source_tables.of(memory) + seq * max_blocks_per_seq_);
}

void StepBatch::add_logit_rows(int64_t begin, int64_t end, bool is_end_of_sequence) {
  if (logit_rows_ == LogitRows::kFirst) end = begin + 1;
  if (logit_rows_ == LogitRows::kLast) begin = is_end_of_sequence ? end - 1 : end;
  int32_t* const rows = arrays_.logit_rows.of(memory_.host());
  for (int64_t row = begin; row < end; ++row) rows[num_logit_rows_++] = static_cast<int32_t>(row);
}

void StepBatch::pad_to(int64_t num_seqs) {
  COHORT_CHECK(num_seqs <= max_seqs_ && num_tokens_ + num_seqs - num_seqs_ <= max_tokens_, std::to_string(num_seqs));
  char* const memory = memory_.host();
  while (num_seqs_ < num_seqs) {
    const int64_t row = num_tokens_++;
    const int64_t seq = num_seqs_++;
    arrays_.token_ids.of(memory)[row] = 0;
    arrays_.sources.of(memory)[row] = -1;
    arrays_.positions.of(memory)[row] = 0;
    arrays_.rope_lengths.of(memory)[row] = 1;
    arrays_.slots.of(memory)[row] = -1;
    arrays_.context_lengths.of(memory)[seq] = 0;
    if (has_sources_) arrays_.source_lengths.of(memory)[seq] = 0;
    arrays_.query_starts.of(memory)[seq + 1] = static_cast<int32_t>(num_tokens_);
    arrays_.logit_rows.of(memory)[num_logit_rows_++] = static_cast<int32_t>(row);
  }
  max_query_length_ = std::max<int64_t>(max_query_length_, 1);
}

void StepBatch::upload(Stream& stream) {
  memory_.upload(0, arrays_.block_tables.end(num_seqs_ * max_blocks_per_seq_), stream);
  copied_.record(stream);
}

void StepBatch::feed(ConstTensorView sampled, Stream& stream) const {
  const auto tokens = [&](const auto& array) {
    return TensorView(array.of(memory_.device_data()), DType::kI32, Shape{num_tokens_}, memory_.device());
  };
  feed_tokens(tokens(arrays_.token_ids), tokens(arrays_.sources), sampled, stream);
}

BatchView StepBatch::view(int64_t max_context_length, int64_t max_source_length) const {
  const auto tensor = [&](const auto& array, DType dtype, const Shape& shape) {
    return ConstTensorView(array.of(memory_.device_data()), dtype, shape, memory_.device());
  };
  AttentionBatch source_attention;
  if (has_sources_) {
    source_attention = {
        .query_starts = tensor(arrays_.query_starts, DType::kI32, Shape{num_seqs_ + 1}),
        .context_lengths = tensor(arrays_.source_lengths, DType::kI32, Shape{num_seqs_}),
        .block_tables = tensor(arrays_.source_tables, DType::kI32, Shape{num_seqs_, max_blocks_per_seq_}),
        .max_query_length = max_query_length_,
        .max_context_length = max_source_length};
  }
  return {
      .token_ids = tensor(arrays_.token_ids, DType::kI32, Shape{num_tokens_}),
      .positions = tensor(arrays_.positions, DType::kI32, Shape{num_tokens_}),
      .token_types = tensor(arrays_.token_types, DType::kI32, Shape{logit_rows_ == LogitRows::kLast ? 0 : num_tokens_}),
      .rope_lengths = tensor(arrays_.rope_lengths, DType::kI32, Shape{num_tokens_}),
      .slots = tensor(arrays_.slots, DType::kI64, Shape{num_tokens_}),
      .attention = {.query_starts = tensor(arrays_.query_starts, DType::kI32, Shape{num_seqs_ + 1}),
                    .context_lengths = tensor(arrays_.context_lengths, DType::kI32, Shape{num_seqs_}),
                    .block_tables = tensor(arrays_.block_tables, DType::kI32, Shape{num_seqs_, max_blocks_per_seq_}),
                    .max_query_length = max_query_length_,
                    .max_context_length = max_context_length},
      .source_attention = source_attention,
      .logit_rows = tensor(arrays_.logit_rows, DType::kI32, Shape{num_logit_rows_}),
  };
}

}  // namespace cohort
