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

// Of the table of embeddings, or of one like it that logits are made by.
int64_t vocab_elements(const ModelSpec& spec, const ModelShard& shard) {
  return shard.vocab.size() * spec.embedding_dim;
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

int64_t cross_attention_elements(const ModelSpec& spec, const std::optional<CrossAttentionMap>& map,
                                 const ModelShard& shard) {
  if (!map) return 0;
  const Slice q = shard.heads.scaled(spec.head_dim);
  return norm_elements(map->norm) + linear_elements(map->q, output_slices(map->q, q)) +
         linear_elements(map->kv, cross_kv_slices(spec, map->kv, shard)) +
         linear_elements(map->out, input_slices(map->out, q));
}

int64_t layer_elements(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard) {
  const LinearSlices attention_inputs = input_slices(map.attn_out, shard.heads.scaled(spec.head_dim));
  return norm_elements(map.attn_norm) + linear_elements(map.qkv, qkv_slices(spec, map, shard)) +
         linear_elements(map.attn_out, attention_inputs) + norm_elements(map.mlp_norm) +
         mlp_elements(spec, map, shard) + norm_elements(map.attn_post_norm) + norm_elements(map.mlp_post_norm) +
         tensor_elements(map.q_norm) + tensor_elements(map.k_norm) + cross_attention_elements(spec, map.cross, shard);
}

}  // namespace

int64_t num_shard_elements(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard) {
  int64_t total = num_table_elements(spec, shard);
  if (shard.has_embedding()) total += whole_elements(map.embedding_in) + norm_elements(map.embedding_norm);
  const auto add_layers = [&](const std::vector<LayerMap>& layers, Slice slice) {
    for (int64_t i = slice.begin; i < slice.end; ++i) {
      total += layer_elements(spec, layers[static_cast<size_t>(i)], shard);
    }
  };
  add_layers(map.encoder_layers, shard.encoder_layers);
  add_layers(map.layers, shard.layers);
  if (shard.encoder_layers.size() > 0) total += tensor_elements(map.encoder_position_bias);
  if (shard.encoder_layers.size() > 0 && shard.encoder_layers.end == spec.num_encoder_layers) {
    total += norm_elements(map.encoder_norm);
  }
  if (shard.layers.size() > 0) total += tensor_elements(map.position_bias);
  if (shard.is_last_stage) {
    total += norm_elements(map.final_norm) + whole_elements(map.embedding_out);
    total += whole_elements(map.pooler) + whole_elements(map.head_transform) + norm_elements(map.head_transform_norm) +
             whole_elements(map.label_head);
    if (map.head_bias) total += shard.vocab.size();
    if (reads_vocab(spec) && (map.head || !shard.has_embedding())) total += vocab_elements(spec, shard);
  }
  return total;
}

int64_t num_table_elements(const ModelSpec& spec, const ModelShard& shard) {
  if (!shard.has_embedding()) return 0;
  const int64_t num_positions = spec.position == PositionKind::kLearned ? spec.max_position : 0;
  return vocab_elements(spec, shard) + (num_positions + spec.num_token_types) * spec.hidden;
}

int64_t shard_weight_bytes(const ModelSpec& spec, const WeightMap& map, const ModelShard& shard, DType dtype) {
  int64_t num_elements = num_shard_elements(spec, map, shard);
  if (reads_vocab(spec) && !map.head && shard.has_embedding() && shard.is_last_stage) {
    num_elements += vocab_elements(spec, shard);
  }
  return dtype_bytes(dtype, num_elements);
}

int64_t shard_kv_bytes_per_token(const ModelSpec& spec, const ModelShard& shard, DType dtype) {
  return num_layer_caches(spec, shard.layers.size()) * 2 * dtype_bytes(dtype, shard.kv_heads.size() * spec.head_dim);
}

}  // namespace cohort
