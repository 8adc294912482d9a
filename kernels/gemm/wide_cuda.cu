// The product for up to 64 rows of x, as in decoding for many sequences: as skinny_cuda.cu, with wide strips.
//
// What x costs is its way from the L2 cache, once for every strip of columns, so strips are wide; where that leaves too
// few of them, the two blocks of a cluster share a strip, each has half of K, and each stores half of the columns. x is
// the left operand of products, whose 64 rows it fills as far as it can. Weights have a ring of their own, so that few
// bytes of x leave room for many of weights, which come while the kernel before ends.
//
// A kernel's code comes from memory as well: sums go through shared memory to a short loop that stores them.
#include <cstdint>
#include <string>

#include "kernels/activation/activation_functions.cuh"
#include "kernels/core/cuda_launch.cuh"
#include "kernels/core/cuda_vector.cuh"
#include "kernels/gemm/kernels_cuda.h"
#include "kernels/gemm/ring_cuda.cuh"

#ifndef __CUDA_ARCH_FEAT_SM90_ALL
#pragma nv_diag_suppress 177  // for other devices the kernel is empty, and nothing uses its parts
#endif

namespace cohort::cuda {
namespace {

using gemm_internal::kSkinnyBlockK;
using gemm_internal::WidePlan;

// A warpgroup multiplies; then a warp loads weights, and one x.
constexpr int kNumThreads = kWarpgroupThreads + 2 * 32;
constexpr int kVecSize = WidePlan::kVecSize;
constexpr int kStagesTogether = 2;  // that are loaded at once

struct WideArgs {
  void* out;          // [num_rows, n]
  const float* bias;  // of every row of the weights, or null
  int64_t out_stride;
  int num_rows;
  int n;          // columns of `out`
  int num_steps;  // along K, of each block of a cluster; the last block may have fewer
  int end_step;   // of K
  bool is_float_out;
  bool has_vectors;  // groups of kVecSize columns of `out` are aligned
  bool has_tanh;     // of a gated product: GELU by tanh, not SiLU
  WidePlan plan;
};

struct Barriers {
  RingBarriers weights;
  RingBarriers x;
};
constexpr int kMaxDynamicSmemBytes = (227 << 10) - static_cast<int>(sizeof(Barriers));  // on Hopper

// What a block has to do: strips from `cluster` on, every num_clusters, and of these some steps of K.
struct Share {
  int cluster;
  int rank;  // in the cluster
  int first_step;
  int end_step;

