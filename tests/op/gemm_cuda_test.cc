// gemm() on CUDA: its kernels against double precision, and what it promises about bits.
#include "kernels/gemm/gemm_cuda.h"

#include <array>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/gemm/kernels_cuda.h"
#include "tests/op/gemm_cuda_testing.h"

namespace cohort {
namespace {

using gemm_internal::choose_gemm_kernel;
using gemm_internal::choose_tile_size;
using gemm_internal::CudaKernel;
using gemm_internal::CudaProblem;
using gemm_internal::TileSize;

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

struct ProductShape {
  int64_t m, n, k;
};

// One row to several tiles; n and k odd, below and above whatever a kernel takes at once. 13000 to 50000 columns are
// strips of two to four tiles of the skinny kernel, and two strips a block.
constexpr ProductShape kShapes[] = {
    {1, 1, 1},        {1, 3, 7},       {2, 16, 16},     {3, 77, 259},    {5, 256, 96},
    {7, 24, 264},     {8, 1003, 1024}, {1, 640, 2760},  {8, 40, 4104},   {2, 13000, 72},
    {16, 13000, 136}, {5, 50000, 64},  {40, 20000, 64}, {64, 30000, 72}, {61, 517, 1096},
    {9, 64, 64},      {16, 77, 128},   {17, 259, 77},   {33, 130, 1000}, {64, 1003, 96},
    {65, 96, 1003},   {100, 33, 40},   {128, 128, 128}, {300, 256, 264}, {300, 77, 131}};

// Aligned rows of x and dense ones of out; aligned and strided; nothing aligned.
struct Placements {
  Placement x, out;
};
constexpr Placements kPlacements[] = {{{0, 0}, {0, 0}}, {{8, 16}, {0, 3}}, {{1, 5}, {1, 8}}};

std::string describe(const ProductShape& s, DType dtype, DType out_dtype) {
  return std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k) + " " +
         std::string(dtype_name(dtype)) + " to " + std::string(dtype_name(out_dtype));
}

// Tensor cores cut off what float32 would round, and so their errors do not cancel: eight times what a float32 sum has.
void expect_product(const Case& c, const Matrix& out, bool has_bias, const std::string& what) {
  const int64_t num_elements = out.num_rows() * out.num_columns();
  const int64_t step = std::max<int64_t>(1, num_elements / 2000);
  const DType dtype = out.view().dtype();
  const double k = static_cast<double>(c.x.num_columns());
  for (int64_t i = 0; i < num_elements; i += step) {
    double sum = 0;
    double magnitude = 0;
    c.reference(i / out.num_columns(), i % out.num_columns(), has_bias, sum, magnitude);
    const double tolerance =
        magnitude * 0x1p-21 * (4 + std::sqrt(k)) + std::abs(sum) * epsilon(dtype) + smallest(dtype);
    const double value = static_cast<double>(out.at(i / out.num_columns(), i % out.num_columns()));
    ASSERT_LE(std::abs(value - sum), tolerance) << what << " at element " << i << ": " << value << ", not " << sum;
  }
}

// One kernel's product of a case, and gemm()'s when there is none.
Matrix product(std::optional<CudaKernel> kernel, const DeviceCase& c, const PackedWeight& weight, DType out_dtype,
               Placement placement, bool has_bias, Stream& stream) {
  const DeviceMatrix out(out_dtype, c.x.view().dim(0), weight.n(), placement);
  const ConstTensorView bias = has_bias ? ConstTensorView(c.bias) : ConstTensorView();
  if (kernel) {
    cuda::run_gemm(*kernel, out.view(), c.x.view(), weight, bias, stream);
  } else {
    gemm(out.view(), c.x.view(), weight, bias, stream);
  }
  stream.synchronize();
  return out.fetch();
}

class GemmCudaKernel : public GemmCuda, public testing::WithParamInterface<DType> {};

TEST_P(GemmCudaKernel, MatchesDoublePrecision) {
  Stream stream(kCuda);
  for (const ProductShape& s : kShapes) {
    const Case c(GetParam(), s.m, s.n, s.k);
    const PackedWeight weight = pack(c.weight.view(), GetParam(), 1, GemmMode::kFast, stream);
    for (const Placements& placements : kPlacements) {
      const DeviceCase device_case(c, placements.x);
      std::vector<std::optional<CudaKernel>> kernels = {std::nullopt, CudaKernel::kCublasLt, CudaKernel::kTiled};
      if (can_be_skinny(cuda::problem_of(device_case.x.view(), weight, stream))) {
        kernels.push_back(CudaKernel::kSkinny);
      }
      if (can_be_wide(cuda::problem_of(device_case.x.view(), weight, stream))) kernels.push_back(CudaKernel::kWide);
      for (const std::optional<CudaKernel> kernel : kernels) {
        for (const DType out_dtype : {GetParam(), DType::kF32}) {
          for (const bool has_bias : {false, true}) {
            const Matrix out = product(kernel, device_case, weight, out_dtype, placements.out, has_bias, stream);
            expect_product(c, out, has_bias,
                           describe(s, GetParam(), out_dtype) + (has_bias ? " + bias" : "") + ", kernel " +
                               std::to_string(kernel ? static_cast<int>(*kernel) : -1));
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// More rows than the workspace has sums for.
TEST_P(GemmCudaKernel, AddsABiasToManyRows) {
  Stream stream(kCuda);
  const ProductShape s{1100, 8192, 24};
  const Case c(GetParam(), s.m, s.n, s.k);
  const PackedWeight weight = pack(c.weight.view(), GetParam(), 1, GemmMode::kFast, stream);
  const Matrix out = product({}, DeviceCase(c), weight, GetParam(), {}, true, stream);
  expect_product(c, out, true, describe(s, GetParam(), GetParam()));
}

TEST_P(GemmCudaKernel, DeterministicTreeMatchesDoublePrecision) {
  Stream stream(kCuda);
  for (const ProductShape& s : {ProductShape{3, 77, 48}, {30, 64, 16 * 72}, {70, 130, 16 * 65}}) {
    const Case c(GetParam(), s.m, s.n, s.k);
    const PackedWeight weight = pack(c.weight.view(), GetParam(), 16, GemmMode::kDeterministic, stream);
    const Matrix out = product({}, DeviceCase(c), weight, GetParam(), {}, true, stream);
    expect_product(c, out, true, describe(s, GetParam(), GetParam()));
  }
}

TEST_P(GemmCudaKernel, DeterministicRowBitsDoNotDependOnOtherRows) {
  constexpr int64_t kNumRows = 130;
  Stream stream(kCuda);
  for (const auto& [n, k, num_chunks] :
       {std::array<int64_t, 3>{77, 96, 1}, {259, 1024, 16}, {40, 672, 2}, {33, 51, 1}, {64, 8 * 37, 8}}) {
    const Case c(GetParam(), kNumRows, n, k);
    const PackedWeight weight =
        pack(c.weight.view(), GetParam(), static_cast<int>(num_chunks), GemmMode::kDeterministic, stream);
    const Matrix all = product({}, DeviceCase(c), weight, GetParam(), {}, true, stream);
    for (const int64_t m : {1, 2, 3, 7, 8, 9, 17, 32, 33, 64, 65, 97}) {
      for (const Placement& placement : {Placement{}, Placement{1, 5}}) {  // with vectors and element by element
        const int64_t first = (m * 37) % (kNumRows - m);
        Case part(GetParam(), m, n, k);
        for (int64_t r = 0; r < m; ++r) {
          for (int64_t i = 0; i < k; ++i) part.x.set(r, i, c.x.at(first + r, i));
        }
        DeviceCase device_part(part, placement);
        copy_bytes(device_part.bias->data(), kCuda, c.bias->data(), kCpuDevice, c.bias->num_bytes());
        const Matrix out = product({}, device_part, weight, GetParam(), placement, true, stream);
        for (int64_t r = 0; r < m; ++r) ASSERT_TRUE(out.row_equals(r, all, first + r)) << n << " " << m << " " << r;
      }
    }
  }
}

// What ranks with [begin, end) of K compute together, and add as a tree on the host.
Matrix sum_of_ranks(const Case& c, const DeviceCase& device_case, int64_t begin, int64_t end, int num_chunks,
                    int num_ranks, Stream& stream) {
  const int64_t num_rows = c.x.num_rows();
  const int64_t n = c.weight.num_rows();
  if (num_ranks == 1) {
    const PackedWeight weight =
        PackedWeight::pack(c.weight.view().slice(1, begin, end), WeightLayout::kOutIn, c.weight.view().dtype(),
                           num_chunks, GemmMode::kDeterministic, stream);
    const DeviceMatrix out(DType::kF32, num_rows, n);
    gemm(out.view(), device_case.x.view().slice(1, begin, end), weight, {}, stream);
    stream.synchronize();
    return out.fetch();
  }
  const int64_t middle = (begin + end) / 2;
  Matrix sums = sum_of_ranks(c, device_case, begin, middle, num_chunks / 2, num_ranks / 2, stream);
  const Matrix right = sum_of_ranks(c, device_case, middle, end, num_chunks / 2, num_ranks / 2, stream);
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t i = 0; i < n; ++i) sums.set(r, i, sums.at(r, i) + right.at(r, i));
  }
  return sums;
}

TEST_P(GemmCudaKernel, DeterministicRanksGiveTheBitsOfOne) {
  Stream stream(kCuda);
  for (const auto& [m, n, k] : {ProductShape{70, 77, 8 * 80}, {5, 128, 8 * 37}, {20, 40, 16 * 9}}) {
    const Case c(GetParam(), m, n, k);
    const DeviceCase device_case(c);
    const int num_chunks = k % 16 == 0 && k < 200 ? 16 : 8;
    const Matrix one = sum_of_ranks(c, device_case, 0, k, num_chunks, 1, stream);
    for (const int num_ranks : {2, 4, 8}) {
      EXPECT_TRUE(all_equal(sum_of_ranks(c, device_case, 0, k, num_chunks, num_ranks, stream), one))
          << num_ranks << " ranks, k " << k;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GemmCudaKernel, testing::ValuesIn(kDTypes),
                         [](const auto& parameter) { return std::string(dtype_name(parameter.param)); });

TEST_F(GemmCuda, DeterministicFloat32HasTheBitsOfTheCpu) {
  Stream stream(kCuda);
  Stream cpu(kCpuDevice, 2);
  for (const auto& [m, n, k] : {ProductShape{1, 77, 64}, {45, 130, 1000}, {64, 33, 16}}) {
    const Case c(DType::kF32, m, n, k);
    for (const int num_chunks : {1, 8}) {
      const Matrix expected(DType::kF32, m, n);
      gemm(expected.view(), c.x.view(), pack(c.weight.view(), DType::kF32, num_chunks, GemmMode::kFast, cpu), c.bias,
           cpu);
      const PackedWeight weight = pack(c.weight.view(), DType::kF32, num_chunks, GemmMode::kDeterministic, stream);
      EXPECT_TRUE(all_equal(product({}, DeviceCase(c), weight, DType::kF32, {}, true, stream), expected))
          << m << "x" << n << "x" << k << ", " << num_chunks << " chunks";
    }
  }
}

// Every number of rows: the bits of two runs, and of a row that other rows join.
void expect_runs_agree(CudaKernel kernel, int64_t max_rows) {
  Stream stream(kCuda);
  const Case c(DType::kBF16, max_rows, 300, 1096);
  const DeviceCase device_case(c);
  const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kBF16, 1, stream);
  if (!cuda::problem_of(device_case.x.view(), weight, stream).is_hopper) GTEST_SKIP() << "no Hopper";
  std::optional<Matrix> before;  // with one row less
  for (int64_t m = 1; m <= max_rows; ++m) {
    const auto run = [&] {
      const DeviceMatrix out(DType::kBF16, m, 300);
      cuda::run_gemm(kernel, out.view(), device_case.x.view().slice(0, 0, m), weight, device_case.bias, stream);
      stream.synchronize();
      return out.fetch();
    };
    Matrix first = run();
    expect_product(c, first, true, std::to_string(m) + " rows");
    EXPECT_TRUE(all_equal(run(), first)) << m;
    for (int64_t r = 0; r + 1 < m; ++r) EXPECT_TRUE(first.row_equals(r, *before, r)) << m << ", " << r;
    before.emplace(std::move(first));
  }
}

TEST_F(GemmCuda, SkinnyRunsAgree) { expect_runs_agree(CudaKernel::kSkinny, gemm_internal::kMaxSkinnyRows); }

TEST_F(GemmCuda, WideRunsAgree) { expect_runs_agree(CudaKernel::kWide, gemm_internal::kMaxWideRows); }

// Strips of every width of products, several of a block, of one block and of two, with whole and broken vectors.
TEST_F(GemmCuda, WidePlansAreRight) {
  Stream stream(kCuda);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const int64_t n : {1000, 1003}) {
      const Case c(dtype, gemm_internal::kMaxWideRows, n, 456);
      const DeviceCase device_case(c);
      const PackedWeight weight = pack(c.weight.view(), dtype, 1, GemmMode::kFast, stream);
      if (!can_be_wide(cuda::problem_of(device_case.x.view(), weight, stream))) GTEST_SKIP() << "no Hopper";
      for (const int columns : {16, 39, 80, 128, 129, 216, 256}) {
        for (const auto& [num_blocks, cluster_size] : {std::pair(132, 1), {3, 1}, {132, 2}}) {
          for (const int64_t m : {9, 40, 63}) {
            for (const DType out_dtype : {dtype, DType::kF32}) {
              const auto plan = gemm_internal::plan_wide_strips(m, n, num_blocks, 1, columns, cluster_size, 32 << 10);
              const DeviceMatrix out(out_dtype, m, n, m % 2 == 0 ? Placement{} : Placement{1, 3});
              cuda::run_wide_gemm(out.view(), device_case.x.view().slice(0, 0, m), weight, device_case.bias, plan,
                                  stream);
              stream.synchronize();
              expect_product(c, out.fetch(), true,
                             std::to_string(m) + " rows, strips of " + std::to_string(columns) + ", clusters of " +
                                 std::to_string(cluster_size) + ", " + std::to_string(num_blocks) + " blocks");
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

TEST_F(GemmCuda, ProductsOfNothing) {
  Stream stream(kCuda);
  const Case c(DType::kBF16, 3, 5, 1);
  const DeviceCase device_case(c);
  const Tensor no_k(DType::kBF16, Shape{5, 0});
  const PackedWeight weight = pack(no_k, DType::kBF16, 1, GemmMode::kFast, stream);
  const DeviceMatrix out(DType::kF32, 3, 5);
  gemm(out.view(), Tensor(DType::kBF16, Shape{3, 0}, kCuda), weight, device_case.bias, stream);
  gemm(Tensor(DType::kF32, Shape{0, 5}, kCuda), Tensor(DType::kBF16, Shape{0, 0}, kCuda), weight, {}, stream);
  stream.synchronize();
  const Matrix sums = out.fetch();
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(sums.at(r, i), c.bias->data<float>()[i]);
  }
}

TEST_F(GemmCuda, RefusesOperandsOfAnotherDevice) {
  Stream stream(kCuda);
  const Case c(DType::kF32, 3, 4, 8);
  const DeviceCase device_case(c);
  const PackedWeight weight = pack(c.weight.view(), DType::kF32, 1, GemmMode::kFast, stream);
  const DeviceMatrix out(DType::kF32, 3, 4);
  EXPECT_THROW(gemm(out.view(), c.x.view(), weight, {}, stream), CheckError);
  EXPECT_THROW(gemm(out.view(), device_case.x.view(), weight, c.bias, stream), CheckError);
  EXPECT_THROW(pack(c.weight.view(), DType::kF32, 32, GemmMode::kDeterministic, stream), CheckError);
}

// Two threads, each with its stream: neither's sums show in the other's result.
TEST_F(GemmCuda, StreamsDoNotShareMemory) {
  const auto work = [](int64_t m, bool& is_right) {
    Stream stream(kCuda);
    prepare_gemm(stream);
    const Case c(DType::kBF16, m, 512, 256);
    const DeviceCase device_case(c);
    const PackedWeight weight = pack(c.weight.view(), DType::kBF16, 1, GemmMode::kFast, stream);
    const Matrix first = product(CudaKernel::kCublasLt, device_case, weight, DType::kBF16, {}, true, stream);
    expect_product(c, first, true, std::to_string(m));
    is_right = true;
    for (int i = 0; i < 50; ++i) {
      const Matrix again = product(CudaKernel::kCublasLt, device_case, weight, DType::kBF16, {}, true, stream);
      is_right = is_right && all_equal(again, first);
    }
  };
  bool are_right[2] = {};
  std::thread other(work, 200, std::ref(are_right[1]));
  work(300, are_right[0]);
  other.join();
  EXPECT_TRUE(are_right[0]);
  EXPECT_TRUE(are_right[1]);
}

TEST_F(GemmCuda, TunedProductsAreRight) {
  Stream stream(kCuda);
  for (const bool has_bias : {false, true}) {
    const Case c(DType::kBF16, 65, 264, 512);
    const DeviceCase device_case(c);
    const PackedWeight weight = pack(c.weight.view(), DType::kBF16, 1, GemmMode::kFast, stream);
    const DeviceMatrix out(DType::kBF16, 65, 264);
    const ConstTensorView bias = has_bias ? ConstTensorView(device_case.bias) : ConstTensorView();
    autotune_gemm(out.view(), device_case.x.view(), weight, bias, stream);
    stream.synchronize();
    expect_product(c, out.fetch(), has_bias, "tuned");
    expect_product(c, product({}, device_case, weight, DType::kBF16, {}, has_bias, stream), has_bias, "after");
  }
}

TEST(GemmCudaPolicy, ChoosesTheKernel) {
  const CudaProblem decode{
      .num_rows = 1, .n = 5120, .k = 5120, .dtype = DType::kBF16, .is_aligned = true, .is_hopper = true};
  EXPECT_EQ(choose_gemm_kernel(decode), CudaKernel::kSkinny);
  const auto with = [&](auto&& change) {
    CudaProblem problem = decode;
    change(problem);
    return choose_gemm_kernel(problem);
  };
  EXPECT_EQ(with([](CudaProblem& p) { p.num_rows = 32; }), CudaKernel::kSkinny);
  EXPECT_EQ(with([](CudaProblem& p) { p.num_rows = 33; }), CudaKernel::kWide);
  EXPECT_EQ(with([](CudaProblem& p) { p.num_rows = 64; }), CudaKernel::kWide);
  EXPECT_EQ(with([](CudaProblem& p) { p.num_rows = 65; }), CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.n = 2560; }), CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.k = 1024; }), CudaKernel::kSkinny);
  EXPECT_EQ(with([](CudaProblem& p) {
              p.k = 1024;
              p.num_rows = 64;
            }),
            CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.dtype = DType::kF32; }), CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.is_aligned = false; }), CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.is_hopper = false; }), CudaKernel::kCublasLt);
  EXPECT_EQ(with([](CudaProblem& p) { p.k = 0; }), CudaKernel::kTiled);
  // One kernel for every number of rows.
  for (const int64_t num_rows : {1, 8, 9, 64, 2048}) {
    EXPECT_EQ(with([&](CudaProblem& p) {
                p.num_rows = num_rows;
                p.mode = GemmMode::kDeterministic;
              }),
              CudaKernel::kTiled);
  }
}

