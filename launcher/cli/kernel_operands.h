// Memory that operations are timed with (kernel_operations.h): random values, in as many sets as exceed a device's
// caches.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "kernels/gemm/gemm.h"

namespace cohort {

// How many sets of so many bytes exceed the caches of a device together.
int num_sets_of(int64_t num_bytes);

struct Operand {
  DType dtype;
  Shape shape;
};

// Sets of operands, of random floating-point values, in one allocation.
class OperandSets {
 public:
  OperandSets(std::vector<Operand> operands, Stream& stream);

  int num_sets() const { return num_sets_; }
  TensorView at(int set, size_t operand) const;

 private:
  std::vector<Operand> operands_;
  std::vector<int64_t> offsets_;
  int64_t set_bytes_ = 0;
  int num_sets_ = 0;
  Tensor memory_;
};

// `count` matrices [n, k], as products read them.
std::vector<PackedWeight> make_weights(int count, int64_t n, int64_t k, DType dtype, Stream& stream);

// Of float32, as peaked as a model's.
Tensor make_logits(const Shape& shape, Stream& stream);

// value(i): of element i.
template <typename T, typename F>
Tensor make_ints(DType dtype, const Shape& shape, Device device, const F& value) {
  std::vector<T> values(static_cast<size_t>(shape.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(value(static_cast<int64_t>(i)));
  Tensor tensor(dtype, shape, device);
  copy_bytes(tensor->data(), device, values.data(), kCpuDevice, tensor->num_bytes());
  return tensor;
}

template <typename F>
Tensor make_int32(const Shape& shape, Device device, const F& value) {
  return make_ints<int32_t>(DType::kI32, shape, device, value);
}

// Numbers of [0, count) without an order that hardware could foresee.
int64_t scattered(int64_t i, int64_t count);

}  // namespace cohort
