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
  const auto erase = [](std::vector<LayerMap>& layers, Slice mine) {
    layers.erase(layers.begin() + mine.begin, layers.begin() + mine.end);
  };
  erase(others.encoder_layers, shard.encoder_layers);
  erase(others.layers, shard.layers);
  for (const TensorRef& tensor : all_tensors(others)) source.skip(tensor.name);
}

// x as a number of `dtype`, which is what Hugging Face multiplies by.
float round_to(DType dtype, float x) {
  dispatch_float(dtype, [&]<typename T>() { x = static_cast<float>(T(x)); });
  return x;
}

// residual += delta, unless that is empty.
void add_delta(TensorView residual, ShardedSum delta, Stream& stream) {
  if (delta.value.empty()) return;
  delta.complete(stream);
  add(residual, delta.value, stream);
}

}  // namespace

Result<Decoder> Decoder::load(const ModelSpec& spec, const ModelShard& shard, const WeightMap& map,
                              const Arithmetic& arithmetic, WeightSource& source, Stream& stream) {
  Decoder decoder;
  decoder.spec_ = spec;
  decoder.shard_ = shard;
  decoder.arithmetic_ = arithmetic;
  const LoadContext context{decoder.spec_, decoder.shard_, arithmetic, source, stream};
  skip_other_stages(map, shard, source);
  if (shard.has_embedding()) COHORT_RETURN_IF_ERROR(decoder.load_embedding(context, map));
  if (spec.has_source()) COHORT_RETURN_IF_ERROR(decoder.load_encoder(context, map));
  COHORT_ASSIGN_OR_RETURN(decoder.blocks_, BlockStack::load(context, map.layers, shard.layers, map.position_bias));
  if (shard.is_last_stage) COHORT_RETURN_IF_ERROR(decoder.load_head(context, map));
  if (shard.has_embedding() && spec.embedding_scale != 1) {  // after the head, which may be packed from the same table
    COHORT_RETURN_IF_ERROR(source.wait());
    scale(decoder.embedding_, round_to(arithmetic.dtype, spec.embedding_scale), stream);
  }
  return decoder;
}

Status Decoder::load_embedding(const LoadContext& context, const WeightMap& map) {
  const DType dtype = arithmetic_.dtype;
  COHORT_ASSIGN_OR_RETURN(embedding_, load_rows(context, map.embedding, shard_.vocab, dtype));
  if (map.embedding_in) {
    COHORT_ASSIGN_OR_RETURN(embedding_in_, Linear::load_whole(context, *map.embedding_in));
  }
  if (map.position_embedding) {
    const Slice rows{spec_.position_offset, spec_.position_offset + spec_.max_position};
    COHORT_ASSIGN_OR_RETURN(position_embedding_, load_rows(context, *map.position_embedding, rows, dtype));
  }
  if (map.token_type_embedding) {
    COHORT_ASSIGN_OR_RETURN(token_type_embedding_, load_tensor(context, *map.token_type_embedding, dtype));
  }
  if (map.embedding_norm) {
    COHORT_ASSIGN_OR_RETURN(embedding_norm_, Norm::load(context, *map.embedding_norm));
  }
  return ok_status();
}

Status Decoder::load_encoder(const LoadContext& context, const WeightMap& map) {
  const ModelSpec spec = source_encoder_spec(spec_);
  const LoadContext of_encoder{spec, shard_, arithmetic_, context.source, context.stream};
  COHORT_ASSIGN_OR_RETURN(
      encoder_, BlockStack::load(of_encoder, map.encoder_layers, shard_.encoder_layers, map.encoder_position_bias));
  if (has_last_encoder_layer()) {
    COHORT_ASSIGN_OR_RETURN(encoder_norm_, Norm::load(context, *map.encoder_norm));
  }
  return ok_status();
}

