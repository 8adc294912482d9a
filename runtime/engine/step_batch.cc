#include "runtime/engine/step_batch.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace cohort {

StepBatch::StepBatch(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, int64_t block_size)
    : max_blocks_per_seq_(max_blocks_per_seq),
      block_size_(block_size),
      token_ids_(static_cast<size_t>(max_tokens)),
      positions_(static_cast<size_t>(max_tokens)),
      rope_lengths_(static_cast<size_t>(max_tokens)),
      slots_(static_cast<size_t>(max_tokens)),
      query_starts_(static_cast<size_t>(max_seqs) + 1),
      context_lengths_(static_cast<size_t>(max_seqs)),
      block_tables_(static_cast<size_t>(max_seqs * max_blocks_per_seq)),
      logit_rows_(static_cast<size_t>(max_seqs)) {}

void StepBatch::clear() { num_tokens_ = num_seqs_ = num_logit_rows_ = max_query_length_ = max_context_length_ = 0; }

void StepBatch::add(const Sequence& sequence, int64_t num_tokens) {
  const int64_t end = sequence.num_computed + num_tokens;
  const auto num_blocks = static_cast<int64_t>(sequence.block_table.size());
  COHORT_CHECK(num_tokens_ + num_tokens <= static_cast<int64_t>(token_ids_.size()) &&
                   num_seqs_ < static_cast<int64_t>(context_lengths_.size()) && end <= num_blocks * block_size_ &&
                   num_blocks <= max_blocks_per_seq_,
               "sequence " + std::to_string(sequence.id) + " does not fit the step");
  for (int64_t position = sequence.num_computed; position < end; ++position) {
    const auto row = static_cast<size_t>(num_tokens_++);
    const int64_t block = sequence.block_table[static_cast<size_t>(position / block_size_)];
    token_ids_[row] = sequence.token(position);
    positions_[row] = static_cast<int32_t>(position);
    rope_lengths_[row] = static_cast<int32_t>(sequence.rope_length(position));
    slots_[row] = block * block_size_ + position % block_size_;
  }
  max_query_length_ = std::max(max_query_length_, num_tokens);
  max_context_length_ = std::max(max_context_length_, end);
  const int64_t seq = num_seqs_++;
  context_lengths_[static_cast<size_t>(seq)] = static_cast<int32_t>(end);
  query_starts_[static_cast<size_t>(seq) + 1] = static_cast<int32_t>(num_tokens_);
  std::copy(sequence.block_table.begin(), sequence.block_table.end(),
            block_tables_.begin() + seq * max_blocks_per_seq_);
  if (end == sequence.length()) {
    logit_rows_[static_cast<size_t>(num_logit_rows_++)] = static_cast<int32_t>(num_tokens_ - 1);
  }
}

BatchView StepBatch::view() const {
  const auto i32 = [](const std::vector<int32_t>& v, const Shape& shape) {
    return ConstTensorView(v.data(), DType::kI32, shape);
  };
  return {
      .token_ids = i32(token_ids_, Shape{num_tokens_}),
      .positions = i32(positions_, Shape{num_tokens_}),
      .rope_lengths = i32(rope_lengths_, Shape{num_tokens_}),
      .slots = ConstTensorView(slots_.data(), DType::kI64, Shape{num_tokens_}),
      .attention = {.query_starts = i32(query_starts_, Shape{num_seqs_ + 1}),
                    .context_lengths = i32(context_lengths_, Shape{num_seqs_}),
                    .block_tables = i32(block_tables_, Shape{num_seqs_, max_blocks_per_seq_}),
                    .max_query_length = max_query_length_,
                    .max_context_length = max_context_length_},
      .logit_rows = i32(logit_rows_, Shape{num_logit_rows_}),
  };
}

}  // namespace cohort
