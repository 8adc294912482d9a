#include "runtime/models/linear_slices.h"

namespace cohort {
namespace {

void append(std::vector<Slice>& slices, Slice next) {
  if (!slices.empty() && slices.back().end == next.begin) {
    slices.back().end = next.end;
  } else {
    slices.push_back(next);
  }
}

}  // namespace

LinearSlices qkv_slices(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard) {
  const int64_t group = spec.num_heads / spec.num_kv_heads;  // q heads a KV head
  const bool by_part = map.qkv_order == QkvOrder::kByPart;
  LinearSlices slices{.outputs = {}, .inputs = {0, map.qkv.num_inputs()}};
  const auto add_head = [&](int64_t place) { append(slices.outputs, Slice{place, place + 1}.scaled(spec.head_dim)); };
  for (int64_t h = shard.heads.begin; h < shard.heads.end; ++h) {
    add_head(by_part ? h : h / group * (group + 2) + h % group);
  }
  for (int64_t h = shard.kv_heads.begin; h < shard.kv_heads.end; ++h) {
    add_head(by_part ? spec.num_heads + h : h * (group + 2) + group);
  }
  for (int64_t h = shard.kv_heads.begin; h < shard.kv_heads.end; ++h) {
    add_head(by_part ? spec.num_heads + spec.num_kv_heads + h : h * (group + 2) + group + 1);
  }
  return slices;
}

LinearSlices up_slices(const ModelSpec& spec, const LayerMap& map, const ModelShard& shard) {
  LinearSlices slices{.outputs = {}, .inputs = {0, map.up.num_inputs()}};
  append(slices.outputs, shard.ffn);
  if (spec.gated_mlp) append(slices.outputs, {spec.ffn + shard.ffn.begin, spec.ffn + shard.ffn.end});
  return slices;
}

LinearSlices cross_kv_slices(const ModelSpec& spec, const LinearMap& map, const ModelShard& shard) {
  LinearSlices slices{.outputs = {}, .inputs = {0, map.num_inputs()}};
  const Slice keys = shard.kv_heads.scaled(spec.head_dim);
  const int64_t num_keys = spec.num_kv_heads * spec.head_dim;
  append(slices.outputs, keys);
  append(slices.outputs, {num_keys + keys.begin, num_keys + keys.end});
  return slices;
}

LinearSlices input_slices(const LinearMap& map, Slice inputs) { return {{{0, map.num_outputs()}}, inputs}; }

LinearSlices output_slices(const LinearMap& map, Slice outputs) { return {{outputs}, {0, map.num_inputs()}}; }

}  // namespace cohort
