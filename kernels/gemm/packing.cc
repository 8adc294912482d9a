#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/core/check.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/gemm_cuda.h"
#include "kernels/gemm/layout.h"

namespace cohort {
namespace {

using gemm_internal::kPanelWidth;
using gemm_internal::PanelLayout;

template <typename To, typename From>
To convert(From value) {
  if constexpr (std::is_same_v<To, From>) return value;
  return static_cast<To>(static_cast<float>(value));
}

// Fills one panel of the zeroed buffer.
template <typename To, typename From>
void pack_panel(To* packed, const PanelLayout& panels, int64_t panel, ConstTensorView weight, WeightLayout layout) {
  const bool is_out_in = layout == WeightLayout::kOutIn;
  const int64_t n = weight.dim(is_out_in ? 0 : 1);
  const int64_t k = weight.dim(is_out_in ? 1 : 0);
  const int64_t num_columns = std::min(kPanelWidth, n - panel * kPanelWidth);
  const int64_t column_step = is_out_in ? weight.stride(0) : 1;
  const int64_t k_step = is_out_in ? 1 : weight.stride(0);
  const From* first = weight.data<From>() + panel * kPanelWidth * column_step;
  for (int64_t i = 0; i < k; ++i) {
    To* row = packed + panels.offset(panel, i / panels.chunk_k, i % panels.chunk_k);
    for (int64_t column = 0; column < num_columns; ++column) {
      row[column * panels.column_stride()] = convert<To>(first[column * column_step + i * k_step]);
    }
  }
}

void pack_panels(void* packed, const PanelLayout& panels, DType dtype, ConstTensorView weight, WeightLayout layout,
                 Stream& stream) {
  dispatch_float(dtype, [&]<typename To>() {
    dispatch_float(weight.dtype(), [&]<typename From>() {
      To* const into = static_cast<To*>(packed);
      stream.parallel_for(panels.num_panels, 1, [&](int64_t begin, int64_t end) {
        // By the threads that may read it, so that its pages lie near them.
        std::memset(static_cast<void*>(into + begin * panels.panel_elements), 0,
                    static_cast<size_t>((end - begin) * panels.panel_elements) * sizeof(To));
        for (int64_t panel = begin; panel < end; ++panel) {
          pack_panel<To, From>(into, panels, panel, weight, layout);
        }
      });
    });
  });
}

}  // namespace

PackedWeight::PackedWeight(int64_t n, int64_t k, DType dtype, int num_chunks, GemmMode mode, Device device)
    : n_(n), k_(k), num_chunks_(num_chunks), dtype_(dtype), mode_(mode) {
  const bool is_cuda = device.kind == DeviceKind::kCuda;
  if (!is_cuda) mode_ = GemmMode::kDeterministic;
  COHORT_CHECK(num_chunks >= 1 && (num_chunks & (num_chunks - 1)) == 0 && k % num_chunks == 0,
               std::to_string(num_chunks) + " chunks of " + std::to_string(k));
  COHORT_CHECK(!is_cuda || mode == GemmMode::kFast || num_chunks <= kMaxCudaChunks, std::to_string(num_chunks));
  const int64_t num_elements = is_cuda ? n * k : PanelLayout(n, k, num_chunks, dtype).num_elements();
  buffer_ = Buffer(dtype_bytes(dtype, num_elements), device);
}

PackedWeight PackedWeight::pack(ConstTensorView weight, WeightLayout layout, DType dtype, int num_chunks, GemmMode mode,
                                Stream& stream) {
  COHORT_CHECK(weight.rank() == 2, weight.shape().to_string());
  COHORT_CHECK(weight.device() == kCpuDevice || weight.device() == stream.device(), to_string(weight.device()));
  const bool is_out_in = layout == WeightLayout::kOutIn;
  PackedWeight result(weight.dim(is_out_in ? 0 : 1), weight.dim(is_out_in ? 1 : 0), dtype, num_chunks, mode,
                      stream.device());
  if (result.num_bytes() == 0) return result;
  if (stream.device().kind == DeviceKind::kCuda) {
    cuda::pack_weight(result.buffer_.data(), dtype, weight, layout, stream);
  } else {
    pack_panels(result.buffer_.data(), PanelLayout(result.n_, result.k_, num_chunks, dtype), dtype, weight, layout,
                stream);
  }
  return result;
}

PackedWeight PackedWeight::reserve(int64_t n, int64_t k, DType dtype, int num_chunks, GemmMode mode, Device device) {
  COHORT_CHECK(device.kind == DeviceKind::kCuda, to_string(device));
  return {n, k, dtype, num_chunks, mode, device};
}

TensorView PackedWeight::rows() {
  COHORT_CHECK(device().kind == DeviceKind::kCuda, to_string(device()));
  return {buffer_.data(), dtype_, {n_, k_}, device()};
}

}  // namespace cohort
