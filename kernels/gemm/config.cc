// Policy: which kernel, and how the product is cut. Nothing here changes the bits of a result but
// the choice between kernels of different SumOrder, which depends on the CPU and the dtype alone.
#include <algorithm>
#include <string>

#include "kernels/core/check.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/layout.h"

namespace cohort::gemm_internal {
namespace {

// 256 columns. Each run of columns packs the rows of the block again: 256 rows x 4096 x 4096 in float32 ran at 61
// GFLOP/s with 128 columns and at 71 with 256, on one thread of Zen 3.
constexpr int64_t kMaxBlockPanels = 16;

// From here on TDPBF16PS is faster than the same sums in AVX-512. Microseconds of one thread on
// Sapphire Rapids at n = k = 4096, AVX-512 and AMX: 1362, 1414 for one row, 1470, 1348 for two,
// 1492, 1398 for four, 3723, 1444 for eight, 24129, 4977 for 64.
constexpr int64_t kMinAmxRows = 2;

Isa choose_isa(const Problem& problem, const CpuFeatures& features) {
  if (problem.dtype == DType::kBF16 && features.amx_bf16) {
    return problem.num_rows >= kMinAmxRows ? Isa::kAmx : Isa::kAvx512;
  }
  if (problem.dtype == DType::kBF16 && features.avx512_bf16) return Isa::kAvx512Bf16;
  if (features.avx512) return Isa::kAvx512;
  if (features.avx2) return Isa::kAvx2;
  return Isa::kPortable;
}

int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

}  // namespace

int num_tree_levels(int num_chunks) {
  int levels = 1;
  while ((1 << (levels - 1)) < num_chunks) ++levels;
  return levels;
}

Config choose_blocks(const Problem& problem, Isa isa) {
  Config config;
  config.isa = isa;
  // Equal blocks, in whole tiles: 128 rows are 66 + 62 and not 96 + 32.
  const int64_t tile_rows = isa == Isa::kAmx ? 32 : isa == Isa::kAvx2 ? 6 : 12;
  const int64_t num_row_blocks = divide_up(problem.num_rows, kMaxBlockRows);
  config.block_rows = std::min(kMaxBlockRows, round_up(divide_up(problem.num_rows, num_row_blocks), tile_rows));
  // Wide blocks share the packing of their rows; there must be enough of them for all threads to
  // end together.
  const int64_t num_panels = divide_up(problem.n, kPanelWidth);
  const int64_t levels = num_tree_levels(problem.num_chunks);
  const int64_t fits = kMaxScratchSums / (levels * round_up(config.block_rows, 16) * kPanelWidth);
  const int64_t wanted_blocks = problem.num_threads == 1 ? 1 : 4 * problem.num_threads;
  const int64_t balanced = num_panels * num_row_blocks / wanted_blocks;
  config.block_panels = std::clamp<int64_t>(std::min({balanced, fits, kMaxBlockPanels}), 1, num_panels);
  return config;
}

Config choose_config(const Problem& problem, const CpuFeatures& features) {
  return choose_blocks(problem, choose_isa(problem, features));
}

bool is_supported(Isa isa, const CpuFeatures& features) {
  switch (isa) {
    case Isa::kPortable:
      return true;
    case Isa::kAvx2:
      return features.avx2;
    case Isa::kAvx512:
      return features.avx512;
    case Isa::kAvx512Bf16:
      return features.avx512_bf16;
    case Isa::kAmx:
      return features.amx_bf16;
  }
  return false;
}

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "AVX2";
    case Isa::kAvx512:
      return "AVX-512";
    case Isa::kAvx512Bf16:
      return "AVX512_BF16";
    case Isa::kAmx:
      return "AMX-BF16";
  }
  return "unknown";
}

const Kernel& find_kernel(Isa isa, DType dtype) {
  for (const Kernel& kernel : all_kernels()) {
    if (kernel.isa == isa && kernel.dtype == dtype) return kernel;
  }
  check_failed(__FILE__, __LINE__, "there is a kernel",
               std::string(isa_name(isa)) + " for " + std::string(dtype_name(dtype)));
}

}  // namespace cohort::gemm_internal
