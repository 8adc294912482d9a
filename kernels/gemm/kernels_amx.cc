// Kernel for AMX-BF16 (TDPBF16PS): tiles of 16 rows x 64 bytes.
#include <immintrin.h>

#include "kernels/gemm/kernels_x86.h"
#include "kernels/gemm/layout.h"
#include "kernels/gemm/rows.h"

namespace cohort::gemm_internal {
namespace {

constexpr int kTileHeight = 16;

// Intel SDM vol. 1, "Intel AMX", palette 1.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t num_rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

constinit const TileConfig kFullTiles;

// The tiles: 0 to 3 are 2 x 2 sums, 4 and 5 rows of x, 6 and 7 panels. Two by two reads four tiles
// for four products, so that loads (8 cycles each) hide behind TDPBF16PS (16 cycles each).
void multiply_2x2(float* sums, int64_t sums_stride, const char* rows, const char* weight, int64_t panel_bytes,
                  int64_t num_k) {
  const int64_t stride = sums_stride * 4;
  float* lower_sums = sums + kTileHeight * sums_stride;
  _tile_loadd(0, sums, stride);
  _tile_loadd(1, sums + kPanelWidth, stride);
  _tile_loadd(2, lower_sums, stride);
  _tile_loadd(3, lower_sums + kPanelWidth, stride);
  for (int64_t k = 0; k < num_k; k += kPairGroup) {
    _tile_loadd(4, rows + k * 2, kPackedRowBytes);
    _tile_loadd(6, weight + k * kPanelWidth * 2, 64);
    _tile_loadd(7, weight + panel_bytes + k * kPanelWidth * 2, 64);
    _tile_loadd(5, rows + kTileHeight * kPackedRowBytes + k * 2, kPackedRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, stride);
  _tile_stored(1, sums + kPanelWidth, stride);
  _tile_stored(2, lower_sums, stride);
  _tile_stored(3, lower_sums + kPanelWidth, stride);
}

void multiply_1x2(float* sums, int64_t sums_stride, const char* rows, const char* weight, int64_t panel_bytes,
                  int64_t num_k) {
  const int64_t stride = sums_stride * 4;
  _tile_loadd(0, sums, stride);
  _tile_loadd(1, sums + kPanelWidth, stride);
  for (int64_t k = 0; k < num_k; k += kPairGroup) {
    _tile_loadd(4, rows + k * 2, kPackedRowBytes);
    _tile_loadd(6, weight + k * kPanelWidth * 2, 64);
    _tile_loadd(7, weight + panel_bytes + k * kPanelWidth * 2, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, sums, stride);
  _tile_stored(1, sums + kPanelWidth, stride);
}

void multiply_1x1(float* sums, int64_t sums_stride, const char* rows, const char* weight, int64_t num_k) {
  const int64_t stride = sums_stride * 4;
  _tile_loadd(0, sums, stride);
  for (int64_t k = 0; k < num_k; k += kPairGroup) {
    _tile_loadd(4, rows + k * 2, kPackedRowBytes);
    _tile_loadd(6, weight + k * kPanelWidth * 2, 64);
    _tile_dpbf16ps(0, 4, 6);
  }
  _tile_stored(0, sums, stride);
}

// Rows up to a multiple of 16 are zeros (pack_rows_bf16), and their sums are never read.
void multiply_tiles(const BlockArgs& args) {
  _tile_loadconfig(&kFullTiles);
  const int64_t panel_bytes = args.panel_elements * 2;
  const int64_t num_rows = round_up(args.num_rows, kTileHeight);
  for (int64_t panel = 0; panel < args.num_panels;) {
    const int64_t num_panels = args.num_panels - panel >= 2 ? 2 : 1;
    const char* weight = static_cast<const char*>(args.weight) + panel * panel_bytes;
    for (int64_t row = 0; row < num_rows;) {
      const bool has_pair = num_panels == 2 && num_rows - row >= 2 * kTileHeight;
      float* sums = args.sums + row * args.sums_stride + panel * kPanelWidth;
      const char* rows = static_cast<const char*>(args.rows) + row * kPackedRowBytes;
      if (has_pair) {
        multiply_2x2(sums, args.sums_stride, rows, weight, panel_bytes, args.num_k);
      } else if (num_panels == 2) {
        multiply_1x2(sums, args.sums_stride, rows, weight, panel_bytes, args.num_k);
      } else {
        multiply_1x1(sums, args.sums_stride, rows, weight, args.num_k);
      }
      row += has_pair ? 2 * kTileHeight : kTileHeight;
    }
    panel += num_panels;
  }
  _tile_release();  // 8 KiB less to save at a context switch
}

}  // namespace

constinit const Kernel kAmxBF16{Isa::kAmx,      DType::kBF16,  SumOrder::kPairGroups, kMaxBlockKPackedBF16,
                                pack_rows_bf16, multiply_tiles};

}  // namespace cohort::gemm_internal
