#include "runtime/layers/decoder.h"

#include "kernels/embedding/embedding.h"
#include "runtime/layers/load_tensor.h"

namespace cohort {
Result<Decoder> Decoder::load(const ModelSpec& spec, const WeightMap& map, DType dtype, WeightSource& source,
                              Stream& stream) {
  Decoder decoder;
  decoder.spec_ = spec;
  decoder.dtype_ = dtype;
  COHORT_ASSIGN_OR_RETURN(decoder.embedding_, load_tensor(map.embedding, dtype, source));
  if (map.position_embedding) {
    COHORT_ASSIGN_OR_RETURN(decoder.position_embedding_, load_tensor(*map.position_embedding, dtype, source));
  }
  for (const LayerMap& layer : map.layers) {
    COHORT_ASSIGN_OR_RETURN(DecoderBlock block, DecoderBlock::load(spec, layer, dtype, source, stream));
    decoder.blocks_.push_back(std::move(block));
  }
  COHORT_ASSIGN_OR_RETURN(decoder.final_norm_, Norm::load(map.final_norm, spec.norm, spec.norm_eps, source));
  const LinearMap head{.weights = {map.head ? *map.head : map.embedding}, .biases = {}};
  COHORT_ASSIGN_OR_RETURN(decoder.head_, Linear::load(head, dtype, 1, source, stream));
  return decoder;
}

TensorView Decoder::forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                            const ProbeFunction* probe_function, Stream& stream) const {
  const Probe probe(probe_function);
  const int64_t num_tokens = batch.num_tokens();
  const TensorView residual = workspace.residual->slice(0, 0, num_tokens);
  const TensorView delta = workspace.delta->slice(0, 0, num_tokens);
  const TensorView normed = workspace.normed->slice(0, 0, num_tokens);

  embedding(residual, batch.token_ids, embedding_, stream);
  if (spec_.position == PositionKind::kLearned) {
    add_embedding(residual, batch.positions, position_embedding_, stream);
  }
  probe("embed", residual);

  const int64_t num_layers = spec_.num_layers;
  for (int64_t i = 0; i < num_layers; ++i) {
    const DecoderBlock& block = blocks_[static_cast<size_t>(i)];
    const Probe layer_probe = probe.layer(i);
    if (i == 0) {
      block.attn_norm().forward(normed, residual, stream);
    } else {
      block.attn_norm().forward_add(normed, residual, delta, stream);
      probe.layer(i - 1)("out", residual);
    }
    layer_probe("attn_norm", normed);
    block.forward(batch, caches[static_cast<size_t>(i)], workspace, layer_probe, stream);
  }
  final_norm_.forward_add(normed, residual, delta, stream);
  probe.layer(num_layers - 1)("out", residual);
  probe("final_norm", normed);

  const TensorView inputs = workspace.logit_inputs->slice(0, 0, batch.num_logit_rows());
  const TensorView logits = workspace.logits->slice(0, 0, batch.num_logit_rows());
  embedding(inputs, batch.logit_rows, normed, stream);  // gathers the rows
  head_.forward(logits, inputs, stream);
  probe("logits", logits);
  return logits;
}

int64_t Decoder::num_weight_bytes() const {
  int64_t total = embedding_->num_bytes() + position_embedding_->num_bytes() + head_.num_bytes();
  for (const DecoderBlock& block : blocks_) total += block.num_bytes();
  return total;
}

}  // namespace cohort
