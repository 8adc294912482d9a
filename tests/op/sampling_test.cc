#include "kernels/sampling/sampling.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "kernels/sampling/philox.h"
#include "kernels/sampling/selection.h"
#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Samples once from one row; `output` numbers the draw and is penalised.
int32_t sample_one(std::vector<float> logits, const SamplingParams& params, const std::vector<int32_t>& output = {},
                   const std::vector<int32_t>& prompt = {}) {
  Stream stream(kCpuDevice, 1);
  Tensor token(DType::kI32, {1});
  const TensorView row(logits.data(), DType::kF32, {1, static_cast<int64_t>(logits.size())});
  const SamplingRequest request{&params, prompt, output};
  sample(token, row, std::span(&request, 1), stream);
  return *token->data<int32_t>();
}

// How often each token comes in `n` draws of different seeds.
std::map<int32_t, int> draw_often(const std::vector<float>& logits, SamplingParams params, int n) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < n; ++i) {
    params.seed = static_cast<uint64_t>(i);
    ++counts[sample_one(logits, params)];
  }
  return counts;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p(logits.begin(), logits.end());
  const double max = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& x : p) sum += x = std::exp((x - max) / temperature);
  for (double& x : p) x /= sum;
  return p;
}

// Every share within five standard deviations of its probability, and nothing of probability 0.
void expect_frequencies(const std::map<int32_t, int>& counts, const std::vector<double>& p, int n) {
  for (size_t i = 0; i < p.size(); ++i) {
    const auto found = counts.find(static_cast<int32_t>(i));
    const double share = found == counts.end() ? 0 : static_cast<double>(found->second) / n;
    EXPECT_NEAR(share, p[i], 5 * std::sqrt(p[i] * (1 - p[i]) / n)) << "token " << i;
  }
}

// The tokens that `params` keep: those that come in many draws of a nearly flat row.
std::vector<int32_t> kept(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<int32_t> tokens;
  for (const auto& [token, count] : draw_often(logits, params, 2000)) tokens.push_back(token);
  return tokens;
}