Status Decoder::load_head(const LoadContext& context, const WeightMap& map) {
  if (map.final_norm) {
    COHORT_ASSIGN_OR_RETURN(final_norm_, Norm::load(context, *map.final_norm));
  }
  if (map.embedding_out) {
    COHORT_ASSIGN_OR_RETURN(embedding_out_, Linear::load_whole(context, *map.embedding_out));
  }
  if (map.pooler) {
    COHORT_ASSIGN_OR_RETURN(pooler_, Linear::load_whole(context, *map.pooler));
  }
  if (map.head_transform) {
    COHORT_ASSIGN_OR_RETURN(head_transform_, Linear::load_whole(context, *map.head_transform));
  }
  if (map.head_transform_norm) {
    COHORT_ASSIGN_OR_RETURN(head_transform_norm_, Norm::load(context, *map.head_transform_norm));
  }
  if (map.label_head) {  // of few outputs: every shard has it whole
    COHORT_ASSIGN_OR_RETURN(head_, Linear::load_whole(context, *map.label_head));
    return ok_status();
  }
  return spec_.head == HeadKind::kNone ? ok_status() : load_vocab_head(context, map);
}

Status Decoder::load_vocab_head(const LoadContext& context, const WeightMap& map) {
  if (!map.head && !map.head_bias && shard_.has_embedding()) {  // tied, and here already
    COHORT_RETURN_IF_ERROR(context.source.wait());
    head_ = Linear::pack(embedding_, arithmetic_, context.stream);
    return ok_status();
  }
  LinearMap head{.weights = {map.head ? *map.head : map.embedding}, .biases = {}};
  if (map.head_bias) head.biases.push_back(*map.head_bias);
  COHORT_ASSIGN_OR_RETURN(head_, Linear::load(context, head, output_slices(head, shard_.vocab)));
  return ok_status();
}

void Decoder::embed(TensorView residual, const BatchView& batch, Workspace& workspace, const RankComms& comms,
                    Stream& stream) const {
  const bool projects = spec_.embedding_dim != spec_.hidden;
  const TensorView embedded = projects ? workspace.embedding->slice(0, 0, batch.num_tokens()) : residual;
  vocab_parallel_embedding(embedded, batch.token_ids, embedding_, shard_.vocab, comms.tensor.get(), workspace.reduction,
                           stream);
  if (projects) embedding_in_.forward(residual, embedded, stream);
  if (spec_.position == PositionKind::kLearned) {
    add_embedding(residual, batch.positions, position_embedding_, stream);
  }
  if (spec_.num_token_types > 0) add_embedding(residual, batch.token_types, token_type_embedding_, stream);
  if (spec_.embedding_norm) embedding_norm_.forward(residual, residual, stream);
}

void Decoder::encode(const BatchView& sources, std::span<const KvCacheView> caches, Workspace& workspace,
                     const RankComms& comms, const ProbeFunction* probe_function, Stream& stream) const {
  const Probe probe(probe_function, "encoder.");
  const TensorView residual = workspace.residual->slice(0, 0, sources.num_tokens());
  TensorView encoded = residual;
  if (shard_.is_first_stage) {
    embed(residual, sources, workspace, comms, stream);
    probe("embed", residual);
  } else {
    comms.previous->receive(residual, 0, stream);
  }
  const ShardedSum delta = encoder_.forward(sources, caches, workspace, comms.tensor.get(), probe, stream);
  if (has_last_encoder_layer()) {
    encoded = workspace.normed->slice(0, 0, sources.num_tokens());
    encoder_norm_.forward_add(encoded, residual, delta, stream);
    probe.layer(shard_.encoder_layers.end - 1)("out", residual);
    probe("final_norm", encoded);
  } else {
    add_delta(residual, delta, stream);
  }
  if (!shard_.is_last_stage) comms.next->send(encoded, 1, stream);
  blocks_.cache_sources(encoded, sources, caches, workspace, Probe(probe_function), stream);
}

