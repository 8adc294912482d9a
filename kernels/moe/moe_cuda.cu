#include <limits>

#include "kernels/core/cuda_rows.cuh"
#include "kernels/moe/moe_backends.h"
#include "kernels/moe/moe_tree.h"
#include "kernels/moe/products_cuda.h"

namespace cohort::cuda {
namespace {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr float kSmallest = -std::numeric_limits<float>::infinity();
constexpr int kNoExpert = std::numeric_limits<int>::max();
constexpr int kRouteWarps = 4;  // of a block, each with a token

struct RouteArgs {
  int32_t* experts;  // [num_tokens, per_token]
  float* weights;    // likewise
  const float* logits;
  int64_t logits_stride;
  int num_tokens;
  int num_experts;
  int per_token;
  bool renormalizes;
};

// Larger for larger logits, of equal ones for the first expert; never 0.
__device__ uint64_t key_of(float logit, int expert) {
  const float value = isnan(logit) ? kSmallest : logit + 0.0f;  // no -0
  const uint32_t bits = __float_as_uint(value);
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | (0xffffffffu - static_cast<uint32_t>(expert));
}

__device__ int expert_of(uint64_t key) { return static_cast<int>(0xffffffffu - static_cast<uint32_t>(key)); }

__device__ uint64_t max_of_lanes(uint64_t key) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(kAllLanes, key, offset);
    key = other > key ? other : key;
  }
  return key;
}

__device__ float sum_of_lanes(float value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// A warp has a token, and its lanes the experts in turn.
template <int kPerLane>
__global__ void __launch_bounds__(kRouteWarps* kWarpSize) route_kernel(RouteArgs args) {
  begin_chained();
  const int token = static_cast<int>(blockIdx.x * kRouteWarps + threadIdx.y);
  const int lane = static_cast<int>(threadIdx.x);
  if (token >= args.num_tokens) return;
  const float* const logits = args.logits + token * args.logits_stride;
  float values[kPerLane];
  uint64_t keys[kPerLane];  // 0 of what is chosen, or no expert
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * kWarpSize + lane;
    const bool is_expert = expert < args.num_experts;
    values[i] = is_expert ? logits[expert] : kSmallest;
    keys[i] = is_expert ? key_of(values[i], expert) : 0;
  }
  int own = kNoExpert;  // lane c has choice c
  int first = 0;        // with the largest logit
  for (int choice = 0; choice < args.per_token; ++choice) {
    uint64_t best = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) best = keys[i] > best ? keys[i] : best;
    best = max_of_lanes(best);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) keys[i] = keys[i] == best ? 0 : keys[i];
    if (choice == 0) first = expert_of(best);
    if (choice == lane) own = expert_of(best);
  }
  const float largest_logit = logits[first];
  const float largest = isnan(largest_logit) ? kSmallest : largest_logit;
  const bool has_choice = lane < args.per_token;
  const float own_power = has_choice ? expf(logits[own] - largest) : 0.0f;
  float powers = own_power;
  if (!args.renormalizes) {
    powers = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      powers += i * kWarpSize + lane < args.num_experts ? expf(values[i] - largest) : 0;
  }
  const float sum = sum_of_lanes(powers);
  int place = 0;
  for (int choice = 0; choice < args.per_token; ++choice) place += __shfl_sync(kAllLanes, own, choice) < own ? 1 : 0;
  if (!has_choice) return;
  args.experts[token * args.per_token + place] = own;
  args.weights[token * args.per_token + place] = own_power / sum;
}

struct GroupArgs {
  int32_t* rows;        // [num_pairs]
  int32_t* tokens;      // [num_pairs]
  int32_t* first_rows;  // [num_local + 1]
  const int32_t* experts;
  int num_pairs;
  int per_token;
  int first_expert;
  int num_local;
};

constexpr int kGroupWarps = 8;
constexpr int kGroupThreads = kGroupWarps * kWarpSize;

