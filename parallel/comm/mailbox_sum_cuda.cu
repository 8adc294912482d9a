#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/comm/mailbox_sum.h"

namespace cohort {
namespace {

constexpr int kMaxThreads = 512;
constexpr int64_t kMaxSentBytes = int64_t{2} << 20;  // of a rank to all others, from where NCCL moves bytes quicker

struct SumConfig {
  int num_blocks;
  int num_threads;
  int vectors_per_block;
};

// A vector a thread, and more only when slots run out.
SumConfig choose_config(int64_t num_vectors) {
  const int num_threads = num_vectors < kMaxThreads ? cuda::ceil_div(num_vectors, 32) * 32 : kMaxThreads;
  const int vectors_per_thread = cuda::ceil_div(num_vectors, int64_t{num_threads} * Mailbox::kNumSlots);
  const int vectors_per_block = num_threads * vectors_per_thread;
  return {cuda::ceil_div(num_vectors, vectors_per_block), num_threads, vectors_per_block};
}

template <typename T, int kNumRanks>
__global__ void __launch_bounds__(kMaxThreads)
    mailbox_sum_kernel(T* x, int num_vectors, int vectors_per_block, const __grid_constant__ Mailbox mailbox) {
  constexpr int kVecSize = cuda::kVecBytes / sizeof(T);
  cuda::let_next_begin();
  cuda::wait_for_previous();
  const cuda::Slot<kNumRanks> slot(mailbox, static_cast<int>(blockIdx.x));
  const int first = static_cast<int>(blockIdx.x) * vectors_per_block;
  const int count = min(vectors_per_block, num_vectors - first);
  uint4* const own = reinterpret_cast<uint4*>(x) + first;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    slot.send(i, cuda::sendable(own[i]));
  }
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    uint4 vectors[kNumRanks];
    slot.receive(i, cuda::sendable(own[i]), vectors);
    cuda::store<T, kVecSize>(reinterpret_cast<T*>(own + i), cuda::sum_of_ranks<T>(vectors), kVecSize);
  }
  __syncthreads();
  if (threadIdx.x == 0) slot.end();
}

}  // namespace

bool fits_mailbox(ConstTensorView x, int num_ranks) {
  return cuda::is_aligned(x.data()) && x.num_bytes() % cuda::kVecBytes == 0 &&
         x.num_bytes() * (num_ranks - 1) <= kMaxSentBytes;
}

void mailbox_sum(TensorView x, const Mailbox& mailbox, Stream& stream) {
  const cudaStream_t handle = cuda::enter(stream);
  const auto num_vectors = static_cast<int>(x.num_bytes() / cuda::kVecBytes);
  const SumConfig config = choose_config(num_vectors);
  dispatch_float(x.dtype(), [&]<typename T>() {
    using D = cuda::DeviceType<T>;
    cuda::dispatch_num_ranks(mailbox.size, [&]<int kNumRanks>() {
      cuda::launch_chained(mailbox_sum_kernel<D, kNumRanks>, dim3(static_cast<unsigned>(config.num_blocks)),
                           dim3(static_cast<unsigned>(config.num_threads)), 0, handle, static_cast<D*>(x.data()),
                           num_vectors, config.vectors_per_block, mailbox);
    });
  });
}

}  // namespace cohort
