// Log-probabilities of sampled tokens on both devices, against a sort in double precision.
#include "kernels/sampling/sampled_logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Row {
  std::vector<float> logits;
  int32_t token;
};

// log softmax in double precision, and the ids in the order of top_logprobs().
struct Expected {
  explicit Expected(const std::vector<float>& logits) : logprobs(logits.begin(), logits.end()), order(logits.size()) {
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float x : logits) sum += std::exp(x - max);
    for (double& x : logprobs) x -= max + std::log(sum);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
  }
  double of(int32_t id) const { return logprobs[static_cast<size_t>(id)]; }
  int32_t rank_of(int32_t id) const {
    return static_cast<int32_t>(std::find(order.begin(), order.end(), id) - order.begin());
  }

  std::vector<double> logprobs;
  std::vector<int32_t> order;
};

// The op's answers; its output begins poisoned and rows of logits are strided.
std::vector<SampledLogprobs> run(const std::vector<Row>& rows, int num_top, int64_t gap, Stream& stream) {
  const Device device = stream.device();
  const auto num_rows = static_cast<int64_t>(rows.size());
  const auto vocab = static_cast<int64_t>(rows[0].logits.size());
  Tensor storage(DType::kF32, {num_rows, vocab + gap}, device);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < num_rows; ++i) {
    const Row& row = rows[static_cast<size_t>(i)];
    copy_bytes(storage->row<float>(i), device, row.logits.data(), kCpuDevice, dtype_bytes(DType::kF32, vocab));
    tokens.push_back(row.token);
  }
  constexpr size_t kGuard = 8;
  const size_t num_bytes = rows.size() * sizeof(SampledLogprobs);
  std::vector<char> bytes(num_bytes + kGuard, '\xa5');
  const Tensor out(DType::kU8, {static_cast<int64_t>(bytes.size())}, device);
  copy_bytes(out->data(), device, bytes.data(), kCpuDevice, out->num_bytes());
  const TensorView view(out->data(), DType::kU8, {num_rows, static_cast<int64_t>(sizeof(SampledLogprobs))}, device);
  sampled_logprobs(view, storage->slice(1, 0, vocab), on_device(int32_tensor(tokens), device), num_top, stream);
  stream.synchronize();
  copy_bytes(bytes.data(), kCpuDevice, out->data(), device, out->num_bytes());
  EXPECT_EQ(std::string(bytes.data() + num_bytes, kGuard), std::string(kGuard, '\xa5')) << "wrote behind its rows";
  std::vector<SampledLogprobs> results(rows.size());
  std::memcpy(static_cast<void*>(results.data()), bytes.data(), num_bytes);
  return results;
}

void expect_right(const SampledLogprobs& got, const Row& row, const Expected& expected, int num_top) {
  const auto tolerance = [](double logprob) { return 1e-6 * (1 + std::abs(logprob)); };
  if (row.token < 0) {
    EXPECT_TRUE(std::isnan(got.logprob));
    EXPECT_EQ(got.rank, -1);
  } else if (std::isinf(expected.of(row.token))) {
    EXPECT_EQ(got.logprob, -kInfinity);
    EXPECT_EQ(got.rank, expected.rank_of(row.token));
  } else {
    EXPECT_NEAR(got.logprob, expected.of(row.token), tolerance(expected.of(row.token)));
    EXPECT_EQ(got.rank, expected.rank_of(row.token));
  }
  const auto num_finite = std::count_if(row.logits.begin(), row.logits.end(), [](float x) { return x > -kInfinity; });
  ASSERT_EQ(got.num_top, std::min<int64_t>(num_top, num_finite));
  for (int i = 0; i < got.num_top; ++i) {
    const int32_t id = expected.order[static_cast<size_t>(i)];
    ASSERT_EQ(got.top[i].id, id) << "place " << i;
    EXPECT_NEAR(got.top[i].logprob, expected.of(id), tolerance(expected.of(id)));
    if (id == row.token) {
      EXPECT_EQ(got.top[i].logprob, got.logprob);
    }
  }
}

// Spread, flat, with many equals, with much that is ruled out, and with all that is large in one place.
std::vector<Row> random_rows(int64_t vocab, std::mt19937& rng) {
  std::vector<Row> rows;
  for (int kind = 0; kind < 8; ++kind) {
    std::normal_distribution<float> normal(0.0f, kind == 0 ? 0.01f : kind == 1 ? 10.0f : 2.0f);
    std::vector<float> logits(static_cast<size_t>(vocab));
    for (float& x : logits) x = normal(rng);
    const auto rule_out = [&](int64_t share) {
      for (float& x : logits) x = rng() % static_cast<uint64_t>(share) == 0 ? x : -kInfinity;
      logits[rng() % logits.size()] = 0.5f;
    };
    for (float& x : logits) x = kind == 2 ? std::round(x) : kind == 3 ? 1.0f : x;
    if (kind == 4) rule_out(64);
    if (kind == 5) rule_out(vocab);
    if (kind == 6) {
      for (size_t i = logits.size() / 3; i < std::min(logits.size(), logits.size() / 3 + 100); ++i) logits[i] += 20;
    }
    if (kind == 7) std::fill(logits.begin() + 1, logits.end(), -1e30f);
    const auto token = static_cast<int32_t>(rng() % static_cast<uint64_t>(vocab));
    rows.push_back({logits, kind % 4 == 1 ? Expected(logits).order[0] : token});
    rows.push_back({std::move(logits), kind == 0 ? -1 : token});
  }
  return rows;
}