  __device__ explicit Share(const WideArgs& args) {
    const bool is_pair = args.plan.cluster_size == 2;
    cluster = static_cast<int>(is_pair ? blockIdx.x / 2 : blockIdx.x);
    rank = static_cast<int>(is_pair ? blockIdx.x % 2 : 0);
    first_step = rank * args.num_steps;
    end_step = min(first_step + args.num_steps, args.end_step);
  }
};

// A thread asks for the weights of all strips of the block, which no step writes: for two stages at a time, since
// memory is faster where the bytes of a row that follow each other are read together.
__device__ void load_weights(const CUtensorMap& map, const WideArgs& args, const Share& share, Ring ring) {
  const WidePlan& plan = args.plan;
  const uint64_t once = evict_first();
  const int num_bytes = plan.num_matrices * plan.strip_columns * kRowBytes;
  const int matrix_bytes = plan.matrix_tile_bytes();
  for (int strip = share.cluster; strip < plan.num_strips; strip += plan.num_clusters) {
    const int column = strip * plan.strip_columns;
    // What launching takes passes while the last turn of the ring is loaded.
    const bool is_last = strip + plan.num_clusters >= plan.num_strips;
    const int step_to_begin = is_last ? max(share.first_step, share.end_step - plan.num_weight_stages) : -1;
    for (int step = share.first_step; step < share.end_step;) {
      const int end = min(step + kStagesTogether, share.end_step);
      if (step <= step_to_begin && step_to_begin < end) let_next_begin();
      Ring ahead = ring;
      for (int i = step; i < end; ++i, ahead.advance()) ahead.wait_until_empty();
      for (; step < end; ++step, ring.advance()) {
        ring.full().arrive_and_expect(num_bytes);
        load_box(ring.tiles(), map, ring.full(), {step * kSkinnyBlockK, column}, once);
        if (plan.num_matrices == 2) {
          load_box(ring.tiles() + matrix_bytes, map, ring.full(), {step * kSkinnyBlockK, args.n + column}, once);
        }
      }
    }
  }
}

// A thread asks for x, once for each strip.
__device__ void load_x(const CUtensorMap& map, const WideArgs& args, const Share& share, Ring ring) {
  const WidePlan& plan = args.plan;
  for (int strip = share.cluster; strip < plan.num_strips; strip += plan.num_clusters) {
    for (int step = share.first_step; step < share.end_step; ++step) {
      ring.wait_until_empty();
      ring.full().arrive_and_expect(plan.x_tile_bytes());
      load_box(ring.tiles(), map, ring.full(), {step * kSkinnyBlockK, 0});
      ring.advance();
    }
  }
}

// The sums of a strip's two parts, each of kColumns columns, as wgmma.cuh says.
template <int kColumns>
using Sums = float[2][kColumns / 2];

template <typename T, int kColumns>
__device__ void multiply(Sums<kColumns>& sums, const WideArgs& args, const Share& share, Ring& weights, Ring& x) {
  constexpr int kProductK = 16;
  const int part_bytes = args.plan.part_columns * kRowBytes;
  const auto release = [](SharedBarrier* of_weights, SharedBarrier* of_x) {
    if (threadIdx.x % 32 != 0) return;
    of_weights->arrive();
    of_x->arrive();
  };
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) sums[0][i] = sums[1][i] = 0.0f;
  // Of the stage before, when its products are done.
  SharedBarrier* multiplied_weights = nullptr;
  SharedBarrier* multiplied_x = nullptr;
  for (int step = share.first_step; step < share.end_step; ++step) {
    weights.wait_until_full();
    x.wait_until_full();
    begin_products();
    const uint64_t rows = operand(x.tiles());
    const uint64_t columns = operand(weights.tiles());
#pragma unroll
    for (int k = 0; k < kSkinnyBlockK; k += kProductK) {
      multiply_shared<T>(sums[0], advance(rows, k * 2), advance(columns, k * 2), 1);
      multiply_shared<T>(sums[1], advance(rows, k * 2), advance(columns, part_bytes + k * 2), 1);
    }
    commit_products();
    wait_for_products<1>();
    if (step > share.first_step) release(multiplied_weights, multiplied_x);
    multiplied_weights = &weights.empty();
    multiplied_x = &x.empty();
    weights.advance();
    x.advance();
  }
  wait_for_products<0>();
  if (share.end_step > share.first_step) release(multiplied_weights, multiplied_x);
  pin(sums[0]);
  pin(sums[1]);
}

// Among the threads that multiply.
__device__ void sync_multipliers() { asm volatile("bar.sync 1, %0;" ::"n"(kWarpgroupThreads) : "memory"); }

// Whether the warp has rows of x.
__device__ bool has_rows(const WideArgs& args) { return static_cast<int>(threadIdx.x) / 32 * 16 < args.num_rows; }

// Sums of a part go to rows of floats at `staged`, each plan.staged_stride() after the one before.
template <int kNumSums>
__device__ void stage_sums(float* staged, const float (&part)[kNumSums], const WideArgs& args) {
  if (!has_rows(args)) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int stride = args.plan.staged_stride();
  float* const first = staged + (static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4) * stride + lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float* const row = first + half * 8 * stride;
#pragma unroll
    for (int i = 0; i < kNumSums / 4; ++i) {
      *reinterpret_cast<float2*>(row + i * 8) = make_float2(part[i * 4 + half * 2], part[i * 4 + half * 2 + 1]);
    }
  }
}

