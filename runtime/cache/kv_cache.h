// KvCache: the memory of the paged cache, for every layer of a rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kv/kv_cache.h"

namespace cohort {

struct KvCacheShape {
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t block_size = 0;  // positions a block
  int64_t num_blocks = 0;
  DType dtype = DType::kF32;

  int64_t bytes_per_block() const;  // over all layers, keys and values
};

class KvCache {
 public:
  KvCache(const KvCacheShape& shape, Device device);

  std::span<const KvCacheView> layers() const { return views_; }
  const KvCacheShape& shape() const { return shape_; }

 private:
  KvCacheShape shape_;
  std::vector<Tensor> tensors_;  // keys and values of layer 0, of layer 1, ...
  std::vector<KvCacheView> views_;
};

}  // namespace cohort
