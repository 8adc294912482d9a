// StepBatch: the arrays behind a BatchView, made once for the largest step and filled anew for each: on the host, in
// one run of memory that one copy brings to the device.
#pragma once

#include <cstdint>

#include "kernels/core/mirrored_buffer.h"
#include "runtime/layers/batch.h"
#include "runtime/scheduler/sequence.h"

namespace cohort {

// Which tokens of a batch the model's head reads.
enum class LogitRows {
  kLast,   // of sequences whose last token is in it
  kFirst,  // of every sequence
  kAll,
};

class StepBatch {
 public:
  // Has types of tokens unless only the last ones are read: models that generate have none. With `has_sources` the
  // sequences have sources, no longer than they may be.
  StepBatch(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, int64_t block_size, Device device,
            LogitRows logit_rows = LogitRows::kLast, bool has_sources = false);

  // Waits until what the last upload() copies has been read; the device may still compute with it.
  void clear();
  // Adds the next `num_tokens` tokens of `sequence` that are not computed, and the logit rows among them. A kFedToken
  // is element `sampled_row` of what feed() is given. Requires room, and blocks for the tokens.
  void add(const Sequence& sequence, int64_t num_tokens, int32_t sampled_row = -1);
  // Adds rows that stand for no sequence until there are `num_seqs`: token 0, an empty context, nothing written to the
  // cache. Requires room.
  void pad_to(int64_t num_seqs);

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_seqs() const { return num_seqs_; }
  // The first of each sequence among the tokens, and behind the last of them their number. [num_seqs + 1]
  const int32_t* query_starts() const { return arrays_.query_starts.of(memory_.host()); }
  // Whether every sequence has one token, whose logits are wanted.
  bool is_decode() const { return num_tokens_ == num_seqs_ && num_logit_rows_ == num_seqs_; }
  // Queues the copy to the stream's device.
  void upload(Stream& stream);
  // On the device, fills in the tokens that are fed: elements of `sampled` [n] (int32).
  void feed(ConstTensorView sampled, Stream& stream) const;
  // Valid until the next clear(), add() or pad_to(); what it points at is always in the same place.
  BatchView view() const { return view(max_context_length_, max_source_length_); }
  // The same that stays valid for every later batch of as many tokens and sequences, whatever their contexts.
  BatchView lasting_view() const { return view(max_blocks_per_seq_ * block_size_, max_blocks_per_seq_ * block_size_); }

 private:
  // Where an array lies in the memory; `T` is its element.
  template <typename T>
  struct Array {
    int64_t offset;  // in bytes
    T* of(char* memory) const { return reinterpret_cast<T*>(memory + offset); }
    int64_t end(int64_t count) const { return offset + count * static_cast<int64_t>(sizeof(T)); }
  };
  struct Arrays {
    Arrays(int64_t max_tokens, int64_t max_seqs, int64_t max_blocks_per_seq, LogitRows which, bool has_sources);

    Array<int64_t> slots;            // [max_tokens]
    Array<int32_t> token_ids;        // [max_tokens]
    Array<int32_t> sources;          // [max_tokens]: where in what was sampled a fed token is, -1 for others
    Array<int32_t> positions;        // [max_tokens]
    Array<int32_t> rope_lengths;     // [max_tokens]
    Array<int32_t> token_types;      // [max_tokens], or nothing
    Array<int32_t> query_starts;     // [max_seqs + 1]
    Array<int32_t> context_lengths;  // [max_seqs]
    Array<int32_t> logit_rows;       // [max_seqs], or of all tokens [max_tokens]
    Array<int32_t> source_lengths;   // [max_seqs], or nothing, like source_tables
    Array<int32_t> source_tables;    // [max_seqs, max_blocks_per_seq]
    Array<int32_t> block_tables;     // [max_seqs, max_blocks_per_seq]; last, since most of it is seldom used
    int64_t num_bytes;
  };

  void add_source(const Sequence& sequence, int64_t seq);
  void add_logit_rows(int64_t begin, int64_t end, bool is_end_of_sequence);
  BatchView view(int64_t max_context_length, int64_t max_source_length) const;

  int64_t max_tokens_;
  int64_t max_seqs_;
  int64_t max_blocks_per_seq_;
  int64_t block_size_;
  LogitRows logit_rows_;
  bool has_sources_;
  Arrays arrays_;
  MirroredBuffer memory_;
  Event copied_;  // after the last copy: the next batch is filled while the device is steps behind
  int64_t num_tokens_ = 0;
  int64_t num_seqs_ = 0;
  int64_t num_logit_rows_ = 0;
  int64_t max_query_length_ = 0;
  int64_t max_context_length_ = 0;
  int64_t max_source_length_ = 0;
};

}  // namespace cohort
