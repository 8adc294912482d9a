// gemm() and its policy; the kernels are tested in gemm_kernel_test.cc.
#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "kernels/core/cpu_features.h"
#include "kernels/gemm/kernels.h"
#include "tests/op/gemm_testing.h"

namespace cohort {
namespace {

using gemm_internal::all_kernels;
using gemm_internal::choose_blocks;
using gemm_internal::choose_config;
using gemm_internal::Config;
using gemm_internal::is_supported;
using gemm_internal::Isa;
using gemm_internal::Kernel;
using gemm_internal::Problem;
using gemm_internal::SumOrder;

std::atomic<int64_t> num_allocations{0};

// The plain path through the public function.
Matrix product(const Case& c, const PackedWeight& weight, DType out_dtype, Stream& stream) {
  Matrix out(out_dtype, c.x.num_rows(), weight.n());
  gemm(out.view(), c.x.view(), weight, c.bias, stream);
  return out;
}

TEST(Gemm, ChoosesAKernelAndGivesItsBits) {
  Stream stream(kCpuDevice, 2);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Case c(dtype, 130, 100, 192);
    const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, dtype, 4, stream);
    EXPECT_EQ(weight.n(), 100);
    EXPECT_EQ(weight.k(), 192);
    EXPECT_EQ(weight.num_chunks(), 4);
    const Matrix out = product(c, weight, dtype, stream);
    expect_close(c, out, true, std::string(dtype_name(dtype)));
    // Row counts on either side of every choice between kernels.
    for (int64_t m : {1, 2, 5, 7, 8, 15, 16, 17, 64}) {
      const Matrix some(dtype, m, 100);
      gemm(some.view(), c.x.rows(0, m), weight, c.bias, stream);
      for (int64_t r = 0; r < m; ++r) EXPECT_TRUE(some.row_equals(r, out, r)) << m << ", " << r;
    }
  }
}

TEST(Gemm, TakesWeightsOfEitherLayoutAndAnyDType) {
  Stream stream(kCpuDevice, 2);
  const Case c(DType::kBF16, 5, 35, 50);
  Matrix transposed(DType::kBF16, 50, 35);
  Matrix widened(DType::kF32, 35, 50);
  for (int64_t r = 0; r < 35; ++r) {
    for (int64_t i = 0; i < 50; ++i) {
      transposed.set(i, r, c.weight.at(r, i));
      widened.set(r, i, c.weight.at(r, i));
    }
  }
  const auto pack = [&](const Matrix& weight, WeightLayout layout) {
    return PackedWeight::pack(weight.view(), layout, DType::kBF16, 2, stream);
  };
  const Matrix expected = product(c, pack(c.weight, WeightLayout::kOutIn), DType::kF32, stream);
  EXPECT_TRUE(all_equal(product(c, pack(transposed, WeightLayout::kInOut), DType::kF32, stream), expected));
  EXPECT_TRUE(all_equal(product(c, pack(widened, WeightLayout::kOutIn), DType::kF32, stream), expected));
}

TEST(Gemm, EmptyProducts) {
  Stream stream(kCpuDevice, 1);
  const Case c(DType::kF32, 3, 4, 5);
  const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Tensor no_rows(DType::kF32, Shape{0, 5});
  const Tensor no_out(DType::kF32, Shape{0, 4});
  gemm(no_out, no_rows, weight, {}, stream);

  const Tensor no_weight(DType::kF32, Shape{4, 0});
  const PackedWeight nothing = PackedWeight::pack(no_weight, WeightLayout::kOutIn, DType::kF32, 1, stream);
  const Tensor no_columns(DType::kF32, Shape{3, 0});
  const Matrix out(DType::kF32, 3, 4);
  gemm(out.view(), no_columns, nothing, c.bias, stream);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(out.at(2, i), c.bias->data<float>()[i]);
}

TEST(Gemm, ChecksItsArguments) {
  Stream stream(kCpuDevice, 1);
  const Case c(DType::kF32, 3, 4, 6);
  const auto pack = [&](int num_chunks) {
    return PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, DType::kF32, num_chunks, stream);
  };
  EXPECT_THROW(pack(3), CheckError);
  EXPECT_THROW(pack(4), CheckError);
  const PackedWeight weight = pack(2);
  const Matrix out(DType::kF32, 3, 4);
  EXPECT_THROW(gemm(out.view(), c.weight.view(), weight, {}, stream), CheckError);
  const Matrix half(DType::kF16, 3, 6);
  EXPECT_THROW(gemm(out.view(), half.view(), weight, {}, stream), CheckError);
  EXPECT_THROW(gemm(half.view().slice(1, 0, 4), c.x.view(), weight, {}, stream), CheckError);
  const Tensor short_bias(DType::kF32, Shape{3});
  EXPECT_THROW(gemm(out.view(), c.x.view(), weight, short_bias, stream), CheckError);
}

