// Sampling on CUDA gives the tokens of the CPU.
#include <algorithm>
#include <limits>
#include <string>

#include "kernels/sampling/sampling_plan.h"
#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr Device kCuda{DeviceKind::kCuda, 0};
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Requests that own what they speak of.
struct Requests {
  std::vector<SamplingParams> params;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::vector<int32_t>> outputs;

  void add(SamplingParams p, std::vector<int32_t> prompt = {}, std::vector<int32_t> output = {}) {
    params.push_back(std::move(p));
    prompts.push_back(std::move(prompt));
    outputs.push_back(std::move(output));
  }
  std::vector<SamplingRequest> views() const {
    std::vector<SamplingRequest> all;
    for (size_t i = 0; i < params.size(); ++i) all.push_back({&params[i], prompts[i], outputs[i]});
    return all;
  }
};

std::vector<int32_t> random_tokens(size_t count, int64_t vocab, std::mt19937& rng) {
  std::vector<int32_t> tokens(count);
  // Some of them often.
  for (int32_t& token : tokens)
    token = static_cast<int32_t>(rng() % (rng() % 2 == 0 ? std::min<int64_t>(7, vocab) : vocab));
  return tokens;
}

// Every parameter on and off, in all mixtures that chance gives.
SamplingParams random_params(int64_t vocab, std::mt19937& rng) {
  const auto pick = [&](std::initializer_list<float> values) { return values.begin()[rng() % values.size()]; };
  SamplingParams params;
  params.temperature = pick({1.0f, 0.7f, 1.5f, 1.0f, 0.01f, 0.0f, 1e-38f});
  params.top_k = static_cast<int32_t>(pick({0, 0, 1, 2, 40, 1000, 1e6f}));
  params.top_p = pick({1.0f, 0.9f, 0.5f, 0.999f, 1e-6f});
  params.min_p = pick({0.0f, 0.0f, 0.05f, 1.0f});
  params.repetition_penalty = pick({1.0f, 1.0f, 1.2f, 0.8f});
  params.presence_penalty = pick({0.0f, 0.0f, 0.5f, -1.0f});
  params.frequency_penalty = pick({0.0f, 0.0f, 0.3f});
  params.seed = (uint64_t{rng()} << 32) | rng();
  for (uint32_t i = rng() % 4 == 0 ? 20 : 0; i > 0; --i) {
    params.logit_bias.emplace_back(static_cast<int32_t>(rng() % (i % 2 == 0 ? std::min<int64_t>(5, vocab) : vocab)),
                                   static_cast<float>(rng() % 1000) / 100.0f - 5.0f);
  }
  return params;
}

// Rows of every kind: spread, flat, with many equals, with much that is ruled out, not finite.
void fill_logits(const TensorView& logits, std::mt19937& rng) {
  for (int64_t r = 0; r < logits.dim(0); ++r) {
    float* const row = logits.row<float>(r);
    const uint32_t kind = rng() % 16;
    std::normal_distribution<float> normal(0.0f, kind == 0 ? 0.01f : kind == 1 ? 10.0f : 2.0f);
    for (int64_t i = 0; i < logits.dim(1); ++i) {
      float value = normal(rng);
      if (kind == 2 || kind == 3) value = std::round(value * 2) / 2;
      if (kind == 4) value = 0;
      if (kind == 5 && rng() % 64 != 0) value = -kInfinity;
      row[i] = value;
    }
    const auto any = static_cast<int64_t>(rng() % static_cast<uint64_t>(logits.dim(1)));
    if (kind == 6 && rng() % 4 == 0) row[any] = std::nanf("");
    if (kind == 7 && rng() % 4 == 0) row[any] = kInfinity;
    if (kind == 8 && rng() % 4 == 0) std::fill(row, row + logits.dim(1), -kInfinity);
  }
}

