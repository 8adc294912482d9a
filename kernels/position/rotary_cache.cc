#include "kernels/position/rotary_cache.h"

#include "kernels/position/rotary_backends.h"

namespace cohort {

void rotate_and_cache(TensorView q, TensorView k, ConstTensorView v, KvCacheView cache, const TokenPlaces& places,
                      const RotaryEmbedding* rotary, Stream& stream) {
  if (rotary == nullptr) return write_kv(cache, k, v, places.slots, stream);
  if (stream.device().kind != DeviceKind::kCuda) {
    rotary->apply(q, k, places.positions, places.lengths, stream);
    return write_kv(cache, k, v, places.slots, stream);
  }
  check_rotary(q, k, places.positions, places.lengths, rotary->config().head_dim, stream);
  check_write_kv(cache, k, v, places.slots, stream);
  if (q.empty() && k.empty()) return;
  const CacheWrite write{cache, v, places.slots};
  cuda::apply_rotary(q, k, places.positions, places.lengths, rotary->angles(stream), k.empty() ? nullptr : &write,
                     stream);
}

}  // namespace cohort
