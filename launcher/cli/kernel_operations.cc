#include "launcher/cli/kernel_operations.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <set>

#include "kernels/attention/attention.h"
#include "kernels/core/check.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "kernels/moe/moe.h"
#include "kernels/norm/norm.h"
#include "kernels/position/rotary_cache.h"
#include "kernels/random/random.h"
#include "kernels/sampling/sampled_logprobs.h"
#include "kernels/sampling/sampling_plan.h"
#include "launcher/cli/kernel_operands.h"
#include "runtime/layers/workspace.h"

namespace cohort {
namespace {

constexpr int64_t kBlockSize = 16;  // positions of a block of the cache

struct Context {
  const KernelModel& model;
  const KernelLoad& load;
  Stream& stream;

  Device device() const { return stream.device(); }
  int64_t element_bytes(int64_t n) const { return dtype_bytes(model.dtype, n); }
};

KernelOperation embedding_operation(const Context& c) {
  const int64_t rows = c.load.num_rows();
  const int64_t dim = c.model.spec.embedding_dim;
  const int64_t vocab = c.model.shard.vocab.size();
  const bool is_whole = c.model.shard.num_shards == 1;
  const DType out_dtype = is_whole ? c.model.dtype : DType::kF32;
  const auto sets = std::make_shared<OperandSets>(std::vector<Operand>{{out_dtype, {rows, dim}}}, c.stream);
  const auto table = std::make_shared<Tensor>(c.model.dtype, Shape{vocab, dim}, c.device());
  fill_random(*table, {random_key(2, "bench"), {0, 1}}, (*table)->shape(), 0, 0, c.stream);
  const auto ids = std::make_shared<Tensor>(
      make_int32({sets->num_sets(), rows}, c.device(), [&](int64_t i) { return scattered(i, vocab); }));
  KernelOperation operation;
  operation.sizes = fmt::format("{} of {} x {}", rows, vocab, dim);
  operation.num_bytes = c.element_bytes(rows * dim) + dtype_bytes(out_dtype, rows * dim) + 4 * rows;
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream = c.stream](int set) {
    const TensorView own_ids = (*ids)->slice(0, set, set + 1).reshape({rows});
    if (is_whole) return embedding(sets->at(set, 0), own_ids, *table, stream);
    embedding_part(sets->at(set, 0), own_ids, *table, 0, stream);
  };
  return operation;
}

KernelOperation norm_operation(const Context& c) {
  const ModelSpec& spec = c.model.spec;
  const int64_t rows = c.load.num_rows();
  const Operand row_operand{c.model.dtype, {rows, spec.hidden}};
  const Operand weight{DType::kF32, {spec.hidden}};
  const auto sets = std::make_shared<OperandSets>(
      std::vector<Operand>{row_operand, row_operand, row_operand, weight, weight}, c.stream);
  const bool is_rms = spec.norm == NormKind::kRmsNorm;
  KernelOperation operation;
  operation.sizes = fmt::format("{} x {}", rows, spec.hidden);
  operation.num_bytes = 4 * c.element_bytes(rows * spec.hidden) + (is_rms ? 4 : 8) * spec.hidden;
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream = c.stream](int set) {
    const TensorView out = sets->at(set, 0);
    const TensorView residual = sets->at(set, 1);
    if (is_rms) return add_rms_norm(out, residual, sets->at(set, 2), sets->at(set, 3), 1e-5f, stream);
    add_layer_norm(out, residual, sets->at(set, 2), sets->at(set, 3), sets->at(set, 4), 1e-5f, stream);
  };
  return operation;
}

// out [rows, n] = x [rows, k] * weight^T
KernelOperation product(int64_t rows, int64_t n, int64_t k, DType dtype, DType out_dtype, Stream& stream) {
  const auto weights = std::make_shared<std::vector<PackedWeight>>(
      make_weights(num_sets_of(dtype_bytes(dtype, n * k)), n, k, dtype, stream));
  const auto sets =
      std::make_shared<OperandSets>(std::vector<Operand>{{out_dtype, {rows, n}}, {dtype, {rows, k}}}, stream);
  prepare_gemm(stream);
  autotune_gemm(sets->at(0, 0), sets->at(0, 1), weights->front(), {}, stream);  // as engines do when they start
  KernelOperation operation;
  operation.sizes = fmt::format("{} x {} x {}", rows, k, n);
  operation.num_bytes = dtype_bytes(dtype, n * k + rows * k) + dtype_bytes(out_dtype, rows * n);
  operation.num_flops = 2 * static_cast<double>(rows) * static_cast<double>(n) * static_cast<double>(k);
  operation.num_sets = static_cast<int>(weights->size());
  operation.run = [=, &stream](int set) {
    const int own = set % sets->num_sets();
    gemm(sets->at(own, 0), sets->at(own, 1), (*weights)[static_cast<size_t>(set)], {}, stream);
  };
  return operation;
}

