#include "kernels/core/cuda_check.h"
#include "kernels/core/cuda_rows.cuh"
#include "kernels/kv/kv_cache_backends.h"

namespace cohort::cuda {
namespace {

// Strides in elements, from token to token and from head to head.
struct KvLayout {
  int64_t num_heads;
  int64_t block_size;
  int64_t head_dim;
  int64_t num_slots;
  int64_t k_token_stride;
  int64_t k_head_stride;
  int64_t v_token_stride;
  int64_t v_head_stride;
};

// tokens: rows of num_heads * head_dim elements, of which a piece lies within one head.
template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    write_kv_kernel(T* keys, T* values, const T* k, const T* v, const int64_t* slots, KvLayout kv, RowLayout tokens) {
  using V = Vec<T, kVecSize>;
  for_each_piece<kVecSize>(tokens, [&](int64_t token, int64_t begin) {
    const int64_t slot = slots[token];
    check_on_device(slot >= 0 && slot < kv.num_slots);
    const int64_t head = begin / kv.head_dim;
    const int64_t column = begin - head * kv.head_dim;
    const V key = *reinterpret_cast<const V*>(k + token * kv.k_token_stride + head * kv.k_head_stride + column);
    const V value = *reinterpret_cast<const V*>(v + token * kv.v_token_stride + head * kv.v_head_stride + column);
    const int64_t block = slot / kv.block_size;
    const int64_t offset = slot - block * kv.block_size;
    const int64_t to = ((block * kv.num_heads + head) * kv.block_size + offset) * kv.head_dim + column;
    *reinterpret_cast<V*>(keys + to) = key;
    *reinterpret_cast<V*>(values + to) = value;
  });
}

// Whether every head of every token begins where a vector may.
bool has_aligned_heads(const ConstTensorView& x) { return is_aligned(x, x.stride(0)) && is_aligned(x, x.stride(1)); }

}  // namespace

void write_kv(KvCacheView cache, ConstTensorView k, ConstTensorView v, ConstTensorView slots, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const KvLayout kv{cache.num_kv_heads(), cache.block_size(), cache.head_dim(), cache.num_blocks() * cache.block_size(),
                    k.stride(0),          k.stride(1),        v.stride(0),      v.stride(1)};
  const RowLayout tokens{k.dim(0), kv.num_heads * kv.head_dim, 0, 0};
  const bool is_vectorized = has_aligned_heads(k) && has_aligned_heads(v) && is_aligned(cache.keys, kv.head_dim) &&
                             is_aligned(cache.values, kv.head_dim);
  const int64_t* const slot = slots.data<int64_t>();
  dispatch_float(k.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(is_vectorized, [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(tokens, kVecSize, stream);
      write_kv_kernel<D, kVecSize><<<config.grid, config.block, 0, handle>>>(
          static_cast<D*>(cache.keys.data()), static_cast<D*>(cache.values.data()), static_cast<const D*>(k.data()),
          static_cast<const D*>(v.data()), slot, kv, tokens);
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
