#include "tests/unit/simulated_ranks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

namespace cohort::test {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
  return x ^ (x >> 29);
}

uint64_t embed(int32_t token, int64_t position) {
  return mix(static_cast<uint64_t>(token), static_cast<uint64_t>(position));
}

// What a stage keeps of a position of a source.
uint64_t source_key(const std::vector<int32_t>& source, int64_t position, int stage) {
  return mix(embed(source[static_cast<size_t>(position)], position), static_cast<uint64_t>(1000 + stage));
}

// The next token; -1 for an error. `output`: those before.
int32_t draw(uint64_t hidden, const SamplingParams& sampling, std::span<const int32_t> output, int64_t vocab) {
  if (sampling.seed == kFailingSeed && output.size() == 1) return -1;
  uint64_t x = mix(mix(hidden, sampling.seed), output.size());
  if (sampling.reads_output()) {
    for (const int32_t token : output) {
      EXPECT_NE(token, Sequence::kFedToken);
      x = mix(x, static_cast<uint64_t>(token));
    }
  }
  const auto is_barred = [&](int32_t token) {
    return std::any_of(sampling.logit_bias.begin(), sampling.logit_bias.end(),
                       [&](const auto& bias) { return bias.first == token && std::isinf(bias.second); });
  };
  auto token = static_cast<int32_t>(x % static_cast<uint64_t>(vocab));
  while (is_barred(token)) token = static_cast<int32_t>((token + 1) % vocab);
  return token;
}

}  // namespace

SimulatedOutput simulate_alone(const GenerationRequest& request, const SchedulerOptions& options, int num_stages) {
  Sequence sequence;
  sequence.prompt = request.prompt;
  if (options.decoder_start_token) {
    sequence.source = request.prompt;
    sequence.prompt = {*options.decoder_start_token};
  }
  SamplingParams early = request.sampling;
  for (const int32_t id : request.stop_ids) early.logit_bias.emplace_back(id, -INFINITY);
  std::vector<std::vector<uint64_t>> cache(static_cast<size_t>(num_stages));
  SimulatedOutput output;
  for (int64_t position = 0;; ++position) {
    uint64_t hidden = embed(sequence.token(position), position);
    for (int stage = 0; stage < num_stages; ++stage) {
      std::vector<uint64_t>& keys = cache[static_cast<size_t>(stage)];
      keys.push_back(mix(hidden, static_cast<uint64_t>(stage)));
      for (const uint64_t key : keys) hidden = mix(hidden, key);
      for (int64_t i = 0; i < sequence.source_length(); ++i) {
        hidden = mix(hidden, source_key(sequence.source, i, stage));
      }
    }
    if (position + 1 < sequence.length()) continue;
    const bool is_early = static_cast<int64_t>(sequence.output.size()) < request.min_tokens && !request.ignore_stop_ids;
    const int32_t token = draw(hidden, is_early ? early : request.sampling, sequence.output, options.vocab);
    if (token < 0) {
      output.finish = FinishReason::kError;
    } else {
      sequence.output.push_back(token);
      output.finish = finish_reason(request, sequence.output, options.limits());
    }
    if (output.finish == FinishReason::kNone) continue;
    output.tokens = sequence.output;
    return output;
  }
}

SimulatedRanks::SimulatedRanks(const SchedulerOptions& options, int num_stages)
    : options_(options), stages_(static_cast<size_t>(num_stages)) {
  for (Stage& stage : stages_) stage.cache.resize(static_cast<size_t>(options.num_blocks * options.block_size), 1);
}

void SimulatedRanks::start(const wire::StepPlan& plan) {
  int64_t num_tokens = 0;
  for (const wire::SequenceWork& work : plan.work()) num_tokens += work.num_tokens();
  EXPECT_LE(num_tokens, options_.max_tokens_per_step);
  int64_t num_source_tokens = 0;
  for (const wire::AdmittedSequence& admitted : plan.admitted()) num_source_tokens += admitted.source_size();
  EXPECT_LE(num_source_tokens, options_.max_tokens_per_step);
  EXPECT_LE(plan.work_size(), options_.max_seqs);
  stages_.front().plans.push_back({plan, std::vector<uint64_t>(static_cast<size_t>(num_tokens))});
}

