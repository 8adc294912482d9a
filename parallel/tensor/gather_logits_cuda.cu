#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_rows.cuh"
#include "parallel/comm/mailbox.cuh"
#include "parallel/layout/slice.h"
#include "parallel/tensor/gather_logits_kernel.h"

namespace cohort::cuda {
namespace {

constexpr int kNumThreads = 512;
constexpr int64_t kFloatsPerVector = kVecBytes / sizeof(float);

// Counts of vectors. Shard r has columns [r * widest, (r + 1) * widest) of a row, as far as there are so many.
struct GatherLayout {
  int num_rows;
  int width;   // of a row of all shards
  int widest;  // of a row of a shard; what a shard has less than that, it sends as zeros
  int vectors_per_block;
};

// Every shard sends to every other, as a slot wants it: that shard 0 alone keeps what comes costs the links nothing
// that it waits for. logits is null elsewhere.
template <int kNumRanks>
__global__ void __launch_bounds__(kNumThreads)
    gather_logits_kernel(uint4* logits, const uint4* local, GatherLayout layout,
                         const __grid_constant__ Mailbox mailbox) {
  let_next_begin();
  wait_for_previous();
  const Slot<kNumRanks> slot(mailbox, static_cast<int>(blockIdx.x));
  const int local_width = max(0, min(layout.widest, layout.width - mailbox.rank * layout.widest));
  const int first = static_cast<int>(blockIdx.x) * layout.vectors_per_block;
  const int end = min(first + layout.vectors_per_block, layout.num_rows * layout.widest);
  const auto own = [&](int i) -> uint4 {
    const int row = i / layout.widest;
    const int column = i % layout.widest;
    return column < local_width ? sendable(local[int64_t{row} * local_width + column]) : uint4{0, 0, 0, 0};
  };
  for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kNumThreads) slot.send(i - first, own(i));
  for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kNumThreads) {
    uint4 vectors[kNumRanks];
    slot.receive(i - first, own(i), vectors);
    if (logits == nullptr) continue;
#pragma unroll
    for (int r = 0; r < kNumRanks; ++r) {
      const int column = r * layout.widest + i % layout.widest;
      if (column < layout.width) logits[int64_t{i / layout.widest} * layout.width + column] = vectors[r];
    }
  }
  __syncthreads();  // all have received
  if (threadIdx.x == 0) slot.end();
}

}  // namespace

void gather_logits(TensorView logits, ConstTensorView local, int64_t total_vocab, const Mailbox& mailbox,
                   Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const int64_t num_rows = local.dim(0);
  const int64_t widest = padded_slice(total_vocab, 0, mailbox.size).size() / kFloatsPerVector;
  const int vectors_per_thread = ceil_div(num_rows * widest, int64_t{kNumThreads} * Mailbox::kNumSlots);
  const GatherLayout layout{static_cast<int>(num_rows), static_cast<int>(total_vocab / kFloatsPerVector),
                            static_cast<int>(widest), kNumThreads * vectors_per_thread};
  const auto num_blocks = static_cast<unsigned>(ceil_div(num_rows * widest, layout.vectors_per_block));
  dispatch_num_ranks(mailbox.size, [&]<int kNumRanks>() {
    launch_chained(gather_logits_kernel<kNumRanks>, dim3(num_blocks), dim3(kNumThreads), 0, handle,
                   logits.empty() ? nullptr : static_cast<uint4*>(logits.data()),
                   static_cast<const uint4*>(local.data()), layout, mailbox);
  });
}

}  // namespace cohort::cuda
