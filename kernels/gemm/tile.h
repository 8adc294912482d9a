// The inner loops of every kernel but AMX's, over a `Panel` type that stands for 16 float32 lanes
// of one instruction set. Included only by the kernel files, each compiled for its own instruction
// set; all of it has internal linkage and calls nothing of the standard library, so that the linker
// cannot share code between them.
//
// Panel offers, all static:
//   zero(), load(const float*), load(const f16*), store(float*, Panel), add(Panel, Panel)
//   load_pairs(const bf16*, Panel& even, Panel& odd): 16 pairs, split
//   broadcast(const float*), fma(broadcast, Panel, Panel)
//   kTileRows: the most rows of a tile; kTilePanels: rows x panels whose sums fit the registers
//   kPairTileRows, kPairTilePanels: the same for tile_pairs, which keeps two sums for each element
#pragma once

#include <cstdint>

#include "kernels/gemm/kernels.h"
#include "kernels/gemm/layout.h"

namespace cohort::gemm_internal {

inline constexpr int kWidth = static_cast<int>(kPanelWidth);
inline constexpr int kHalfGroup = static_cast<int>(kPairGroup) / 2;
inline constexpr int64_t kPackedRowFloats = kPackedRowBytes / 4;

namespace {

// A block, or the rows and panels of it that one tile multiplies.
template <typename W>
struct Tile {
  float* sums;  // [rows, sums_stride]
  int64_t sums_stride;
  const float* rows;  // [rows, kPackedRowFloats]
  const W* weight;
  int64_t panel_elements;
  int64_t num_k;
};

// kRows x kPanels panels of sums, all in registers once the loops are unrolled.
template <typename Panel, int kRows, int kPanels>
struct Sums {
  Panel at[kRows][kPanels];

  template <typename F>
  inline __attribute__((always_inline)) static void for_each(F&& f) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) f(r, p);
    }
  }
  inline __attribute__((always_inline)) void clear() {
    for_each([&](int r, int p) __attribute__((always_inline)) { at[r][p] = Panel::zero(); });
  }
  // One element of K: w[p] are the panels, rows + r * kPackedRowFloats the rows.
  inline __attribute__((always_inline)) void multiply(const float* rows, const Panel* w) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const auto x = Panel::broadcast(rows + r * kPackedRowFloats);
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) at[r][p] = Panel::fma(x, w[p], at[r][p]);
    }
  }
};

// One panel alone is one stream of memory, and the CPU's own prefetcher stops at each page of 4
// KiB; several panels hide that from each other. Measured on Zen 3 at n = k = 4096: 4 rows of
// float16 from 36 to 58 GFLOP/s, of float32 from 24 to 28; nothing with two or four panels.
template <int kRows, int kPanels>
inline __attribute__((always_inline)) void prefetch_ahead(const void* weight) {
  constexpr int kNumBytesAhead = 2048;
  if constexpr (kRows > 1 && kPanels == 1) {
    __builtin_prefetch(static_cast<const char*>(weight) + kNumBytesAhead);
  }
}

// SumOrder::kSequential.
template <typename Panel, typename W>
struct SequentialTiles {
  using Weight = W;
  static constexpr int kMaxRows = Panel::kTileRows;
  static constexpr int kMaxPanels = Panel::kTilePanels;

  template <int kRows, int kPanels>
  static void run(const Tile<W>& tile) {
    using TileSums = Sums<Panel, kRows, kPanels>;
    const int64_t sums_stride = tile.sums_stride;
    const int64_t panel_elements = tile.panel_elements;
    float* out = tile.sums;
    TileSums sums;
    TileSums::for_each([&](int r, int p) __attribute__((always_inline)) {
      sums.at[r][p] = Panel::load(out + r * sums_stride + p * kWidth);
    });
    const W* weight = tile.weight;
    const float* rows = tile.rows;
    for (int64_t k = 0; k < tile.num_k; ++k) {
      Panel w[kPanels];
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) {
        w[p] = Panel::load(weight + p * panel_elements);
        prefetch_ahead<kRows, kPanels>(weight + p * panel_elements);
      }
      sums.multiply(rows, w);
      weight += kWidth;
      ++rows;
    }
    TileSums::for_each([&](int r, int p) __attribute__((always_inline)) {
      Panel::store(out + r * sums_stride + p * kWidth, sums.at[r][p]);
    });
  }
};

// sums += even + odd, in memory: once in a group of 32 elements, and registers are short.
template <typename Panel, int kRows, int kPanels>
inline __attribute__((always_inline)) void add_group(float* out, int64_t sums_stride,
                                                     const Sums<Panel, kRows, kPanels>& even,
                                                     const Sums<Panel, kRows, kPanels>& odd) {
  Sums<Panel, kRows, kPanels>::for_each([&](int r, int p) __attribute__((always_inline)) {
    float* sum = out + r * sums_stride + p * kWidth;
    Panel::store(sum, Panel::add(Panel::load(sum), Panel::add(even.at[r][p], odd.at[r][p])));
  });
}

