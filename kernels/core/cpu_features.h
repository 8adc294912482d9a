// What vector units this CPU has, asked once.
#pragma once

namespace cohort {

struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ and VL
  bool avx512_bf16 = false;
  bool amx_bf16 = false;  // the unit, and the kernel's permission to use its tiles (asked for here)
};

const CpuFeatures& cpu_features();

}  // namespace cohort
