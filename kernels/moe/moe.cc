#include "kernels/moe/moe.h"

#include <string>

#include "kernels/core/check.h"
#include "kernels/moe/moe_backends.h"

namespace cohort {
namespace {

struct Part {
  Tensor MoeWorkspace::*tensor;
  DType dtype;
  Shape shape;
};

std::vector<Part> parts_of(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device) {
  const bool is_cuda = device.kind == DeviceKind::kCuda;
  const int64_t num_pairs = max_tokens * shape.experts_per_token;
  const int64_t num_rows = is_cuda ? num_pairs : max_tokens;  // no token goes to an expert twice
  return {
      {&MoeWorkspace::experts, DType::kI32, {max_tokens, shape.experts_per_token}},
      {&MoeWorkspace::weights, DType::kF32, {max_tokens, shape.experts_per_token}},
      {&MoeWorkspace::rows, DType::kI32, {max_tokens, shape.experts_per_token}},
      {&MoeWorkspace::tokens, DType::kI32, {num_pairs}},
      {&MoeWorkspace::first_rows, DType::kI32, {shape.num_local_experts + 1}},
      {&MoeWorkspace::inputs, dtype, {num_rows, shape.hidden}},
      {&MoeWorkspace::gate_up, dtype, {is_cuda ? 0 : num_rows, 2 * shape.ffn}},
      {&MoeWorkspace::activated, dtype, {num_rows, shape.ffn}},
      {&MoeWorkspace::outputs, DType::kF32, {num_pairs, shape.hidden}},
  };
}

void check_shape(const MoeShape& shape) {
  COHORT_CHECK(shape.num_experts >= 1 && shape.num_experts <= kMaxExperts, std::to_string(shape.num_experts));
  COHORT_CHECK(shape.experts_per_token >= 1 && shape.experts_per_token <= kMaxExpertsPerToken &&
                   shape.experts_per_token <= shape.num_experts,
               std::to_string(shape.experts_per_token) + " of " + std::to_string(shape.num_experts));
  COHORT_CHECK(shape.first_expert >= 0 && shape.num_local_experts >= 1 &&
                   shape.first_expert + shape.num_local_experts <= shape.num_experts,
               std::to_string(shape.num_local_experts) + " from " + std::to_string(shape.first_expert) + " on");
}

void check_workspace(const MoeWorkspace& workspace, int64_t num_tokens, const MoeShape& shape, const Stream& stream) {
  COHORT_CHECK(workspace.experts->rank() == 2 && num_tokens <= workspace.experts->dim(0) &&
                   workspace.experts->dim(1) == shape.experts_per_token &&
                   workspace.first_rows->dim(0) == shape.num_local_experts + 1,
               std::to_string(num_tokens) + " tokens, workspace " + workspace.experts->shape().to_string());
  COHORT_CHECK(workspace.experts->device() == stream.device(), to_string(workspace.experts->device()));
}

// One matrix of every local expert, [n, k].
void check_matrices(const std::vector<PackedWeight>& matrices, int64_t num_experts, int64_t n, int64_t k, DType dtype,
                    const Stream& stream) {
  const bool is_stacked = stream.device().kind == DeviceKind::kCuda;
  COHORT_CHECK(static_cast<int64_t>(matrices.size()) == (is_stacked ? 1 : num_experts),
               std::to_string(matrices.size()) + " of " + std::to_string(num_experts));
  for (const PackedWeight& matrix : matrices) {
    COHORT_CHECK(matrix.n() == (is_stacked ? num_experts * n : n) && matrix.k() == k && matrix.num_chunks() == 1,
                 std::to_string(matrix.n()) + " x " + std::to_string(matrix.k()));
    COHORT_CHECK(matrix.dtype() == dtype && matrix.device() == stream.device(), to_string(matrix.device()));
  }
}

bool is_cuda(const Stream& stream) { return stream.device().kind == DeviceKind::kCuda; }

}  // namespace

MoeWorkspace::MoeWorkspace(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device) {
  check_shape(shape);
  for (const Part& part : parts_of(shape, dtype, max_tokens, device)) {
    this->*part.tensor = Tensor(part.dtype, part.shape, device);
  }
}

int64_t MoeWorkspace::num_bytes_for(const MoeShape& shape, DType dtype, int64_t max_tokens, Device device) {
  int64_t total = 0;
  for (const Part& part : parts_of(shape, dtype, max_tokens, device)) {
    total += dtype_bytes(part.dtype, part.shape.num_elements());
  }
  return total;
}

void route(MoeWorkspace& workspace, ConstTensorView logits, const MoeShape& shape, bool renormalizes, Stream& stream) {
  COHORT_CHECK(logits.rank() == 2 && logits.dim(1) == shape.num_experts && logits.dtype() == DType::kF32,
               "logits " + logits.shape().to_string());
  COHORT_CHECK(logits.device() == stream.device(), to_string(logits.device()));
  check_shape(shape);
  check_workspace(workspace, logits.dim(0), shape, stream);
  if (logits.empty()) return;
  (is_cuda(stream) ? cuda::route : cpu::route)(workspace, logits, shape, renormalizes, stream);
}

void expert_mlp(TensorView out, ConstTensorView x, const ExpertWeights& experts, MoeWorkspace& workspace,
                Stream& stream) {
  const MoeShape& shape = experts.shape;
  COHORT_CHECK(out.rank() == 2 && out.shape() == x.shape() && x.dim(1) == shape.hidden,
               "out " + out.shape().to_string() + ", x " + x.shape().to_string());
  COHORT_CHECK(out.dtype() == x.dtype() || out.dtype() == DType::kF32, dtype_name(out.dtype()));
  COHORT_CHECK(out.device() == stream.device() && x.device() == stream.device(),
               "out " + to_string(out.device()) + ", x " + to_string(x.device()));
  check_workspace(workspace, x.dim(0), shape, stream);
  COHORT_CHECK(workspace.inputs->dtype() == x.dtype(), dtype_name(x.dtype()));
  check_matrices(experts.gate_up, shape.num_local_experts, 2 * shape.ffn, shape.hidden, x.dtype(), stream);
  check_matrices(experts.down, shape.num_local_experts, shape.hidden, shape.ffn, x.dtype(), stream);
  if (out.empty()) return;
  (is_cuda(stream) ? cuda::expert_mlp : cpu::expert_mlp)(out, x, experts, workspace, stream);
}

}  // namespace cohort
