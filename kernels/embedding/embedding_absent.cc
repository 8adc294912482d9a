#include "kernels/core/check.h"
#include "kernels/embedding/embedding_backends.h"

namespace cohort::cuda {
namespace {

[[noreturn]] void absent() { check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend"); }

}  // namespace

void embedding(TensorView, ConstTensorView, ConstTensorView, Stream&) { absent(); }
void embedding_part(TensorView, ConstTensorView, ConstTensorView, int64_t, Stream&) { absent(); }
void add_embedding(TensorView, ConstTensorView, ConstTensorView, Stream&) { absent(); }
void feed_tokens(TensorView, ConstTensorView, ConstTensorView, Stream&) { absent(); }

}  // namespace cohort::cuda
