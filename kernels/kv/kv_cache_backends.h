// The backends behind kv_cache.h. Internal to this folder.
//
// Shapes, dtypes and devices are checked, k is not empty. Slots are checked by the backend, which can read them.
#pragma once

#include "kernels/kv/kv_cache.h"

namespace cohort::cpu {

void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream);

}  // namespace cohort::cpu

namespace cohort::cuda {

// Throws CheckError in a build without CUDA.
void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream);

}  // namespace cohort::cuda
