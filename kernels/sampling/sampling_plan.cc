#include "kernels/sampling/sampling_plan.h"

#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "kernels/sampling/philox.h"

namespace cohort {
namespace {

void check_token(int32_t token, int64_t vocab) {
  COHORT_CHECK(token >= 0 && token < vocab,
               "token " + std::to_string(token) + " in a vocabulary of " + std::to_string(vocab));
}

}  // namespace

int64_t SamplingPlan::num_bytes_for(int64_t max_seqs, int64_t max_entries) {
  return max_seqs * static_cast<int64_t>(sizeof(SamplingRow)) +
         max_entries * static_cast<int64_t>(sizeof(SamplingEntry));
}

SamplingPlan::SamplingPlan(int64_t max_seqs, int64_t max_entries, Device device)
    : max_seqs_(max_seqs),
      max_entries_(max_entries),
      memory_(num_bytes_for(max_seqs, max_entries), device),
      copied_(device) {}

void SamplingPlan::append(std::span<SamplingEntry> entries, SamplingEntry entry) {
  if (num_entries_ < max_entries_) entries[static_cast<size_t>(num_entries_)] = entry;
  ++num_entries_;
}

void SamplingPlan::check_room() const {
  COHORT_CHECK(num_entries_ <= max_entries_,
               std::to_string(num_entries_) + " entries, room for " + std::to_string(max_entries_));
}

void SamplingPlan::add_biases(const SamplingRequest& request, SamplingRow& row, std::span<SamplingEntry> entries) {
  row.first_bias = static_cast<int32_t>(num_entries_);
  for (const auto& [token, bias] : request.params->logit_bias) {
    check_token(token, vocab_);
    append(entries, {.token = token, .bias = bias});
  }
  check_room();
  row.num_biases = static_cast<int32_t>(num_entries_) - row.first_bias;
  const auto begin = entries.begin() + row.first_bias;
  const auto end = begin + row.num_biases;
  const auto is_before = [](const SamplingEntry& a, const SamplingEntry& b) { return a.token < b.token; };
  // Biases of one token are added in the order of the request. Insertion, which is stable, allocates nothing.
  for (auto i = begin; i != end; ++i) std::rotate(std::upper_bound(begin, i, *i, is_before), i, i + 1);
}

void SamplingPlan::add_penalties(const SamplingRequest& request, SamplingRow& row, std::span<SamplingEntry> entries) {
  row.first_penalty = static_cast<int32_t>(num_entries_);
  row.num_penalties = 0;
  const SamplingParams& params = *request.params;
  if (!params.reads_output()) return;
  const bool repeats = params.repetition_penalty != 1;
  for (const int32_t token : request.output) check_token(token, vocab_);
  for (const int32_t token : request.prompt) check_token(token, vocab_);
  if (static_cast<int64_t>(counts_.size()) < vocab_) counts_.resize(static_cast<size_t>(vocab_), 0);

  constexpr int32_t kDone = -1;
  const auto count_of = [&](int32_t token) -> int32_t& { return counts_[static_cast<size_t>(token)]; };
  for (const int32_t token : request.output) ++count_of(token);
  for (const int32_t token : request.output) {
    if (count_of(token) == kDone) continue;
    append(entries, {.token = token, .count = count_of(token)});
    count_of(token) = kDone;
  }
  if (repeats) {
    for (const int32_t token : request.prompt) {
      if (count_of(token) == kDone) continue;
      append(entries, {.token = token, .count = 0});
      count_of(token) = kDone;
    }
    for (const int32_t token : request.prompt) count_of(token) = 0;
  }
  for (const int32_t token : request.output) count_of(token) = 0;
  check_room();
  row.num_penalties = static_cast<int32_t>(num_entries_) - row.first_penalty;
}

void SamplingPlan::prepare(std::span<const SamplingRequest> requests, int64_t vocab, Stream& stream) {
  COHORT_CHECK(static_cast<int64_t>(requests.size()) <= max_seqs_, std::to_string(requests.size()) + " requests");
  copied_.synchronize();
  num_seqs_ = static_cast<int64_t>(requests.size());
  num_entries_ = 0;
  vocab_ = vocab;
  const std::span rows(reinterpret_cast<SamplingRow*>(memory_.host()), requests.size());
  const std::span entries(reinterpret_cast<SamplingEntry*>(memory_.host() + rows_bytes()),
                          static_cast<size_t>(max_entries_));
  for (size_t i = 0; i < requests.size(); ++i) {
    const SamplingParams& params = *requests[i].params;
    SamplingRow& row = rows[i];
    row = {};
    row.temperature = params.temperature;
    row.top_p = params.top_p;
    row.min_p = params.min_p;
    row.repetition_penalty = params.repetition_penalty;
    row.presence_penalty = params.presence_penalty;
    row.frequency_penalty = params.frequency_penalty;
    row.top_k = params.top_k;
    row.random = random_bits(params.seed, requests[i].output.size());
    add_biases(requests[i], row, entries);
    add_penalties(requests[i], row, entries);
  }
  memory_.upload(0, rows_bytes() + num_entries_ * static_cast<int64_t>(sizeof(SamplingEntry)), stream);
  copied_.record(stream);
}

void sample(TensorView tokens, TensorView logits, const SamplingPlan& plan, Stream& stream) {
  COHORT_CHECK(stream.device().kind == DeviceKind::kCuda && tokens.device() == stream.device() &&
                   logits.device() == stream.device(),
               "tokens on " + to_string(tokens.device()) + ", logits on " + to_string(logits.device()));
  COHORT_CHECK(tokens.rank() == 1 && tokens.dtype() == DType::kI32 && logits.rank() == 2 &&
                   logits.dtype() == DType::kF32 && tokens.dim(0) == logits.dim(0) &&
                   tokens.dim(0) == plan.num_seqs() && (tokens.empty() || logits.dim(1) == plan.vocab()),
               "tokens " + tokens.shape().to_string() + ", logits " + logits.shape().to_string() + ", " +
                   std::to_string(plan.num_seqs()) + " requests");
  if (tokens.empty()) return;
  COHORT_CHECK(logits.dim(1) > 0 && logits.dim(1) < (int64_t{1} << 23),
               "a vocabulary of " + std::to_string(logits.dim(1)));
  cuda::sample(tokens, logits, plan, stream);
}

}  // namespace cohort