constexpr int kMaxSmemBytes = 227 << 10;

TEST(GemmCudaPolicy, SkinnyPlansFitTheProblem) {
  for (const int num_multiprocessors : {1, 78, 132}) {
    for (const int64_t num_rows : {1, 8, 9, 16, 32}) {
      for (const int64_t n : {1, 8, 1000, 5120, 15360, 27648, 128256}) {
        const auto plan = gemm_internal::plan_skinny(num_rows, n, num_multiprocessors);
        EXPECT_GE(plan.padded_rows, num_rows);
        EXPECT_LE(plan.strip_columns, gemm_internal::kSkinnyColumns);
        EXPECT_GE(int64_t{plan.strip_columns} * plan.num_strips, n);
        EXPECT_LT(int64_t{plan.strip_columns} * (plan.num_strips - 1), n);  // none is empty
        EXPECT_LE(plan.num_blocks, num_multiprocessors);
        EXPECT_GE(plan.num_stages, 4);
        EXPECT_LT(plan.smem_bytes(), kMaxSmemBytes - 2048);  // alignment and barriers
      }
    }
  }
  EXPECT_EQ(gemm_internal::plan_skinny(1, 5120, 132).strip_columns, 39);   // one strip a multiprocessor
  EXPECT_EQ(gemm_internal::plan_skinny(1, 27648, 132).strip_columns, 53);  // four
}

