#include "runtime/cache/kv_cache.h"

namespace cohort {

int64_t KvCacheShape::bytes_per_block() const {
  return 2 * num_layers * dtype_bytes(dtype, num_kv_heads * block_size * head_dim);
}

KvCache::KvCache(const KvCacheShape& shape, Device device) : shape_(shape) {
  const Shape dims{shape.num_blocks, shape.num_kv_heads, shape.block_size, shape.head_dim};
  for (int64_t i = 0; i < shape.num_layers; ++i) {
    const Tensor& keys = tensors_.emplace_back(shape.dtype, dims, device);
    const TensorView keys_view = keys;
    const Tensor& values = tensors_.emplace_back(shape.dtype, dims, device);
    views_.push_back({keys_view, values});
  }
}

}  // namespace cohort