KernelOperation rotate_operation(const Context& c) {
  const ModelSpec& spec = c.model.spec;
  const int64_t rows = c.load.num_rows();
  const int64_t num_q = c.model.shard.heads.size();
  const int64_t num_kv = c.model.shard.kv_heads.size();
  const int64_t dim = spec.head_dim;
  const int64_t num_blocks = (rows + kBlockSize - 1) / kBlockSize;
  const Operand cache{c.model.dtype, {num_blocks, num_kv, kBlockSize, dim}};
  const auto sets = std::make_shared<OperandSets>(
      std::vector<Operand>{{c.model.dtype, {rows, (num_q + 2 * num_kv) * dim}}, cache, cache}, c.stream);
  const KernelLoad load = c.load;
  const auto positions = std::make_shared<Tensor>(make_int32(
      {rows}, c.device(), [&](int64_t i) { return load.context_length - load.num_queries + i % load.num_queries; }));
  const auto lengths =
      std::make_shared<Tensor>(make_int32({rows}, c.device(), [&](int64_t) { return load.context_length; }));
  const auto slots =
      std::make_shared<Tensor>(make_ints<int64_t>(DType::kI64, {rows}, c.device(), [&](int64_t i) { return i; }));
  std::shared_ptr<RotaryEmbedding> rotary;
  if (spec.position == PositionKind::kRotary) {
    Result<RotaryEmbedding> created = RotaryEmbedding::create(spec.rotary);
    COHORT_CHECK(created.ok(), std::string(created.status().message()));
    rotary = std::make_shared<RotaryEmbedding>(*std::move(created));
    rotary->prepare(c.stream);
  }
  KernelOperation operation;
  operation.sizes = fmt::format("{} x ({} + 2 x {}) x {}", rows, num_q, num_kv, dim);
  // k and v are read and stored in the cache; q and k are turned in place.
  const int64_t num_heads = 4 * num_kv + (rotary != nullptr ? 2 * num_q + num_kv : 0);
  operation.num_bytes = c.element_bytes(rows * num_heads * dim);
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream = c.stream](int set) {
    const TensorView qkv = sets->at(set, 0);
    const auto heads = [&](int64_t first, int64_t count) {
      return qkv.slice(1, first * dim, (first + count) * dim).reshape({rows, count, dim});
    };
    rotate_and_cache(heads(0, num_q), heads(num_q, num_kv), heads(num_q + num_kv, num_kv),
                     {sets->at(set, 1), sets->at(set, 2)}, {*positions, *lengths, *slots}, rotary.get(), stream);
  };
  return operation;
}

KernelOperation attention_operation(const Context& c) {
  const KernelLoad load = c.load;
  const int64_t num_q = c.model.shard.heads.size();
  const int64_t num_kv = c.model.shard.kv_heads.size();
  const int64_t dim = c.model.spec.head_dim;
  const int64_t seq_blocks = (load.context_length + kBlockSize - 1) / kBlockSize;
  const int64_t num_blocks = load.num_seqs * seq_blocks;
  const Operand heads{c.model.dtype, {load.num_rows(), num_q, dim}};
  const Operand cache{c.model.dtype, {num_blocks, num_kv, kBlockSize, dim}};
  const auto sets = std::make_shared<OperandSets>(std::vector<Operand>{heads, heads, cache, cache}, c.stream);
  const auto starts = std::make_shared<Tensor>(
      make_int32({load.num_seqs + 1}, c.device(), [&](int64_t i) { return i * load.num_queries; }));
  const auto lengths =
      std::make_shared<Tensor>(make_int32({load.num_seqs}, c.device(), [&](int64_t) { return load.context_length; }));
  // Blocks of a sequence lie apart, as they do in a cache that has been in use: every number once, by a step that has
  // no divisor in common with their count.
  int64_t stride = num_blocks * 5 / 8 | 1;
  while (std::gcd(stride, num_blocks) != 1) ++stride;
  const auto tables = std::make_shared<Tensor>(
      make_int32({load.num_seqs, seq_blocks}, c.device(), [&](int64_t i) { return i * stride % num_blocks; }));
  const int64_t workspace_bytes = c.device().kind == DeviceKind::kCuda
                                      ? attention_workspace_bytes(load.num_seqs, load.context_length, num_q, dim)
                                      : 0;
  const auto workspace = std::make_shared<Tensor>(DType::kU8, Shape{workspace_bytes}, c.device());
  const float scale = c.model.spec.attention_scale;

  KernelOperation operation;
  operation.sizes = fmt::format("{} x {}, {} heads of {} over {}", load.num_seqs, load.num_queries, num_q, dim, num_kv);
  operation.num_bytes =
      c.element_bytes(2 * load.num_rows() * num_q * dim + 2 * load.num_seqs * load.context_length * num_kv * dim);
  // Query j of n sees context_length - n + j + 1 positions.
  const auto n = static_cast<double>(load.num_queries);
  const double num_seen = n * static_cast<double>(load.context_length) - n * (n - 1) / 2;
  operation.num_flops = 4 * static_cast<double>(load.num_seqs * num_q * dim) * num_seen;
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream = c.stream](int set) {
    const AttentionBatch batch{*starts, *lengths, *tables, load.num_queries, load.context_length};
    paged_attention(sets->at(set, 0), sets->at(set, 1), {sets->at(set, 2), sets->at(set, 3)}, batch, {.scale = scale},
                    *workspace, stream);
  };
  return operation;
}