// SumOrder::kPairGroups over weights that were widened to float32, of each 32 elements the even
// ones first. Even and odd sums are made one after the other, so that a tile is as high as in
// float32; the even ones wait in memory.
template <typename Panel>
struct WidenedPairTiles {
  using Weight = float;
  static constexpr int kMaxRows = Panel::kTileRows;
  static constexpr int kMaxPanels = Panel::kTilePanels;

  template <int kRows, int kPanels>
  static void run(const Tile<float>& tile) {
    for (int64_t k = 0; k < tile.num_k; k += kPairGroup) {
      const float* rows = tile.rows + k;
      const float* weight = tile.weight + k * kWidth;
      Sums<Panel, kRows, kPanels> even;
      sum_half_group(even, rows, weight, tile.panel_elements);
      Sums<Panel, kRows, kPanels> odd;
      sum_half_group(odd, rows + kHalfGroup, weight + kHalfGroup * kWidth, tile.panel_elements);
      add_group(tile.sums, tile.sums_stride, even, odd);
    }
  }

  template <int kRows, int kPanels>
  inline __attribute__((always_inline)) static void sum_half_group(Sums<Panel, kRows, kPanels>& result,
                                                                   const float* rows, const float* weight,
                                                                   int64_t panel_elements) {
    Sums<Panel, kRows, kPanels> sums;
    sums.clear();
#pragma GCC unroll 1
    for (int k = 0; k < kHalfGroup; ++k) {
      Panel w[kPanels];
#pragma GCC unroll 16
      for (int p = 0; p < kPanels; ++p) {
        w[p] = Panel::load(weight + p * panel_elements + k * kWidth);
      }
      sums.multiply(rows + k, w);
    }
    result = sums;
  }
};

// SumOrder::kPairGroups over weights as they are packed: reads half the bytes, for few rows.
template <typename Panel>
struct PairTiles {
  using Weight = bf16;
  static constexpr int kMaxRows = Panel::kPairTileRows;
  static constexpr int kMaxPanels = Panel::kPairTilePanels;

  template <int kRows, int kPanels>
  static void run(const Tile<bf16>& tile) {
    for (int64_t k = 0; k < tile.num_k; k += kPairGroup) {
      const float* rows = tile.rows + k;
      const bf16* weight = tile.weight + k * kWidth;
      Sums<Panel, kRows, kPanels> even;
      Sums<Panel, kRows, kPanels> odd;
      even.clear();
      odd.clear();
#pragma GCC unroll 1
      for (int pair = 0; pair < kHalfGroup; ++pair) {
        Panel w_even[kPanels];
        Panel w_odd[kPanels];
#pragma GCC unroll 16
        for (int p = 0; p < kPanels; ++p) {
          Panel::load_pairs(weight + p * tile.panel_elements, w_even[p], w_odd[p]);
          prefetch_ahead<kRows, kPanels>(weight + p * tile.panel_elements);
        }
        even.multiply(rows + pair, w_even);
        odd.multiply(rows + pair + kHalfGroup, w_odd);
        weight += 2 * kWidth;
      }
      add_group(tile.sums, tile.sums_stride, even, odd);
    }
  }
};

template <typename Tiles>
using TileFunction = void (*)(const Tile<typename Tiles::Weight>&);

template <typename Tiles, int kRows, int kPanels>
constexpr TileFunction<Tiles> tile_function() {
  if constexpr (kRows * kPanels <= Tiles::kMaxPanels) return &Tiles::template run<kRows, kPanels>;
  return nullptr;
}

template <int... kValues>
struct Ints {};
template <int kCount, int... kValues>
struct OneTo : OneTo<kCount - 1, kCount, kValues...> {};
template <int... kValues>
struct OneTo<0, kValues...> : Ints<kValues...> {};  // 1, 2, ..., kCount

template <typename Tiles, int... kRows>
void run_tile(const Tile<typename Tiles::Weight>& tile, int64_t num_rows, int num_panels, Ints<kRows...>) {
  static constexpr TileFunction<Tiles> kFunctions[][3] = {
      {tile_function<Tiles, kRows, 1>(), tile_function<Tiles, kRows, 2>(), tile_function<Tiles, kRows, 4>()}...};
  kFunctions[num_rows - 1][num_panels / 2](tile);
}

// Panels side by side for tiles of `num_rows`: as many sums under way as the registers hold, to
// hide the latency of an FMA (4 cycles, two a cycle).
template <typename Tiles>
int panels_of_tile(int64_t num_rows) {
  if (num_rows * 4 <= Tiles::kMaxPanels) return 4;
  return num_rows * 2 <= Tiles::kMaxPanels ? 2 : 1;
}

