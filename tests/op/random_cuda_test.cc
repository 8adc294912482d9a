// The GPU's bits are the CPU's, around the rows as well.
#include "kernels/random/random.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

class RandomCuda : public CudaTest {};

constexpr RandomDistribution kDistribution{0.25f, 0.0131f};

// `shape` of which dimension `dim` is cut at [begin, end), written at an offset and with gaps; all bytes.
std::vector<char> run(DType dtype, const Shape& shape, int dim, int64_t begin, int64_t end, int64_t offset, int64_t gap,
                      Stream& stream) {
  const auto extent = [&](int i) { return i == dim ? end - begin : shape[i]; };
  const Layout layout{extent(0), extent(1), offset, gap};
  const Operand out(poison(dtype, layout), dtype, layout, stream.device());
  cohort::fill_random(out.view(), {random_key(7, "model.layers.3.mlp.up_proj.weight"), kDistribution}, shape, dim,
                      begin, stream);
  stream.synchronize();
  return out.bytes();
}

TEST_F(RandomCuda, MakesTheBitsOfTheCpu) {
  struct Case {
    Shape shape;
    int dim;
    int64_t begin, end;
  };
  const std::vector<Case> cases = {
      {{1, 1}, 0, 0, 1},          {{5, 64}, 0, 2, 5},       {{70, 1003}, 1, 3, 900},
      {{4096, 512}, 1, 256, 512}, {{3, 1 << 18}, 0, 0, 3},  {{200000, 8}, 0, 100, 190000},
      {{0, 8}, 0, 0, 0},          {{600, 4099}, 0, 0, 600}, {{2, 3000007}, 1, 1, 3000000},
  };
  for (const DType dtype : kFloatDTypes) {
    for (const Case& c : cases) {
      for (const auto& [offset, gap] : {std::pair<int64_t, int64_t>{0, 0}, {0, 8}, {3, 5}}) {
        SCOPED_TRACE(std::string(dtype_name(dtype)) + " " + c.shape.to_string() + " at " + std::to_string(offset));
        EXPECT_TRUE(run(dtype, c.shape, c.dim, c.begin, c.end, offset, gap, cuda()) ==
                    run(dtype, c.shape, c.dim, c.begin, c.end, offset, gap, cpu()));
      }
    }
  }
}

// Around element 2^32, where the hash takes another key, within a vector and between two.
TEST_F(RandomCuda, MakesTheBitsOfTheCpuBeyond32BitIndices) {
  const Shape shape{int64_t{1} << 23, 1027};
  const int64_t middle = (int64_t{1} << 32) / 1027;
  for (const DType dtype : kFloatDTypes) {
    const std::vector<char> actual = run(dtype, shape, 0, middle - 3, middle + 3, 0, 5, cuda());
    EXPECT_TRUE(actual == run(dtype, shape, 0, middle - 3, middle + 3, 0, 5, cpu()));
  }
}

TEST_F(RandomCuda, MakesVectorsCubesAndScalars) {
  for (const DType dtype : kFloatDTypes) {
    for (const Shape& shape : {Shape{}, Shape{5}, Shape{100003}, Shape{3, 5, 40}, Shape{2, 3, 4, 5, 6}}) {
      const Tensor expected(dtype, shape);
      const Tensor actual(dtype, shape, kCuda);
      const RandomValues values{random_key(1, "w"), kDistribution};
      cohort::fill_random(expected, values, shape, 0, 0, cpu());
      cohort::fill_random(actual, values, shape, 0, 0, cuda());
      cuda().synchronize();
      const Tensor fetched(dtype, shape);
      copy_bytes(fetched->data(), kCpuDevice, actual->data(), kCuda, fetched->num_bytes());
      EXPECT_EQ(std::memcmp(fetched->data(), expected->data(), static_cast<size_t>(fetched->num_bytes())), 0)
          << dtype_name(dtype) << " " << shape.to_string();
    }
  }
}

TEST_F(RandomCuda, RefusesASliceThatIsNotInside) {
  const Tensor out(DType::kF32, {2, 3}, kCuda);
  EXPECT_THROW(cohort::fill_random(out, {}, {4, 3}, 0, 3, cuda()), CheckError);
  EXPECT_THROW(cohort::fill_random(out, {}, {4, 3}, 1, 0, cuda()), CheckError);
  EXPECT_THROW(cohort::fill_random(out, {}, {2, 3}, 0, 0, cpu()), CheckError);
}

}  // namespace
}  // namespace cohort