KernelOperation activation_operation(const Context& c) {
  const int64_t rows = c.load.num_rows();
  const int64_t ffn = c.model.shard.ffn.size();
  const int64_t num_parts = c.model.spec.gated_mlp ? 2 : 1;
  const auto sets = std::make_shared<OperandSets>(
      std::vector<Operand>{{c.model.dtype, {rows, ffn}}, {c.model.dtype, {rows, num_parts * ffn}}}, c.stream);
  const Activation activation = c.model.spec.activation;
  KernelOperation operation;
  operation.sizes = fmt::format("{} x {}", rows, ffn);
  operation.num_bytes = c.element_bytes((num_parts + 1) * rows * ffn);
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream = c.stream](int set) {
    if (num_parts == 2) return activate_gated(sets->at(set, 0), sets->at(set, 1), activation, stream);
    activate(sets->at(set, 0), sets->at(set, 1), activation, stream);
  };
  return operation;
}

// From the router's logits to the sum over a token's experts. What is read of weights are the experts that are chosen,
// by random logits: with few tokens not all.
KernelOperation experts_operation(const Context& c) {
  struct State {
    std::vector<ExpertWeights> experts;  // by set
    MoeWorkspace workspace;
    Tensor logits;  // [rows, num_experts] float32
  };
  const int64_t rows = c.load.num_rows();
  const MoeShape shape = moe_shape(c.model.spec, c.model.shard);
  const int64_t expert_elements = 3 * shape.ffn * shape.hidden;
  const bool is_stacked = c.device().kind == DeviceKind::kCuda;
  const int num_matrices = is_stacked ? 1 : static_cast<int>(shape.num_local_experts);
  const int64_t stacked = is_stacked ? shape.num_local_experts : 1;  // experts of a matrix
  const auto state = std::make_shared<State>();
  state->logits = make_logits({rows, shape.num_experts}, c.stream);
  state->workspace = MoeWorkspace(shape, c.model.dtype, rows, c.device());
  prepare_gemm(c.stream);
  for (int i = 0; i < num_sets_of(c.element_bytes(shape.experts_per_token * expert_elements)); ++i) {
    state->experts.push_back(
        {shape, c.model.spec.activation,
         make_weights(num_matrices, stacked * 2 * shape.ffn, shape.hidden, c.model.dtype, c.stream),
         make_weights(num_matrices, stacked * shape.hidden, shape.ffn, c.model.dtype, c.stream)});
  }
  const Operand tokens{c.model.dtype, {rows, shape.hidden}};
  const auto sets = std::make_shared<OperandSets>(std::vector<Operand>{tokens, tokens}, c.stream);

  const auto send = [renormalizes = c.model.spec.norm_topk, shape, state, &stream = c.stream] {
    route(state->workspace, state->logits, shape, renormalizes, stream);
  };
  send();
  c.stream.synchronize();
  std::vector<int32_t> first_rows(static_cast<size_t>(shape.num_local_experts) + 1);
  copy_bytes(first_rows.data(), kCpuDevice, state->workspace.first_rows->data(), c.device(),
             state->workspace.first_rows->num_bytes());
  const auto num_chosen = static_cast<int64_t>(std::set<int32_t>(first_rows.begin(), first_rows.end()).size()) - 1;

  KernelOperation operation;
  operation.sizes =
      fmt::format("{} to {} of {} x {} x {}", rows, num_chosen, shape.num_local_experts, shape.hidden, shape.ffn);
  operation.num_bytes =
      c.element_bytes(num_chosen * expert_elements + 2 * rows * shape.hidden) + state->logits->num_bytes();
  operation.num_flops = 2 * static_cast<double>(expert_elements) * first_rows.back();
  operation.num_sets = static_cast<int>(state->experts.size());
  operation.run = [=, &stream = c.stream](int set) {
    const int own = set % sets->num_sets();
    send();
    expert_mlp(sets->at(own, 0), sets->at(own, 1), state->experts[static_cast<size_t>(set)], state->workspace, stream);
  };
  return operation;
}