bool SimulatedRanks::advance(std::mt19937_64& random) {
  std::vector<int> ready;
  for (size_t i = 0; i < stages_.size(); ++i) {
    if (!stages_[i].plans.empty()) ready.push_back(static_cast<int>(i));
  }
  if (ready.empty()) return false;
  execute(ready[random() % ready.size()]);
  return true;
}

wire::StepResult SimulatedRanks::take_result() {
  wire::StepResult result = std::move(results_.front());
  results_.pop_front();
  return result;
}

void SimulatedRanks::run_sequence(Stage& stage, int stage_index, SequenceTable::Entry& entry, int64_t num_tokens,
                                  uint64_t* hidden) {
  Sequence& sequence = entry.sequence;
  const auto slot_of = [&](const std::vector<int32_t>& table, int64_t position) -> uint64_t& {
    const int32_t block = table.at(static_cast<size_t>(position / options_.block_size));
    return stage.cache.at(static_cast<size_t>(block * options_.block_size + position % options_.block_size));
  };
  const auto slot = [&](int64_t position) -> uint64_t& { return slot_of(sequence.block_table, position); };
  if (sequence.is_source_pending()) {
    for (int64_t i = 0; i < sequence.source_length(); ++i) {
      slot_of(sequence.source_table, i) = source_key(sequence.source, i, stage_index);
    }
  }
  for (int64_t i = 0; i < num_tokens; ++i) {
    const int64_t position = sequence.num_computed + i;
    if (stage_index == 0) {
      int32_t token = sequence.token(position);
      if (token == Sequence::kFedToken) token = stage.sampled.at(static_cast<size_t>(entry.sampled_row));
      hidden[i] = embed(token, position);
    }
    slot(position) = mix(hidden[i], static_cast<uint64_t>(stage_index));
  }
  // All tokens of a step are in the cache before one is attended to.
  for (int64_t i = 0; i < num_tokens; ++i) {
    for (int64_t position = 0; position <= sequence.num_computed + i; ++position) {
      hidden[i] = mix(hidden[i], slot(position));
    }
    for (int64_t position = 0; position < sequence.source_length(); ++position) {
      hidden[i] = mix(hidden[i], slot_of(sequence.source_table, position));
    }
  }
}

void SimulatedRanks::execute(int stage_index) {
  Stage& stage = stages_[static_cast<size_t>(stage_index)];
  const bool is_last = static_cast<size_t>(stage_index) + 1 == stages_.size();
  Plan plan = std::move(stage.plans.front());
  stage.plans.pop_front();
  stage.table.apply(plan.plan);
  wire::StepResult result;
  result.set_step(plan.plan.step());
  std::vector<int32_t> sampled;
  uint64_t* hidden = plan.hidden.data();
  for (const wire::SequenceWork& work : plan.plan.work()) {
    SequenceTable::Entry& entry = stage.table.at(work.id());
    run_sequence(stage, stage_index, entry, work.num_tokens(), hidden);
    hidden += work.num_tokens();
    entry.sequence.num_computed += work.num_tokens();
    ASSERT_GE(entry.sequence.num_pending(), 0);
    if (entry.sequence.num_pending() > 0) continue;
    if (!is_last) continue;
    entry.sampled_row = static_cast<int32_t>(sampled.size());
    sampled.push_back(draw(hidden[-1], entry.next_sampling(), entry.sequence.output, options_.vocab));
    wire::SampledToken& token = *result.add_tokens();
    token.set_id(work.id());
    token.set_token(sampled.back());
  }
  stage.sampled = std::move(sampled);
  if (is_last) {
    results_.push_back(std::move(result));
  } else {
    stages_[static_cast<size_t>(stage_index) + 1].plans.push_back(std::move(plan));
  }
}

}  // namespace cohort::test