TEST(Philox, PublishedVectors) {  // Random123, kat_vectors
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32_10({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Selection, FindsTheLowestOfTheLargest) {
  for (const size_t n : {1, 5, 8, 9, 64, 1001}) {
    std::vector<float> x(n, -3);
    EXPECT_EQ(find_largest(x).index, 0);
    x[n / 2] = x[n - 1] = 7;
    EXPECT_EQ(find_largest(x).index, static_cast<int32_t>(n / 2));
    EXPECT_EQ(find_largest(x).value, 7);
    x[n - 1] = std::nanf("");
    EXPECT_EQ(find_largest(x).index, -1);
    x[n - 1] = kInfinity;
    EXPECT_EQ(find_largest(x).index, -1);
    EXPECT_EQ(find_largest(std::vector<float>(n, -kInfinity)).index, -1);
  }
  EXPECT_EQ(find_largest({}).index, -1);
}

TEST(Selection, SelectsLikeASort) {
  std::mt19937 rng(1);
  for (const int n : {1, 7, 100, 5000, 40000}) {
    for (const int num_distinct : {2, 50, 1000000}) {  // many ties, and none
      std::vector<float> x(static_cast<size_t>(n));
      for (float& v : x) v = static_cast<float>(rng() % num_distinct) - 20.0f;
      if (n > 50) x[3] = -kInfinity;
      for (const int k : {1, 2, 40, 3000}) {
        if (k >= n) continue;
        std::vector<int32_t> order(x.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
        std::vector<uint64_t> keys;
        select_largest(x, k, keys);
        std::sort(keys.begin(), keys.end(), std::greater<>());
        ASSERT_EQ(keys.size(), static_cast<size_t>(k));
        for (int i = 0; i < k; ++i) {
          ASSERT_EQ(key_index(keys[i]), order[i]);
          ASSERT_EQ(key_value(keys[i]), x[order[i]]);
        }
      }
    }
  }
}

TEST(Sampling, ZeroTemperatureTakesTheLargest) {
  SamplingParams greedy;
  greedy.temperature = 0;
  EXPECT_EQ(sample_one({1, 3, 2}, greedy), 1);
  EXPECT_EQ(sample_one({1, 3, 3}, greedy), 1);
  EXPECT_EQ(sample_one({-5}, greedy), 0);
  EXPECT_EQ(sample_one({-0.0f, 0.0f, -1}, greedy), 0);
  greedy.top_p = 0.5f;  // nothing of it changes the largest
  greedy.min_p = 1;
  EXPECT_EQ(sample_one({1, -kInfinity, 2}, greedy), 2);
}

TEST(Sampling, OneOfTopKIsGreedy) {
  SamplingParams params;
  params.top_k = 1;
  params.temperature = 100;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    params.seed = seed;
    EXPECT_EQ(sample_one({1, 3, 2, 3}, params), 1);
  }
}

TEST(Sampling, SmallestTemperatureIsGreedyWithoutOverflow) {
  SamplingParams params;
  params.temperature = std::numeric_limits<float>::min();
  EXPECT_EQ(sample_one({-1e30f, 3, 2, 1e30f}, params), 3);
  params.temperature = std::numeric_limits<float>::denorm_min();
  EXPECT_EQ(sample_one({1, 3, 2}, params), 1);
}

TEST(Sampling, RowsWithoutAFiniteLargestGiveMinusOne) {
  for (const float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    EXPECT_EQ(sample_one({1, std::nanf(""), 2}, params), -1);
    EXPECT_EQ(sample_one({1, kInfinity, 2}, params), -1);
    EXPECT_EQ(sample_one({-kInfinity, -kInfinity}, params), -1);
    EXPECT_EQ(sample_one({-kInfinity, -4}, params), 1);
  }
}

TEST(Sampling, DrawsWithTheProbabilitiesOfTheSoftmax) {
  constexpr int kDraws = 40000;
  const std::vector<float> logits = {0, 1, -1, 2, -kInfinity, 0.5f, 2, -3, 1.5f};
  for (const float temperature : {0.5f, 1.0f, 3.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    expect_frequencies(draw_often(logits, params, kDraws), softmax(logits, temperature), kDraws);
  }
}

TEST(Sampling, DrawsFromALongRowEvenly) {
  const std::vector<float> logits(1000, -2);
  constexpr int kDraws = 50000;
  expect_frequencies(draw_often(logits, {}, kDraws), softmax(logits, 1), kDraws);
}

TEST(Sampling, TopKKeepsTheLargestAndLowerIdsOfEquals) {
  SamplingParams params;
  params.temperature = 10;
  const std::vector<float> logits = {0, 2, 1, 2, 1, 1};
  const std::vector<std::vector<int32_t>> expected = {{0, 1, 2, 3, 4, 5}, {1},          {1, 3},
                                                      {1, 2, 3},          {1, 2, 3, 4}, {1, 2, 3, 4, 5}};
  for (int k = 0; k <= 8; ++k) {
    params.top_k = k;
    EXPECT_EQ(kept(logits, params), expected[k < 6 ? k : 0]) << k;
  }
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  // Probabilities 0.4, 0.3, 0.2, 0.1.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.1f), std::log(0.3f)};
  SamplingParams params;
  const std::vector<std::pair<float, std::vector<int32_t>>> expected = {
      {1e-6f, {1}},       {0.39f, {1}},       {0.41f, {1, 3}},       {0.69f, {1, 3}},
      {0.71f, {0, 1, 3}}, {0.89f, {0, 1, 3}}, {0.91f, {0, 1, 2, 3}}, {1.0f, {0, 1, 2, 3}}};
  for (const auto& [p, tokens] : expected) {
    params.top_p = p;
    EXPECT_EQ(kept(logits, params), tokens) << p;
  }
  params.top_p = 0.5f;
  EXPECT_EQ(kept({1, 1, 1, 1}, params), (std::vector<int32_t>{0, 1}));  // exactly half
}

TEST(Sampling, TopPCountsWhatTopKLeft) {
  // Of 0.4, 0.3 and 0.2 the share 0.4 / 0.9 is below 0.45; of all four it would be too, so ask for
  // what tells them apart.
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  SamplingParams params;
  params.top_p = 0.75f;
  EXPECT_EQ(kept(logits, params), (std::vector<int32_t>{0, 1, 2}));  // 0.7 is short of 0.75
  params.top_k = 3;
  EXPECT_EQ(kept(logits, params), (std::vector<int32_t>{0, 1}));  // 0.7 / 0.9 is not
}

TEST(Sampling, MinPIsRelativeToTheMostProbable) {
  const std::vector<float> logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  SamplingParams params;
  for (const auto& [p, count] :
       {std::pair{0.0f, 4}, {0.24f, 4}, {0.26f, 3}, {0.49f, 3}, {0.51f, 2}, {0.76f, 1}, {1.0f, 1}}) {
    params.min_p = p;
    EXPECT_EQ(kept(logits, params).size(), static_cast<size_t>(count)) << p;
  }
}

TEST(Sampling, TopPOfALongFlatRow) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0, 0.3f);
  std::vector<float> logits(20000);
  for (float& x : logits) x = normal(rng);
  const std::vector<double> p = softmax(logits, 1);
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.999f}) {
    double sum = 0;
    size_t num_kept = 0;
    while (sum < top_p) sum += p[order[num_kept++]];
    const float threshold = logits[order[num_kept - 1]];
    SamplingParams params;
    params.top_p = top_p;
    for (const auto& [token, count] : draw_often(logits, params, 300)) {
      EXPECT_GE(logits[token], threshold - 1e-5f);
    }
    // All that is kept comes with its share: the upper half of the kept about half of the time.
    int num_upper = 0;
    double upper = 0;
    for (size_t i = 0; i < num_kept / 2; ++i) upper += p[order[i]] / sum;
    const float middle = logits[order[num_kept / 2]];
    for (const auto& [token, count] : draw_often(logits, params, 1000)) {
      if (logits[token] > middle) num_upper += count;
    }
    EXPECT_NEAR(num_upper / 1000.0, upper, 0.1);
  }
}

