// Many requests that come and go, over a cache that is far too small for them: each gets what it gets alone, on every
// layout, token for token, and in the end every block is back.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/parallel/rank_test.h"
#include "tests/parallel/tiny_model.h"
#include "tests/parallel/tiny_requests.h"

namespace cohort {
namespace {

using test::kLlamaConfig;
using test::load_tiny;
using test::run_ranks;

constexpr int kNumRequests = 200;
constexpr int64_t kNumBlocks = 24;

// As test::Output, without log-probabilities.
struct Answer {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  bool operator==(const Answer&) const = default;
};

// Prompts that begin alike, up to the longest that the cache holds; half greedy.
std::vector<GenerationRequest> make_requests(int64_t vocab) {
  std::mt19937_64 random(5);
  const auto pick = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  std::vector<GenerationRequest> requests(kNumRequests);
  for (GenerationRequest& request : requests) {
    const int64_t kind = pick(3);
    request.prompt = test::prompt_of(1 + pick(60), static_cast<uint64_t>(kind), vocab);
    const auto num_own = static_cast<size_t>(pick(6));
    for (size_t i = request.prompt.size() - std::min(num_own, request.prompt.size()); i < request.prompt.size(); ++i) {
      request.prompt[i] = static_cast<int32_t>(pick(vocab));
    }
    request.max_tokens = 1 + pick(24);
    request.sampling.seed = static_cast<uint64_t>(pick(1000));
    request.sampling.temperature = pick(2) == 0 ? 0.0f : 1.0f;
    request.sampling.repetition_penalty = pick(5) == 0 ? 1.2f : 1;
    for (int i = 0; i < 40; ++i) request.stop_ids.push_back(static_cast<int32_t>(pick(vocab)));
    request.min_tokens = pick(3) == 0 ? pick(request.max_tokens + 1) : 0;
    request.priority = static_cast<int32_t>(pick(2));
    request.tenant.assign(1, pick(2) == 0 ? 'a' : 'b');
  }
  return requests;
}

void take(const std::vector<TokenEvent>& events, std::map<int64_t, Answer>& answers) {
  for (const TokenEvent& event : events) {
    answers[event.request_id].tokens.push_back(event.token);
    answers[event.request_id].finish = event.finish;
  }
}

std::vector<Answer> answer_alone(const std::vector<GenerationRequest>& requests) {
  Stream stream(kCpuDevice, 1);
  const RankComms solo = RankComms::solo();
  const std::unique_ptr<Decoder> model = load_tiny(kLlamaConfig, DType::kBF16, ParallelLayout(), stream);
  ModelRunner runner(*model, solo,
                     {.num_blocks = 8, .max_tokens_per_step = 128, .max_seqs = 1, .shares_prefixes = false}, stream);
  Engine engine(runner, solo);
  std::vector<Answer> answers;
  for (const GenerationRequest& request : requests) {
    std::map<int64_t, Answer> answer;
    const auto id = engine.submit(request);
    EXPECT_TRUE(id.ok()) << id.status().message();
    while (engine.has_work()) take(engine.step(), answer);
    answers.push_back(answer[*id]);
  }
  return answers;
}

// Requests arrive a few at a time, and some are cancelled.
void serve(Engine& engine, const std::vector<GenerationRequest>& requests, const std::vector<Answer>& expected) {
  std::mt19937_64 random(9);
  std::map<int64_t, Answer> answers;
  std::map<int64_t, bool> is_cancelled;
  size_t num_submitted = 0;
  while (num_submitted < requests.size() || engine.has_work()) {
    for (uint64_t i = random() % 4; i > 0 && num_submitted < requests.size(); --i, ++num_submitted) {
      const auto id = engine.submit(requests[num_submitted]);
      ASSERT_TRUE(id.ok()) << id.status().message();
      ASSERT_EQ(*id, static_cast<int64_t>(num_submitted));
    }
    if (random() % 12 == 0 && num_submitted > 0) {
      const auto id = static_cast<int64_t>(num_submitted - 1 - random() % std::min<size_t>(num_submitted, 8));
      engine.cancel(id);
      if (answers[id].finish == FinishReason::kNone) is_cancelled[id] = true;
    }
    if (engine.has_work()) take(engine.step(), answers);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    Answer& answer = answers[static_cast<int64_t>(i)];
    if (is_cancelled[static_cast<int64_t>(i)]) {
      ASSERT_LE(answer.tokens.size(), expected[i].tokens.size());
      EXPECT_EQ(answer.finish, FinishReason::kNone);
      EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), expected[i].tokens.begin()));
    } else {
      EXPECT_EQ(answer, expected[i]) << "request " << i;
    }
  }
  const EngineStats stats = engine.stats();
  EXPECT_GT(stats.num_preemptions, 3);
  EXPECT_GT(stats.num_prefix_hits, 200);
  EXPECT_GT(stats.num_cancelled, 3);
  EXPECT_EQ(stats.num_owned_blocks, 0);
  EXPECT_EQ(engine.blocks().num_available(), kNumBlocks);
  EXPECT_EQ(stats.num_running + stats.num_waiting, 0);
  EXPECT_NO_THROW(engine.blocks().check_invariants());
}