// Cuts `num_rows` into tiles of nearly equal height: a last tile of one row would wait for its own
// sums. A run of panels meets all rows before the next, so that it is read from L1 for all tiles
// but the first.
template <typename Tiles>
void run_tiles(const Tile<typename Tiles::Weight>& block, int64_t num_rows, int64_t num_panels) {
  const int64_t num_tiles = (num_rows + Tiles::kMaxRows - 1) / Tiles::kMaxRows;
  const int64_t height = num_rows / num_tiles;
  const int64_t num_higher = num_rows % num_tiles;
  const int wide = panels_of_tile<Tiles>(height + (num_higher > 0 ? 1 : 0));
  for (int64_t panel = 0; panel < num_panels;) {
    const int count = num_panels - panel >= wide ? wide : 1;
    int64_t row = 0;
    for (int64_t t = 0; t < num_tiles; ++t) {
      const int64_t rows = height + (t < num_higher ? 1 : 0);
      Tile<typename Tiles::Weight> tile = block;
      tile.sums += row * block.sums_stride + panel * kWidth;
      tile.rows += row * kPackedRowFloats;
      tile.weight += panel * block.panel_elements;
      run_tile<Tiles>(tile, rows, count, OneTo<Tiles::kMaxRows>{});
      row += rows;
    }
    panel += count;
  }
}

template <typename W>
Tile<W> block_tile(const BlockArgs& args) {
  return {
      args.sums,           args.sums_stride, static_cast<const float*>(args.rows), static_cast<const W*>(args.weight),
      args.panel_elements, args.num_k};
}

// Kernel::multiply for float32 and float16 as they are packed.
template <typename Panel, typename W>
void multiply_packed(const BlockArgs& args) {
  run_tiles<SequentialTiles<Panel, W>>(block_tile<W>(args), args.num_rows, args.num_panels);
}

template <typename Panel>
void widen(const f16* packed, float* widened, int64_t num_k) {
  for (int64_t k = 0; k < num_k; ++k) {
    Panel::store(widened + k * kWidth, Panel::load(packed + k * kWidth));
  }
}

template <typename Panel>
void widen(const bf16* packed, float* widened, int64_t num_k) {
  for (int64_t group = 0; group < num_k; group += kPairGroup) {
    float* even = widened + group * kWidth;
    for (int pair = 0; pair < kHalfGroup; ++pair) {
      Panel w_even;
      Panel w_odd;
      Panel::load_pairs(packed + (group + 2 * pair) * kWidth, w_even, w_odd);
      Panel::store(even + pair * kWidth, w_even);
      Panel::store(even + (pair + kHalfGroup) * kWidth, w_odd);
    }
  }
}

// Kernel::multiply for 16-bit weights. One tile's worth of rows reads them as they are packed; for
// more, a run of panels is widened to float32 once and read by every tile.
template <typename Panel, typename PackedTiles, typename WidenedTiles>
void multiply_16bit(const BlockArgs& args) {
  using W = typename PackedTiles::Weight;
  if (args.num_rows <= 2 * PackedTiles::kMaxRows) {
    run_tiles<PackedTiles>(block_tile<W>(args), args.num_rows, args.num_panels);
    return;
  }
  constexpr int kMaxWide = 4;
  alignas(64) float widened[kMaxWide * kMaxBlockK * kWidth];
  const W* weight = static_cast<const W*>(args.weight);
  const int wide =
      panels_of_tile<WidenedTiles>(args.num_rows < WidenedTiles::kMaxRows ? args.num_rows : WidenedTiles::kMaxRows);
  for (int64_t panel = 0; panel < args.num_panels; panel += wide) {
    const int64_t count = args.num_panels - panel < wide ? args.num_panels - panel : wide;
    for (int64_t p = 0; p < count; ++p) {
      widen<Panel>(weight + (panel + p) * args.panel_elements, widened + p * kMaxBlockK * kWidth, args.num_k);
    }
    const Tile<float> tile{args.sums + panel * kWidth, args.sums_stride, static_cast<const float*>(args.rows), widened,
                           kMaxBlockK * kWidth,        args.num_k};
    run_tiles<WidenedTiles>(tile, args.num_rows, count);
  }
}

template <typename Panel>
void multiply_f16(const BlockArgs& args) {
  multiply_16bit<Panel, SequentialTiles<Panel, f16>, SequentialTiles<Panel, float>>(args);
}

template <typename Panel>
void multiply_bf16(const BlockArgs& args) {
  multiply_16bit<Panel, PairTiles<Panel>, WidenedPairTiles<Panel>>(args);
}

}  // namespace
}  // namespace cohort::gemm_internal
