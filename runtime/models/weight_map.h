// WeightMap: which tensors of a checkpoint make which part of a model. A family fills it from its ModelSpec; the
// loader, the check of a checkpoint against its config.json and `cohort inspect` all read it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/core/shape.h"
#include "kernels/gemm/gemm.h"

namespace cohort {

struct TensorRef {
  std::string name;
  Shape shape;  // in the checkpoint
};

// A product whose outputs may be stored as several tensors, stacked in this order: q, k, v; gate, up.
struct LinearMap {
  std::vector<TensorRef> weights;
  std::vector<TensorRef> biases;  // empty, or one a weight
  WeightLayout layout = WeightLayout::kOutIn;

  int64_t num_outputs() const;
  int64_t num_inputs() const;
};

// How the heads of q, k and v follow each other in the outputs of qkv.
enum class QkvOrder {
  kByPart,   // all q heads, all k heads, all v heads: most
  kByGroup,  // for each KV head its q heads, its k, its v: Falcon, and with a q head a group BLOOM and GPT-NeoX
};

struct NormMap {
  TensorRef weight;
  std::optional<TensorRef> bias;
};

struct ExpertMap {
  LinearMap up;    // outputs: gate and up
  LinearMap down;  // [hidden, ffn]
};

// Attention to what the encoder made of the source.
struct CrossAttentionMap {
  NormMap norm;
  LinearMap q;
  LinearMap kv;  // outputs: k and v
  LinearMap out;
};

struct LayerMap {
  NormMap attn_norm;
  LinearMap qkv;
  QkvOrder qkv_order = QkvOrder::kByPart;
  std::optional<TensorRef> q_norm = std::nullopt;  // [head_dim], like k_norm: of each head
  std::optional<TensorRef> k_norm = std::nullopt;
  LinearMap attn_out;
  std::optional<NormMap> attn_post_norm = std::nullopt;  // of what attention adds
  std::optional<CrossAttentionMap> cross = std::nullopt;
  std::optional<NormMap> mlp_norm = std::nullopt;  // nothing where the MLP reads what attention reads
  LinearMap up = {};                               // outputs: ffn, or gate and up; nothing where there are experts
  LinearMap down = {};
  std::optional<LinearMap> router = std::nullopt;       // hidden to num_experts
  std::vector<ExpertMap> experts = {};                  // [num_experts], or none
  std::optional<NormMap> mlp_post_norm = std::nullopt;  // of what the MLP adds
};

struct WeightMap {
  TensorRef embedding;                            // [vocab, embedding_dim]
  std::optional<LinearMap> embedding_in;          // embedding_dim to hidden
  std::optional<TensorRef> position_embedding;    // [position_offset + max_position, hidden]
  std::optional<TensorRef> token_type_embedding;  // [num_token_types, hidden]
  std::optional<NormMap> embedding_norm;
  std::vector<LayerMap> encoder_layers;            // of the stack that reads the source, if there is one
  std::optional<TensorRef> encoder_position_bias;  // [num_position_buckets, num_heads], of all its layers
  std::optional<NormMap> encoder_norm;             // of what it makes
  std::vector<LayerMap> layers;
  std::optional<TensorRef> position_bias;  // as encoder_position_bias
  std::optional<NormMap> final_norm;
  std::optional<LinearMap> embedding_out;   // hidden to embedding_dim
  std::optional<LinearMap> pooler;          // hidden to hidden
  std::optional<LinearMap> head_transform;  // hidden to hidden; no part of the base model, like what follows
  std::optional<NormMap> head_transform_norm;
  std::optional<TensorRef> head;        // [vocab, embedding_dim]; nothing when tied
  std::optional<TensorRef> head_bias;   // [vocab]
  std::optional<LinearMap> label_head;  // hidden to labels

  // Names of tensors that checkpoints of the family carry and nothing uses; '*' stands for any run of characters.
  std::vector<std::string> ignorable;
};

// Every tensor of the map, in the order of the layers.
std::vector<TensorRef> all_tensors(const WeightMap& map);

// The map with `prefix` before every name of the base model: all but the head's.
WeightMap with_base_prefix(WeightMap map, const std::string& prefix);

}  // namespace cohort
