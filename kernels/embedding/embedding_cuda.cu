#include "kernels/core/cuda_rows.cuh"
#include "kernels/embedding/embedding_backends.h"

namespace cohort::cuda {
namespace {

// out [layout.num_rows, layout.n] = table [vocab, layout.n] at rows ids.
template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    embedding_kernel(T* out, const int32_t* ids, const T* table, int64_t vocab, RowLayout layout) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t token, int64_t begin) {
    const int64_t id = ids[token];
    check_on_device(id >= 0 && id < vocab);
    copy_vec<T, kVecSize>(out + token * layout.out_stride + begin, table + id * layout.x_stride + begin,
                          layout.n - begin);
  });
}

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    embedding_part_kernel(float* out, const int32_t* ids, const T* part, int64_t num_part_rows, RowLayout layout,
                          int64_t first_row) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t token, int64_t begin) {
    const int64_t row = ids[token] - first_row;
    const int64_t count = layout.n - begin;
    Vec<float, kVecSize> value;
    if (row >= 0 && row < num_part_rows) {
      value = load<T, kVecSize>(part + row * layout.x_stride + begin, count);
    } else {
#pragma unroll
      for (int i = 0; i < kVecSize; ++i) value.values[i] = -0.0f;
    }
    store<float, kVecSize>(out + token * layout.out_stride + begin, value, count);
  });
}

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    add_embedding_kernel(T* out, const int32_t* ids, const T* table, int64_t vocab, RowLayout layout) {
  begin_chained();
  for_each_piece<kVecSize>(layout, [&](int64_t token, int64_t begin) {
    const int64_t id = ids[token];
    check_on_device(id >= 0 && id < vocab);
    T* const into = out + token * layout.out_stride + begin;
    const int64_t count = layout.n - begin;
    auto value = load<T, kVecSize>(into, count);
    const auto added = load<T, kVecSize>(table + id * layout.x_stride + begin, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) value.values[i] += added.values[i];
    store<T, kVecSize>(into, value, count);
  });
}

__global__ void __launch_bounds__(kNumRowThreads)
    feed_tokens_kernel(int32_t* token_ids, const int32_t* sources, const int32_t* sampled, int64_t num_tokens,
                       int64_t num_sampled) {
  begin_chained();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= num_tokens) return;
  const int32_t source = sources[i];
  if (source < 0) return;
  check_on_device(source < num_sampled);
  token_ids[i] = max(sampled[source], 0);
}

// x_stride is the table's. Neither stride is left out for one row: which row of the table it is, the ids say.
RowLayout layout_of(const TensorView& out, const ConstTensorView& table) {
  return {out.dim(0), out.dim(1), out.stride(0), table.stride(0)};
}

bool is_vectorized(const TensorView& out, const ConstTensorView& table) {
  return is_aligned(out, out.stride(0)) && is_aligned(table, table.stride(0));
}

// Launches kernel_of.operator()<T, kVecSize>(), for the table's T, on the rows of out, the table's rows and `more`.
template <typename KernelOf, typename... More>
void launch_lookup(const KernelOf& kernel_of, const TensorView& out, const ConstTensorView& ids,
                   const ConstTensorView& table, const Stream& stream, More... more) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout = layout_of(out, table);
  dispatch_float(table.dtype(), [&]<typename T>() {
    dispatch_vec_size<T>(is_vectorized(out, table), [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      launch_chained(kernel_of.template operator()<DeviceType<T>, kVecSize>(), config.grid, config.block, 0, handle,
                     out.data(), ids.data<int32_t>(), table.data(), table.dim(0), layout, more...);
    });
  });
}

}  // namespace

void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  const auto kernel_of = [&]<typename T, int kVecSize>() { return embedding_kernel<T, kVecSize>; };
  launch_lookup(kernel_of, out, ids, table, stream);
}

void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream) {
  const auto kernel_of = [&]<typename T, int kVecSize>() { return embedding_part_kernel<T, kVecSize>; };
  launch_lookup(kernel_of, out, ids, part, stream, first_row);
}

void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  const auto kernel_of = [&]<typename T, int kVecSize>() { return add_embedding_kernel<T, kVecSize>; };
  launch_lookup(kernel_of, out, ids, table, stream);
}

void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const int64_t num_tokens = token_ids.dim(0);
  launch_chained(feed_tokens_kernel, dim3(static_cast<unsigned>(ceil_div(num_tokens, kNumRowThreads))),
                 dim3(kNumRowThreads), 0, handle, token_ids.data<int32_t>(), sources.data<int32_t>(),
                 sampled.data<int32_t>(), num_tokens, sampled.dim(0));
}

}  // namespace cohort::cuda
