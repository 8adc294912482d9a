// Tiles of products of 16-bit elements by mma: stages of operands in shared memory, filled by copies that nothing waits
// for, and a warp's way through one. Internal to products on CUDA; only for files that are compiled with CUDA.
//
// An element of the product is one chain of mma along K, each of 16 elements, whatever the size of the tile.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/gemm/gemm_cuda.h"
#include "kernels/gemm/mma_cuda.cuh"

namespace cohort::cuda::tile {

inline constexpr int kStepK = 64;                 // elements of K of a stage
inline constexpr int kVecSize = 8;                // elements of 16 bytes
inline constexpr int kPitch = kStepK + kVecSize;  // eight rows at one place of K lie in all banks

// Warps along columns and rows, tiles of 16 columns and of 8 rows of a warp, stages in flight.
template <int kColumnWarps, int kRowWarps, int kColumnTiles_, int kRowTiles_, int kStages_>
struct Tile {
  static constexpr int kColumnTiles = kColumnTiles_;
  static constexpr int kRowTiles = kRowTiles_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarpsAlongColumns = kColumnWarps;
  static constexpr int kColumns = kColumnWarps * kColumnTiles * 16;
  static constexpr int kRows = kRowWarps * kRowTiles * 8;
  static constexpr int kNumThreads = 32 * kColumnWarps * kRowWarps;
  static constexpr int kNumSums = kColumnTiles * kRowTiles * 4;  // of a thread
  static constexpr int kStageElements = (kColumns + kRows) * kPitch;
  static constexpr int kSmemBytes = kStages * kStageElements * 2;
};

__device__ inline uint32_t smem_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Copies 16 bytes to shared memory without waiting, or writes zeros.
__device__ inline void copy_vec(void* to, const void* from, bool is_inside) {
  const int num_bytes = is_inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(to)), "l"(from), "r"(num_bytes)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ inline void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_address(row))
               : "memory");
}
__device__ inline void load_matrices(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_address(row))
               : "memory");
}

// sums += the product of a stage, 16 elements of K after the other.
template <typename T, typename Tile>
__device__ void multiply_stage(float (&sums)[Tile::kNumSums], const T* stage) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Lanes 0 to 7 say where the rows of the first 8 x 8 matrix are, the next eight of the second, and so on.
  const T* const columns =
      stage + (warp % Tile::kWarpsAlongColumns * Tile::kColumnTiles * 16 + lane % 16) * kPitch + lane / 16 * 8;
  const T* const rows = stage +
                        (Tile::kColumns + warp / Tile::kWarpsAlongColumns * Tile::kRowTiles * 8 + lane % 8) * kPitch +
                        lane / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < kStepK; k += 16) {
    uint32_t a[Tile::kColumnTiles][4];
    uint32_t b[Tile::kRowTiles][2];
#pragma unroll
    for (int c = 0; c < Tile::kColumnTiles; ++c) load_matrices(a[c], columns + c * 16 * kPitch + k);
#pragma unroll
    for (int r = 0; r < Tile::kRowTiles; ++r) load_matrices(b[r], rows + r * 8 * kPitch + k);
#pragma unroll
    for (int c = 0; c < Tile::kColumnTiles; ++c) {
#pragma unroll
      for (int r = 0; r < Tile::kRowTiles; ++r) {
        gemm_internal::multiply_add(&sums[(c * Tile::kRowTiles + r) * 4], a[c][0], a[c][1], a[c][2], a[c][3], b[r][0],
                                    b[r][1], T(0.0f));
      }
    }
  }
}

// Calls f.operator()<Tile>().
template <typename F>
void dispatch_tile(gemm_internal::TileSize size, F&& f) {
  switch (size) {
    case gemm_internal::TileSize::k32x8:
      return f.template operator()<Tile<2, 1, 1, 1, 8>>();
    case gemm_internal::TileSize::k32x32:
      return f.template operator()<Tile<2, 1, 1, 4, 5>>();
    case gemm_internal::TileSize::k64x64:
      return f.template operator()<Tile<2, 2, 2, 4, 4>>();
  }
}

// Calls f with std::true_type or std::false_type.
template <typename F>
void dispatch_bool(bool value, F&& f) {
  if (value) return f(std::true_type());
  f(std::false_type());
}

}  // namespace cohort::cuda::tile
