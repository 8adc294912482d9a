// The product on the CPU: blocks of rows and columns in parallel, each on one thread with its
// scratch on the stack.
//
// For each chunk of K, and each block_k of it, a block's rows are packed and multiplied with
// each panel; sums stay in scratch between the parts of K, where a float32 keeps its bits. Sums of
// finished chunks wait on a small stack until their sibling in the tree is done.
#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/gemm/kernels.h"
#include "kernels/gemm/layout.h"
#include "kernels/gemm/rows.h"

namespace cohort::gemm_internal {
namespace {

struct alignas(64) Scratch {
  float sums[kMaxScratchSums];  // [level, block rows, block columns]
  char rows[kMaxBlockRows * kPackedRowBytes];
};

// Part of x, the weight and out that one task works on.
struct Block {
  int64_t row = 0;
  int64_t num_rows = 0;
  int64_t panel = 0;
  int64_t num_panels = 0;

  int64_t num_columns() const { return num_panels * kPanelWidth; }
};

class BlockProduct {
 public:
  BlockProduct(const Kernel& kernel, TensorView out, ConstTensorView x, const PackedWeight& weight,
               ConstTensorView bias)
      : kernel_(kernel),
        layout_(weight.n(), weight.k(), weight.num_chunks(), weight.dtype()),
        out_(out),
        x_(x),
        weight_(weight),
        bias_(bias.empty() ? nullptr : bias.data<float>()) {}

  void run(const Block& block, Scratch& scratch) const {
    const int64_t level_sums = round_up(block.num_rows, 16) * block.num_columns();
    int num_pending = 0;
    for (int64_t chunk = 0; chunk < weight_.num_chunks(); ++chunk) {
      float* sums = scratch.sums + num_pending * level_sums;
      sum_chunk(block, chunk, sums, scratch.rows);
      ++num_pending;
      // A chunk with an odd number closes as many subtrees as its number ends in ones.
      for (int64_t closed = chunk; closed % 2 == 1; closed /= 2) {
        --num_pending;
        sums -= level_sums;
        add_row(sums, sums + level_sums, level_sums);
      }
    }
    store(block, scratch.sums);
  }

 private:
  void sum_chunk(const Block& block, int64_t chunk, float* sums, char* rows) const {
    const int64_t num_columns = block.num_columns();
    std::memset(sums, 0, static_cast<size_t>(round_up(block.num_rows, 16) * num_columns) * 4);
    for (int64_t k = 0; k < layout_.chunk_k; k += kernel_.block_k) {
      const int64_t num_k = std::min(kernel_.block_k, layout_.chunk_k - k);
      const int64_t padded_k = std::min(kernel_.block_k, layout_.padded_chunk_k - k);
      kernel_.pack_rows(rows, at(x_, x_.stride(0) * block.row + chunk * layout_.chunk_k + k), x_.stride(0),
                        block.num_rows, num_k, padded_k);
      kernel_.multiply({.sums = sums,
                        .sums_stride = num_columns,
                        .rows = rows,
                        .weight = static_cast<const char*>(weight_.data()) +
                                  dtype_bytes(kernel_.dtype, layout_.offset(block.panel, chunk, k)),
                        .panel_elements = layout_.panel_elements,
                        .num_rows = block.num_rows,
                        .num_panels = block.num_panels,
                        .num_k = padded_k});
    }
  }

  void store(const Block& block, const float* sums) const {
    const int64_t column = block.panel * kPanelWidth;
    const int64_t num_columns = std::min(block.num_columns(), weight_.n() - column);
    const float* bias = bias_ == nullptr ? nullptr : bias_ + column;
    for (int64_t r = 0; r < block.num_rows; ++r) {
      void* out = const_cast<void*>(at(out_, out_.stride(0) * (block.row + r) + column));
      store_row(out, out_.dtype(), sums + r * block.num_columns(), bias, num_columns);
    }
  }

  static const void* at(const ConstTensorView& view, int64_t element) {
    return static_cast<const char*>(view.data()) + dtype_bytes(view.dtype(), element);
  }

  const Kernel& kernel_;
  const PanelLayout layout_;
  const TensorView out_;
  const ConstTensorView x_;
  const PackedWeight& weight_;
  const float* bias_;
};

}  // namespace

void run_gemm(const Config& config, TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
              Stream& stream) {
  const BlockProduct product(find_kernel(config.isa, weight.dtype()), out, x, weight, bias);
  const int64_t num_rows = x.dim(0);
  const int64_t num_panels = round_up(weight.n(), kPanelWidth) / kPanelWidth;
  const int64_t num_row_blocks = (num_rows + config.block_rows - 1) / config.block_rows;
  const int64_t num_panel_blocks = (num_panels + config.block_panels - 1) / config.block_panels;
  // The row blocks of the same panels follow each other, so that the second finds the panels in a
  // shared cache.
  const auto run_blocks = [&](int64_t begin, int64_t end) {
    Scratch scratch;
    for (int64_t i = begin; i < end; ++i) {
      Block block;
      block.row = i % num_row_blocks * config.block_rows;
      block.num_rows = std::min(config.block_rows, num_rows - block.row);
      block.panel = i / num_row_blocks * config.block_panels;
      block.num_panels = std::min(config.block_panels, num_panels - block.panel);
      product.run(block, scratch);
    }
  };
  // By reference: a std::function that owned these captures would allocate.
  stream.parallel_for(num_row_blocks * num_panel_blocks, 1, std::ref(run_blocks));
}

}  // namespace cohort::gemm_internal
