// A sum over ranks with residual and norm, what goes into it and what should come out: for its tests between GPUs and
// on one.
#pragma once

#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "parallel/tensor/all_reduce_norm.h"

namespace cohort::test {

inline constexpr float kEps = 1e-5f;

// Uniform in +-1, rounded to `dtype`.
inline std::vector<float> random_values(DType dtype, int64_t n, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(n));
  std::mt19937 rng(static_cast<uint32_t>(seed));
  dispatch_float(dtype, [&]<typename T>() {
    for (float& value : values) {
      value = static_cast<float>(static_cast<T>(std::ldexp(static_cast<float>(rng()) - 0x1p31f, -31)));
    }
  });
  return values;
}

inline Tensor on_device(const std::vector<float>& values, DType dtype, const Shape& shape, Device device) {
  Tensor host(dtype, shape);
  dispatch_float(dtype, [&]<typename T>() {
    for (size_t i = 0; i < values.size(); ++i) host->data<T>()[i] = static_cast<T>(values[i]);
  });
  Tensor copy(dtype, shape, device);
  copy_bytes(copy->data(), device, host->data(), kCpuDevice, host->num_bytes());
  return copy;
}

inline std::vector<float> on_host(ConstTensorView x) {
  const Tensor host(x.dtype(), x.shape());
  copy_bytes(host->data(), kCpuDevice, x.data(), x.device(), x.num_bytes());
  std::vector<float> values(static_cast<size_t>(x.num_elements()));
  dispatch_float(x.dtype(), [&]<typename T>() {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(host->data<T>()[i]);
  });
  return values;
}

inline void fill(const Tensor& x, char byte) {
  const std::vector<char> bytes(static_cast<size_t>(x->num_bytes()), byte);
  copy_bytes(x->data(), x->device(), bytes.data(), kCpuDevice, x->num_bytes());
}

struct Problem {
  DType dtype;
  int64_t num_tokens;
  int64_t hidden;
  bool is_layer_norm;
  uint64_t seed;

  int64_t size() const { return num_tokens * hidden; }
  Shape shape() const { return {num_tokens, hidden}; }
  std::vector<float> term(int rank) const {
    return random_values(dtype, size(), seed * 100 + static_cast<uint64_t>(rank));
  }
  std::vector<float> residual() const { return random_values(dtype, size(), seed * 100 + 50); }
  std::vector<float> weight() const { return random_values(DType::kF32, hidden, 7); }
  std::vector<float> bias() const { return random_values(DType::kF32, hidden, 8); }
};

inline constexpr AllReduceAlgorithm kAlgorithms[] = {AllReduceAlgorithm::kOneShot, AllReduceAlgorithm::kTwoShot};

inline std::optional<AllReduceNormConfig> config_of(AllReduceAlgorithm algorithm, const Problem& p,
                                                    const DeviceComm& comm) {
  if (comm.mailbox() == nullptr) return {};
  return all_reduce_norm_config(algorithm, p.num_tokens, dtype_bytes(p.dtype, p.hidden), *comm.mailbox());
}

// What a call works on, all on the device.
struct Operands {
  Operands(const Problem& p, int rank, Device device)
      : term(on_device(p.term(rank), p.dtype, p.shape(), device)),
        residual(on_device(p.residual(), p.dtype, p.shape(), device)),
        out(p.dtype, p.shape(), device),
        weight(on_device(p.weight(), DType::kF32, {p.hidden}, device)),
        bias(on_device(p.bias(), DType::kF32, {p.hidden}, device)),
        is_layer_norm(p.is_layer_norm) {
    fill(out, '\x7b');
  }

  NormWeights norm() const { return {is_layer_norm, weight, is_layer_norm ? bias.view() : TensorView(), kEps}; }
  void run(DeviceComm& comm, Stream& stream) const {
    all_reduce_add_norm(out, residual, {term, &comm}, norm(), stream);
  }
  void run_by(const AllReduceNormConfig& config, DeviceComm& comm, Stream& stream) const {
    all_reduce_add_norm_by(config, out, residual, {term, &comm}, norm(), stream);
  }

  Tensor term;      // [num_tokens, hidden], like the next two
  Tensor residual;  // what it was, and then what it becomes
  Tensor out;
  Tensor weight;  // [hidden], like bias
  Tensor bias;
  bool is_layer_norm;
};

// The terms, added in the order of ranks in float32.
inline std::vector<float> sum_of_terms(const Problem& p, int num_ranks) {
  std::vector<float> sums = p.term(0);
  for (int rank = 1; rank < num_ranks; ++rank) {
    const std::vector<float> term = p.term(rank);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += term[i];
  }
  return sums;
}

// residual + the sum of terms, `num_times`, rounded after each addition, and the sum before.
inline std::vector<float> expected_residual(const Problem& p, int num_ranks, int num_times = 1) {
  const std::vector<float> sums = sum_of_terms(p, num_ranks);
  std::vector<float> residual = p.residual();
  dispatch_float(p.dtype, [&]<typename T>() {
    for (size_t i = 0; i < sums.size(); ++i) {
      const auto sum = static_cast<float>(static_cast<T>(sums[i]));
      for (int n = 0; n < num_times; ++n) residual[i] = static_cast<float>(static_cast<T>(residual[i] + sum));
    }
  });
  return residual;
}

inline double unit_of(DType dtype) { return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-24; }

// Of rows that are rounded already.
inline std::vector<double> norm_of(const std::vector<float>& rows, const Problem& p) {
  const std::vector<float> weight = p.weight();
  const std::vector<float> bias = p.bias();
  std::vector<double> out(rows.size());
  const auto n = static_cast<size_t>(p.hidden);
  for (size_t begin = 0; begin < rows.size(); begin += n) {
    double mean = 0;
    for (size_t i = 0; i < n && p.is_layer_norm; ++i) mean += rows[begin + i] / static_cast<double>(n);
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += (rows[begin + i] - mean) * (rows[begin + i] - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + kEps);
    for (size_t i = 0; i < n; ++i) {
      out[begin + i] = (rows[begin + i] - mean) * scale * weight[i] + (p.is_layer_norm ? bias[i] : 0.0f);
    }
  }
  return out;
}

template <typename T>
double distance(const std::vector<float>& a, const std::vector<T>& b) {
  double squares = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - static_cast<double>(b[i])) * (a[i] - static_cast<double>(b[i]));
    norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(squares / norm);
}

inline std::string to_string(const Problem& p) {
  return std::string(dtype_name(p.dtype)) + " " + std::to_string(p.num_tokens) + " x " + std::to_string(p.hidden) +
         (p.is_layer_norm ? " LayerNorm" : " RMSNorm");
}

}  // namespace cohort::test