__device__ Vec<float, kVecSize> load_staged(const float* staged) {
  Vec<float, kVecSize> x;
#pragma unroll
  for (int i = 0; i < kVecSize; i += 4) {
    const float4 values = *reinterpret_cast<const float4*>(staged + i);
    x.values[i] = values.x, x.values[i + 1] = values.y, x.values[i + 2] = values.z, x.values[i + 3] = values.w;
  }
  return x;
}

__device__ void add_bias(Vec<float, kVecSize>& x, const WideArgs& args, int matrix, int column) {
  if (args.bias == nullptr) return;
#pragma unroll
  for (int i = 0; i < kVecSize; ++i) {
    if (column + i < args.n) x.values[i] += args.bias[matrix * args.n + column + i];
  }
}

// As if both were stored, and gated by another kernel.
template <typename T>
__device__ void gate(Vec<float, kVecSize>& x, const Vec<float, kVecSize>& up, const WideArgs& args) {
#pragma unroll
  for (int i = 0; i < kVecSize; ++i) {
    const float rounded = to_float(round_to<T>(x.values[i]));
    const float activated = args.has_tanh ? GeluTanh::apply(rounded) : Silu::apply(rounded);
    x.values[i] = __fmul_rn(activated, to_float(round_to<T>(up.values[i])));
  }
}

template <typename T>
__device__ void store_vec(T* to, const Vec<float, kVecSize>& x, int count, bool is_aligned) {
  if (is_aligned) {
    store<T, kVecSize>(to, x, count);
  } else {
    store<T, kVecSize, false>(to, x, count);
  }
}

// Staged sums go to the columns of `out` from `first` to `end`.
template <typename T, bool kIsGated>
__device__ void store_staged(const float* staged, const WideArgs& args, int first, int end) {
  const WidePlan& plan = args.plan;
  // So many threads beside each other have a row.
  const int threads_per_row = 1 << plan.log2_threads_per_row;
  const int place = static_cast<int>(threadIdx.x) % threads_per_row * kVecSize;
  for (int row = static_cast<int>(threadIdx.x) >> plan.log2_threads_per_row; row < args.num_rows;
       row += kWarpgroupThreads >> plan.log2_threads_per_row) {
    for (int column = first + place; column < end; column += threads_per_row * kVecSize) {
      const float* const from = staged + row * plan.staged_stride() + column - first;
      auto x = load_staged(from);
      add_bias(x, args, 0, column);
      if constexpr (kIsGated) {
        auto up = load_staged(from + plan.part_columns);
        add_bias(up, args, 1, column);
        gate<T>(x, up, args);
      }
      const int64_t to = row * args.out_stride + column;
      if (args.is_float_out) {
        store_vec(static_cast<float*>(args.out) + to, x, end - column, args.has_vectors);
      } else {
        store_vec(static_cast<T*>(args.out) + to, x, end - column, args.has_vectors);
      }
    }
  }
}

// What the blocks of a cluster write to each other's shared memory before they arrive is seen after the wait.
__device__ void arrive_at_cluster() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ void wait_for_cluster() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// Sums of a part go to the shared memory of the other block, each thread's to the thread with its number.
template <int kNumSums>
__device__ void give(char* to, const float (&part)[kNumSums], const WideArgs& args, int rank) {
  if (!has_rows(args)) return;
  uint32_t address = shared_address(to) + static_cast<uint32_t>(threadIdx.x * sizeof(float4));
  asm volatile("mapa.shared::cluster.u32 %0, %0, %1;" : "+r"(address) : "r"(rank));
#pragma unroll
  for (int i = 0; i < kNumSums; i += 4) {
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(part[i]), "f"(part[i + 1]),
                 "f"(part[i + 2]), "f"(part[i + 3])
                 : "memory");
    address += kWarpgroupThreads * sizeof(float4);
  }
}

