#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "kernels/kv/kv_cache_backends.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinBytesPerPiece = 16384;  // below this, waking a thread costs more than it saves

// The heads of one token, from rows of k or v to the same place of every head of its block.
template <typename T>
void write_token(T* cache, const T* token, int64_t slot, const KvCacheView& view, int64_t head_stride) {
  const int64_t block_size = view.block_size();
  const int64_t head_dim = view.head_dim();
  const int64_t block = slot / block_size;
  T* destination = cache + (block * view.num_kv_heads() * block_size + slot % block_size) * head_dim;
  for (int64_t head = 0; head < view.num_kv_heads(); ++head) {
    std::memcpy(static_cast<void*>(destination), token, static_cast<size_t>(head_dim) * sizeof(T));
    destination += block_size * head_dim;
    token += head_stride;
  }
}

}  // namespace

void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream) {
  const int64_t* const slot = slots.data<int64_t>();
  const int64_t num_slots = cache.num_blocks() * cache.block_size();
  for (int64_t i = 0; i < k.dim(0); ++i) {
    COHORT_CHECK(slot[i] >= -1 && slot[i] < num_slots,
                 "slot " + std::to_string(slot[i]) + " of " + std::to_string(num_slots));
  }
  dispatch_float(k.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (slot[i] < 0) continue;
        write_token(cache.keys.data<T>(), k.row<T>(i), slot[i], cache, k.stride(1));
        write_token(cache.values.data<T>(), v.row<T>(i), slot[i], cache, v.stride(1));
      }
    };
    const int64_t num_token_bytes = 2 * dtype_bytes(k.dtype(), k.dim(1) * k.dim(2));
    const int64_t grain = std::max<int64_t>(1, kMinBytesPerPiece / num_token_bytes);
    stream.parallel_for(k.dim(0), grain, std::ref(body));
  });
}

}  // namespace cohort::cpu