void expect_fits(const gemm_internal::WidePlan& plan, int64_t num_rows, int64_t n, int num_multiprocessors) {
  EXPECT_GE(plan.padded_rows, num_rows);
  EXPECT_LE(plan.part_columns, plan.multiplied_columns());
  EXPECT_LE(plan.strip_columns, plan.part_columns * (plan.num_matrices == 2 ? 1 : 2));
  EXPECT_GE(int64_t{plan.strip_columns} * plan.num_strips, n);
  EXPECT_LT(int64_t{plan.strip_columns} * (plan.num_strips - 1), n);  // none is empty
  EXPECT_LE(plan.num_clusters * plan.cluster_size, num_multiprocessors);
  EXPECT_TRUE(plan.cluster_size == 1 || plan.num_strips == plan.num_clusters);
  EXPECT_GE(plan.num_weight_stages, 4);
  EXPECT_GE(plan.num_x_stages, 4);
  EXPECT_LT(plan.smem_bytes(), kMaxSmemBytes - 3072);  // alignment and barriers
}

TEST(GemmCudaPolicy, WidePlansFitTheProblem) {
  for (const int num_multiprocessors : {1, 78, 132}) {
    for (const int64_t num_rows : {33, 48, 64}) {
      for (const int64_t n : {8, 1000, 5120, 15360, 27648, 128256}) {
        expect_fits(gemm_internal::plan_wide(num_rows, n, num_multiprocessors), num_rows, n, num_multiprocessors);
        expect_fits(gemm_internal::plan_wide_gated(num_rows, n, num_multiprocessors), num_rows, n, num_multiprocessors);
      }
    }
  }
  EXPECT_EQ(gemm_internal::plan_wide(64, 27648, 132).strip_columns, 216);
  EXPECT_EQ(gemm_internal::plan_wide(64, 5120, 132).strip_columns, 80);  // one for two multiprocessors
  EXPECT_EQ(gemm_internal::plan_wide(64, 5120, 132).cluster_size, 2);
  EXPECT_EQ(gemm_internal::plan_wide_gated(64, 13824, 132).strip_columns, 112);
}

TEST(GemmCudaPolicy, BlocksFitTheProblem) {
  EXPECT_EQ(choose_tile_size(1), TileSize::k32x8);
  EXPECT_EQ(choose_tile_size(9), TileSize::k32x32);
  EXPECT_EQ(choose_tile_size(2048), TileSize::k64x64);
}

}  // namespace
}  // namespace cohort
