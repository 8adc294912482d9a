// Kernels for AVX2, FMA and F16C: the project's baseline on x86.
#include <immintrin.h>

#include "kernels/gemm/flush_to_zero.h"
#include "kernels/gemm/kernels_x86.h"
#include "kernels/gemm/rows.h"
#include "kernels/gemm/tile.h"

namespace cohort::gemm_internal {
namespace {

// 16 lanes in two of the 16 registers: 6 x 1 panels take 12 for sums, 2 for weights and 1 for x.
struct Avx2Panel {
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = 6;
  static constexpr int kPairTileRows = 3;
  static constexpr int kPairTilePanels = 3;

  __m256 low;
  __m256 high;

  static Avx2Panel zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Avx2Panel load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Avx2Panel load(const f16* p) {
    const __m128i* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  static void load_pairs(const bf16* p, Avx2Panel& even, Avx2Panel& odd) {
    const __m256i* pairs = reinterpret_cast<const __m256i*>(p);
    const __m256i low = _mm256_loadu_si256(pairs);
    const __m256i high = _mm256_loadu_si256(pairs + 1);
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    even = {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
    odd = {_mm256_castsi256_ps(_mm256_and_si256(low, mask)), _mm256_castsi256_ps(_mm256_and_si256(high, mask))};
  }
  static void store(float* p, Avx2Panel v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }
  static Avx2Panel add(Avx2Panel a, Avx2Panel b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
  }
  static __m256 broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static Avx2Panel fma(__m256 x, Avx2Panel w, Avx2Panel sum) {
    return {_mm256_fmadd_ps(x, w.low, sum.low), _mm256_fmadd_ps(x, w.high, sum.high)};
  }
};

}  // namespace

constinit const Kernel kAvx2F32{Isa::kAvx2, DType::kF32,   SumOrder::kSequential,
                                kMaxBlockK, pack_rows_f32, multiply_packed<Avx2Panel, float>};
constinit const Kernel kAvx2F16{Isa::kAvx2, DType::kF16,   SumOrder::kSequential,
                                kMaxBlockK, pack_rows_f16, multiply_f16<Avx2Panel>};
constinit const Kernel kAvx2BF16{Isa::kAvx2, DType::kBF16,         SumOrder::kPairGroups,
                                 kMaxBlockK, pack_rows_bf16_split, multiply_flushing<multiply_bf16<Avx2Panel>>};

}  // namespace cohort::gemm_internal