std::vector<int32_t> sample_on_cpu(const TensorView& logits, const Requests& requests, Stream& stream) {
  const Tensor changed(DType::kF32, logits.shape());
  std::memcpy(changed->data(), logits.data(), static_cast<size_t>(logits.num_bytes()));
  std::vector<int32_t> tokens(requests.params.size());
  const TensorView view(tokens.data(), DType::kI32, {static_cast<int64_t>(tokens.size())});
  sample(view, changed, requests.views(), stream);
  return tokens;
}

std::vector<int32_t> sample_on_cuda(const TensorView& logits, const Requests& requests, SamplingPlan& plan,
                                    Stream& stream) {
  constexpr int64_t kGap = 3;  // rows are strided
  const int64_t num_rows = logits.dim(0);
  const int64_t vocab = logits.dim(1);
  const Tensor storage(DType::kF32, {num_rows, vocab + kGap}, kCuda);
  for (int64_t r = 0; r < num_rows; ++r) {
    copy_bytes(storage->row<float>(r), kCuda, logits.row<float>(r), kCpuDevice, vocab * 4);
  }
  const Tensor tokens(DType::kI32, {num_rows}, kCuda);
  plan.prepare(requests.views(), vocab, stream);
  sample(tokens, storage->slice(1, 0, vocab), plan, stream);
  stream.synchronize();
  std::vector<int32_t> result(static_cast<size_t>(num_rows));
  copy_bytes(result.data(), kCpuDevice, tokens->data(), kCuda, tokens->num_bytes());
  return result;
}

class SamplingCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(SamplingCuda, GivesTheTokensOfTheCpu) {
  Stream cpu(kCpuDevice, 2);
  Stream stream(kCuda);
  std::mt19937 rng(7);
  const struct {
    int64_t vocab, num_rows;
    int num_steps;
  } cases[] = {{1, 8, 1}, {31, 64, 8}, {1003, 256, 8}, {50257, 64, 4}, {128256, 32, 4}};
  for (const auto& [vocab, num_rows, num_steps] : cases) {
    SamplingPlan plan(num_rows, num_rows * 600, kCuda);
    for (int step = 0; step < num_steps; ++step) {
      const Tensor logits(DType::kF32, {num_rows, vocab});
      fill_logits(logits, rng);
      Requests requests;
      for (int64_t i = 0; i < num_rows; ++i) {
        requests.add(random_params(vocab, rng), random_tokens(rng() % 300, vocab, rng),
                     random_tokens(rng() % 200, vocab, rng));
      }
      const std::vector<int32_t> expected = sample_on_cpu(logits, requests, cpu);
      const std::vector<int32_t> tokens = sample_on_cuda(logits, requests, plan, stream);
      for (size_t i = 0; i < tokens.size(); ++i) {
        const SamplingParams& p = requests.params[i];
        ASSERT_EQ(tokens[i], expected[i])
            << "row " << i << " of " << vocab << ": temperature " << p.temperature << ", top_k " << p.top_k
            << ", top_p " << p.top_p << ", min_p " << p.min_p << ", " << p.logit_bias.size() << " biases, penalties "
            << p.repetition_penalty << " " << p.presence_penalty << " " << p.frequency_penalty;
      }
    }
  }
}

// A batch of one kind each, so that a failure names the part.
TEST_F(SamplingCuda, EachParameterAlone) {
  constexpr int64_t kVocab = 5003;
  constexpr int64_t kNumRows = 64;
  Stream cpu(kCpuDevice, 2);
  Stream stream(kCuda);
  std::mt19937 rng(3);
  SamplingPlan plan(kNumRows, kNumRows * 600, kCuda);
  const std::pair<const char*, SamplingParams> kinds[] = {
      {"greedy", {.temperature = 0}},
      {"temperature", {.temperature = 0.8f}},
      {"top_k", {.top_k = 50}},
      {"top_p", {.top_p = 0.8f}},
      {"min_p", {.min_p = 0.1f}},
      {"repetition", {.temperature = 0, .repetition_penalty = 1.5f}},
      {"presence", {.temperature = 0, .presence_penalty = 2}},
      {"frequency", {.temperature = 0, .frequency_penalty = 2}},
      {"bias", {.temperature = 0, .logit_bias = {{3, 9.0f}, {5, 1.0f}, {3, 0.1f}}}},
  };
  for (const auto& [name, params] : kinds) {
    const Tensor logits(DType::kF32, {kNumRows, kVocab});
    fill_logits(logits, rng);
    Requests requests;
    for (int64_t i = 0; i < kNumRows; ++i) {
      SamplingParams p = params;
      p.seed = rng();
      requests.add(p, random_tokens(50, kVocab, rng), random_tokens(100, kVocab, rng));
    }
    EXPECT_EQ(sample_on_cuda(logits, requests, plan, stream), sample_on_cpu(logits, requests, cpu)) << name;
  }
}

