#include "kernels/core/cuda_rows.cuh"
#include "kernels/random/random_backends.h"

namespace cohort::cuda {
namespace {

template <typename T, int kVecSize>
__global__ void __launch_bounds__(kNumRowThreads)
    fill_random_kernel(T* out, RandomRuns runs, RowLayout layout, uint64_t tensor_key, RandomScale scale) {
  for_each_piece<kVecSize>(layout, [&](int64_t i, int64_t begin) {
    const RandomRuns::Run run = runs.run(i);
    const uint64_t index = run.index + static_cast<uint64_t>(begin);
    const RandomBlockKey key = random_block_key(tensor_key, index >> 32);
    const RandomBlockKey last_key = random_block_key(tensor_key, (index + kVecSize - 1) >> 32);
    Vec<float, kVecSize> value;
#pragma unroll
    for (int j = 0; j < kVecSize; ++j) {
      const auto counter = static_cast<uint32_t>(index) + static_cast<uint32_t>(j);
      const bool is_beyond = counter < static_cast<uint32_t>(index);
      value.values[j] = scale.value(random_level(counter, is_beyond ? last_key : key));
    }
    store<T, kVecSize>(out + run.offset + begin, value, layout.n - begin);
  });
}

bool are_runs_aligned(const TensorView& out) {
  if (!is_aligned(out.data())) return false;
  for (int i = 0; i + 1 < out.rank(); ++i) {
    if (!is_aligned(out, out.stride(i))) return false;
  }
  return true;
}

}  // namespace

void fill_random(TensorView out, const RandomRuns& runs, const RandomValues& values, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const RowLayout layout{runs.num_runs, runs.run_elements, 0, 0};
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    dispatch_vec_size<T>(are_runs_aligned(out), [&]<int kVecSize>() {
      const LaunchConfig config = choose_config(layout, kVecSize);
      fill_random_kernel<D, kVecSize><<<config.grid, config.block, 0, handle>>>(
          static_cast<D*>(out.data()), runs, layout, values.key, RandomScale(values.distribution));
    });
  });
  COHORT_CUDA_CHECK(cudaGetLastError());
}

}  // namespace cohort::cuda
