// ModelSpec: everything that makes one transformer differ from another, as data. Read from config.json by the family
// (family.h); nothing downstream asks which family it was.
//
// A plain value; immutable once read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/core/dtype.h"
#include "kernels/pooling/pooling.h"
#include "kernels/position/rotary.h"

namespace cohort {

enum class NormKind { kRmsNorm, kLayerNorm };
enum class PositionKind {
  kRotary,
  kLearned,
  kAlibi,
  kRelative,  // biases of scores, learned for runs of distances: Raffel et al. 2020, "T5", section 2.1
};

// Where the norms of a block stand, f being its attention and then its MLP.
enum class BlockKind {
  kPreNorm,   // x += f(norm(x)): most
  kPostNorm,  // x = norm(x + f(x)): Vaswani et al. 2017, "Attention Is All You Need", section 3.1; OPT-350m, BERT
  kSandwich,  // x += norm(f(norm(x))): Gemma 2
  kParallel,  // x += attention(norm(x)) + mlp(norm'(x)): Black et al. 2022, "GPT-NeoX-20B", section 2.1; GPT-J, Falcon
};

// What is made of the last hidden states.
enum class HeadKind {
  kNextToken,       // logits over the vocabulary for the token that follows: models that generate
  kNone,            // nothing, or a pooler's output: the hidden states are what is wanted
  kSequenceLabels,  // logits over the labels of a sequence, from its first token
  kTokenLabels,     // logits over the labels of each token
  kMaskedToken,     // logits over the vocabulary for each token itself
};

// Of both stacks; more are a mistake in config.json.
inline constexpr int64_t kMaxLayers = 1 << 14;

struct ModelSpec {
  std::string family;  // "llama", "gpt2", ...: `model_type` of config.json

  int64_t vocab = 0;
  int64_t hidden = 0;
  int64_t num_layers = 0;
  int64_t num_encoder_layers = 0;  // of a stack before it that reads the source, and is as wide: encoder-decoders
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;
  int64_t ffn = 0;
  int64_t max_position = 0;  // the longest sequence: prompt and output together

  BlockKind block = BlockKind::kPreNorm;
  bool shares_norm = false;  // kParallel: the MLP reads what attention reads; else it has a norm of its own
  NormKind norm = NormKind::kRmsNorm;
  float norm_eps = 0;
  float norm_weight_offset = 0;  // added to the weights of norms: 1 in Gemma
  bool embedding_norm = false;   // of what the first layer reads
  bool head_norm = false;        // RMSNorm of each head of q and k before the positions
  bool final_norm = true;        // before the logits

  bool is_causal = true;  // a token sees those before it; else all of its sequence

  PositionKind position = PositionKind::kRotary;
  RotaryConfig rotary;                // for kRotary
  int64_t position_offset = 0;        // for kLearned: the table's row of position 0
  int64_t num_position_buckets = 0;   // for kRelative: runs of distances
  int64_t max_position_distance = 0;  // likewise: from which on all are in the last
  float alibi_scale = 1;              // for kAlibi: of the slopes of Press et al. 2022, "Train Short, Test Long"

  int64_t num_token_types = 0;  // segments of a sequence, whose tokens get an embedding more each

  int64_t embedding_dim = 0;  // of the embedding and of what the logits are made of; projections stand between it and
                              // `hidden` where it is another
  float embedding_scale = 1;  // of the embedding, not of the logits that share its table

  Activation activation = Activation::kSilu;
  bool gated_mlp = false;  // f(gate) * up, then down

  int64_t num_experts = 0;  // MLPs of a layer, gated and without biases, each of `ffn`; 0 for the one of most models
  int64_t experts_per_token = 0;  // to which each token goes
  bool norm_topk = false;         // the weights of a token's experts are divided by their sum

  bool qkv_bias = false;
  bool attn_out_bias = false;
  bool mlp_bias = false;
  bool head_bias = false;        // of the logits
  bool tied_embeddings = false;  // the logits use the embedding table

  float attention_scale = 1;     // of q . k, head_dim^-1/2 as a rule
  float attention_soft_cap = 0;  // of scores; 0 for none (Gemma Team 2024, "Gemma 2", section 2)
  float logit_soft_cap = 0;      // likewise
  float logit_scale = 1;         // of the logits
  std::vector<int64_t> windows;  // of each layer: how many positions a token sees, itself counted; 0 or none given: all

  int32_t decoder_start_token = 0;  // with num_encoder_layers: what stands before the output

  HeadKind head = HeadKind::kNextToken;
  bool has_pooler = false;                         // tanh(W x + b) of the first token, which the head reads
  bool head_transform = false;                     // a product and an activation stand before the logits
  Activation head_activation = Activation::kTanh;  // of it
  bool head_transform_norm = false;                // and a norm after them
  std::vector<std::string> labels;                 // of kSequenceLabels and kTokenLabels
  bool has_probability_score = true;               // a single label's logit is a score by its sigmoid
  Pooling pooling = Pooling::kMean;                // of embeddings
  bool normalizes_embedding = true;                // to length 1

  DType checkpoint_dtype = DType::kF32;  // what config.json says the weights are

  // Whether it answers with what it makes of its input, and generates nothing.
  bool is_encoder() const { return head != HeadKind::kNextToken; }
  // Whether prompts are sources: read by an encoder, whose output every token that is generated attends to.
  bool has_source() const { return num_encoder_layers > 0; }
};

// The window of layer `i`, or 0.
int64_t window_of(const ModelSpec& spec, int64_t i);

// The width of the logits; 0 for HeadKind::kNone.
int64_t num_logits(const ModelSpec& spec);

// Whether there are logits for every token and not for every sequence.
bool has_logits_of_tokens(const ModelSpec& spec);

// What is true of the layers that read the source. Requires has_source().
ModelSpec source_encoder_spec(const ModelSpec& spec);

// How many caches of keys and values `num_layers` layers need: what is not causal is computed whole, so that no layer
// reads what another step wrote, and one cache serves them all in turn. Where there are sources the layers that read
// them use the first cache likewise, and then each layer of the decoder keeps their keys and values in its own.
int64_t num_layer_caches(const ModelSpec& spec, int64_t num_layers);

// What generation_config.json (config.json where it is silent) says of generation.
struct GenerationDefaults {
  std::vector<int32_t> eos_ids;
  bool do_sample = false;
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  float repetition_penalty = 1;
};

}  // namespace cohort
