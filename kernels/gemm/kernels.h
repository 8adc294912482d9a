// The kernels behind gemm(), one for each instruction set and dtype, so that a test can force one.
// Internal to this folder and its tests and benches.
//
// A kernel adds the product of a block of rows, a run of panels and a run of K to float32
// accumulators. In which order it adds is its SumOrder; kernels of one order and dtype give equal
// bits, whatever the shape of the block.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/core/cpu_features.h"
#include "kernels/core/dtype.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/gemm/gemm.h"

namespace cohort::gemm_internal {

enum class Isa {
  kPortable,    // plain C++
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // VDPBF16PS
  kAmx,         // TDPBF16PS
};

// How the products of one output element are summed within a chunk.
enum class SumOrder {
  // One fused multiply-add after the other.
  kSequential,
  // As TDPBF16PS does (Intel SDM vol. 2, TDPBF16PS, Operation): of every 32 elements the 16 at even
  // places are summed
  // by fused multiply-adds that start from zero, the 16 at odd places likewise, and (even sum + odd
  // sum) is added to
  // the accumulator; round to nearest even, subnormals taken and given as zero. Products of
  // bfloat16 are exact in
  // float32, so that float32 FMAs with FTZ and DAZ give the same bits.
  kPairGroups,
  // As VDPBF16PS does: of every two elements the odd one is added first, then the even one;
  // subnormals as above.
  kPairs,
};

// At most so much of K is multiplied in one call. Of packed activations it is 1 KiB a row, in
// float32 or bfloat16; a panel widened to float32 is 16 KiB, half of a 32 KiB L1 cache, which
// leaves room for the rows that it meets.
inline constexpr int64_t kMaxBlockK = 256;
inline constexpr int64_t kMaxBlockKPackedBF16 = 512;
// From one row of packed activations to the next, in bytes. A line more than a power of two, so
// that the rows that a tile reads side by side do not share cache sets.
inline constexpr int64_t kPackedRowBytes = 1024 + 64;
// Rows of a block: 96 rows of packed activations are 102 KiB, a fifth of Zen 3's L2 and a twentieth
// of Sapphire Rapids'. A multiple of the tile heights 6, 12 and 16.
inline constexpr int64_t kMaxBlockRows = 96;

struct BlockArgs {
  float* sums;             // [num_rows, sums_stride]: added to; AMX also writes rows up to a multiple of 16
  int64_t sums_stride;     // in floats
  const void* rows;        // [num_rows] packed by pack_rows, kPackedRowBytes apart
  const void* weight;      // the first panel, at this part of K
  int64_t panel_elements;  // from one panel to the next
  int64_t num_rows;        // 1 to kMaxBlockRows
  int64_t num_panels;
  int64_t num_k;  // 1 to kMaxBlockK; with bfloat16 a multiple of 32
};

// Brings rows of x, [num_rows, num_k] with `stride` elements between rows, into the form that a
// kernel reads, and fills with zeros what lies between num_k and padded_k.
using PackRows = void (*)(void* packed, const void* x, int64_t stride, int64_t num_rows, int64_t num_k,
                          int64_t padded_k);

struct Kernel {
  Isa isa;
  DType dtype;
  SumOrder order;
  int64_t block_k;  // kMaxBlockK, or kMaxBlockKPackedBF16 if it reads packed rows in bfloat16
  PackRows pack_rows;
  void (*multiply)(const BlockArgs& args);
};

// Every kernel that this build has, whether this CPU can run it or not.
std::span<const Kernel> all_kernels();

// Requires that there is one.
const Kernel& find_kernel(Isa isa, DType dtype);

bool is_supported(Isa isa, const CpuFeatures& features);
std::string_view isa_name(Isa isa);  // "AVX2", "AMX-BF16", ...

// What gemm() does, as a pure function of the problem and the CPU.
struct Problem {
  int64_t num_rows = 0;
  int64_t n = 0;
  int64_t k = 0;
  int num_chunks = 1;
  DType dtype = DType::kF32;
  int num_threads = 1;
};

struct Config {
  Isa isa = Isa::kPortable;
  int64_t block_rows = 0;    // 1 to kMaxBlockRows
  int64_t block_panels = 0;  // columns of a block / 16

  bool operator==(const Config&) const = default;
};

// For one CPU and dtype, the SumOrder of the kernel it chooses is the same for every problem. The
// blocks fit the scratch of a task.
Config choose_config(const Problem& problem, const CpuFeatures& features);
// The same with the instruction set given.
Config choose_blocks(const Problem& problem, Isa isa);

// gemm() on the CPU as `config` says. Requires that the arguments are checked and not empty.
void run_gemm(const Config& config, TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
              Stream& stream);

// Partial sums of a block, for each level of the tree over the chunks, in floats: 160 KiB of the
// stack, enough for 96 rows and 128 columns without a tree and 64 columns under 16 chunks.
inline constexpr int64_t kMaxScratchSums = 40 * 1024;

// Levels of partial sums that are pending at once when chunks are added as a binary tree:
// log2(num_chunks) + 1.
int num_tree_levels(int num_chunks);

}  // namespace cohort::gemm_internal
