#include "runtime/layers/linear.h"

#include <algorithm>

#include "runtime/layers/load_tensor.h"

namespace cohort {
namespace {

int64_t total_size(const std::vector<Slice>& slices) {
  int64_t total = 0;
  for (const Slice& slice : slices) total += slice.size();
  return total;
}

// Calls f(tensor, part of its outputs, where that part goes in the stack) for the outputs that `slices` takes of
// tensors whose outputs, of dimension `out_dim`, are counted one after the other.
template <typename F>
Status for_each_part(const std::vector<TensorRef>& tensors, int out_dim, const std::vector<Slice>& slices, F&& f) {
  int64_t place = 0;
  for (const Slice& slice : slices) {
    int64_t first = 0;  // of the tensor, among all outputs
    for (const TensorRef& tensor : tensors) {
      const int64_t end = first + tensor.shape[out_dim];
      const Slice common{std::max(slice.begin, first), std::min(slice.end, end)};
      if (common.size() > 0) {
        COHORT_RETURN_IF_ERROR(
            f(tensor, Slice{common.begin - first, common.end - first}, Slice{place, place + common.size()}));
        place += common.size();
      }
      first = end;
    }
  }
  return ok_status();
}

// Writes what `slices` takes of the weights to `stacked`, [num_outputs, num_inputs] or, as `map` has them, the other
// way around.
Status stack_weights(TensorView stacked, const LinearMap& map, const LinearSlices& slices, WeightSource& source) {
  const int out_dim = map.layout == WeightLayout::kOutIn ? 0 : 1;
  if (slices.inputs.size() < map.num_inputs()) {
    COHORT_CHECK(map.weights.size() == 1 && total_size(slices.outputs) == map.num_outputs(),
                 "a shard splits outputs or inputs, not both");
    const TensorRef& weight = map.weights[0];
    return source.load_into(stacked, weight.name, weight.shape, 1 - out_dim, slices.inputs.begin, slices.inputs.end);
  }
  return for_each_part(map.weights, out_dim, slices.outputs, [&](const TensorRef& weight, Slice part, Slice place) {
    return source.load_into(stacked.slice(out_dim, place.begin, place.end), weight.name, weight.shape, out_dim,
                            part.begin, part.end);
  });
}

Result<Tensor> stack_biases(const LinearMap& map, const std::vector<Slice>& outputs, WeightSource& source) {
  Tensor stacked(DType::kF32, Shape{map.biases.empty() ? 0 : total_size(outputs)}, source.device());
  COHORT_RETURN_IF_ERROR(for_each_part(map.biases, 0, outputs, [&](const TensorRef& bias, Slice part, Slice place) {
    return source.load_into(stacked->slice(0, place.begin, place.end), bias.name, bias.shape, 0, part.begin, part.end);
  }));
  return stacked;
}

// A single run of outputs or of inputs of a single tensor is packed straight from the file.
Result<WeightSlice> load_run(const LinearMap& map, const LinearSlices& slices, WeightSource& source) {
  const TensorRef& weight = map.weights[0];
  const int out_dim = map.layout == WeightLayout::kOutIn ? 0 : 1;
  if (slices.inputs.size() == map.num_inputs()) {
    const Slice run = slices.outputs[0];
    return source.load(weight.name, weight.shape, out_dim, run.begin, run.end);
  }
  COHORT_CHECK(slices.outputs[0].size() == map.num_outputs(), "a shard splits outputs or inputs, not both");
  return source.load(weight.name, weight.shape, 1 - out_dim, slices.inputs.begin, slices.inputs.end);
}

}  // namespace

Result<PackedWeight> load_weight(const LoadContext& context, const LinearMap& map, const LinearSlices& slices,
                                 int num_chunks) {
  WeightSource& source = context.source;
  Stream& stream = context.stream;
  const auto [dtype, mode] = std::pair(context.arithmetic.dtype, context.arithmetic.gemm_mode());
  const bool is_out_in = map.layout == WeightLayout::kOutIn;
  const int64_t num_outputs = total_size(slices.outputs);
  const int64_t num_inputs = slices.inputs.size();
  if (source.device().kind == DeviceKind::kCuda && is_out_in) {
    PackedWeight packed = PackedWeight::reserve(num_outputs, num_inputs, dtype, num_chunks, mode, stream.device());
    COHORT_RETURN_IF_ERROR(stack_weights(packed.rows(), map, slices, source));
    return packed;
  }
  if (source.device() == kCpuDevice && map.weights.size() == 1 && slices.outputs.size() == 1) {
    COHORT_ASSIGN_OR_RETURN(const WeightSlice run, load_run(map, slices, source));
    return PackedWeight::pack(run.view, map.layout, dtype, num_chunks, mode, stream);
  }
  const Shape shape = is_out_in ? Shape{num_outputs, num_inputs} : Shape{num_inputs, num_outputs};
  const Tensor stacked(dtype, shape, source.device());
  COHORT_RETURN_IF_ERROR(stack_weights(stacked, map, slices, source));
  COHORT_RETURN_IF_ERROR(source.wait());
  return PackedWeight::pack(stacked, map.layout, dtype, num_chunks, mode, stream);
}

Result<Linear> Linear::load(const LoadContext& context, const LinearMap& map, const LinearSlices& slices,
                            int num_chunks) {
  Linear linear;
  COHORT_ASSIGN_OR_RETURN(linear.weight_, load_weight(context, map, slices, num_chunks));
  COHORT_ASSIGN_OR_RETURN(Tensor bias, stack_biases(map, slices.outputs, context.source));
  linear.bias_ = move_to(std::move(bias), context.device());
  return linear;
}

Linear Linear::pack(ConstTensorView weight, const Arithmetic& arithmetic, Stream& stream) {
  Linear linear;
  linear.weight_ =
      PackedWeight::pack(weight, WeightLayout::kOutIn, arithmetic.dtype, 1, arithmetic.gemm_mode(), stream);
  linear.bias_ = Tensor(DType::kF32, Shape{0}, stream.device());
  return linear;
}

}  // namespace cohort
