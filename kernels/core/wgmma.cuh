// Products of a warpgroup's tensor cores (wgmma, sm_90a): 64 rows by 16 of depth by some columns at once, asynchronous
// (PTX manual, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions"). Only for files that are
// compiled with CUDA.
//
// Warp w of the group has the rows from 16 w on of the accumulators, and of a left operand in registers, laid out as
// for mma.m16n8k16: of each 8 columns lane l has the columns 2 (l % 4) and + 1 of the rows l / 4 and l / 4 + 8. Between
// a product and the wait for it nothing may touch its registers.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/core/shared_address.cuh"

namespace cohort::cuda {

inline constexpr int kWarpgroupThreads = 128;

// Lets registers that were just written be used by the products that follow.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Closes a group of products.
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most so many groups, the last ones, are under way.
template <int kNumGroups>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kNumGroups) : "memory");
}
// Keeps the compiler from using `x` before this place, or from changing it behind.
template <typename T, int kCount>
__device__ void pin(T (&x)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (std::is_same_v<T, float>) {
      asm volatile("" : "+f"(x[i])::"memory");
    } else {
      asm volatile("" : "+r"(x[i])::"memory");
    }
  }
}

// A matrix of 16-bit elements in shared memory for wgmma (PTX manual, "Matrix Descriptor"): atoms of eight rows of
// kSwizzleBytes, within which 16-byte chunks are permuted, each atom at a multiple of its size. An operand whose depth
// runs along the rows of atoms ("K-major") has its eight-row groups `group_bytes` apart and lies in one atom along the
// depth, `panel_bytes` unused; one whose depth runs across them ("MN-major") has the groups of eight of depth
// `group_bytes` apart and atoms along its columns `panel_bytes`.
template <int kSwizzleBytes>
__device__ uint64_t matrix_descriptor(const void* first, int panel_bytes, int group_bytes) {
  constexpr uint64_t kSwizzle = kSwizzleBytes == 128 ? 1 : kSwizzleBytes == 64 ? 2 : 3;
  return uint64_t{(shared_address(first) & 0x3ffff) >> 4} | uint64_t{static_cast<uint32_t>(panel_bytes) >> 4} << 16 |
         uint64_t{static_cast<uint32_t>(group_bytes) >> 4} << 32 | kSwizzle << 62;
}

// The descriptor of what lies `num_bytes` further on, a multiple of 16.
__device__ inline uint64_t advance(uint64_t descriptor, int num_bytes) { return descriptor + (num_bytes >> 4); }

template <typename T>
struct ProductType;  // its name in an instruction
template <>
struct ProductType<__half> {
  static constexpr char kName[] = "f16";
};
template <>
struct ProductType<__nv_bfloat16> {
  static constexpr char kName[] = "bf16";
};

// Accumulators as operands of inline assembly, and their numbers.
#define COHORT_ACCUMULATORS_4(x, i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define COHORT_ACCUMULATORS_8(x, i) COHORT_ACCUMULATORS_4(x, i), COHORT_ACCUMULATORS_4(x, i + 4)
#define COHORT_ACCUMULATORS_16(x, i) COHORT_ACCUMULATORS_8(x, i), COHORT_ACCUMULATORS_8(x, i + 8)
#define COHORT_ACCUMULATORS_32(x, i) COHORT_ACCUMULATORS_16(x, i), COHORT_ACCUMULATORS_16(x, i + 16)
#define COHORT_NUMBERS_4 "%0, %1, %2, %3"
#define COHORT_NUMBERS_8 COHORT_NUMBERS_4 ", %4, %5, %6, %7"
#define COHORT_NUMBERS_16 COHORT_NUMBERS_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define COHORT_NUMBERS_20 COHORT_NUMBERS_16 ", %16, %17, %18, %19"
#define COHORT_NUMBERS_32 \
  COHORT_NUMBERS_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define COHORT_NUMBERS_40 COHORT_NUMBERS_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define COHORT_NUMBERS_48 COHORT_NUMBERS_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define COHORT_NUMBERS_64 \
  COHORT_NUMBERS_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define COHORT_WGMMA_SHARED(columns, numbers, a, b, adds, type)                                                    \
  "{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds ", 0;\nwgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type \
  "." type " {" numbers "}, " a ", " b ", adds, 1, 1, 0, 0;\n}"
#define COHORT_WGMMA_REGISTERS(columns, numbers, a, b, adds, type)                                                 \
  "{\n.reg .pred adds;\nsetp.ne.b32 adds, " adds ", 0;\nwgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type \
  "." type " {" numbers "}, {" a "}, " b ", adds, 1, 1, 1;\n}"

