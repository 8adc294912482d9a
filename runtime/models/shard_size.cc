#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

int64_t linear_elements(const LinearMap& map, const LinearSlices& slices) {
  int64_t num_outputs = 0;
  for (const Slice& slice : slices.outputs) num_outputs += slice.size();
  return num_outputs * (slices.inputs.size() + (map.biases.empty() ? 0 : 1));
}

int64_t norm_elements(const std::optional<NormMap>& map) {
  if (!map) return 0;
  return map->weight.shape.num_elements() + (map->bias ? map->bias->shape.num_elements() : 0);
}

int64_t tensor_elements(const std::optional<TensorRef>& tensor) { return tensor ? tensor->shape.num_elements() : 0; }

// Of a product that every shard holds whole.
int64_t whole_elements(const std::optional<LinearMap>& map) {
  return map ? linear_elements(*map, output_slices(*map, {0, map->num_outputs()})) : 0;
}

// Whether logits are over the vocabulary, by a table of their own or the embedding's.
bool reads_vocab(const ModelSpec& spec) {
  return spec.head == HeadKind::kNextToken || spec.head == HeadKind::kMaskedToken;
}

int64_t mlp_elements(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard) {
  if (spec.num_experts == 0) {
    return linear_elements(map.up, up_slices(spec, map, shard)) +
           linear_elements(map.down, input_slices(map.down, shard.ffn));
  }
  int64_t total = whole_elements(map.router);
  for (int64_t e = shard.experts.begin; e < shard.experts.end; ++e) {
    const ExpertMap& expert = map.experts[static_cast<size_t>(e)];
    total += whole_elements(expert.up) + whole_elements(expert.down);
  }
  return total;
}

int64_t layer_elements(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard) {
  const LinearSlices attention_inputs = input_slices(map.attn_out, shard.heads.scaled(spec.head_dim));
  return norm_elements(map.attn_norm) + linear_elements(map.qkv, qkv_slices(spec, map, shard)) +
         linear_elements(map.attn_out, attention_inputs) + norm_elements(map.mlp_norm) +
         mlp_elements(spec, map, shard) + norm_elements(map.attn_post_norm) + norm_elements(map.mlp_post_norm) +
         tensor_elements(map.q_norm) + tensor_elements(map.k_norm);
}

}  // namespace

int64_t num_shard_elements(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard) {
  const int64_t vocab_elements = shard.vocab.size() * spec.embedding_dim;
  int64_t total = 0;
  if (shard.is_first_stage) {
    total += vocab_elements + whole_elements(map.embedding_in) + norm_elements(map.embedding_norm);
    if (map.position_embedding) total += spec.max_position * spec.hidden;
    total += tensor_elements(map.token_type_embedding);
  }
  for (int64_t i = shard.layers.begin; i < shard.layers.end; ++i) {
    total += layer_elements(spec, map.layers[static_cast<size_t>(i)], shard);
  }
  if (shard.is_last_stage) {
    total += norm_elements(map.final_norm) + whole_elements(map.embedding_out);
    total += whole_elements(map.pooler) + whole_elements(map.head_transform) + norm_elements(map.head_transform_norm) +
             whole_elements(map.label_head);
    if (map.head_bias) total += shard.vocab.size();
    if (reads_vocab(spec) && (map.head || !shard.is_first_stage)) total += vocab_elements;
  }
  return total;
}

int64_t shard_weight_bytes(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard, DType dtype) {
  int64_t num_elements = num_shard_elements(spec, map, shard);
  if (reads_vocab(spec) && !map.head && shard.is_first_stage && shard.is_last_stage) {
    num_elements += shard.vocab.size() * spec.embedding_dim;
  }
  return dtype_bytes(dtype, num_elements);
}

int64_t shard_kv_bytes_per_token(const ModelSpec& spec, const ModelShard& shard, DType dtype) {
  return num_layer_caches(spec, shard.layers.size()) * 2 * dtype_bytes(dtype, shard.kv_heads.size() * spec.head_dim);
}

}  // namespace cohort
