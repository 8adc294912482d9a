// Weights packed for CUDA.
#include <vector>

#include "tests/op/gemm_cuda_testing.h"

namespace cohort {
namespace {

class GemmCudaPack : public GemmCuda {};

// The packed weight [n, k] on the host.
Matrix fetch(const PackedWeight& weight) {
  Matrix host(weight.dtype(), weight.n(), weight.k());
  std::vector<char> bytes(static_cast<size_t>(weight.num_bytes()));
  copy_bytes(bytes.data(), kCpuDevice, weight.data(), kCuda, weight.num_bytes());
  dispatch_float(weight.dtype(), [&]<typename T>() {
    for (int64_t r = 0; r < weight.n(); ++r) {
      std::memcpy(host.view().row<T>(r), reinterpret_cast<const T*>(bytes.data()) + r * weight.k(),
                  static_cast<size_t>(weight.k()) * sizeof(T));
    }
  });
  return host;
}

// Every element rounded to the dtype, by the host.
void expect_packed(const Matrix& source, WeightLayout layout, const PackedWeight& weight, const std::string& what) {
  const bool is_out_in = layout == WeightLayout::kOutIn;
  ASSERT_EQ(weight.n(), is_out_in ? source.num_rows() : source.num_columns());
  ASSERT_EQ(weight.num_bytes(), dtype_bytes(weight.dtype(), source.num_rows() * source.num_columns()));
  Matrix expected(weight.dtype(), weight.n(), weight.k());
  for (int64_t r = 0; r < source.num_rows(); ++r) {
    for (int64_t i = 0; i < source.num_columns(); ++i) {
      expected.set(is_out_in ? r : i, is_out_in ? i : r, source.at(r, i));
    }
  }
  EXPECT_TRUE(all_equal(fetch(weight), expected)) << what;
}

TEST_F(GemmCudaPack, TakesEitherLayoutAnyDTypeFromHostOrDevice) {
  Stream stream(kCuda);
  std::mt19937 rng(1);
  for (const DType from : {DType::kF32, DType::kF16, DType::kBF16}) {
    Matrix source(from, 70, 131);
    source.fill(rng);
    const DeviceMatrix on_device(source, {3, 2});
    for (const DType to : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const WeightLayout layout : {WeightLayout::kOutIn, WeightLayout::kInOut}) {
        const std::string what = std::string(dtype_name(from)) + " to " + std::string(dtype_name(to));
        expect_packed(source, layout, PackedWeight::pack(source.view(), layout, to, 1, stream), what);
        expect_packed(source, layout, PackedWeight::pack(on_device.view(), layout, to, 1, stream), what + ", device");
      }
    }
  }
}

// Large enough that each half of the pinned memory is used again.
TEST_F(GemmCudaPack, TakesManyPieces) {
  Stream stream(kCuda);
  Matrix source(DType::kF32, 4100, 1003);
  for (int64_t r = 0; r < source.num_rows(); ++r) {
    for (int64_t i = 0; i < source.num_columns(); ++i) source.set(r, i, static_cast<float>(r % 251 * 7 + i % 127));
  }
  for (const WeightLayout layout : {WeightLayout::kOutIn, WeightLayout::kInOut}) {
    expect_packed(source, layout, PackedWeight::pack(source.view(), layout, DType::kBF16, 1, stream), "pieces");
  }
}

TEST_F(GemmCudaPack, TakesRowsLargerThanAPiece) {
  Stream stream(kCuda);
  Matrix source(DType::kF32, 2, 1200003);
  for (int64_t i = 0; i < source.num_columns(); ++i) {
    source.set(0, i, static_cast<float>(i % 1021));
    source.set(1, i, static_cast<float>(i % 1019));
  }
  expect_packed(source, WeightLayout::kOutIn,
                PackedWeight::pack(source.view(), WeightLayout::kOutIn, DType::kF32, 1, stream), "long rows");
}

}  // namespace
}  // namespace cohort
