#include "runtime/models/model_spec.h"

namespace cohort {

int64_t window_of(const ModelSpec& spec, int64_t i) {
  return spec.windows.empty() ? 0 : spec.windows[static_cast<size_t>(i)];
}

int64_t kv_bytes_per_token(const ModelSpec& spec, DType dtype) {
  return spec.num_layers * 2 * dtype_bytes(dtype, spec.num_kv_heads * spec.head_dim);
}

}  // namespace cohort