void expect_right_on(Stream& stream) {
  std::mt19937 rng(5);
  for (const int64_t vocab : {1, 7, 31, 1003, 4096, 50257, 128256}) {
    const std::vector<Row> rows = random_rows(vocab, rng);
    std::vector<Expected> expected;
    for (const Row& row : rows) expected.emplace_back(row.logits);
    for (const int num_top : {0, 1, 5, 20}) {
      for (const int64_t gap : {0, 3, 4}) {
        const std::vector<SampledLogprobs> results = run(rows, num_top, gap, stream);
        for (size_t i = 0; i < rows.size(); ++i) {
          SCOPED_TRACE("row " + std::to_string(i) + " of " + std::to_string(vocab) + ", " + std::to_string(num_top));
          expect_right(results[i], rows[i], expected[i], num_top);
        }
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

void expect_nothing_of_rows_without_a_finite_largest(Stream& stream) {
  std::vector<Row> rows(4, {std::vector<float>(5000, 1), 3});
  rows[0].logits[4999] = std::nanf("");
  rows[1].logits[0] = kInfinity;
  std::fill(rows[2].logits.begin(), rows[2].logits.end(), -kInfinity);
  const std::vector<SampledLogprobs> results = run(rows, 20, 0, stream);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(std::isnan(results[i].logprob)) << i;
    EXPECT_EQ(results[i].rank, -1) << i;
    EXPECT_EQ(results[i].num_top, 0) << i;
  }
  expect_right(results[3], rows[3], Expected(rows[3].logits), 20);
}

TEST(SampledLogprobs, AgreeWithASort) {
  for (const int num_threads : {1, 3}) {
    Stream stream(kCpuDevice, num_threads);
    expect_right_on(stream);
  }
}

TEST(SampledLogprobs, NothingOfRowsWithoutAFiniteLargest) {
  Stream stream(kCpuDevice, 1);
  expect_nothing_of_rows_without_a_finite_largest(stream);
}

TEST(SampledLogprobs, AreThoseOfOneRowOnTheCpu) {
  Stream stream(kCpuDevice, 2);
  std::mt19937 rng(9);
  for (const Row& row : random_rows(5000, rng)) {
    const SampledLogprobs got = run({row}, 20, 0, stream)[0];
    if (row.token >= 0) {
      EXPECT_EQ(got.logprob, token_logprob(row.logits, row.token));
    }
    const std::vector<TokenLogprob> top = top_logprobs(row.logits, 20);
    ASSERT_EQ(got.num_top, static_cast<int>(top.size()));
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(got.top[i].id, top[i].id);
      EXPECT_EQ(got.top[i].logprob, top[i].logprob);
    }
  }
}

TEST(SampledLogprobs, RefusesWhatItHasNoRoomFor) {
  Stream stream(kCpuDevice, 1);
  EXPECT_THROW(run({{{1, 2}, 0}}, kMaxTopLogprobs + 1, 0, stream), CheckError);
  EXPECT_THROW(run({{{1, 2}, 2}}, 1, 0, stream), CheckError);
}

using SampledLogprobsCuda = CudaTest;

TEST_F(SampledLogprobsCuda, AgreeWithASort) { expect_right_on(cuda()); }

TEST_F(SampledLogprobsCuda, NothingOfRowsWithoutAFiniteLargest) {
  expect_nothing_of_rows_without_a_finite_largest(cuda());
}

// Wherever the row is, however it lies, and whatever else is asked.
TEST_F(SampledLogprobsCuda, BitsOfARowAreItsOwn) {
  std::mt19937 rng(11);
  for (const int64_t vocab : {1003, 32000}) {
    const std::vector<Row> rows = random_rows(vocab, rng);
    const std::vector<SampledLogprobs> together = run(rows, 20, 0, cuda());
    for (size_t i = 0; i < rows.size(); ++i) {
      for (const int64_t gap : {0, 1}) {
        const SampledLogprobs alone = run({rows[i]}, 3, gap, cuda())[0];
        EXPECT_EQ(std::memcmp(&alone.logprob, &together[i].logprob, sizeof(float)), 0);
        for (int j = 0; j < alone.num_top; ++j) EXPECT_EQ(alone.top[j].logprob, together[i].top[j].logprob);
      }
    }
  }
}

}  // namespace
}  // namespace cohort
