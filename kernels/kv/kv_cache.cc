#include "kernels/kv/kv_cache.h"

#include <limits>
#include <string>

#include "kernels/core/check.h"
#include "kernels/kv/kv_cache_backends.h"

namespace cohort {

void check_write_kv(const KvCacheView& cache, const ConstTensorView& k, const ConstTensorView& v,
                    const ConstTensorView& slots, const Stream& stream) {
  COHORT_CHECK(cache.keys.rank() == 4 && cache.keys.shape() == cache.values.shape() && cache.keys.is_dense() &&
                   cache.values.is_dense(),
               "keys " + cache.keys.shape().to_string() + ", values " + cache.values.shape().to_string());
  COHORT_CHECK(
      k.rank() == 3 && k.shape() == v.shape() && k.dim(1) == cache.num_kv_heads() && k.dim(2) == cache.head_dim(),
      "k " + k.shape().to_string() + ", v " + v.shape().to_string() + ", cache " + cache.keys.shape().to_string());
  COHORT_CHECK(cache.num_blocks() * cache.block_size() <= std::numeric_limits<int32_t>::max(),
               "keys " + cache.keys.shape().to_string());
  COHORT_CHECK(slots.rank() == 1 && slots.dim(0) == k.dim(0), "slots " + slots.shape().to_string());
  COHORT_CHECK(k.dtype() == cache.keys.dtype() && v.dtype() == k.dtype() && cache.values.dtype() == k.dtype(),
               dtype_name(k.dtype()));
  for (const ConstTensorView& x : {ConstTensorView(cache.keys), ConstTensorView(cache.values), k, v, slots}) {
    COHORT_CHECK(x.device() == stream.device(), to_string(x.device()));
  }
}

void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream) {
  check_write_kv(cache, k, v, slots, stream);
  if (k.empty()) return;
  (stream.device().kind == DeviceKind::kCuda ? cuda::write_kv : cpu::write_kv)(cache, k, v, slots, stream);
}

}  // namespace cohort