template <int kNumSums>
__device__ void take(float (&part)[kNumSums], const char* from, const WideArgs& args) {
  if (!has_rows(args)) return;
  const auto* const given = reinterpret_cast<const float4*>(from) + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kNumSums; i += 4) {
    const float4 more = given[i / 4 * kWarpgroupThreads];
    part[i] += more.x, part[i + 1] += more.y, part[i + 2] += more.z, part[i + 3] += more.w;
  }
}

// Sums of a strip go to its columns.
template <typename T, int kColumns, bool kIsGated>
__device__ void store_strip(char* smem, const Sums<kColumns>& sums, const WideArgs& args, int strip) {
  auto* const staged = reinterpret_cast<float*>(smem + args.plan.staged_offset());
  sync_multipliers();  // all have multiplied what lies where sums are staged, and stored what was staged before
  stage_sums(staged, sums[0], args);
  stage_sums(staged + args.plan.part_columns, sums[1], args);
  sync_multipliers();
  const int first = strip * args.plan.strip_columns;
  store_staged<T, kIsGated>(staged, args, first, min(first + args.plan.strip_columns, args.n));
}

// The sums of the block's part of a strip, with those that the other block of the cluster gave, go to their columns.
template <typename T, int kNumSums>
__device__ void store_part(char* smem, float (&part)[kNumSums], const WideArgs& args, int first, int end) {
  auto* const staged = reinterpret_cast<float*>(smem + args.plan.staged_offset());
  take(part, smem + args.plan.given_offset(), args);
  stage_sums(staged, part, args);
  sync_multipliers();
  store_staged<T, false>(staged, args, first, end);
}

template <typename T, int kColumns, bool kIsGated>
__global__ void __launch_bounds__(kNumThreads)
    wide_gemm_kernel(const __grid_constant__ CUtensorMap weight_map, const __grid_constant__ CUtensorMap x_map,
                     const __grid_constant__ WideArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ char dynamic_smem[];
  __shared__ Barriers barriers;
  const WidePlan& plan = args.plan;
  char* const smem = align_tiles(dynamic_smem);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const bool is_multiplier = warp < kNumMultiplierWarps;
  if (warp == kNumMultiplierWarps) {
    const int stage = static_cast<int>(threadIdx.x) % 32;
    if (stage < plan.num_weight_stages) barriers.weights.init(stage, 1);
    if (stage < plan.num_x_stages) barriers.x.init(stage, 1);
    publish_barriers();
    prefetch(weight_map);
  } else if (warp == kNumMultiplierWarps + 1) {
    prefetch(x_map);
  }
  __syncthreads();  // the barriers are initialised
  const bool is_pair = !kIsGated && plan.cluster_size == 2;
  if (is_pair) arrive_at_cluster();
  const Share share(args);
  Ring weights(barriers.weights, smem, plan.num_weight_stages, plan.weight_stage_bytes());
  Ring x(barriers.x, smem + plan.x_offset(), plan.num_x_stages, plan.x_tile_bytes());
  Sums<kColumns> sums;
  if (warp == kNumMultiplierWarps) {
    if (is_elected()) load_weights(weight_map, args, share, weights);
    __syncwarp();
    wait_for_previous();
  } else {
    wait_for_previous();  // which writes x, and may still read `out`
    if (!is_multiplier) {
      if (is_elected()) load_x(x_map, args, share, x);
    } else {
      for (int strip = share.cluster; strip < plan.num_strips; strip += plan.num_clusters) {
        multiply<T, kColumns>(sums, args, share, weights, x);
        if (!is_pair) store_strip<T, kColumns, kIsGated>(smem, sums, args, strip);
      }
    }
  }
  if (!is_pair) return;
  wait_for_cluster();  // the other block has begun
  if (is_multiplier) {
    if (share.rank == 0) {
      give(smem + plan.given_offset(), sums[1], args, 1);
    } else {
      give(smem + plan.given_offset(), sums[0], args, 0);
    }
  }
  arrive_at_cluster();
  wait_for_cluster();  // sums were given, and all that lies where they are staged is multiplied
  if (!is_multiplier) return;
  const int first = share.cluster * plan.strip_columns;
  const int middle = first + plan.part_columns;
  const int end = min(first + plan.strip_columns, args.n);
  if (share.rank == 0) {
    store_part<T>(smem, sums[0], args, first, min(middle, end));
  } else {
    store_part<T>(smem, sums[1], args, middle, end);
  }
#else
  __trap();
#endif
}

