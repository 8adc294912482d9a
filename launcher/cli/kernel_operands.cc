#include "launcher/cli/kernel_operands.h"

#include <algorithm>

#include "kernels/random/random.h"

namespace cohort {
namespace {

constexpr int64_t kRotatedBytes = int64_t{256} << 20;  // of all sets: several times what a device caches
constexpr int64_t kMaxSets = 4096;
constexpr int64_t kAlignment = 256;

int64_t aligned(int64_t num_bytes) { return (num_bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

int num_sets_of(int64_t num_bytes) {
  return static_cast<int>(std::clamp<int64_t>(kRotatedBytes / std::max<int64_t>(1, num_bytes) + 1, 1, kMaxSets));
}

OperandSets::OperandSets(std::vector<Operand> operands, Stream& stream) : operands_(std::move(operands)) {
  for (const Operand& operand : operands_) {
    offsets_.push_back(set_bytes_);
    set_bytes_ += aligned(dtype_bytes(operand.dtype, operand.shape.num_elements()));
  }
  num_sets_ = num_sets_of(set_bytes_);
  // Normal values of bfloat16 are, taken two at a time, finite float32, and float16 as well.
  const Shape all{num_sets_ * set_bytes_ / 2};
  memory_ = Tensor(DType::kBF16, all, stream.device());
  fill_random(memory_, {random_key(1, "bench"), {0, 1}}, all, 0, 0, stream);
}

TensorView OperandSets::at(int set, size_t operand) const {
  const auto& [dtype, shape] = operands_[operand];
  return {static_cast<char*>(memory_->data()) + set * set_bytes_ + offsets_[operand], dtype, shape, memory_->device()};
}

std::vector<PackedWeight> make_weights(int count, int64_t n, int64_t k, DType dtype, Stream& stream) {
  const Tensor values(dtype, {n, k}, stream.device());
  fill_random(values, {random_key(3, "bench"), {0, 0.02f}}, values->shape(), 0, 0, stream);
  std::vector<PackedWeight> weights;
  for (int i = 0; i < count; ++i) {
    weights.push_back(PackedWeight::pack(values, WeightLayout::kOutIn, dtype, 1, stream));
  }
  return weights;
}

Tensor make_logits(const Shape& shape, Stream& stream) {
  Tensor logits(DType::kF32, shape, stream.device());
  fill_random(logits, {random_key(4, "bench"), {0, 3}}, shape, 0, 0, stream);
  return logits;
}

int64_t scattered(int64_t i, int64_t count) {
  return static_cast<int64_t>((static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u >> 20) % static_cast<uint64_t>(count));
}

}  // namespace cohort