TEST(Sampling, RepetitionPenaltyOfPromptAndOutputOnce) {
  SamplingParams greedy;
  greedy.temperature = 0;
  greedy.repetition_penalty = 2;
  // Divided: 4 / 2 < 3. Multiplied: -1 * 2 < -1.5. Once, though it occurs thrice.
  EXPECT_EQ(sample_one({4, 3}, greedy, {0}), 1);
  EXPECT_EQ(sample_one({4, 3}, greedy, {}, {0}), 1);
  EXPECT_EQ(sample_one({-1, -1.5f}, greedy, {}, {0}), 1);
  EXPECT_EQ(sample_one({4, 1.9f}, greedy, {0, 0}, {0}), 0);
  greedy.repetition_penalty = 0.5f;
  EXPECT_EQ(sample_one({2, 3}, greedy, {0}), 0);
}

TEST(Sampling, PresenceAndFrequencyPenaltiesOfTheOutput) {
  SamplingParams greedy;
  greedy.temperature = 0;
  greedy.presence_penalty = 1;
  EXPECT_EQ(sample_one({4, 3.5f}, greedy, {0}), 1);
  EXPECT_EQ(sample_one({4, 2.5f}, greedy, {0, 0, 0}), 0);  // once
  EXPECT_EQ(sample_one({4, 3.5f}, greedy, {}, {0}), 0);    // not for the prompt
  greedy.presence_penalty = 0;
  greedy.frequency_penalty = 0.5f;
  EXPECT_EQ(sample_one({4, 2.6f}, greedy, {0, 0}), 0);
  EXPECT_EQ(sample_one({4, 2.6f}, greedy, {0, 0, 0}), 1);
  EXPECT_EQ(sample_one({4, 2.6f}, greedy, {}, {0, 0, 0}), 0);
}

