// Hopper's copy engine (TMA): barriers in shared memory, copies of bytes and of boxes of tensors that complete on them,
// and the tensor maps that the host makes for these. Only for files that are compiled with CUDA; what it does on the
// device needs sm_90 (PTX manual, "mbarrier", "cp.async.bulk" and "cp.async.bulk.tensor").
//
// A barrier has phases: one ends when its arrivals are there and the bytes that were announced have been copied. Who
// waits gives the parity of the phase, 0 for the first; the phase before the first counts as ended.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/core/cuda_check.h"
#include "kernels/core/shared_address.cuh"

namespace cohort::cuda {

struct SharedBarrier {
  uint64_t state;

  __device__ void init(int num_arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&state)), "r"(num_arrivals) : "memory");
  }

  // What the calling thread read or wrote before is done with, for those who wait.
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&state)) : "memory");
  }

  // Arrives, and announces bytes that copies will bring in this phase.
  __device__ void arrive_and_expect(int num_bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&state)), "r"(num_bytes)
                 : "memory");
  }

  __device__ void wait(int parity) {
    uint32_t is_done = 0;
    do {
      asm volatile(
          "{\n"
          ".reg .pred done;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
          "selp.u32 %0, 1, 0, done;\n"
          "}"
          : "=r"(is_done)
          : "r"(shared_address(&state)), "r"(parity)
          : "memory");
    } while (is_done == 0);
  }
};

// Makes initialised barriers known to the copy engine; a barrier of the block must follow for its threads.
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// Orders what this thread wrote to shared memory before what tensor cores and the copy engine do there.
__device__ inline void publish_to_async_units() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// One thread of a warp, the same each time. The warp's threads call it together.
__device__ inline bool is_elected() {
  uint32_t is_elected;
  asm volatile(
      "{\n"
      ".reg .pred elected;\n"
      "elect.sync _|elected, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, elected;\n"
      "}"
      : "=r"(is_elected));
  return is_elected != 0;
}

// How the L2 cache is to treat what is read once.
__device__ inline uint64_t evict_first() {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Queues a copy of `num_bytes` to shared memory; they count for the barrier's current phase. All are multiples of 16.
__device__ inline void copy_bulk(void* to, const void* from, int num_bytes, SharedBarrier& barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(from), "r"(num_bytes), "r"(shared_address(&barrier.state))
               : "memory");
}

__device__ inline void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Queues the copy of a map's box to shared memory; the bytes count for the barrier's current phase. Coordinates begin
// with the innermost; what lies outside of the tensor becomes zero, and counts as well.
__device__ inline void load_box(void* to, const CUtensorMap& map, SharedBarrier& barrier, const int (&at)[2]) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
          "r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(at[0]), "r"(at[1])
      : "memory");
}
// With a policy for the L2 cache, as from evict_first().
__device__ inline void load_box(void* to, const CUtensorMap& map, SharedBarrier& barrier, const int (&at)[2],
                                uint64_t cache_policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, "
      "%4}], [%2], %5;" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(at[0]), "r"(at[1]), "l"(cache_policy)
      : "memory");
}
__device__ inline void load_box(void* to, const CUtensorMap& map, SharedBarrier& barrier, const int (&at)[4]) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
      : "memory");
}
__device__ inline void load_box(void* to, const CUtensorMap& map, SharedBarrier& barrier, const int (&at)[5]) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, "
      "%7}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
      : "memory");
}
__device__ inline void load_box(void* to, const CUtensorMap& map, SharedBarrier& barrier, const int (&at)[5],
                                uint64_t cache_policy) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, "
      "%4, %5, %6, %7}], [%2], %8;" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier.state)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]),
      "l"(cache_policy)
      : "memory");
}

// The driver's function, found at run time: linking to the driver would bind the build to a machine that has one.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const PFN_cuTensorMapEncodeTiled_v12000 encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    COHORT_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result));
    COHORT_CHECK(result == cudaDriverEntryPointSuccess, std::to_string(static_cast<int>(result)));
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return encoder;
}

// A tensor of 16-bit elements and the box of it that is copied at once, innermost dimension first; that one is dense.
template <size_t kRank>
struct TensorBox {
  std::array<uint64_t, kRank> dims;
  std::array<uint64_t, kRank - 1> strides;  // bytes, of the dimensions from the second on: multiples of 16
  std::array<uint32_t, kRank> box;
};

// Of __half or __nv_bfloat16. `swizzle_bytes`: the box's innermost extent, 32, 64 or 128; 16-byte chunks of rows of so
// many bytes are permuted within shared memory the way wgmma expects it. `promotion`: what the L2 cache fetches at
// once.
template <typename T, size_t kRank>
CUtensorMap make_tensor_map(const void* base, const TensorBox<kRank>& tensor, int swizzle_bytes,
                            CUtensorMapL2promotion promotion = CU_TENSOR_MAP_L2_PROMOTION_L2_256B) {
  static_assert(std::is_same_v<T, __half> || std::is_same_v<T, __nv_bfloat16>);
  constexpr auto kType = std::is_same_v<T, __half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUtensorMapSwizzle swizzle = swizzle_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : swizzle_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                           : CU_TENSOR_MAP_SWIZZLE_32B;
  std::array<uint32_t, kRank> element_strides;
  element_strides.fill(1);
  CUtensorMap map;
  const CUresult result = tensor_map_encoder()(
      &map, kType, kRank, const_cast<void*>(base), tensor.dims.data(), tensor.strides.data(), tensor.box.data(),
      element_strides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  COHORT_CHECK(result == CUDA_SUCCESS, "cuTensorMapEncodeTiled: " + std::to_string(static_cast<int>(result)));
  return map;
}

}  // namespace cohort::cuda
