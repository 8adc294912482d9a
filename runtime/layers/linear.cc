#include "runtime/layers/linear.h"

namespace cohort {
namespace {

// The weights of `map` side by side in one tensor.
Result<Tensor> stack_weights(const LinearMap& map, DType dtype, WeightSource& source) {
  const bool is_out_in = map.layout == WeightLayout::kOutIn;
  const int out_dim = is_out_in ? 0 : 1;
  int64_t num_outputs = 0;
  for (const TensorRef& weight : map.weights) num_outputs += weight.shape[out_dim];
  const int64_t num_inputs = map.weights[0].shape[1 - out_dim];
  Tensor stacked(dtype, is_out_in ? Shape{num_outputs, num_inputs} : Shape{num_inputs, num_outputs});
  int64_t begin = 0;
  for (const TensorRef& weight : map.weights) {
    const int64_t end = begin + weight.shape[out_dim];
    COHORT_RETURN_IF_ERROR(
        source.load_into(stacked->slice(out_dim, begin, end), weight.name, weight.shape, 0, 0, weight.shape[0]));
    begin = end;
  }
  return stacked;
}

Result<Tensor> stack_biases(const LinearMap& map, int64_t num_outputs, WeightSource& source) {
  Tensor stacked(DType::kF32, Shape{map.biases.empty() ? 0 : num_outputs});
  int64_t begin = 0;
  for (const TensorRef& bias : map.biases) {
    const int64_t end = begin + bias.shape[0];
    COHORT_RETURN_IF_ERROR(source.load_into(stacked->slice(0, begin, end), bias.name, bias.shape, 0, 0, bias.shape[0]));
    begin = end;
  }
  return stacked;
}

}  // namespace

Result<Linear> Linear::load(const LinearMap& map, DType dtype, int num_chunks, WeightSource& source, Stream& stream) {
  Linear linear;
  if (map.weights.size() == 1) {  // packed straight from the file
    const TensorRef& weight = map.weights[0];
    COHORT_ASSIGN_OR_RETURN(const WeightSlice slice, source.load(weight.name, weight.shape));
    linear.weight_ = PackedWeight::pack(slice.view, map.layout, dtype, num_chunks, stream);
  } else {
    COHORT_ASSIGN_OR_RETURN(const Tensor stacked, stack_weights(map, dtype, source));
    linear.weight_ = PackedWeight::pack(stacked, map.layout, dtype, num_chunks, stream);
  }
  COHORT_ASSIGN_OR_RETURN(linear.bias_, stack_biases(map, linear.num_outputs(), source));
  return linear;
}

}  // namespace cohort
