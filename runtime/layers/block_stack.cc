#include "runtime/layers/block_stack.h"

#include "runtime/layers/position_bias.h"

namespace cohort {

Result<BlockStack> BlockStack::load(const LoadContext& context, const std::vector<LayerMap>& maps, Slice layers,
                                    const std::optional<TensorRef>& position_bias) {
  BlockStack stack;
  stack.first_layer_ = layers.begin;
  stack.shares_cache_ = !context.spec.is_causal;
  LoadContext of_stack = context;
  if (position_bias && layers.size() > 0) {
    COHORT_ASSIGN_OR_RETURN(stack.position_bias_, load_position_bias(context, *position_bias));
    of_stack.position_bias = stack.position_bias_;
  }
  for (int64_t i = layers.begin; i < layers.end; ++i) {
    COHORT_ASSIGN_OR_RETURN(DecoderBlock block, DecoderBlock::load(of_stack, maps[static_cast<size_t>(i)], i));
    stack.blocks_.push_back(std::move(block));
  }
  return stack;
}

ShardedSum BlockStack::forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                               DeviceComm* comm, const Probe& probe, Stream& stream) const {
  ShardedSum delta;  // [num_tokens, hidden]: what the last block adds to the residual stream
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto layer = first_layer_ + static_cast<int64_t>(i);
    blocks_[i].enter(delta, batch.num_tokens(), workspace, probe.layer(layer), stream);
    if (i > 0) probe.layer(layer - 1)("out", workspace.residual->slice(0, 0, batch.num_tokens()));
    delta = blocks_[i].forward(batch, caches[shares_cache_ ? 0 : i], workspace, comm, probe.layer(layer), stream);
  }
  return delta;
}

void BlockStack::cache_sources(ConstTensorView encoded, const BatchView& sources, std::span<const KvCacheView> caches,
                               Workspace& workspace, const Probe& probe, Stream& stream) const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto layer = first_layer_ + static_cast<int64_t>(i);
    blocks_[i].cache_sources(encoded, sources, caches[i], workspace, probe.layer(layer), stream);
  }
}

int64_t BlockStack::num_bytes() const {
  int64_t total = position_bias_->num_bytes();
  for (const DecoderBlock& block : blocks_) total += block.num_bytes();
  return total;
}

}  // namespace cohort
