// BlockStack: the layers that a rank has of one stack of blocks, one after the other.
#pragma once

#include <span>
#include <vector>

#include "runtime/layers/decoder_block.h"

namespace cohort {

class BlockStack {
 public:
  // The layers `layers` of the stack that context.spec describes and `maps` names. `position_bias` is of all of them,
  // or nothing.
  static Result<BlockStack> load(const LoadContext& context, const std::vector<LayerMap>& maps, Slice layers,
                                 const std::optional<TensorRef>& position_bias);

  // Runs the tokens in workspace.residual through the layers. caches: one for each layer, or one that they use in turn.
  // Returns what is yet to be added to workspace.residual; nothing if there are no layers. `probe` is not shown the
  // output of the last layer, which is that sum.
  ShardedSum forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                     DeviceComm* comm, const Probe& probe, Stream& stream) const;

  // DecoderBlock::cache_sources() of every layer.
  void cache_sources(ConstTensorView encoded, const BatchView& sources, std::span<const KvCacheView> caches,
                     Workspace& workspace, const Probe& probe, Stream& stream) const;

  int64_t num_bytes() const;

 private:
  int64_t first_layer_ = 0;
  bool shares_cache_ = false;  // what one layer wrote no other step reads
  Tensor position_bias_;       // [local_num_heads, 2 max_position_distance + 1] float32, or empty; the blocks borrow it
  std::vector<DecoderBlock> blocks_;
};

}  // namespace cohort