TEST(Sampling, BiasComesBeforePenalties) {
  SamplingParams greedy;
  greedy.temperature = 0;
  greedy.logit_bias = {{2, 5}, {0, -1}, {2, 1}};
  EXPECT_EQ(sample_one({4, 3, -2}, greedy), 2);  // -2 + 5 + 1
  EXPECT_EQ(sample_one({4, 3.5f, -9}, greedy), 1);
  greedy.repetition_penalty = 4;  // 4 / 4 rather than -2 * 4 + 6
  EXPECT_EQ(sample_one({-9, 0.5f, -2}, greedy, {2}), 2);
}

TEST(Sampling, PenaltiesLeaveNothingBehind) {
  SamplingParams params;
  params.temperature = 0;
  params.repetition_penalty = 2;
  params.frequency_penalty = 1;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sample_one({4, 3}, params, {0, 0, 1}, {1, 0}), 1);  // 0 against 0.5
    EXPECT_EQ(sample_one({4, 3}, params), 0);
  }
}

TEST(Sampling, DrawDependsOnSeedAndNumberAlone) {
  constexpr int64_t kRows = 17;
  constexpr int64_t kVocab = 333;
  std::vector<SamplingParams> params(kRows);
  std::vector<SamplingRequest> requests(kRows);
  const std::vector<int32_t> history(kRows, 0);
  for (size_t i = 0; i < kRows; ++i) {
    params[i].seed = i / 3 * 0x100000001ull;
    params[i].top_p = i % 2 == 0 ? 1.0f : 0.8f;
    params[i].top_k = i % 4 == 0 ? 50 : 0;
    requests[i] = {&params[i], {}, std::span(history).first(i)};
  }
  std::string bits;
  for (const int num_threads : kThreadCounts) {
    Stream stream(kCpuDevice, num_threads);
    GuardedTensor logits(DType::kF32, kRows, kVocab);
    fill_random(logits, 1);
    const GuardedTensor copy(DType::kF32, kRows, kVocab);
    fill_random(copy, 1);
    Tensor tokens(DType::kI32, {kRows});
    sample(tokens, logits, requests, stream);
    logits.expect_guards_untouched();
    const std::string got(static_cast<const char*>(tokens->data()), kRows * sizeof(int32_t));
    if (bits.empty()) bits = got;
    EXPECT_EQ(bits, got);
    for (int64_t i = 0; i < kRows; ++i) {
      Tensor token(DType::kI32, {1});
      sample(token, copy.view().slice(0, i, i + 1), std::span(&requests[i], 1), stream);
      EXPECT_EQ(*token->data<int32_t>(), tokens->data<int32_t>()[i]);
    }
  }
}

TEST(Sampling, SeedsAndNumbersGiveDifferentDraws) {
  const std::vector<float> logits(5000, 0);
  std::map<int32_t, int> by_seed;
  std::map<int32_t, int> by_number;
  for (uint32_t i = 0; i < 64; ++i) {
    SamplingParams params;
    params.seed = uint64_t{i} << 32;
    ++by_seed[sample_one(logits, params)];
    params.seed = 7;
    ++by_number[sample_one(logits, params, std::vector<int32_t>(i, 0))];
  }
  EXPECT_GT(by_seed.size(), 60u);
  EXPECT_GT(by_number.size(), 60u);
}

TEST(Sampling, NoRowsIsNothing) {
  Stream stream(kCpuDevice, 2);
  Tensor tokens(DType::kI32, {0});
  Tensor logits(DType::kF32, {0, 10});
  sample(tokens, logits, {}, stream);
}

