// Internal, x86 only.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/kernels.h"

namespace cohort::gemm_internal {
namespace {

// Calls `multiply` with subnormals taken as zero (DAZ), given as zero (FTZ) and rounding to nearest
// even, as TDPBF16PS and VDPBF16PS always compute, and restores the caller's mode. Through a
// function that is not inlined: compilers move arithmetic across a change of MXCSR.
template <void (*multiply)(const BlockArgs&)>
[[gnu::noinline]] void call(const BlockArgs& args) {
  multiply(args);
}

template <void (*multiply)(const BlockArgs&)>
void multiply_flushing(const BlockArgs& args) {
  constexpr unsigned kMaskedExceptionsFtzDaz = 0x1f80u | 0x8000u | 0x0040u;
  const unsigned saved = _mm_getcsr();
  _mm_setcsr(kMaskedExceptionsFtzDaz);
  call<multiply>(args);
  _mm_setcsr(saved);
}

}  // namespace
}  // namespace cohort::gemm_internal
