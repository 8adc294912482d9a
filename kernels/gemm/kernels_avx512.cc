// Kernels for AVX-512 (F, BW, DQ, VL).
#include <immintrin.h>

#include "kernels/gemm/flush_to_zero.h"
#include "kernels/gemm/kernels_x86.h"
#include "kernels/gemm/rows.h"
#include "kernels/gemm/tile.h"

namespace cohort::gemm_internal {
namespace {

// 16 lanes in one of the 32 registers: 12 x 2 panels take 24 for sums and 2 for weights; x is
// broadcast by the FMA.
struct Avx512Panel {
  static constexpr int kTileRows = 12;
  static constexpr int kTilePanels = 24;
  static constexpr int kPairTileRows = 6;
  static constexpr int kPairTilePanels = 12;

  __m512 lanes;

  static Avx512Panel zero() { return {_mm512_setzero_ps()}; }
  static Avx512Panel load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Avx512Panel load(const f16* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static void load_pairs(const bf16* p, Avx512Panel& even, Avx512Panel& odd) {
    const __m512i pairs = _mm512_loadu_si512(p);
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    even = {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
    odd = {_mm512_castsi512_ps(_mm512_and_si512(pairs, mask))};
  }
  static void store(float* p, Avx512Panel v) { _mm512_storeu_ps(p, v.lanes); }
  static Avx512Panel add(Avx512Panel a, Avx512Panel b) { return {_mm512_add_ps(a.lanes, b.lanes)}; }
  static __m512 broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Avx512Panel fma(__m512 x, Avx512Panel w, Avx512Panel sum) { return {_mm512_fmadd_ps(x, w.lanes, sum.lanes)}; }
};

}  // namespace

constinit const Kernel kAvx512F32{Isa::kAvx512, DType::kF32,   SumOrder::kSequential,
                                  kMaxBlockK,   pack_rows_f32, multiply_packed<Avx512Panel, float>};
constinit const Kernel kAvx512F16{Isa::kAvx512, DType::kF16,   SumOrder::kSequential,
                                  kMaxBlockK,   pack_rows_f16, multiply_f16<Avx512Panel>};
constinit const Kernel kAvx512BF16{Isa::kAvx512, DType::kBF16,         SumOrder::kPairGroups,
                                   kMaxBlockK,   pack_rows_bf16_split, multiply_flushing<multiply_bf16<Avx512Panel>>};

}  // namespace cohort::gemm_internal
