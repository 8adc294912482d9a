#include "runtime/layers/decoder.h"

#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "parallel/tensor/vocab_parallel.h"
#include "runtime/layers/load_tensor.h"

namespace cohort {
namespace {

// Tells the source of the layers that other stages load, so that it does not miss them.
void skip_other_stages(const WeightMap& map, const ModelShard& shard, WeightSource& source) {
  WeightMap others = map;
  others.layers.erase(others.layers.begin() + shard.layers.begin, others.layers.begin() + shard.layers.end);
  for (const TensorRef& tensor : all_tensors(others)) source.skip(tensor.name);
}

}  // namespace

Result<Decoder> Decoder::load(const ModelSpec& spec, const ModelShard& shard, const WeightMap& map,
                              const Arithmetic& arithmetic, WeightSource& source, Stream& stream) {
  Decoder decoder;
  decoder.spec_ = spec;
  decoder.shard_ = shard;
  decoder.arithmetic_ = arithmetic;
  skip_other_stages(map, shard, source);
  if (shard.is_first_stage) {
    COHORT_ASSIGN_OR_RETURN(decoder.embedding_,
                            load_rows(map.embedding, shard.vocab, arithmetic.dtype, source, stream.device()));
    if (map.position_embedding) {
      COHORT_ASSIGN_OR_RETURN(decoder.position_embedding_,
                              load_tensor(*map.position_embedding, arithmetic.dtype, source, stream.device()));
    }
  }
  for (int64_t i = shard.layers.begin; i < shard.layers.end; ++i) {
    const LayerMap& layer = map.layers[static_cast<size_t>(i)];
    COHORT_ASSIGN_OR_RETURN(DecoderBlock block, DecoderBlock::load(spec, shard, layer, arithmetic, source, stream));
    decoder.blocks_.push_back(std::move(block));
  }
  if (!shard.is_last_stage) return decoder;
  COHORT_ASSIGN_OR_RETURN(decoder.final_norm_,
                          Norm::load(map.final_norm, spec.norm, spec.norm_eps, source, stream.device()));
  if (!map.head && shard.is_first_stage) {  // tied, and here already
    COHORT_RETURN_IF_ERROR(source.wait());
    decoder.head_ = Linear::pack(decoder.embedding_, arithmetic, stream);
    return decoder;
  }
  const LinearMap head{.weights = {map.head ? *map.head : map.embedding}, .biases = {}};
  COHORT_ASSIGN_OR_RETURN(decoder.head_,
                          Linear::load(head, output_slices(head, shard.vocab), arithmetic, 1, source, stream));
  return decoder;
}

void Decoder::embed(TensorView residual, const BatchView& batch, Workspace& workspace, const RankComms& comms,
                    Stream& stream) const {
  vocab_parallel_embedding(residual, batch.token_ids, embedding_, shard_.vocab, comms.tensor.get(), workspace.reduction,
                           stream);
  if (spec_.position == PositionKind::kLearned) {
    add_embedding(residual, batch.positions, position_embedding_, stream);
  }
}

TensorView Decoder::forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                            const RankComms& comms, const ProbeFunction* probe_function, Stream& stream) const {
  const Probe probe(probe_function);
  const int64_t num_tokens = batch.num_tokens();
  const TensorView residual = workspace.residual->slice(0, 0, num_tokens);
  const TensorView normed = workspace.normed->slice(0, 0, num_tokens);
  ShardedSum delta;  // [num_tokens, hidden]: what the last block adds to the residual stream

  if (shard_.is_first_stage) {
    embed(residual, batch, workspace, comms, stream);
    probe("embed", residual);
  } else {
    comms.previous->receive(residual, 0, stream);
  }
  for (int64_t i = shard_.layers.begin; i < shard_.layers.end; ++i) {
    const auto local = static_cast<size_t>(i - shard_.layers.begin);
    const DecoderBlock& block = blocks_[local];
    if (local == 0) {
      block.attn_norm().forward(normed, residual, stream);
    } else {
      block.attn_norm().forward_add(normed, residual, delta, stream);
      probe.layer(i - 1)("out", residual);
    }
    probe.layer(i)("attn_norm", normed);
    delta = block.forward(batch, caches[local], workspace, comms.tensor.get(), probe.layer(i), stream);
  }
  if (!shard_.is_last_stage) {
    delta.complete(stream);
    add(residual, delta.value, stream);
    comms.next->send(residual, 1, stream);
    return {};
  }
  final_norm_.forward_add(normed, residual, delta, stream);
  probe.layer(shard_.layers.end - 1)("out", residual);
  probe("final_norm", normed);
  const TensorView logits = make_logits(batch, normed, workspace, comms, stream);
  probe("logits", logits);
  return logits;
}

TensorView Decoder::make_logits(const BatchView& batch, ConstTensorView normed, Workspace& workspace,
                                const RankComms& comms, Stream& stream) const {
  const int64_t num_rows = batch.num_logit_rows();
  const TensorView inputs = workspace.logit_inputs->slice(0, 0, num_rows);
  embedding(inputs, batch.logit_rows, normed, stream);  // gathers the rows
  if (comms.tensor == nullptr) {
    const TensorView logits = workspace.logits->slice(0, 0, num_rows);
    head_.forward(logits, inputs, stream);
    return logits;
  }
  const TensorView local = workspace.local_logits->slice(0, 0, num_rows);
  const TensorView logits = shard_.shard == 0 ? workspace.logits->slice(0, 0, num_rows) : TensorView();
  head_.forward(local, inputs, stream);
  gather_logits(logits, local, spec_.vocab, *comms.tensor, workspace.logit_parts, stream);
  return logits;
}

int64_t Decoder::num_weight_bytes() const {
  int64_t total = embedding_->num_bytes() + position_embedding_->num_bytes() + head_.num_bytes();
  for (const DecoderBlock& block : blocks_) total += block.num_bytes();
  return total;
}

}  // namespace cohort
