#include "kernels/core/cuda_rows.cuh"
#include "kernels/kv/kv_cache_backends.h"
#include "kernels/kv/kv_cache_layout.cuh"

namespace cohort::cuda {
namespace {

// Strides in elements, from token to token and from head to head.
struct TokenStrides {
  int64_t k_token;
  int64_t k_head;
  int64_t v_token;
  int64_t v_head;
};

// tokens: rows of num_heads * head_dim elements, of which a piece lies within one head.
template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    write_kv_kernel(T* keys, T* values, const T* k, const T* v, const int64_t* slots, KvCacheLayout cache,
                    TokenStrides strides, RowLayout tokens) {
  using V = Vec<T, kVecSize>;
  begin_chained();
  for_each_piece<kVecSize>(tokens, [&](int64_t token, int64_t begin) {
    const int64_t slot = slots[token];
    cache.check(slot);
    if (slot < 0) return;
    const int head = static_cast<int>(begin) / cache.head_dim;
    const int column = static_cast<int>(begin) - head * cache.head_dim;
    const V key = *reinterpret_cast<const V*>(k + token * strides.k_token + head * strides.k_head + column);
    const V value = *reinterpret_cast<const V*>(v + token * strides.v_token + head * strides.v_head + column);
    const int64_t to = cache.index(slot, head, column);
    *reinterpret_cast<V*>(keys + to) = key;
    *reinterpret_cast<V*>(values + to) = value;
  });
}

}  // namespace

void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const KvCacheLayout layout = layout_of(cache);
  const TokenStrides strides{k.stride(0), k.stride(1), v.stride(0), v.stride(1)};
  const RowLayout tokens{k.dim(0), cache.num_kv_heads() * cache.head_dim(), 0, 0};
  const bool is_vectorized = has_aligned_heads(k) && has_aligned_heads(v) && is_aligned(cache.keys, cache.head_dim()) &&
                             is_aligned(cache.values, cache.head_dim());
  const int64_t* const slot = slots.data<int64_t>();
  dispatch_float(k.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(tokens, kVecSize);
      launch_chained(write_kv_kernel<D, kVecSize>, config.grid, config.block, 0, handle,
                     static_cast<D*>(cache.keys.data()), static_cast<D*>(cache.values.data()),
                     static_cast<const D*>(k.data()), static_cast<const D*>(v.data()), slot, layout, strides, tokens);
    });
  });
}

}  // namespace cohort::cuda