// Sampling as `params` say for every sequence, with num_outputs tokens before it that penalties are for. Logits come
// from the product before, and so from the cache.
KernelOperation sample_operation(const Context& c, const SamplingParams& params, int64_t num_outputs) {
  struct State {
    std::vector<SamplingParams> params;
    std::vector<int32_t> output;
    std::vector<SamplingRequest> requests;
    Tensor raw_logits;  // [num_seqs, vocab] float32
    Tensor logits;      // likewise: what sampling changes
    Tensor tokens;      // [num_seqs] int32
    std::optional<SamplingPlan> plan;
  };
  const int64_t vocab = c.model.spec.vocab;
  const int64_t rows = c.load.num_seqs;
  const auto state = std::make_shared<State>();
  state->params.assign(static_cast<size_t>(rows), params);
  for (int64_t i = 0; i < num_outputs; ++i) state->output.push_back(static_cast<int32_t>(scattered(i, vocab)));
  for (SamplingParams& own : state->params) {
    own.seed = state->requests.size();
    state->requests.push_back({&own, {}, state->output});
  }
  state->raw_logits = make_logits({rows, vocab}, c.stream);
  state->logits = Tensor(DType::kF32, {rows, vocab}, c.device());
  state->tokens = Tensor(DType::kI32, {rows}, c.device());
  if (c.device().kind == DeviceKind::kCuda) {
    state->plan.emplace(rows, rows * (num_outputs + 1), c.device());
    state->plan->prepare(state->requests, vocab, c.stream);
  }
  KernelOperation operation;
  operation.sizes = fmt::format("{} x {}", rows, vocab);
  operation.num_bytes = dtype_bytes(DType::kF32, rows * vocab);
  operation.run = [state, &stream = c.stream](int) {
    if (state->plan) return sample(state->tokens, state->logits, *state->plan, stream);
    sample(state->tokens, state->logits, state->requests, stream);
  };
  operation.reset = [state, &stream = c.stream](int) { copy_rows(state->logits, state->raw_logits, stream); };
  return operation;
}

KernelOperation logprobs_operation(const Context& c) {
  const int64_t vocab = c.model.spec.vocab;
  const int64_t rows = c.load.num_seqs;
  const auto logits = std::make_shared<Tensor>(make_logits({rows, vocab}, c.stream));
  const auto tokens =
      std::make_shared<Tensor>(make_int32({rows}, c.device(), [&](int64_t i) { return scattered(i, vocab); }));
  const auto logprob_bytes = static_cast<int64_t>(sizeof(SampledLogprobs));
  const auto out = std::make_shared<Tensor>(DType::kU8, Shape{rows, logprob_bytes}, c.device());
  KernelOperation operation;
  operation.sizes = fmt::format("{} x {}, top {}", rows, vocab, kMaxTopLogprobs);
  operation.num_bytes = dtype_bytes(DType::kF32, rows * vocab) + (*out)->num_bytes();
  operation.run = [=, &stream = c.stream](int) { sampled_logprobs(*out, *logits, *tokens, kMaxTopLogprobs, stream); };
  return operation;
}

KernelOperation feed_operation(const Context& c) {
  const int64_t rows = c.load.num_seqs;
  const auto ints = [&](int64_t i) { return i % rows; };
  const auto ids = std::make_shared<Tensor>(make_int32({rows}, c.device(), ints));
  const auto sources = std::make_shared<Tensor>(make_int32({rows}, c.device(), ints));
  const auto sampled = std::make_shared<Tensor>(make_int32({rows}, c.device(), ints));
  KernelOperation operation;
  operation.sizes = fmt::format("{}", rows);
  operation.num_bytes = 12 * rows;
  operation.run = [=, &stream = c.stream](int) { feed_tokens(*ids, *sources, *sampled, stream); };
  return operation;
}

