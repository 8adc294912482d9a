#include "kernels/norm/head_norm.h"

#include "kernels/norm/norm.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr float kEps = 1e-6f;

// The heads of a fused qkv: q, then k, then something else.
struct Problem {
  DType dtype;
  int64_t num_tokens;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t offset = 0;
  int64_t gap = 0;  // elements between a token's k and the next one's q

  int64_t num_columns() const { return (num_heads + num_kv_heads) * head_dim; }
  Layout layout() const { return {num_tokens, num_columns(), offset, gap}; }
};

std::string name_of(const Problem& p) {
  return name_of(p.layout(), p.dtype) + ", " + std::to_string(p.num_heads) + " + " + std::to_string(p.num_kv_heads) +
         " heads";
}

Tensor weight_of(int64_t head_dim, uint32_t seed) { return random_floats(head_dim, seed, 0.5, 1); }

// All bytes of what was normalised.
std::vector<char> run(const Problem& p, const std::vector<char>& bytes, Stream& stream) {
  const Operand x(bytes, p.dtype, p.layout(), stream.device());
  const int64_t q_columns = p.num_heads * p.head_dim;
  const TensorView q = x.view().slice(1, 0, q_columns).reshape({p.num_tokens, p.num_heads, p.head_dim});
  const TensorView k =
      x.view().slice(1, q_columns, p.num_columns()).reshape({p.num_tokens, p.num_kv_heads, p.head_dim});
  head_rms_norm(q, k, on_device(weight_of(p.head_dim, 1), stream.device()),
                on_device(weight_of(p.head_dim, 2), stream.device()), kEps, stream);
  stream.synchronize();
  return x.bytes();
}

std::vector<char> run(const Problem& p, Stream& stream) {
  return run(p, random_bytes(p.dtype, p.layout().num_elements(), 3, 2, 0.5), stream);
}

// By rms_norm() of each head's row.
std::vector<char> expected_of(const Problem& p) {
  Stream stream(kCpuDevice, 1);
  const Operand x(random_bytes(p.dtype, p.layout().num_elements(), 3, 2, 0.5), p.dtype, p.layout(), kCpuDevice);
  for (int64_t head = 0; head < p.num_heads + p.num_kv_heads; ++head) {
    const TensorView rows = x.view().slice(1, head * p.head_dim, (head + 1) * p.head_dim);
    rms_norm(rows, rows, weight_of(p.head_dim, head < p.num_heads ? 1 : 2), kEps, stream);
  }
  return x.bytes();
}

template <typename F>
void for_each_problem(F&& f) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t head_dim : {1, 6, 8, 64, 100, 128, 131, 192, 256, 260, 1024}) {
      for (const Problem& p : {Problem{dtype, 1, 2, 1, head_dim}, Problem{dtype, 5, 4, 2, head_dim, 8, 8 * head_dim},
                               Problem{dtype, 3, 7, 3, head_dim, 1, 3}, Problem{dtype, 2, 0, 3, head_dim},
                               Problem{dtype, 0, 4, 4, head_dim}, Problem{dtype, 2, 3, 0, head_dim}}) {
        SCOPED_TRACE(name_of(p));
        f(p);
      }
    }
  }
}

TEST(HeadNorm, IsTheNormOfEveryHead) {
  for_each_problem([](const Problem& p) {
    const std::vector<char> expected = expected_of(p);
    for (const int num_threads : kThreadCounts) {
      Stream stream(kCpuDevice, num_threads);
      EXPECT_TRUE(run(p, stream) == expected);
    }
  });
}

TEST(HeadNorm, RefusesWhatDoesNotFit) {
  Stream stream(kCpuDevice, 1);
  const Tensor q(DType::kF32, {2, 4, 8});
  const Tensor k(DType::kF32, {2, 2, 8});
  const Tensor weight = weight_of(8, 1);
  EXPECT_NO_THROW(head_rms_norm(TensorView(), TensorView(), {}, {}, kEps, stream));
  EXPECT_THROW(head_rms_norm(q, k, weight_of(7, 1), weight, kEps, stream), CheckError);
  EXPECT_THROW(head_rms_norm(q, k, weight, Tensor(DType::kF16, {8}), kEps, stream), CheckError);
  EXPECT_THROW(head_rms_norm(q, Tensor(DType::kF16, {2, 2, 8}), weight, weight, kEps, stream), CheckError);
  EXPECT_THROW(head_rms_norm(q, Tensor(DType::kF32, {3, 2, 8}), weight, weight, kEps, stream), CheckError);
  EXPECT_THROW(head_rms_norm(q->reshape({8, 8}), k, weight, weight, kEps, stream), CheckError);
}

class HeadNormCuda : public CudaTest {};

TEST_F(HeadNormCuda, AgreesWithTheCpu) {
  for_each_problem(
      [&](const Problem& p) { expect_near_bytes(run(p, cuda()), run(p, cpu()), p.dtype, p.layout(), 2e-6, 4e-6); });
  const Problem many{DType::kBF16, 70000, 4, 1, 8};
  expect_near_bytes(run(many, cuda()), run(many, cpu()), many.dtype, many.layout(), 2e-6, 4e-6);
}

TEST_F(HeadNormCuda, BitsOfAHeadDependOnNothingElse) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t head_dim : {64, 100, 128, 256}) {
      const Problem together{dtype, 5, 4, 2, head_dim, 0, 8 * head_dim};
      SCOPED_TRACE(name_of(together));
      const std::vector<char> x = random_bytes(dtype, together.layout().num_elements(), 3);
      const std::vector<char> all = run(together, x, cuda());
      for (const int64_t offset : {0, 1}) {  // where vectors may be, and where not
        const Problem alone{dtype, 1, 4, 2, head_dim, offset};
        for (int64_t i = 0; i < 5; i += 2) {
          std::vector<char> own = poison(dtype, alone.layout());
          const std::string row = row_of(x, dtype, together.layout(), i);
          std::copy(row.begin(), row.end(), own.begin() + dtype_bytes(dtype, offset));
          EXPECT_EQ(row_of(run(alone, own, cuda()), dtype, alone.layout(), 0),
                    row_of(all, dtype, together.layout(), i));
        }
      }
    }
  }
}

}  // namespace
}  // namespace cohort
