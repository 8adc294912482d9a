#include "runtime/layers/moe.h"

namespace cohort {
namespace {

LinearSlices all_of(const LinearMap& map) { return output_slices(map, {0, map.num_outputs()}); }

// `part` of the shard's experts, as ExpertWeights has them on the device that computes.
Result<std::vector<PackedWeight>> load_experts(const LoadContext& context, const LayerMap& map,
                                               LinearMap ExpertMap::*part) {
  const bool is_stacked = context.device().kind == DeviceKind::kCuda;
  const Slice experts = context.shard.experts;
  std::vector<PackedWeight> packed;
  LinearMap stack;
  for (int64_t e = experts.begin; e < experts.end; ++e) {
    const LinearMap& one = map.experts[static_cast<size_t>(e)].*part;
    if (is_stacked) {
      stack.weights.insert(stack.weights.end(), one.weights.begin(), one.weights.end());
    } else {
      COHORT_ASSIGN_OR_RETURN(PackedWeight weight, load_weight(context, one, all_of(one)));
      packed.push_back(std::move(weight));
    }
  }
  if (is_stacked) {
    COHORT_ASSIGN_OR_RETURN(PackedWeight weight, load_weight(context, stack, all_of(stack)));
    packed.push_back(std::move(weight));
  }
  return packed;
}

// Tells the source of the experts that other shards load, so that it does not miss them.
void skip_other_shards(const LoadContext& context, const LayerMap& map) {
  for (int64_t e = 0; e < std::ssize(map.experts); ++e) {
    if (e >= context.shard.experts.begin && e < context.shard.experts.end) continue;
    const ExpertMap& expert = map.experts[static_cast<size_t>(e)];
    for (const LinearMap* part : {&expert.up, &expert.down}) {
      for (const TensorRef& weight : part->weights) context.source.skip(weight.name);
    }
  }
}

}  // namespace

Result<Moe> Moe::load(const LoadContext& context, const LayerMap& map) {
  Moe moe;
  moe.norm_topk_ = context.spec.norm_topk;
  skip_other_shards(context, map);
  COHORT_ASSIGN_OR_RETURN(moe.router_, Linear::load_whole(context, *map.router));
  moe.experts_.shape = moe_shape(context.spec, context.shard);
  moe.experts_.activation = context.spec.activation;
  COHORT_ASSIGN_OR_RETURN(moe.experts_.gate_up, load_experts(context, map, &ExpertMap::up));
  COHORT_ASSIGN_OR_RETURN(moe.experts_.down, load_experts(context, map, &ExpertMap::down));
  return moe;
}

ShardedSum Moe::forward(TensorView out, ConstTensorView x, Workspace& workspace, DeviceComm* comm,
                        Stream& stream) const {
  const TensorView logits = workspace.router_logits->slice(0, 0, x.dim(0));
  router_.forward(logits, x, stream);
  route(workspace.moe, logits, experts_.shape, norm_topk_, stream);
  return sum_over_shards(out, {}, comm, workspace.reduction, stream, [&](TensorView to, ConstTensorView /*its_bias*/) {
    expert_mlp(to, x, experts_, workspace.moe, stream);
  });
}

int64_t Moe::num_bytes() const {
  int64_t total = router_.num_bytes();
  for (const auto* matrices : {&experts_.gate_up, &experts_.down}) {
    for (const PackedWeight& matrix : *matrices) total += matrix.num_bytes();
  }
  return total;
}

}  // namespace cohort