TEST(Gemm, AllocatesNothing) {
  Stream stream(kCpuDevice, 2);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Case c(dtype, 70, 100, 192);
    const PackedWeight weight = PackedWeight::pack(c.weight.view(), WeightLayout::kOutIn, dtype, 4, stream);
    const Matrix out(dtype, 70, 100);
    const int64_t before = num_allocations.load();
    gemm(out.view(), c.x.view(), weight, c.bias, stream);
    EXPECT_EQ(num_allocations.load(), before);
  }
}

TEST(GemmPolicy, NumberOfChunks) {
  EXPECT_EQ(choose_num_chunks(4096, 128), 16);
  EXPECT_EQ(choose_num_chunks(704, 1), 16);
  EXPECT_EQ(choose_num_chunks(704, 32), 2);
  EXPECT_EQ(choose_num_chunks(14 * 64, 64), 2);
  EXPECT_EQ(choose_num_chunks(7, 1), 1);
  EXPECT_EQ(choose_num_chunks(16, 16), 1);
}

// One SumOrder for each CPU and dtype, or a row's bits would depend on how many rows there are.
TEST(GemmPolicy, OneOrderForEachCpu) {
  if (all_kernels().back().isa == Isa::kPortable) GTEST_SKIP() << "one instruction set";
  const CpuFeatures cpus[] = {{},
                              {.avx2 = true},
                              {.avx2 = true, .avx512 = true},
                              {.avx2 = true, .avx512 = true, .avx512_bf16 = true},
                              {.avx2 = true, .avx512 = true, .avx512_bf16 = true, .amx_bf16 = true},
                              {.avx2 = true, .avx512 = true, .amx_bf16 = true}};
  for (const CpuFeatures& cpu : cpus) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      Problem problem{.num_rows = 1, .n = 4096, .k = 4096, .dtype = dtype};
      const SumOrder order = find_kernel(choose_config(problem, cpu).isa, dtype).order;
      for (int64_t num_rows : {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 1000}) {
        problem.num_rows = num_rows;
        const Config config = choose_config(problem, cpu);
        EXPECT_TRUE(is_supported(config.isa, cpu));
        EXPECT_EQ(find_kernel(config.isa, dtype).order, order) << num_rows;
      }
    }
  }
}

TEST(GemmPolicy, PicksTheWidestUnit) {
  Problem problem{.num_rows = 64, .n = 4096, .k = 4096, .dtype = DType::kBF16};
  EXPECT_EQ(choose_config(problem, {}).isa, Isa::kPortable);
  EXPECT_EQ(choose_config(problem, {.avx2 = true}).isa, Isa::kAvx2);
  EXPECT_EQ(choose_config(problem, {.avx2 = true, .avx512 = true}).isa, Isa::kAvx512);
  const CpuFeatures zen4{.avx2 = true, .avx512 = true, .avx512_bf16 = true};
  EXPECT_EQ(choose_config(problem, zen4).isa, Isa::kAvx512Bf16);
  CpuFeatures sapphire_rapids = zen4;
  sapphire_rapids.amx_bf16 = true;
  EXPECT_EQ(choose_config(problem, sapphire_rapids).isa, Isa::kAmx);
  problem.dtype = DType::kF32;
  EXPECT_EQ(choose_config(problem, sapphire_rapids).isa, Isa::kAvx512);
}

TEST(GemmPolicy, BlocksFitTheScratchAndCoverTheProblem) {
  for (const Kernel& kernel : all_kernels()) {
    for (int64_t num_rows : {1, 5, 64, 96, 97, 128, 1000}) {
      for (int num_chunks : {1, 2, 16, 1024}) {
        for (int num_threads : {1, 3, 64}) {
          const Config config = choose_blocks({.num_rows = num_rows,
                                               .n = 4000,
                                               .k = 4096,
                                               .num_chunks = num_chunks,
                                               .dtype = kernel.dtype,
                                               .num_threads = num_threads},
                                              kernel.isa);
          EXPECT_GE(config.block_rows, 1);
          EXPECT_LE(config.block_rows, gemm_internal::kMaxBlockRows);
          EXPECT_GE(config.block_panels, 1);
          const int64_t padded_rows = (config.block_rows + 15) / 16 * 16;
          EXPECT_LE(padded_rows * config.block_panels * 16 * gemm_internal::num_tree_levels(num_chunks),
                    gemm_internal::kMaxScratchSums);
        }
      }
    }
  }
}

}  // namespace
}  // namespace cohort

// Counted, for Gemm.AllocatesNothing.
[[gnu::noinline]] void* operator new(size_t num_bytes) {
  cohort::num_allocations.fetch_add(1);
  if (void* data = std::malloc(num_bytes)) return data;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* data) noexcept { std::free(data); }
[[gnu::noinline]] void operator delete(void* data, size_t) noexcept { std::free(data); }