template <typename T, int kColumns, bool kIsGated>
void launch(const TensorView& out, const ConstTensorView& x, const PackedWeight& weight, const ConstTensorView& bias,
            const WidePlan& plan, bool has_tanh, cudaStream_t handle) {
  // A stage is empty when the next one is being multiplied, which is then not among those that are waited for.
  COHORT_CHECK(plan.num_weight_stages > kStagesTogether, std::to_string(plan.num_weight_stages));
  const auto num_steps = static_cast<int>((weight.k() + kSkinnyBlockK - 1) / kSkinnyBlockK);
  const bool has_vectors = plan.strip_columns % kVecSize == 0 && out.stride(0) % kVecSize == 0 &&
                           reinterpret_cast<uintptr_t>(out.data()) % kVecBytes == 0;
  const WideArgs args{.out = out.data(),
                      .bias = bias.empty() ? nullptr : bias.data<float>(),
                      .out_stride = out.stride(0),
                      .num_rows = static_cast<int>(x.dim(0)),
                      .n = static_cast<int>(out.dim(1)),
                      .num_steps = (num_steps + plan.cluster_size - 1) / plan.cluster_size,
                      .end_step = num_steps,
                      .is_float_out = out.dtype() == DType::kF32,
                      .has_vectors = has_vectors,
                      .has_tanh = has_tanh,
                      .plan = plan};
  const auto kernel = wide_gemm_kernel<T, kColumns, kIsGated>;
  // Not what this launch takes: another thread's may take more.
  COHORT_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxDynamicSmemBytes));
  COHORT_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  const int64_t x_stride = x.dim(0) == 1 ? x.dim(1) : x.stride(0);
  launch_chained_clusters(kernel, plan.cluster_size, dim3(static_cast<unsigned>(plan.num_clusters * plan.cluster_size)),
                          dim3(kNumThreads), static_cast<size_t>(plan.smem_bytes() + kGroupBytes), handle,
                          make_tile_map<T>(weight.data(), weight.n(), weight.k(), weight.k(), plan.strip_columns),
                          make_tile_map<T>(x.data(), x.dim(0), x.dim(1), x_stride, plan.padded_rows), args);
}

}  // namespace

void run_wide_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                   const WidePlan& plan, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const auto dispatch_columns = [&]<typename T>() {
    if (plan.multiplied_columns() == 40) return launch<T, 40, false>(out, x, weight, bias, plan, false, handle);
    if (plan.multiplied_columns() == 64) return launch<T, 64, false>(out, x, weight, bias, plan, false, handle);
    launch<T, 128, false>(out, x, weight, bias, plan, false, handle);
  };
  if (weight.dtype() == DType::kBF16) return dispatch_columns.operator()<__nv_bfloat16>();
  dispatch_columns.operator()<__half>();
}

void run_wide_gemm_gated(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                         Activation activation, const WidePlan& plan, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const bool has_tanh = activation == Activation::kGeluTanh;
  if (weight.dtype() == DType::kBF16) {
    return launch<__nv_bfloat16, 128, true>(out, x, weight, bias, plan, has_tanh, handle);
  }
  launch<__half, 128, true>(out, x, weight, bias, plan, has_tanh, handle);
}

}  // namespace cohort::cuda