// The sum of the warps' values up to this thread's, which is not counted; `total` becomes that of all. shared
// [kGroupWarps]; a barrier must follow before the next call.
__device__ int count_before(bool is_counted, int* shared, int& total) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const unsigned counted = __ballot_sync(kAllLanes, is_counted);
  if (lane == 0) shared[warp] = __popc(counted);
  __syncthreads();
  int before = __popc(counted & ((1u << lane) - 1));
  total = 0;
#pragma unroll
  for (int i = 0; i < kGroupWarps; ++i) {
    if (i < warp) before += shared[i];
    total += shared[i];
  }
  return before;
}

// Block e gives rows to the pairs of local expert e, in the order of their tokens.
__global__ void __launch_bounds__(kGroupThreads) group_kernel(GroupArgs args) {
  __shared__ int shared[2][kGroupWarps];
  begin_chained();
  const int own = args.first_expert + static_cast<int>(blockIdx.x);
  int num_before = 0;  // of pairs of local experts before this one
  for (int pair = static_cast<int>(threadIdx.x); pair < args.num_pairs; pair += kGroupThreads) {
    const int expert = args.experts[pair];
    if (expert >= args.first_expert && expert < own) ++num_before;
    const bool is_local = expert >= args.first_expert && expert < args.first_expert + args.num_local;
    if (blockIdx.x == 0 && !is_local) args.rows[pair] = -1;
  }
  num_before = __reduce_add_sync(kAllLanes, num_before);
  if (threadIdx.x % kWarpSize == 0) shared[0][threadIdx.x / kWarpSize] = num_before;
  __syncthreads();
  int row = 0;
#pragma unroll
  for (int i = 0; i < kGroupWarps; ++i) row += shared[0][i];
  if (threadIdx.x == 0) args.first_rows[blockIdx.x] = row;
  __syncthreads();  // `shared` is read
  // Turns of all threads take turns in `shared`, so that one barrier a turn is enough.
  for (int first = 0, turn = 0; first < args.num_pairs; first += kGroupThreads, turn ^= 1) {
    const int pair = first + static_cast<int>(threadIdx.x);
    const bool is_own = pair < args.num_pairs && args.experts[pair] == own;
    int total;
    const int place = row + count_before(is_own, shared[turn], total);
    if (is_own) {
      args.rows[pair] = place;
      args.tokens[place] = pair / args.per_token;
    }
    row += total;
  }
  if (threadIdx.x == 0 && blockIdx.x + 1 == gridDim.x) args.first_rows[gridDim.x] = row;
}

// Block r copies to row r the token that has it, in pieces of 16 bytes.
__global__ void __launch_bounds__(kNumRowThreads)
    gather_kernel(uint4* out, const uint4* x, const int32_t* tokens, const int32_t* num_rows, int row_pieces,
                  int64_t x_stride_pieces) {
  begin_chained();
  const int row = static_cast<int>(blockIdx.x);
  if (row >= *num_rows) return;
  const uint4* const from = x + tokens[row] * x_stride_pieces;
  for (int i = static_cast<int>(threadIdx.x); i < row_pieces; i += kNumRowThreads) {
    out[static_cast<int64_t>(row) * row_pieces + i] = from[i];
  }
}

struct CombineArgs {
  const int32_t* experts;  // [num_tokens, per_token]
  const float* weights;    // likewise
  const int32_t* rows;     // likewise
  const float* outputs;    // [num_rows, hidden]
  int per_token;
  int hidden;
  int64_t out_stride;
  ExpertTree tree;
};

// Some columns of a token.
template <int kVecSize>
struct Part {
  float values[kVecSize];

  __host__ __device__ Part operator+(const Part& other) const {
    Part sum;
    for (int i = 0; i < kVecSize; ++i) sum.values[i] = values[i] + other.values[i];
    return sum;
  }
};