TEST_F(SamplingCuda, NoRowsIsNothing) {
  Stream stream(kCuda);
  SamplingPlan plan(4, 4, kCuda);
  plan.prepare({}, 10, stream);
  sample(Tensor(DType::kI32, {0}, kCuda), Tensor(DType::kF32, {0, 10}, kCuda), plan, stream);
  EXPECT_NO_THROW(stream.synchronize());
}

// On the CPU a plan can be read.
TEST(SamplingPlan, SortsBiasesAndCountsTokensOnce) {
  Stream stream(kCpuDevice, 1);
  SamplingPlan plan(2, 8, kCpuDevice);
  Requests requests;
  requests.add({.logit_bias = {{7, 1.0f}, {2, 2.0f}, {7, 3.0f}}});
  requests.add({.repetition_penalty = 2}, {4, 1, 4}, {6, 1, 6});
  plan.prepare(requests.views(), 10, stream);
  ASSERT_EQ(plan.num_seqs(), 2);
  const SamplingRow& biased = plan.rows()[0];
  ASSERT_EQ(biased.num_biases, 3);
  EXPECT_EQ(biased.num_penalties, 0);
  const SamplingEntry* entry = plan.entries() + biased.first_bias;
  EXPECT_TRUE(entry[0].token == 2 && entry[0].bias == 2.0f);
  EXPECT_TRUE(entry[1].token == 7 && entry[1].bias == 1.0f);
  EXPECT_TRUE(entry[2].token == 7 && entry[2].bias == 3.0f);
  const SamplingRow& penalized = plan.rows()[1];
  EXPECT_EQ(penalized.num_biases, 0);
  ASSERT_EQ(penalized.num_penalties, 3);
  entry = plan.entries() + penalized.first_penalty;
  EXPECT_TRUE(entry[0].token == 6 && entry[0].count == 2);
  EXPECT_TRUE(entry[1].token == 1 && entry[1].count == 1);
  EXPECT_TRUE(entry[2].token == 4 && entry[2].count == 0);
}

TEST(SamplingPlan, RefusesWhatThereIsNoRoomFor) {
  Stream stream(kCpuDevice, 1);
  SamplingPlan plan(1, 2, kCpuDevice);
  const auto prepare = [&](const Requests& requests) { plan.prepare(requests.views(), 10, stream); };
  Requests many_rows;
  many_rows.add({});
  many_rows.add({});
  EXPECT_THROW(prepare(many_rows), CheckError);
  Requests many_entries;
  many_entries.add({.presence_penalty = 1}, {}, {1, 2, 3});
  EXPECT_THROW(prepare(many_entries), CheckError);
  Requests outside;
  outside.add({.logit_bias = {{10, 1.0f}}});
  EXPECT_THROW(prepare(outside), CheckError);
  Requests fits;
  fits.add({.presence_penalty = 1}, {}, {1, 2, 1});
  prepare(fits);  // and nothing is left of what did not fit
  EXPECT_EQ(plan.rows()[0].num_penalties, 2);
  EXPECT_EQ(plan.entries()[0].count, 2);
  EXPECT_THROW(sample(Tensor(DType::kI32, {1}), Tensor(DType::kF32, {1, 10}), plan, stream), CheckError);
}

}  // namespace
}  // namespace cohort
