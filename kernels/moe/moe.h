// Mixture of experts (Shazeer et al. 2017, "Outrageously Large Neural Networks"; Jiang et al. 2024, "Mixtral of
// Experts"): a router sends each token to a few of many gated feed-forward networks, whose outputs are added by weight.
//
// Experts may be split over ranks: each has a run of whole experts, and its result is its term of a sum over ranks.
//
// Layout invariance. Experts are the leaves of a binary tree, ((0 + 1) + (2 + 3)) + ... where their number is a power
// of two (moe_tree.h has the others), in which a token's terms are added; the experts of a rank are a subtree, and
// DeviceComm::all_reduce adds the rest. An expert that a token does not go to counts as -0, which changes no sum. On
// the CPU, and on CUDA with weights of GemmMode::kDeterministic, the bits of a token depend on itself alone, neither on
// the tokens beside it nor on how many ranks there are.
//
// Everything is decided on the device: a step may be captured in a CUDA graph whatever its tokens choose.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/gemm/gemm.h"

namespace cohort {

inline constexpr int64_t kMaxExperts = 512;
inline constexpr int64_t kMaxExpertsPerToken = 16;

struct MoeShape {
  int64_t hidden = 0;
  int64_t ffn = 0;                // of one expert
  int64_t num_experts = 0;        // of the model
  int64_t experts_per_token = 0;  // of which each token goes to so many
  int64_t first_expert = 0;       // of this rank
  int64_t num_local_experts = 0;  // from the first on
};

// This rank's experts. Immutable once loaded.
struct ExpertWeights {
  MoeShape shape;
  Activation activation = Activation::kSilu;
  // On the CPU one weight an expert; on CUDA a single one, in which local experts follow each other.
  std::vector<PackedWeight> gate_up;  // [2 ffn, hidden]: the rows of gate, then those of up
  std::vector<PackedWeight> down;     // [hidden, ffn]
};

// Where the tokens of a step go, and what becomes of them on the way; made once, for the largest step. A pair is a
// token and one of its experts; the pairs of local experts have a row each, ordered by expert and then by token.
struct MoeWorkspace {
  MoeWorkspace() = default;
  // Throws CheckError for more experts than kMaxExperts or kMaxExpertsPerToken.
  MoeWorkspace(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device);
  // What a workspace takes of the memory of `device`.
  static int64_t num_bytes_for(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device);

  // Written by route().
  Tensor experts;     // [max_tokens, experts_per_token] int32: ascending for each token
  Tensor weights;     // [max_tokens, experts_per_token] float32
  Tensor rows;        // [max_tokens, experts_per_token] int32: the pair's row, or -1 where its expert is not local
  Tensor tokens;      // [max_tokens * experts_per_token] int32: of each row
  Tensor first_rows;  // [num_local_experts + 1] int32: of each local expert; the last is how many rows there are

  // Scratch of expert_mlp(): on CUDA for the rows of all experts, on the CPU for one expert at a time.
  Tensor inputs;     // [rows, hidden]
  Tensor gate_up;    // [rows, 2 ffn]; CPU
  Tensor activated;  // [rows, ffn]
  Tensor outputs;    // [max_tokens * experts_per_token, hidden] float32
};

// Sends each token to the experts_per_token experts with the largest logits, of equal ones to the first, by the weights
// softmax(logits), which are divided by their sum over the chosen experts if `renormalizes` (Mixtral). logits
// [num_tokens, num_experts] float32; a NaN counts as the smallest. In float32.
void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream);

// out [num_tokens, hidden] = the sum over a token's local experts of weight * down(f(gate(x)) * up(x)), as route() sent
// the tokens of x [num_tokens, hidden] last. x has the weights' dtype; out has it too, or is float32, which gives the
// sum before it is rounded; rows of both may be strided. Products are rounded where gemm_gated() rounds them; an
// expert's output is weighted, and terms are added, in float32. A token without local experts becomes -0.
void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream);

}  // namespace cohort
