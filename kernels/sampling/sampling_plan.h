// Sampling on a CUDA device. A SamplingPlan brings there what it needs of the requests, which lie in host memory, by
// one copy a step:
//
//   plan.prepare(requests, vocab, stream);  // host work; queues the copy
//   sample(tokens, logits, plan, stream);   // queues the draws
//
// The tokens are those of sample() on the CPU, bit for bit: weights come of the same arithmetic and are summed as
// integers. One thread; a plan serves one stream.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/core/mirrored_buffer.h"
#include "kernels/sampling/sampling.h"

namespace cohort {

// What the device knows of a request.
struct SamplingRow {
  float temperature;
  float top_p;
  float min_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  int32_t top_k;
  int32_t num_biases;
  int32_t num_penalties;
  int32_t first_bias;     // among the plan's entries, those of equal tokens beside each other
  int32_t first_penalty;  // likewise; each token once
  int32_t unused;
  uint64_t random;  // of the draw
};

struct SamplingEntry {
  int32_t token;
  union {
    float bias;
    int32_t count;  // of the token in the output; 0: it is in the prompt alone
  };
};

class SamplingPlan {
 public:
  // For up to max_seqs sequences in a step, with up to max_entries entries: a sequence has one for each of its biases
  // and, if it has penalties, one for each different token of its output (and of its prompt, if it has a repetition
  // penalty).
  SamplingPlan(int64_t max_seqs, int64_t max_entries, Device device);
  // Of the device that such a plan takes.
  static int64_t num_bytes_for(int64_t max_seqs, int64_t max_entries);

  // Takes what it needs of the requests and queues its copy. Waits until the copy before has been made, which is at the
  // beginning of its step. Throws CheckError for a token outside of the vocabulary and for more sequences or entries
  // than there is room for. Takes time in proportion to the lengths of the sequences that have penalties; allocates in
  // the first step with penalties only.
  void prepare(std::span<const SamplingRequest> requests, int64_t vocab, Stream& stream);

  int64_t num_seqs() const { return num_seqs_; }
  int64_t vocab() const { return vocab_; }
  // Of the step last prepared, on the device; always in the same place.
  const SamplingRow* rows() const { return reinterpret_cast<const SamplingRow*>(memory_.device_data()); }
  const SamplingEntry* entries() const {
    return reinterpret_cast<const SamplingEntry*>(memory_.device_data() + rows_bytes());
  }

 private:
  int64_t rows_bytes() const { return max_seqs_ * static_cast<int64_t>(sizeof(SamplingRow)); }
  void add_biases(const SamplingRequest& request, SamplingRow& row, std::span<SamplingEntry> entries);
  void add_penalties(const SamplingRequest& request, SamplingRow& row, std::span<SamplingEntry> entries);
  // Counts on when there is no room, which check_room() tells once the counts of tokens are zero again.
  void append(std::span<SamplingEntry> entries, SamplingEntry entry);
  void check_room() const;

  const int64_t max_seqs_;
  const int64_t max_entries_;
  MirroredBuffer memory_;  // SamplingRow [max_seqs], SamplingEntry [max_entries]
  Event copied_;           // after the last copy
  int64_t num_seqs_ = 0;
  int64_t num_entries_ = 0;
  int64_t vocab_ = 0;
  std::vector<int32_t> counts_;  // [vocab], zero between requests
};

// tokens [num_seqs] (int32) = a draw for each row of logits [num_seqs, vocab] (float32), which is changed in place, for
// the requests that `plan` was prepared with. Otherwise as sample() of sampling.h; queues. CUDA only.
void sample(TensorView tokens, TensorView logits, const SamplingPlan& plan, Stream& stream);

namespace cuda {

// Arguments are checked and not empty. Throws CheckError in a build without CUDA.
void sample(TensorView tokens, TensorView logits, const SamplingPlan& plan, Stream& stream);

}  // namespace cuda
}  // namespace cohort