TEST(Sampling, RefusesTokensOutsideOfTheVocabulary) {
  SamplingParams params;
  params.repetition_penalty = 2;
  EXPECT_THROW(sample_one({1, 2}, params, {2}), CheckError);
  EXPECT_THROW(sample_one({1, 2}, params, {}, {-1}), CheckError);
  EXPECT_EQ(sample_one({1, 9}, {.temperature = 0, .repetition_penalty = 2}, {1}), 1);
}

TEST(SamplingParams, ValidateNamesTheField) {
  EXPECT_TRUE(SamplingParams{}.validate(10).ok());
  const auto expect_error = [](const std::string& field, const SamplingParams& params) {
    const Status status = params.validate(10);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << field;
    EXPECT_EQ(status.message().rfind(field + ": expected ", 0), 0u) << status.message();
  };
  const float nan = std::nanf("");
  for (const float x : {-0.1f, nan, kInfinity}) expect_error("temperature", {.temperature = x});
  expect_error("top_k", {.top_k = -1});
  for (const float x : {0.0f, -1.0f, 1.1f, nan}) expect_error("top_p", {.top_p = x});
  for (const float x : {-0.1f, 1.1f, nan}) expect_error("min_p", {.min_p = x});
  for (const float x : {0.0f, -1.0f, nan, kInfinity}) {
    expect_error("repetition_penalty", {.repetition_penalty = x});
  }
  for (const float x : {-2.1f, 2.1f, nan}) {
    expect_error("presence_penalty", {.presence_penalty = x});
    expect_error("frequency_penalty", {.frequency_penalty = x});
  }
  expect_error("logit_bias", {.logit_bias = {{10, 1.0f}}});
  expect_error("logit_bias", {.logit_bias = {{-1, 1.0f}}});
  expect_error("logit_bias", {.logit_bias = {{0, kInfinity}}});
  EXPECT_TRUE(
      (SamplingParams{.temperature = 0, .top_k = 1000, .min_p = 1, .logit_bias = {{9, -100.0f}}}).validate(10).ok());
}

TEST(Logprobs, AgreeWithDoublePrecision) {
  for (const int64_t vocab : {1, 5, 100, 5000}) {
    const Tensor x = random_floats(vocab, 1, 4);
    const std::span<const float> logits(x->data<float>(), static_cast<size_t>(vocab));
    const std::vector<double> p = softmax({logits.begin(), logits.end()}, 1);
    for (int32_t i = 0; i < vocab; i += 7) {
      EXPECT_NEAR(token_logprob(logits, i), std::log(p[i]), 2e-6 * (1 + std::abs(std::log(p[i]))));
    }
    const std::vector<TokenLogprob> top = top_logprobs(logits, 20);
    ASSERT_EQ(top.size(), static_cast<size_t>(std::min<int64_t>(20, vocab)));
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].logprob, token_logprob(logits, top[i].id));
      EXPECT_GE(top[i > 0 ? i - 1 : 0].logprob, top[i].logprob);
    }
    EXPECT_EQ(top[0].id, std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
}

TEST(Logprobs, TiesAndEnds) {
  const std::vector<float> logits = {1, 2, 2, -kInfinity, 1};
  const std::vector<TokenLogprob> top = top_logprobs(logits, 4);
  ASSERT_EQ(top.size(), 4u);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 2);
  EXPECT_EQ(top[2].id, 0);
  EXPECT_EQ(top[3].id, 4);
  EXPECT_EQ(token_logprob(logits, 3), -kInfinity);
  EXPECT_TRUE(top_logprobs(logits, 0).empty());
  EXPECT_TRUE(top_logprobs({}, 3).empty());
  EXPECT_THROW(token_logprob(logits, 5), CheckError);
}

}  // namespace
}  // namespace cohort
