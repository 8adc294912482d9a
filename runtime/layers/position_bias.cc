#include "runtime/layers/position_bias.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/layers/load_tensor.h"

namespace cohort {

int64_t position_bucket(int64_t distance, bool is_causal, int64_t num_buckets, int64_t max_distance) {
  const int64_t num_per_side = is_causal ? num_buckets : num_buckets / 2;
  const int64_t first = !is_causal && distance > 0 ? num_per_side : 0;
  const int64_t d = is_causal ? std::max<int64_t>(-distance, 0) : std::abs(distance);
  const int64_t num_exact = num_per_side / 2;
  if (d < num_exact) return first + d;
  // In float32, like the code that models are trained with: what is near the edge of a bucket falls on the same side.
  const float ratio = std::log(static_cast<float>(d) / static_cast<float>(num_exact)) /
                      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(num_exact)));
  const auto run = static_cast<int64_t>(ratio * static_cast<float>(num_per_side - num_exact));
  return first + std::min(num_exact + run, num_per_side - 1);
}

Result<Tensor> load_position_bias(const LoadContext& context, const TensorRef& map) {
  const ModelSpec& spec = context.spec;
  const Slice heads = context.shard.heads;
  const int64_t num_heads = map.shape[1];
  Tensor buckets(DType::kF32, map.shape, context.source.device());
  COHORT_RETURN_IF_ERROR(context.source.load_into(buckets, map.name, map.shape, 0, 0, map.shape[0]));
  COHORT_RETURN_IF_ERROR(context.source.wait());
  context.stream.synchronize();  // what wait() leaves under way on the stream, the host does not wait for
  const Tensor on_host = move_to(std::move(buckets), kCpuDevice);

  const int64_t max_distance = spec.max_position_distance;
  std::vector<float> biases;  // [local heads, 2 max_distance + 1]
  for (int64_t h = heads.begin; h < heads.end; ++h) {
    for (int64_t distance = -max_distance; distance <= max_distance; ++distance) {
      const int64_t bucket = position_bucket(distance, spec.is_causal, spec.num_position_buckets, max_distance);
      biases.push_back(on_host->data<float>()[bucket * num_heads + h]);
    }
  }
  Tensor table(DType::kF32, Shape{heads.size(), 2 * max_distance + 1}, context.device());
  copy_bytes(table->data(), context.device(), biases.data(), kCpuDevice, table->num_bytes());
  return table;
}

}  // namespace cohort
