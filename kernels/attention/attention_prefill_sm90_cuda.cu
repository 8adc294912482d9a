#include <algorithm>
#include <limits>

#include "kernels/attention/attention_prefill_consumer.cuh"
#include "kernels/attention/attention_prefill_producer.cuh"
#include "kernels/attention/attention_prefill_sm90.h"
#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

template <class C>
__global__ void __launch_bounds__(kNumPrefillThreads, 1)
    attention_prefill_sm90_kernel(const __grid_constant__ PrefillParams params) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) char memory[];
  auto& shared = *reinterpret_cast<PrefillShared<C>*>(memory);
  // The same for all lanes, and known to be.
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
  if (threadIdx.x == 0) {
    prefetch(params.queries);
    prefetch(params.keys);
    prefetch(params.values);
    shared.init();
  }
  __syncthreads();  // the barriers are there
  wait_for_previous();
  let_next_begin();
  if (warp < kProducerWarps) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProducerRegisters));
    PrefillProducer<C>(params, shared, warp).run();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kConsumerRegisters));
    PrefillConsumer<C>(params, shared, warp - kProducerWarps).run();
  }
#else
  __trap();
#endif
}

// [panel, token, head, element of the panel]
template <class C>
CUtensorMap query_map(const AttentionArgs& args, const AttentionProblem& problem, const PrefillOrder& order) {
  const uint32_t heads_per_slot = 1u << order.heads_per_slot_log2;
  const TensorBox<4> tensor{.dims = {C::kPanel, static_cast<uint64_t>(problem.num_heads),
                                     static_cast<uint64_t>(problem.num_tokens), C::kPanels},
                            .strides = {static_cast<uint64_t>(args.q_head_stride * 2),
                                        static_cast<uint64_t>(args.q_stride * 2), C::kPanelBytes},
                            .box = {C::kPanel, heads_per_slot, kPrefillRows / heads_per_slot, C::kPanels}};
  return make_tensor_map<typename C::T>(args.q, tensor, C::kPanelBytes);
}

// [block and KV head, eight positions, panel, position, element of the panel]
template <class C>
CUtensorMap cache_map(const void* base, const AttentionArgs& args) {
  const auto num_groups = static_cast<uint32_t>(args.block_size / 8);
  const auto num_boxes = static_cast<uint64_t>(args.num_blocks) * static_cast<uint64_t>(args.num_kv_heads);
  constexpr uint64_t kRowBytes = C::kDim * 2;
  const TensorBox<5> tensor{.dims = {C::kPanel, 8, C::kPanels, num_groups, num_boxes},
                            .strides = {kRowBytes, C::kPanelBytes, 8 * kRowBytes, args.block_size * kRowBytes},
                            .box = {C::kPanel, 8, C::kPanels, num_groups, 1}};
  return make_tensor_map<typename C::T>(base, tensor, C::kPanelBytes);
}

template <class C>
void launch(const AttentionArgs& args, const AttentionProblem& problem, cudaStream_t stream) {
  PrefillParams params{};
  params.args = args;
  params.order = order_prefill(problem);
  params.queries = query_map<C>(args, problem, params.order);
  params.keys = cache_map<C>(args.keys, args);
  params.values = cache_map<C>(args.values, args);
  constexpr size_t kNumBytes = sizeof(PrefillShared<C>);
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(attention_prefill_sm90_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(kNumBytes)));
  const int num_items = params.order.num_items();
  int num_blocks = std::min(num_items, static_cast<int>(problem.num_multiprocessors));
  // Taking turns divides the work evenly where it is sorted; elsewhere a block that is done takes what comes next, or,
  // with no memory to count in, each item has a block, which begins when another has made room.
  if (num_blocks < num_items && !params.order.is_sorted()) {
    if (args.workspace != nullptr && problem.workspace_bytes >= static_cast<int64_t>(sizeof(int))) {
      params.num_taken = reinterpret_cast<int*>(args.workspace);
      COHORT_CUDA_CHECK(cudaMemsetAsync(params.num_taken, 0, sizeof(int), stream));
    } else {
      num_blocks = num_items;
    }
  }
  launch_chained(attention_prefill_sm90_kernel<C>, dim3(static_cast<unsigned>(num_blocks)), dim3(kNumPrefillThreads),
                 kNumBytes, stream, params);
}

template <typename T, bool kIsPlain>
void dispatch_dim(const AttentionArgs& args, const AttentionProblem& problem, cudaStream_t stream) {
  switch (args.head_dim) {
    case 64:
      return launch<PrefillConfig<T, 64, kIsPlain>>(args, problem, stream);
    case 80:
      return launch<PrefillConfig<T, 80, kIsPlain>>(args, problem, stream);
    case 96:
      return launch<PrefillConfig<T, 96, kIsPlain>>(args, problem, stream);
    case 128:
      return launch<PrefillConfig<T, 128, kIsPlain>>(args, problem, stream);
    default:
      return launch<PrefillConfig<T, 256, kIsPlain>>(args, problem, stream);
  }
}

template <typename T>
void dispatch_kind(const AttentionArgs& args, const AttentionProblem& problem, cudaStream_t stream) {
  if (args.is_plain) {
    dispatch_dim<T, true>(args, problem, stream);
  } else {
    dispatch_dim<T, false>(args, problem, stream);
  }
}

}  // namespace

bool can_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem) {
  const bool is_dim =
      args.head_dim == 64 || args.head_dim == 80 || args.head_dim == 96 || args.head_dim == 128 || args.head_dim == 256;
  const bool is_block = args.block_size == 16 || args.block_size == 32 || args.block_size == 64;
  return is_dim && is_block && !problem.deterministic &&
         problem.num_seqs * problem.num_heads <= std::numeric_limits<int>::max() / 2 && has_sm90a_kernels();
}

void launch_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem, DType dtype, cudaStream_t stream) {
  if (dtype == DType::kBF16) {
    dispatch_kind<__nv_bfloat16>(args, problem, stream);
  } else {
    dispatch_kind<__half>(args, problem, stream);
  }
}

}  // namespace cohort::cuda
