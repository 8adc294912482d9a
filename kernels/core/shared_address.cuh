// How instructions name shared memory. Only for files that are compiled with CUDA.
#pragma once

#include <cstdint>

namespace cohort::cuda {

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

}  // namespace cohort::cuda