TEST(EngineServingTest, StopIdsAreNotDrawnBeforeMinTokens) {
  Stream stream(kCpuDevice, 1);
  const RankComms solo = RankComms::solo();
  const std::unique_ptr<Decoder> model = load_tiny(kLlamaConfig, DType::kF32, ParallelLayout(), stream);
  for (const bool overlap_steps : {false, true}) {
    ModelRunner runner(*model, solo, {.num_blocks = 8, .overlap_steps = overlap_steps}, stream);
    Engine engine(runner, solo);
    const auto answer = [&](const GenerationRequest& request) {
      std::map<int64_t, Answer> answers;
      const auto id = engine.submit(request);
      EXPECT_TRUE(id.ok()) << id.status().message();
      while (engine.has_work()) take(engine.step(), answers);
      return answers[*id];
    };
    for (const float temperature : {0.0f, 1.0f}) {
      GenerationRequest request;
      request.prompt = test::prompt_of(9, 1, model->spec().vocab);
      request.max_tokens = 12;
      request.sampling.temperature = temperature;
      const std::vector<int32_t> tokens = answer(request).tokens;
      ASSERT_EQ(tokens.size(), 12u);
      // All that would come until the end of min_tokens are stop ids.
      request.stop_ids.assign(tokens.begin(), tokens.begin() + 6);
      request.stop_ids.push_back(1 << 20);  // some models have them outside of the vocabulary
      EXPECT_EQ(answer(request).tokens.size(), 1u);
      request.min_tokens = 6;
      const Answer late = answer(request);
      ASSERT_GE(late.tokens.size(), 6u);
      for (size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(std::count(request.stop_ids.begin(), request.stop_ids.end(), late.tokens[i]), 0) << i;
      }
      request.ignore_stop_ids = true;
      EXPECT_EQ(answer(request).tokens, tokens);
    }
  }
}

// The loop of a server: cancelled while steps are under way, and nothing else to do.
TEST(EngineServingTest, WhatIsUnderWayForNobodyIsDrained) {
  Stream stream(kCpuDevice, 1);
  const RankComms solo = RankComms::solo();
  const std::unique_ptr<Decoder> model = load_tiny(kLlamaConfig, DType::kF32, ParallelLayout(), stream);
  ModelRunner runner(*model, solo, {.num_blocks = 16, .max_seqs = 2, .overlap_steps = true}, stream);
  Engine engine(runner, solo);
  GenerationRequest request;
  request.prompt = test::prompt_of(20, 1, model->spec().vocab);
  request.max_tokens = 50;
  for (int64_t id = 0; id < 3; ++id) ASSERT_EQ(*engine.submit(request), id);
  engine.step();
  for (int64_t id = 0; id < 3; ++id) engine.cancel(id);
  EXPECT_EQ(engine.stats().num_owned_blocks, 0);
  EXPECT_TRUE(engine.has_work());  // a step
  while (engine.has_work()) EXPECT_TRUE(engine.step().empty());
  EXPECT_EQ(engine.stats().num_cancelled, 3);
}

struct Layout {
  const char* name;
  ParallelSizes sizes;
  bool overlap_steps;
};

class ServingTest : public testing::TestWithParam<Layout> {};

TEST_P(ServingTest, EveryRequestGetsWhatItGetsAlone) {
  const ParallelSizes& sizes = GetParam().sizes;
  const bool overlap_steps = GetParam().overlap_steps;
  run_ranks(sizes.num_ranks(), [&](HostComm& world) {
    Stream stream(kCpuDevice, 1);
    const RankComms comms = RankComms::create(world, sizes, kCpuDevice);
    const std::unique_ptr<Decoder> part = load_tiny(kLlamaConfig, DType::kBF16, comms.layout, stream);
    ModelRunner runner(*part, comms,
                       {.block_size = 4,
                        .num_blocks = kNumBlocks,
                        .max_tokens_per_step = 24,
                        .max_seqs = 8,
                        .overlap_steps = overlap_steps},
                       stream);
    if (!comms.layout.is_leader()) return follow(runner, comms);
    const std::vector<GenerationRequest> requests = make_requests(part->spec().vocab);
    const std::vector<Answer> expected = answer_alone(requests);
    Engine engine(runner, comms);
    serve(engine, requests, expected);
  });
}

INSTANTIATE_TEST_SUITE_P(, ServingTest,
                         testing::Values(Layout{"Solo", {}, false}, Layout{"SoloOverlap", {}, true},
                                         Layout{"Tp2", {.tensor = 2}, false}, Layout{"Tp2Overlap", {.tensor = 2}, true},
                                         Layout{"Pp2", {.pipeline = 2}, false},
                                         Layout{"Tp2Pp2", {.tensor = 2, .pipeline = 2}, false}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cohort