KernelOperation model_product(const Context& c, int64_t n, int64_t k) {
  return product(c.load.num_rows(), n, k, c.model.dtype, c.model.dtype, c.stream);
}

// The models that have an operation.
bool is_of_all(const ModelSpec&) { return true; }
bool has_experts(const ModelSpec& spec) { return spec.num_experts > 0; }
bool has_one_mlp(const ModelSpec& spec) { return spec.num_experts == 0; }

struct NamedOperation {
  std::string name;
  KernelOperation (*make)(const Context&);
  bool (*is_of)(const ModelSpec&) = is_of_all;
};

const std::vector<NamedOperation>& operations() {
  static const std::vector<NamedOperation> all = {
      {"feed_tokens", feed_operation},
      {"embedding", embedding_operation},
      {"norm", norm_operation},
      {"qkv",
       [](const Context& c) {
         const int64_t num_heads = c.model.shard.heads.size() + 2 * c.model.shard.kv_heads.size();
         return model_product(c, num_heads * c.model.spec.head_dim, c.model.spec.hidden);
       }},
      {"rotate_and_cache", rotate_operation},
      {"attention", attention_operation},
      {"attn_out",
       [](const Context& c) {
         return model_product(c, c.model.spec.hidden, c.model.shard.heads.size() * c.model.spec.head_dim);
       }},
      {"mlp_up",
       [](const Context& c) {
         return model_product(c, (c.model.spec.gated_mlp ? 2 : 1) * c.model.shard.ffn.size(), c.model.spec.hidden);
       },
       has_one_mlp},
      {"activation", activation_operation, has_one_mlp},
      {"mlp_down", [](const Context& c) { return model_product(c, c.model.spec.hidden, c.model.shard.ffn.size()); },
       has_one_mlp},
      {"router",
       [](const Context& c) {
         return product(c.load.num_rows(), c.model.spec.num_experts, c.model.spec.hidden, c.model.dtype, DType::kF32,
                        c.stream);
       },
       has_experts},
      {"experts", experts_operation, has_experts},
      {"logits",
       [](const Context& c) {
         return product(c.load.num_seqs, c.model.shard.vocab.size(), c.model.spec.embedding_dim, c.model.dtype,
                        DType::kF32, c.stream);
       }},
      {"sample_greedy", [](const Context& c) { return sample_operation(c, {.temperature = 0}, 0); }},
      {"sample_top_p",
       [](const Context& c) { return sample_operation(c, {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f}, 0); }},
      {"sample_penalties",
       [](const Context& c) {
         return sample_operation(
             c,
             {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f, .repetition_penalty = 1.1f, .frequency_penalty = 0.5f},
             c.load.context_length);
       }},
      {"logprobs", logprobs_operation},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& kernel_operation_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const NamedOperation& operation : operations()) all.push_back(operation.name);
    return all;
  }();
  return names;
}

std::vector<std::string> kernel_operation_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (const NamedOperation& operation : operations()) {
    if (operation.is_of(spec)) names.push_back(operation.name);
  }
  return names;
}

KernelOperation make_kernel_operation(const std::string& name, const KernelModel& model, const KernelLoad& load,
                                      Stream& stream) {
  for (const NamedOperation& operation : operations()) {
    if (operation.name == name && operation.is_of(model.spec)) return operation.make({model, load, stream});
  }
  check_failed(__FILE__, __LINE__, "an operation of the model", name);
}

KernelOperation make_copy(int64_t num_bytes, Stream& stream) {
  const Operand half{DType::kU8, {num_bytes}};
  const auto sets = std::make_shared<OperandSets>(std::vector<Operand>{half, half}, stream);
  KernelOperation operation;
  operation.sizes = fmt::format("{}", num_bytes);
  operation.num_bytes = 2 * num_bytes;
  operation.num_sets = sets->num_sets();
  operation.run = [=, &stream](int set) { copy_rows(sets->at(set, 0), sets->at(set, 1), stream); };
  return operation;
}

KernelOperation make_square_product(int64_t n, DType dtype, Stream& stream) {
  return product(n, n, n, dtype, dtype, stream);
}

}  // namespace cohort
