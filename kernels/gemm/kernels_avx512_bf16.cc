// Kernel for AVX512_BF16 (VDPBF16PS) on CPUs without AMX: twice the products of a float32 FMA.
#include <immintrin.h>

#include "kernels/gemm/kernels_x86.h"
#include "kernels/gemm/layout.h"
#include "kernels/gemm/rows.h"
#include "kernels/gemm/tile.h"

namespace cohort::gemm_internal {
namespace {

// A lane is a pair of bfloat16 in weights and x, and a float32 in sums; an "element of K" is a
// pair.
struct PairPanel {
  __m512 lanes;

  static PairPanel zero() { return {_mm512_setzero_ps()}; }
  static PairPanel load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static void store(float* p, PairPanel v) { _mm512_storeu_ps(p, v.lanes); }
  static __m512i broadcast(const float* p) { return _mm512_castps_si512(_mm512_set1_ps(*p)); }
  static PairPanel fma(__m512i x, PairPanel w, PairPanel sum) {
    const __m512i pairs = _mm512_castps_si512(w.lanes);
    return {_mm512_dpbf16_ps(sum.lanes, (__m512bh)x, (__m512bh)pairs)};
  }

  static constexpr int kTileRows = 12;
  static constexpr int kTilePanels = 24;
};

// float32 tiles with pairs in the place of floats: both are 4 bytes, and a panel of pairs is a
// cache line.
void multiply_pairs(const BlockArgs& args) {
  BlockArgs pairs = args;
  pairs.num_k = args.num_k / 2;
  pairs.panel_elements = args.panel_elements / 2;
  multiply_packed<PairPanel, float>(pairs);
}

}  // namespace

// VDPBF16PS does not consult MXCSR.
constinit const Kernel kAvx512Bf16BF16{Isa::kAvx512Bf16,     DType::kBF16,   SumOrder::kPairs,
                                       kMaxBlockKPackedBF16, pack_rows_bf16, multiply_pairs};

}  // namespace cohort::gemm_internal
