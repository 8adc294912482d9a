// StepBatch: the host arrays behind a BatchView, made once for the largest step and filled anew for each.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/layers/batch.h"
#include "runtime/scheduler/sequence.h"

namespace cohort {

class StepBatch {
 public:
  StepBatch(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, int64_t block_size);

  void clear();
  // Adds the next `num_tokens` tokens of `sequence` that are not computed. The last one gets a logit row if it is the
  // last of the sequence. Requires room, and blocks for the tokens.
  void add(const Sequence& sequence, int64_t num_tokens);

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_seqs() const { return num_seqs_; }
  // Valid until the next clear() or add().
  BatchView view() const;

 private:
  int64_t max_blocks_per_seq_;
  int64_t block_size_;
  int64_t num_tokens_ = 0;
  int64_t num_seqs_ = 0;
  int64_t num_logit_rows_ = 0;
  int64_t max_query_length_ = 0;
  int64_t max_context_length_ = 0;
  std::vector<int32_t> token_ids_;
  std::vector<int32_t> positions_;
  std::vector<int32_t> rope_lengths_;
  std::vector<int64_t> slots_;
  std::vector<int32_t> query_starts_;
  std::vector<int32_t> context_lengths_;
  std::vector<int32_t> block_tables_;
  std::vector<int32_t> logit_rows_;
};

}  // namespace cohort