// sums [64, 2 kSums] = a [64, 16] b [16, 2 kSums], plus sums if `adds`. Both operands are in shared memory, K-major.
template <typename T, int kSums>
__device__ void multiply_shared(float (&sums)[kSums], uint64_t a, uint64_t b, int adds) {
  static_assert(kSums == 4 || kSums == 8 || kSums == 16 || kSums == 20 || kSums == 32 || kSums == 64);
  if constexpr (kSums == 4) {
    asm volatile(COHORT_WGMMA_SHARED("8", COHORT_NUMBERS_4, "%4", "%5", "%6", "%7")
                 : COHORT_ACCUMULATORS_4(sums, 0)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 8) {
    asm volatile(COHORT_WGMMA_SHARED("16", COHORT_NUMBERS_8, "%8", "%9", "%10", "%11")
                 : COHORT_ACCUMULATORS_8(sums, 0)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 16) {
    asm volatile(COHORT_WGMMA_SHARED("32", COHORT_NUMBERS_16, "%16", "%17", "%18", "%19")
                 : COHORT_ACCUMULATORS_16(sums, 0)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 20) {
    asm volatile(COHORT_WGMMA_SHARED("40", COHORT_NUMBERS_20, "%20", "%21", "%22", "%23")
                 : COHORT_ACCUMULATORS_16(sums, 0), COHORT_ACCUMULATORS_4(sums, 16)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 32) {
    asm volatile(COHORT_WGMMA_SHARED("64", COHORT_NUMBERS_32, "%32", "%33", "%34", "%35")
                 : COHORT_ACCUMULATORS_32(sums, 0)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 64) {
    asm volatile(COHORT_WGMMA_SHARED("128", COHORT_NUMBERS_64, "%64", "%65", "%66", "%67")
                 : COHORT_ACCUMULATORS_32(sums, 0), COHORT_ACCUMULATORS_32(sums, 32)
                 : "l"(a), "l"(b), "r"(adds), "C"(ProductType<T>::kName));
  }
}

// sums [64, 2 kSums] += a [64, 16] b [16, 2 kSums], with b in shared memory and MN-major.
template <typename T, int kSums>
__device__ void multiply_add_registers(float (&sums)[kSums], const uint32_t* a, uint64_t b) {
  static_assert(kSums == 32 || kSums == 40 || kSums == 48 || kSums == 64);
  if constexpr (kSums == 32) {
    asm volatile(COHORT_WGMMA_REGISTERS("64", COHORT_NUMBERS_32, "%32, %33, %34, %35", "%36", "%37", "%38")
                 : COHORT_ACCUMULATORS_32(sums, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 40) {
    asm volatile(COHORT_WGMMA_REGISTERS("80", COHORT_NUMBERS_40, "%40, %41, %42, %43", "%44", "%45", "%46")
                 : COHORT_ACCUMULATORS_32(sums, 0), COHORT_ACCUMULATORS_8(sums, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 48) {
    asm volatile(COHORT_WGMMA_REGISTERS("96", COHORT_NUMBERS_48, "%48, %49, %50, %51", "%52", "%53", "%54")
                 : COHORT_ACCUMULATORS_32(sums, 0), COHORT_ACCUMULATORS_16(sums, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "C"(ProductType<T>::kName));
  } else if constexpr (kSums == 64) {
    asm volatile(COHORT_WGMMA_REGISTERS("128", COHORT_NUMBERS_64, "%64, %65, %66, %67", "%68", "%69", "%70")
                 : COHORT_ACCUMULATORS_32(sums, 0), COHORT_ACCUMULATORS_32(sums, 32)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1), "C"(ProductType<T>::kName));
  }
}

#undef COHORT_WGMMA_REGISTERS
#undef COHORT_WGMMA_SHARED
#undef COHORT_NUMBERS_64
#undef COHORT_NUMBERS_48
#undef COHORT_NUMBERS_40
#undef COHORT_NUMBERS_32
#undef COHORT_NUMBERS_20
#undef COHORT_NUMBERS_16
#undef COHORT_NUMBERS_8
#undef COHORT_NUMBERS_4
#undef COHORT_ACCUMULATORS_32
#undef COHORT_ACCUMULATORS_16
#undef COHORT_ACCUMULATORS_8
#undef COHORT_ACCUMULATORS_4

}  // namespace cohort::cuda