// Block (x, y) has columns of token y, a thread kVecSize of them.
template <typename Out, int kVecSize, int kMaxTerms>
__global__ void __launch_bounds__(kNumRowThreads) combine_kernel(Out* out, CombineArgs args) {
  begin_chained();
  const int64_t token = blockIdx.y;
  const int column = static_cast<int>(blockIdx.x * kNumRowThreads + threadIdx.x) * kVecSize;
  if (column >= args.hidden) return;
  const int count = args.hidden - column;
  TreeSum<Part<kVecSize>, kMaxTerms> sum;
#pragma unroll
  for (float& value : sum.pending[0].values) value = -0.0f;
  Part<kVecSize> term;  // of the last expert, which is added when the next one is known
  int last = -1;
  for (int64_t pair = token * args.per_token; pair < (token + 1) * args.per_token; ++pair) {
    const int row = args.rows[pair];
    if (row < 0) continue;
    const int expert = args.experts[pair];
    if (last >= 0) sum.add(term, args.tree.level(last, expert));
    last = expert;
    const auto output = load<float, kVecSize>(args.outputs + static_cast<int64_t>(row) * args.hidden + column, count);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i) term.values[i] = __fmul_rn(output.values[i], args.weights[pair]);
  }
  if (last >= 0) sum.add(term, kRootLevel);
  Vec<float, kVecSize> result;
#pragma unroll
  for (int i = 0; i < kVecSize; ++i) result.values[i] = sum.pending[0].values[i];
  store<Out, kVecSize>(out + token * args.out_stride + column, result, count);
}

void combine(const TensorView& out, const MoeWorkspace& workspace, const MoeShape& shape, cudaStream_t handle) {
  const CombineArgs args{.experts = workspace.experts->data<int32_t>(),
                         .weights = workspace.weights->data<float>(),
                         .rows = workspace.rows->data<int32_t>(),
                         .outputs = workspace.outputs->data<float>(),
                         .per_token = static_cast<int>(shape.experts_per_token),
                         .hidden = static_cast<int>(shape.hidden),
                         .out_stride = out.stride(0),
                         .tree = ExpertTree(static_cast<int>(shape.num_experts))};
  constexpr int kVecSize = 4;
  const bool is_vectorized = shape.hidden % kVecSize == 0 && is_aligned(out, out.stride(0));
  dispatch_float(out.dtype(), [&]<typename T>() {
    using D = DeviceType<T>;
    const auto launch = [&](auto kernel, int vec_size) {
      const dim3 grid(static_cast<unsigned>(ceil_div(shape.hidden, int64_t{vec_size} * kNumRowThreads)),
                      static_cast<unsigned>(out.dim(0)));
      launch_chained(kernel, grid, dim3(kNumRowThreads), 0, handle, static_cast<D*>(out.data()), args);
    };
    const bool has_few = shape.experts_per_token <= 2;
    if (is_vectorized) {
      launch(has_few ? combine_kernel<D, kVecSize, 2> : combine_kernel<D, kVecSize, kMaxExpertsPerToken>, kVecSize);
    } else {
      launch(has_few ? combine_kernel<D, 1, 2> : combine_kernel<D, 1, kMaxExpertsPerToken>, 1);
    }
  });
}

}  // namespace

bool can_be_hopper(const ExpertProduct& product) {
  constexpr int kElements = kVecBytes / 2;
  return has_sm90a_kernels() && product.dtype != DType::kF32 && product.mode == GemmMode::kFast &&
         product.n % kElements == 0 && product.k % kElements == 0 && is_aligned(product.weight);
}