TensorView Decoder::forward(const BatchView& batch, std::span<const KvCacheView> caches, Workspace& workspace,
                            const RankComms& comms, const ProbeFunction* probe_function, Stream& stream) const {
  const Probe probe(probe_function);
  const int64_t num_tokens = batch.num_tokens();
  const TensorView residual = workspace.residual->slice(0, 0, num_tokens);
  const TensorView normed = workspace.normed->slice(0, 0, num_tokens);
  if (shard_.layers.size() == 0) return {};  // it reads sources only
  if (shard_.has_first_layer()) {
    embed(residual, batch, workspace, comms, stream);
    probe("embed", residual);
  } else {
    comms.previous->receive(residual, 0, stream);
  }
  const ShardedSum delta = blocks_.forward(batch, caches, workspace, comms.tensor.get(), probe, stream);
  if (!shard_.is_last_stage) {
    add_delta(residual, delta, stream);
    comms.next->send(residual, 1, stream);
    return {};
  }
  if (spec_.final_norm) final_norm_.forward_add(normed, residual, delta, stream);
  probe.layer(shard_.layers.end - 1)("out", residual);
  if (spec_.final_norm) probe("final_norm", normed);
  const TensorView logits = make_logits(batch, spec_.final_norm ? normed : residual, workspace, comms, stream);
  if (!logits.empty()) probe("logits", logits);
  return logits;
}

ConstTensorView Decoder::head_inputs(ConstTensorView rows, Workspace& workspace, Stream& stream) const {
  const int64_t num_rows = rows.dim(0);
  ConstTensorView inputs = rows;
  if (spec_.has_pooler) {
    const TensorView pooled = workspace.pooled->slice(0, 0, num_rows);
    pooler_.forward(pooled, inputs, stream);
    activate(pooled, pooled, Activation::kTanh, stream);
    inputs = pooled;
  }
  if (spec_.head_transform) {
    const TensorView transformed = workspace.transformed->slice(0, 0, num_rows);
    head_transform_.forward(transformed, inputs, stream);
    activate(transformed, transformed, spec_.head_activation, stream);
    if (spec_.head_transform_norm) head_transform_norm_.forward(transformed, transformed, stream);
    inputs = transformed;
  }
  if (spec_.embedding_dim != spec_.hidden) {
    const TensorView projected = workspace.logit_embedding->slice(0, 0, num_rows);
    embedding_out_.forward(projected, inputs, stream);
    inputs = projected;
  }
  return inputs;
}

TensorView Decoder::make_logits(const BatchView& batch, ConstTensorView hidden, Workspace& workspace,
                                const RankComms& comms, Stream& stream) const {
  const int64_t num_rows = batch.num_logit_rows();
  const TensorView rows = workspace.logit_inputs->slice(0, 0, num_rows);
  embedding(rows, batch.logit_rows, hidden, stream);  // gathers them
  const ConstTensorView inputs = head_inputs(rows, workspace, stream);
  if (spec_.head == HeadKind::kNone) return {};
  const bool is_split = comms.tensor != nullptr && spec_.labels.empty();
  const TensorView logits = shard_.shard == 0 ? workspace.logits->slice(0, 0, num_rows) : TensorView();
  const TensorView local = is_split ? workspace.local_logits->slice(0, 0, num_rows) : logits;
  if (!is_split && shard_.shard != 0) return {};  // every shard has the same
  head_.forward(local, inputs, stream);
  if (spec_.logit_scale != 1) scale(local, spec_.logit_scale, stream);
  if (spec_.logit_soft_cap > 0) soft_cap(local, spec_.logit_soft_cap, stream);
  if (is_split) gather_logits(logits, local, spec_.vocab, *comms.tensor, workspace.logit_parts, stream);
  return logits;
}

int64_t Decoder::num_weight_bytes() const {
  const int64_t total = embedding_->num_bytes() + embedding_in_.num_bytes() + position_embedding_->num_bytes() +
                        token_type_embedding_->num_bytes() + embedding_out_.num_bytes() + pooler_.num_bytes() +
                        head_transform_.num_bytes() + head_.num_bytes();
  return total + encoder_.num_bytes() + blocks_.num_bytes();
}

}  // namespace cohort
