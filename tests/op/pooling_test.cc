#include "kernels/pooling/pooling.h"

#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr Pooling kPoolings[] = {Pooling::kMean, Pooling::kFirst, Pooling::kLast};

// Sequences of several lengths, one after the other.
struct Problem {
  DType dtype;
  int64_t hidden;
  std::vector<int32_t> starts;
  Pooling pooling;
  bool normalizes;
  int64_t offset = 0;
  int64_t gap = 0;  // elements between two rows

  int64_t num_tokens() const { return starts.back(); }
  int64_t num_seqs() const { return static_cast<int64_t>(starts.size()) - 1; }
  Layout layout() const { return {num_tokens(), hidden, offset, gap}; }
};

std::string name_of(const Problem& p) {
  return name_of(p.layout(), p.dtype) + ", pooling " + std::to_string(static_cast<int>(p.pooling)) +
         (p.normalizes ? ", normalised" : "");
}

std::vector<float> run(const Problem& p, const std::vector<char>& bytes, Stream& stream) {
  const Operand x(bytes, p.dtype, p.layout(), stream.device());
  const Tensor out(DType::kF32, {p.num_seqs(), p.hidden}, stream.device());
  pool_sequences(out, x.view(), on_device(int32_tensor(p.starts), stream.device()), p.pooling, p.normalizes, stream);
  stream.synchronize();
  std::vector<float> values(static_cast<size_t>(out->num_elements()));
  copy_bytes(values.data(), kCpuDevice, out->data(), out->device(), out->num_bytes());
  return values;
}

std::vector<float> run(const Problem& p, Stream& stream) {
  return run(p, random_bytes(p.dtype, p.layout().num_elements(), 3, 2, 0.5), stream);
}

std::vector<double> expected_of(const Problem& p) {
  const Operand x(random_bytes(p.dtype, p.layout().num_elements(), 3, 2, 0.5), p.dtype, p.layout(), kCpuDevice);
  const std::vector<double> values = values_of(x.view());
  const auto hidden = static_cast<size_t>(p.hidden);
  std::vector<double> expected;
  for (size_t i = 0; i + 1 < p.starts.size(); ++i) {
    auto begin = static_cast<size_t>(p.starts[i]);
    auto end = static_cast<size_t>(p.starts[i + 1]);
    if (p.pooling == Pooling::kFirst) end = begin + 1;
    if (p.pooling == Pooling::kLast) begin = end - 1;
    std::vector<double> row(hidden);
    for (size_t j = begin * hidden; j < end * hidden; ++j) row[j % hidden] += values[j];
    double squares = 0;
    for (double& value : row) {
      value /= static_cast<double>(end - begin);
      squares += value * value;
    }
    for (const double value : row) expected.push_back(p.normalizes ? value / std::sqrt(squares) : value);
  }
  return expected;
}

void expect_close(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) ASSERT_NEAR(double{actual[i]}, expected[i], 3e-6) << i;
}

template <typename F>
void for_each_problem(F&& f) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t hidden : {1, 7, 24, 256, 384, 771}) {
      for (const Pooling pooling : kPoolings) {
        for (const bool normalizes : {false, true}) {
          for (const Problem& p : {Problem{dtype, hidden, {0, 1}, pooling, normalizes},
                                   Problem{dtype, hidden, {0, 3, 4, 12, 100}, pooling, normalizes, 3, 5}}) {
            SCOPED_TRACE(name_of(p));
            f(p);
          }
        }
      }
    }
  }
}

TEST(Pooling, AgreesWithDoublePrecision) {
  for_each_problem([](const Problem& p) {
    for (const int num_threads : kThreadCounts) {
      Stream stream(kCpuDevice, num_threads);
      expect_close(run(p, stream), expected_of(p));
    }
  });
}

TEST(Pooling, BitsOfASequenceDependOnNothingElse) {
  Stream stream(kCpuDevice, 2);
  const Problem together{DType::kBF16, 40, {0, 3, 10}, Pooling::kMean, true};
  const std::vector<char> x = random_bytes(together.dtype, together.layout().num_elements(), 3);
  const std::vector<float> all = run(together, x, stream);
  const std::vector<char> second(x.begin() + 3 * 40 * 2, x.end());
  const std::vector<float> alone = run({DType::kBF16, 40, {0, 7}, Pooling::kMean, true}, second, stream);
  EXPECT_EQ(alone, std::vector<float>(all.begin() + 40, all.end()));
}

TEST(Pooling, RefusesWhatDoesNotFit) {
  Stream stream(kCpuDevice, 1);
  const Tensor x(DType::kF32, {4, 8});
  const Tensor out(DType::kF32, {2, 8});
  const auto pool = [&](const TensorView& to, const std::vector<int32_t>& starts) {
    pool_sequences(to, x, int32_tensor(starts), Pooling::kMean, true, stream);
  };
  EXPECT_THROW(pool(out, {0, 2}), CheckError);
  EXPECT_THROW(pool(out, {0, 2, 2}), CheckError);
  EXPECT_THROW(pool(out, {0, 2, 5}), CheckError);
  EXPECT_THROW(pool(Tensor(DType::kF32, {2, 7}), {0, 2, 4}), CheckError);
  EXPECT_THROW(pool(Tensor(DType::kF16, {2, 8}), {0, 2, 4}), CheckError);
}

class PoolingCuda : public CudaTest {};

TEST_F(PoolingCuda, AgreesWithDoublePrecision) {
  for_each_problem([&](const Problem& p) { expect_close(run(p, cuda()), expected_of(p)); });
  Problem many{DType::kBF16, 64, {0}, Pooling::kMean, true};
  for (int32_t i = 1; i <= 3000; ++i) many.starts.push_back(many.starts.back() + i % 40 + 1);
  expect_close(run(many, cuda()), expected_of(many));
}

}  // namespace
}  // namespace cohort
