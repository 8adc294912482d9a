#include "runtime/models/model_shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "parallel/pipeline/stages.h"

namespace cohort {
namespace {

// Shards that would split `spec` evenly: powers of two, so that a shard's chunks are a subtree.
bool can_split(const ModelSpec& spec, int64_t num_shards) {
  const bool splits_kv_heads = spec.num_kv_heads % num_shards == 0 || num_shards % spec.num_kv_heads == 0;
  const bool splits_mlp =
      spec.num_experts > 0 ? spec.num_experts % num_shards == 0 : num_mlp_chunks(spec) % num_shards == 0;
  return splits_kv_heads && num_attention_chunks(spec) % num_shards == 0 && splits_mlp;
}

Status check_tensor_size(const ModelSpec& spec, int size) {
  constexpr int kMaxShards = 16;
  std::vector<int> possible;
  for (int n = 1; n <= kMaxShards; n *= 2) {
    if (can_split(spec, n)) possible.push_back(n);
  }
  if (std::find(possible.begin(), possible.end(), size) != possible.end()) return ok_status();
  const std::string mlp =
      spec.num_experts > 0 ? fmt::format("{} experts", spec.num_experts) : fmt::format("an MLP of {}", spec.ffn);
  return invalid_argument(
      fmt::format("tensor_parallel_size: {} shards cannot split this model evenly, which has {} heads, {} KV heads and "
                  "{}; expected one of {}",
                  size, spec.num_heads, spec.num_kv_heads, mlp, fmt::join(possible, ", ")));
}

// In parameters, which are what decoding reads and what fills memory. A layer's biases and norms hardly matter.
int64_t layer_cost(const ModelSpec& spec) {
  const int64_t heads = (spec.has_source() ? 2 : 1) * (2 * spec.num_heads + 2 * spec.num_kv_heads);  // q, k, v, out
  const int64_t num_mlps = std::max<int64_t>(1, spec.num_experts);
  return spec.hidden * (heads * spec.head_dim + num_mlps * (spec.gated_mlp ? 3 : 2) * spec.ffn);
}

}  // namespace

int num_attention_chunks(const ModelSpec& spec) {
  return choose_num_chunks(spec.num_heads * spec.head_dim, spec.head_dim);
}

int num_mlp_chunks(const ModelSpec& spec) { return choose_num_chunks(spec.ffn, 1); }

Result<ModelShard> shard_model(const ModelSpec& spec, const ParallelLayout& layout) {
  const int num_shards = layout.sizes().tensor;
  COHORT_RETURN_IF_ERROR(check_tensor_size(spec, num_shards));
  std::vector<int64_t> costs(static_cast<size_t>(spec.num_layers), layer_cost(spec));
  if (spec.has_source()) {
    costs.insert(costs.begin(), static_cast<size_t>(spec.num_encoder_layers), layer_cost(source_encoder_spec(spec)));
  }
  const int64_t vocab_cost = spec.vocab * spec.hidden;
  COHORT_ASSIGN_OR_RETURN(const std::vector<Slice> stages,
                          balance_stages(costs, vocab_cost, vocab_cost, layout.sizes().pipeline));
  const int64_t shard = layout.shard();
  ModelShard part;
  const Slice run = stages[static_cast<size_t>(layout.stage())];  // those that read the source come first
  const auto layer_of_decoder = [&](int64_t i) { return std::max<int64_t>(i - spec.num_encoder_layers, 0); };
  part.layers = {layer_of_decoder(run.begin), layer_of_decoder(run.end)};
  part.encoder_layers = {std::min(run.begin, spec.num_encoder_layers), std::min(run.end, spec.num_encoder_layers)};
  part.heads = even_slice(spec.num_heads, shard, num_shards);
  const int64_t heads_per_kv_head = spec.num_heads / spec.num_kv_heads;
  part.kv_heads = {part.heads.begin / heads_per_kv_head, (part.heads.end - 1) / heads_per_kv_head + 1};
  part.ffn = spec.num_experts > 0 ? Slice{0, spec.ffn} : even_slice(spec.ffn, shard, num_shards);
  part.experts = even_slice(spec.num_experts, shard, num_shards);
  part.vocab = padded_slice(spec.vocab, shard, num_shards);
  part.is_first_stage = layout.is_first_stage();
  part.is_last_stage = layout.is_last_stage();
  part.shard = layout.shard();
  part.num_shards = num_shards;
  return part;
}

ModelShard whole_model(const ModelSpec& spec) {
  return {.layers = {0, spec.num_layers},
          .encoder_layers = {0, spec.num_encoder_layers},
          .heads = {0, spec.num_heads},
          .kv_heads = {0, spec.num_kv_heads},
          .ffn = {0, spec.ffn},
          .experts = {0, spec.num_experts},
          .vocab = {0, spec.vocab}};
}

}  // namespace cohort
