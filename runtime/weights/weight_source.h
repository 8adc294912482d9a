// WeightSource: where a model's tensors come from, a checkpoint or random values.
//
// A layer asks for the slice of a tensor that its rank keeps. Only that slice is read, or made, so
// that a model is loaded in shards and one too large for a host is no trouble.
//
// Thread-safety: load, load_into, contains and bytes_read may be called by several threads at once,
// but load_into only where it writes to host memory and the values are a checkpoint's; finish
// comes after all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"
#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "runtime/weights/checkpoint.h"
#include "runtime/weights/progress.h"

namespace cohort {

// A slice of a tensor, in host memory: a view into the checkpoint's mapping, or of memory of its
// own.
struct WeightSlice {
  ConstTensorView view;         // of the slice's shape; strided when it is a slice of an inner dimension;
                                // aligned to its dtype
  std::optional<Tensor> owned;  // what `view` shows, if it is not the mapping; move-only through this
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The indices [begin, end) of dimension `dim` of the tensor `name`, whose whole shape is `shape`.
  // Valid as long as both the slice and the source. The dtype is float32, float16 or bfloat16, as
  // the source has it. kNotFound or kInvalidArgument as Checkpoint::tensor, kInvalidArgument when
  // there is no such slice of `shape`.
  virtual Result<WeightSlice> load(std::string_view name, const Shape& shape, int dim, int64_t begin, int64_t end) = 0;

  // The whole tensor.
  Result<WeightSlice> load(std::string_view name, const Shape& shape);

  // Where load_into writes.
  virtual Device device() const = 0;

  // As load, but written into `out`, of the slice's shape, float32, float16 or bfloat16, dense or
  // strided, in the memory of the source's device. Values are rounded to its dtype. A random
  // source makes them in place. On CUDA this begins only: the memory of `out` must stay until wait().
  virtual Status load_into(const TensorView& out, std::string_view name, const Shape& shape, int dim, int64_t begin,
                           int64_t end) = 0;

  // Returns when all that load_into began is read, or the first failure to read, which names file
  // and tensor: then what is queued on the source's stream finds the values. On a CPU there is
  // nothing to wait for.
  virtual Status wait() = 0;

  // Whether there is such a tensor; a random source has them all.
  virtual bool contains(std::string_view name) const = 0;

  // Notes that `name` belongs to the model but is loaded by another stage, so that finish() does
  // not miss it.
  virtual void skip(std::string_view name) = 0;

  // Bytes of all slices handed out so far, in the source's dtype.
  virtual int64_t bytes_read() const = 0;

  // Waits. What to say when all is loaded: the failure of wait(), or kInvalidArgument, naming file and tensor, when the
  // checkpoint has tensors that nobody asked for, so that a part of the model would be left out in silence.
  // `ignorable`: names, or patterns with
  // '*' for any run of characters ("*.attn.bias", "lm_head.weight"), of tensors that a family saves
  // and does not use.
  virtual Status finish(std::span<const std::string> ignorable) = 0;
};

// `progress` may be null; it is told of the bytes of every slice. With `stream`, of a CUDA device, load_into writes
// there, and `num_threads` read.
std::unique_ptr<WeightSource> checkpoint_source(Checkpoint checkpoint, Progress* progress, Stream* stream = nullptr,
                                                int num_threads = 1);

// Random values of `dtype` for any name and shape, from config.json alone, made on the device of `stream`. An element's
// value depends on the seed, the tensor's name and the element's index in the whole tensor only: a sharded random model
// equals the unsharded, on any device. See kernels/random/random.h for which values. load, which requires a CPU stream,
// and load_into must not be called by two threads at once.
std::unique_ptr<WeightSource> random_source(uint64_t seed, DType dtype, Progress* progress, Stream& stream);

}  // namespace cohort