void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const int64_t num_tokens = logits.dim(0);
  const RouteArgs args{.experts = workspace.experts->data<int32_t>(),
                       .weights = workspace.weights->data<float>(),
                       .logits = logits.data<float>(),
                       .logits_stride = logits.stride(0),
                       .num_tokens = static_cast<int>(num_tokens),
                       .num_experts = static_cast<int>(shape.num_experts),
                       .per_token = static_cast<int>(shape.experts_per_token),
                       .renormalizes = renormalizes};
  const auto kernel = shape.num_experts <= kWarpSize       ? route_kernel<1>
                      : shape.num_experts <= 4 * kWarpSize ? route_kernel<4>
                                                           : route_kernel<kMaxExperts / kWarpSize>;
  launch_chained(kernel, dim3(static_cast<unsigned>(ceil_div(num_tokens, kRouteWarps))), dim3(kWarpSize, kRouteWarps),
                 0, handle, args);
  const GroupArgs group{.rows = workspace.rows->data<int32_t>(),
                        .tokens = workspace.tokens->data<int32_t>(),
                        .first_rows = workspace.first_rows->data<int32_t>(),
                        .experts = workspace.experts->data<int32_t>(),
                        .num_pairs = static_cast<int>(num_tokens * shape.experts_per_token),
                        .per_token = static_cast<int>(shape.experts_per_token),
                        .first_expert = static_cast<int>(shape.first_expert),
                        .num_local = static_cast<int>(shape.num_local_experts)};
  launch_chained(group_kernel, dim3(static_cast<unsigned>(shape.num_local_experts)), dim3(kGroupThreads), 0, handle,
                 group);
}

void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream) {
  const cudaStream_t handle = enter(stream);
  const MoeShape& shape = experts.shape;
  const int64_t num_tokens = x.dim(0);
  const int64_t max_rows = num_tokens * shape.experts_per_token;
  ExpertProduct gate_up{.dtype = x.dtype(),
                        .mode = experts.gate_up[0].mode(),
                        .out = workspace.activated->data(),
                        .x = x.data(),
                        .x_stride = x.stride(0),
                        .tokens = workspace.tokens->data<int32_t>(),
                        .weight = experts.gate_up[0].data(),
                        .first_rows = workspace.first_rows->data<int32_t>(),
                        .is_gated = true,
                        .activation = experts.activation,
                        .num_experts = static_cast<int>(shape.num_local_experts),
                        .n = static_cast<int>(shape.ffn),
                        .k = static_cast<int>(shape.hidden),
                        .max_expert_rows = static_cast<int>(num_tokens),
                        .max_rows = static_cast<int>(max_rows)};
  ExpertProduct down = gate_up;
  down.out = workspace.outputs->data();
  down.x = workspace.activated->data();
  down.x_stride = shape.ffn;
  down.tokens = nullptr;
  down.weight = experts.down[0].data();
  down.is_gated = false;
  down.n = static_cast<int>(shape.hidden);
  down.k = static_cast<int>(shape.ffn);
  if (can_be_hopper(gate_up) && can_be_hopper(down) && is_aligned(x, num_tokens == 1 ? 0 : x.stride(0))) {
    const int64_t row_bytes = dtype_bytes(x.dtype(), shape.hidden);
    launch_chained(gather_kernel, dim3(static_cast<unsigned>(max_rows)), dim3(kNumRowThreads), 0, handle,
                   static_cast<uint4*>(workspace.inputs->data()), static_cast<const uint4*>(x.data()), gate_up.tokens,
                   gate_up.first_rows + shape.num_local_experts, static_cast<int>(row_bytes / kVecBytes),
                   dtype_bytes(x.dtype(), x.stride(0)) / kVecBytes);
    gate_up.x = workspace.inputs->data();
    gate_up.x_stride = shape.hidden;
    gate_up.tokens = nullptr;
    down.is_early = true;
    const auto run = num_tokens <= kMaxSkinnyExpertRows ? run_skinny_experts : run_wide_experts;
    run(gate_up, stream);
    run(down, stream);
  } else {
    run_tiled_experts(gate_up, stream);
    run_tiled_experts(down, stream);
  }
  combine(out, workspace, shape, handle);
}

}  // namespace cohort::cuda
