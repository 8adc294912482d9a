#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/core/vector_math.h"
#include "kernels/moe/moe_backends.h"
#include "kernels/moe/moe_tree.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 8192;  // below this, waking a thread costs more than it saves

// What a NaN counts as.
float ordered(float logit) { return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit; }

// The experts of a token, ascending, and their weights.
void choose_experts(int32_t* experts, float* weights, const float* logits, const MoeShape& shape, bool renormalizes) {
  const int64_t num_chosen = shape.experts_per_token;
  bool is_chosen[kMaxExperts] = {};
  for (int64_t i = 0; i < num_chosen; ++i) {
    int64_t best = -1;
    for (int64_t e = 0; e < shape.num_experts; ++e) {
      if (!is_chosen[e] && (best < 0 || ordered(logits[e]) > ordered(logits[best]))) best = e;
    }
    is_chosen[best] = true;
  }
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t e = 0; e < shape.num_experts; ++e) largest = std::max(largest, ordered(logits[e]));
  float sum = 0;
  int64_t place = 0;
  for (int64_t e = 0; e < shape.num_experts; ++e) {
    const float power = exp_float(logits[e] - largest);
    if (is_chosen[e]) {
      experts[place] = static_cast<int32_t>(e);
      weights[place++] = power;
    }
    if (is_chosen[e] || !renormalizes) sum += power;
  }
  for (int64_t i = 0; i < num_chosen; ++i) weights[i] /= sum;
}

// Gives the pairs of local experts their rows.
void group_pairs(MoeWorkspace& workspace, int64_t num_pairs, const MoeShape& shape) {
  const int32_t* const experts = workspace.experts->data<int32_t>();
  int32_t* const rows = workspace.rows->data<int32_t>();
  int32_t* const tokens = workspace.tokens->data<int32_t>();
  int32_t* const first_rows = workspace.first_rows->data<int32_t>();
  const int64_t num_local = shape.num_local_experts;
  std::fill_n(first_rows, num_local + 1, 0);
  const auto local_expert = [&](int64_t pair) { return experts[pair] - shape.first_expert; };
  const auto is_local = [&](int64_t expert) { return expert >= 0 && expert < num_local; };
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    if (is_local(local_expert(pair))) ++first_rows[local_expert(pair) + 1];
  }
  for (int64_t e = 0; e < num_local; ++e) first_rows[e + 1] += first_rows[e];
  int32_t next[kMaxExperts];
  std::copy_n(first_rows, num_local, next);
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    const int64_t expert = local_expert(pair);
    rows[pair] = is_local(expert) ? next[expert]++ : -1;
    if (rows[pair] >= 0) tokens[rows[pair]] = static_cast<int32_t>(pair / shape.experts_per_token);
  }
}

// into [num_rows, n] = the rows of x that `tokens` names.
void gather(const TensorView& into, const ConstTensorView& x, const int32_t* tokens, Stream& stream) {
  const auto num_bytes = static_cast<size_t>(dtype_bytes(x.dtype(), x.dim(1)));
  const auto row_of = [&](const ConstTensorView& view, int64_t row) {
    return static_cast<const char*>(view.data()) + dtype_bytes(view.dtype(), row * view.stride(0));
  };
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(const_cast<char*>(row_of(into, i)), row_of(x, tokens[i]), num_bytes);
    }
  };
  stream.parallel_for(into.dim(0), std::max<int64_t>(1, kMinElementsPerPiece / x.dim(1)), std::ref(body));
}

// A token's terms, in the order of its experts.
struct Terms {
  const float* outputs[kMaxExpertsPerToken];
  float weights[kMaxExpertsPerToken];
  int levels[kMaxExpertsPerToken];  // where the paths to an expert and the next meet
  int count = 0;

  Terms(const MoeWorkspace& workspace, int64_t token, int64_t per_token, const ExpertTree& tree) {
    const int32_t* const experts = workspace.experts->row<int32_t>(token);
    const int32_t* const rows = workspace.rows->row<int32_t>(token);
    int last = 0;
    for (int64_t i = 0; i < per_token; ++i) {
      if (rows[i] < 0) continue;
      if (count > 0) levels[count - 1] = tree.level(last, experts[i]);
      last = experts[i];
      outputs[count] = workspace.outputs->row<float>(rows[i]);
      weights[count++] = workspace.weights->row<float>(token)[i];
    }
    if (count > 0) levels[count - 1] = kRootLevel;
  }
};

template <typename T>
void add_terms(T* out, const Terms& terms, int64_t n) {
  for_each_vector(n, [&](int64_t i, auto extent) {
    TreeSum<Float8, kMaxExpertsPerToken> sum;
    sum.pending[0] = splat8(-0.0f);
    for (int term = 0; term < terms.count; ++term) {
      sum.add(load8(terms.outputs[term] + i, extent) * terms.weights[term], terms.levels[term]);
    }
    store8(out + i, sum.pending[0], extent);
  });
}

void combine(const TensorView& out, const MoeWorkspace& workspace, const MoeShape& shape, Stream& stream) {
  const ExpertTree tree(static_cast<int>(shape.num_experts));
  dispatch_float(out.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t token = begin; token < end; ++token) {
        add_terms(out.row<T>(token), Terms(workspace, token, shape.experts_per_token, tree), shape.hidden);
      }
    };
    stream.parallel_for(out.dim(0), std::max<int64_t>(1, kMinElementsPerPiece / shape.hidden), std::ref(body));
  });
}

}  // namespace

void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream) {
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      choose_experts(workspace.experts->row<int32_t>(token), workspace.weights->row<float>(token),
                     logits.row<float>(token), shape, renormalizes);
    }
  };
  stream.parallel_for(logits.dim(0), std::max<int64_t>(1, kMinElementsPerPiece / shape.num_experts), std::ref(body));
  group_pairs(workspace, logits.dim(0) * shape.experts_per_token, shape);
}

void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream) {
  const MoeShape& shape = experts.shape;
  const int32_t* const first_rows = workspace.first_rows->data<int32_t>();
  for (int64_t e = 0; e < shape.num_local_experts; ++e) {
    const int64_t first = first_rows[e];
    const int64_t num_rows = first_rows[e + 1] - first;
    if (num_rows == 0) continue;
    const TensorView inputs = workspace.inputs->slice(0, 0, num_rows);
    const TensorView gate_up = workspace.gate_up->slice(0, 0, num_rows);
    const TensorView activated = workspace.activated->slice(0, 0, num_rows);
    gather(inputs, x, workspace.tokens->data<int32_t>() + first, stream);
    gemm(gate_up, inputs, experts.gate_up[static_cast<size_t>(e)], {}, stream);
    activate_gated(activated, gate_up, experts.activation, stream);
    gemm(workspace.outputs->slice(0, first, first + num_rows), activated, experts.down[static_cast<size_t>(e)], {},
         stream);
  }
  combine(out, workspace, shape, stream);
}

}  // namespace cohort::cpu
