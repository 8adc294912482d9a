// Matrix products with weights that are packed once, when they are loaded: out = x * weight^T + bias.
//
// Layout invariance. A row of `out` has the same bits whatever other rows `x` has, however many threads run, and, when
// K is cut into `num_chunks`, whatever contiguous power-of-two part of the chunks a rank holds: each chunk's dot
// product is summed alone, in one fixed order, and the chunks are added as a binary tree, ((0+1)+(2+3))+....
// On the CPU this always holds. Which order a chunk uses may differ between CPUs with different vector units, never on
// one CPU: float32 and float16 use one order everywhere, bfloat16 another, that of AMX's TDPBF16PS, and a third on
// CPUs with AVX512_BF16 and no AMX (kernels.h, SumOrder).
// On CUDA it holds for weights packed with GemmMode::kDeterministic, on devices of one architecture; float32 then has
// the bits of the CPU. With GemmMode::kFast chunks are ignored, and the order of a sum may depend on the number of rows
// and on where the operands lie; the same call in the same place gives the same bits.
//
// A PackedWeight is immutable after pack(); gemm() may be called from several threads on different streams.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/core/buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {

// How the weight lies in the checkpoint.
enum class WeightLayout {
  kOutIn,  // [n, k]: torch.nn.Linear
  kInOut,  // [k, n]: GPT-2's Conv1D
};

// What products on CUDA promise; see above. The CPU is always deterministic.
enum class GemmMode { kFast, kDeterministic };

class PackedWeight {
 public:
  // Of deterministic products on CUDA.
  static constexpr int kMaxCudaChunks = 16;

  PackedWeight() = default;

  // Packs `weight` ([n, k] or [k, n], float32, float16 or bfloat16; rows may be strided) for products with activations
  // of `dtype` on `stream`'s device, converting it to `dtype`. `num_chunks`: a power of two that divides k; see above.
  // `weight` lies in host memory or on `stream`'s device. Returns when it is no longer needed. On CUDA a weight of host
  // memory is copied as a whole first; for loading a model see reserve().
  static PackedWeight pack(ConstTensorView weight, WeightLayout layout, DType dtype, int num_chunks, GemmMode mode,
                           Stream& stream);
  // In the fast mode.
  static PackedWeight pack(ConstTensorView weight, WeightLayout layout, DType dtype, int num_chunks, Stream& stream) {
    return pack(weight, layout, dtype, num_chunks, GemmMode::kFast, stream);
  }

  // On CUDA, where a packed weight is the matrix [n, k] itself: one that is packed by writing rows().
  static PackedWeight reserve(int64_t n, int64_t k, DType dtype, int num_chunks, GemmMode mode, Device device);
  TensorView rows();

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  int num_chunks() const { return num_chunks_; }
  DType dtype() const { return dtype_; }
  GemmMode mode() const { return mode_; }
  Device device() const { return buffer_.device(); }
  int64_t num_bytes() const { return buffer_.num_bytes(); }
  // CPU: panels (layout.h). CUDA: [n, k], dense.
  const void* data() const { return buffer_.data(); }

 private:
  PackedWeight(int64_t n, int64_t k, DType dtype, int num_chunks, GemmMode mode, Device device);

  int64_t n_ = 0;
  int64_t k_ = 0;
  int num_chunks_ = 1;
  DType dtype_ = DType::kF32;
  GemmMode mode_ = GemmMode::kFast;
  Buffer buffer_;
};

// out [num_rows, n] = x [num_rows, k] * weight^T + bias [n].
// x has the weight's dtype; out has it too, or is float32, which gives the sum before it is rounded. bias is empty (a
// default ConstTensorView) for none, else float32, and is added after the tree. Products are summed in float32 (never
// TF32) and rounded once. Rows of x and out may be strided; they do not overlap. Allocates nothing on the CPU; on CUDA
// see prepare_gemm.
void gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);

// Makes what products on `stream` need on CUDA, so that no step does: a cuBLASLt handle for its device and a workspace
// of kGemmWorkspaceBytes for the stream. Does nothing on the CPU or when it was done. gemm() does it on the first use
// otherwise, and chooses an algorithm on the first use of a shape (num_rows, n, k, dtypes, strides, alignment, bias or
// none); after that it allocates nothing, and may be called while a CUDA graph is captured. The workspace of a stream
// that ends is left to the next one with its handle.
void prepare_gemm(Stream& stream);
inline constexpr int64_t kGemmWorkspaceBytes = int64_t{64} << 20;

// gemm(), and for this shape on this device the fastest by measurement of the algorithms that cuBLASLt offers, for all
// later calls. For the start: the first time it runs the product some fifty times and waits. Does nothing more than
// gemm() on the CPU, for a shape that it has met, and where another kernel than cuBLASLt's is chosen.
void autotune_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias, Stream& stream);

// While one lives, gemm() on its thread is autotune_gemm(): for the steps that warm an engine up.
class GemmTuning {
 public:
  GemmTuning();
  ~GemmTuning();
  GemmTuning(const GemmTuning&) = delete;
  GemmTuning& operator=(const GemmTuning&) = delete;
};

// The order in which this CPU sums products of `dtype` within a chunk, as a word: CPUs with equal words give equal
// bits.
std::string_view sum_order_name(DType dtype);

// The number of chunks for a dimension k that ranks may split: the largest power of two up to 16
// for which each chunk is a whole number of `granule` elements (the head dimension, say); 1 if none
// is.
int choose_num_chunks(int64_t k, int64_t granule);

}  // namespace cohort
