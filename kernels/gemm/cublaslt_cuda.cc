// Products by cuBLASLt: the handle and the algorithms of each device, the workspace of each stream.
//
// cuBLASLt's matrices are by columns: out^T [n, num_rows] = weight [k, n]^T * x^T [k, num_rows].
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernels/core/cuda_check.h"
#include "kernels/gemm/kernels_cuda.h"

#define COHORT_CUBLAS_CHECK(call)                                                                                    \
  do {                                                                                                               \
    if (const cublasStatus_t status_ = (call); status_ != CUBLAS_STATUS_SUCCESS) [[unlikely]]                        \
      ::cohort::check_failed(__FILE__, __LINE__, #call,                                                              \
                             std::string(cublasLtGetStatusName(status_)) + ": " + cublasLtGetStatusString(status_)); \
  } while (false)

namespace cohort::cuda {
namespace {

constexpr int64_t kLtWorkspaceBytes = int64_t{32} << 20;  // what NVIDIA recommends for Hopper
constexpr int64_t kSumsBytes = kGemmWorkspaceBytes - kLtWorkspaceBytes;
constexpr int64_t kRowsGranule = 64;  // groups of rows whose sums fit kSumsBytes are whole tiles

// One call of cublasLtMatmul.
struct Product {
  TensorView out;  // [num_rows, n]
  ConstTensorView x;
  const PackedWeight& weight;
  const float* bias;  // [n], for the epilogue, or null
};

// What the choice of an algorithm depends on.
struct ShapeKey {
  int64_t num_rows, n, k, x_stride, out_stride;
  uint32_t x_alignment, out_alignment;
  DType dtype, out_dtype;
  bool has_bias;

  auto operator<=>(const ShapeKey&) const = default;
};

// No kernel asks for more than 16 bytes.
uint32_t alignment_of(const void* p) {
  uint32_t alignment = 16;
  while (reinterpret_cast<uintptr_t>(p) % alignment != 0) alignment /= 2;
  return alignment;
}

// From row to row; of a lone row the least that cuBLASLt takes.
int64_t row_stride(const ConstTensorView& x) { return x.dim(0) == 1 ? x.dim(1) : x.stride(0); }

ShapeKey key_of(const Product& p) {
  return {.num_rows = p.x.dim(0),
          .n = p.weight.n(),
          .k = p.weight.k(),
          .x_stride = row_stride(p.x),
          .out_stride = row_stride(p.out),
          .x_alignment = alignment_of(p.x.data()),
          .out_alignment = alignment_of(p.out.data()),
          .dtype = p.x.dtype(),
          .out_dtype = p.out.dtype(),
          .has_bias = p.bias != nullptr};
}

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    default:
      check_failed(__FILE__, __LINE__, "a dtype that cuBLASLt multiplies", std::string(dtype_name(dtype)));
  }
}

// What cuBLASLt wants to know of a product. On the stack: nothing is allocated.
class Descriptors {
 public:
  explicit Descriptors(const Product& p) {
    const ShapeKey key = key_of(p);
    const cudaDataType_t type = data_type(key.dtype);
    COHORT_CUBLAS_CHECK(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transposed = CUBLAS_OP_T;
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (p.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      const cudaDataType_t bias_type = CUDA_R_32F;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias_type);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    }
    const auto size = [](int64_t value) { return static_cast<uint64_t>(value); };
    COHORT_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&weight, type, size(key.k), size(key.n), key.k));
    COHORT_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&x, type, size(key.k), size(key.num_rows), key.x_stride));
    COHORT_CUBLAS_CHECK(
        cublasLtMatrixLayoutInit(&out, data_type(key.out_dtype), size(key.n), size(key.num_rows), key.out_stride));
  }

  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t weight;
  cublasLtMatrixLayoutOpaque_t x;
  cublasLtMatrixLayoutOpaque_t out;

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    COHORT_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)));
  }
};

// The handle and the algorithms of a device. Thread-safe. Lives as long as the process.
class DeviceState {
 public:
  explicit DeviceState(int device) : device_(device) {
    COHORT_CUDA_CHECK(cudaSetDevice(device));
    COHORT_CUBLAS_CHECK(cublasLtCreate(&handle_));
  }

  cublasLtHandle_t handle() const { return handle_; }

  // kGemmWorkspaceBytes for the work of a stream.
  char* workspace(const Stream& stream) {
    const std::scoped_lock lock(mutex_);
    auto place = workspaces_.find(stream.handle());
    if (place == workspaces_.end()) {
      place = workspaces_.emplace(stream.handle(), Buffer(kGemmWorkspaceBytes, {DeviceKind::kCuda, device_})).first;
    }
    return static_cast<char*>(place->second.data());
  }

  // The algorithm for a product; nothing if cuBLASLt has none.
  std::optional<cublasLtMatmulAlgo_t> algorithm(const Product& p) {
    const ShapeKey key = key_of(p);
    {
      const std::scoped_lock lock(mutex_);
      if (const auto place = algorithms_.find(key); place != algorithms_.end()) return place->second;
    }
    const std::vector<cublasLtMatmulHeuristicResult_t> results = candidates(p, 1);
    std::optional<cublasLtMatmulAlgo_t> chosen;
    if (!results.empty()) chosen = results[0].algo;
    const std::scoped_lock lock(mutex_);
    return algorithms_.emplace(key, chosen).first->second;
  }

  // Whether this is the first time that it is asked about the shape of `p`.
  bool begin_tuning(const Product& p) {
    const std::scoped_lock lock(mutex_);
    return tuned_.insert(key_of(p)).second;
  }

  void set_algorithm(const Product& p, const cublasLtMatmulAlgo_t& algorithm) {
    const std::scoped_lock lock(mutex_);
    algorithms_[key_of(p)] = algorithm;
  }

  // At most `max_count`, the one that cuBLASLt expects most of first.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(const Product& p, int max_count) const {
    Descriptors descriptors(p);
    cublasLtMatmulPreferenceOpaque_t preference;
    COHORT_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      COHORT_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
    };
    const ShapeKey key = key_of(p);
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kLtWorkspaceBytes));
    // Where K is split, parts are added in float32, not in the dtype of out.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.x_alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.out_alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.out_alignment);
    std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<size_t>(max_count));
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, &descriptors.operation, &descriptors.weight,
                                                                 &descriptors.x, &descriptors.out, &descriptors.out,
                                                                 &preference, max_count, results.data(), &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    COHORT_CUBLAS_CHECK(status);
    results.resize(static_cast<size_t>(count));
    std::erase_if(results, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
    return results;
  }

 private:
  const int device_;
  cublasLtHandle_t handle_ = nullptr;
  std::mutex mutex_;
  std::map<void*, Buffer> workspaces_;  // by stream
  std::map<ShapeKey, std::optional<cublasLtMatmulAlgo_t>> algorithms_;
  std::set<ShapeKey> tuned_;  // shapes whose algorithm has been measured
};

// Made at the first use and never destroyed: CUDA may be gone before static objects are.
DeviceState& state_of(const Stream& stream) {
  constexpr int kMaxDevices = 64;
  static std::mutex mutex;
  static std::array<DeviceState*, kMaxDevices> states = {};
  const int device = stream.device().index;
  COHORT_CHECK(device >= 0 && device < kMaxDevices, std::to_string(device));
  const std::scoped_lock lock(mutex);
  DeviceState*& state = states[static_cast<size_t>(device)];
  if (state == nullptr) state = std::make_unique<DeviceState>(device).release();
  return *state;
}

cublasStatus_t multiply(const Product& p, const cublasLtMatmulAlgo_t& algorithm, DeviceState& state, Stream& stream) {
  Descriptors descriptors(p);
  const float one = 1;
  const float zero = 0;
  return cublasLtMatmul(state.handle(), &descriptors.operation, &one, p.weight.data(), &descriptors.weight, p.x.data(),
                        &descriptors.x, &zero, p.out.data(), &descriptors.out, p.out.data(), &descriptors.out,
                        &algorithm, state.workspace(stream), static_cast<size_t>(kLtWorkspaceBytes),
                        static_cast<cudaStream_t>(stream.handle()));
}

// Milliseconds of a product, the least of a few; nothing if cuBLASLt refuses the algorithm.
std::optional<double> measure(const Product& p, const cublasLtMatmulAlgo_t& algorithm, DeviceState& state,
                              Stream& stream) {
  constexpr int kNumRuns = 5;
  if (multiply(p, algorithm, state, stream) != CUBLAS_STATUS_SUCCESS) return std::nullopt;  // and loads the kernel
  Event start(stream.device());
  Event stop(stream.device());
  std::optional<double> least;
  for (int i = 0; i < kNumRuns; ++i) {
    // More than the L2 cache holds: in a step the weights come from memory.
    COHORT_CUDA_CHECK(cudaMemsetAsync(state.workspace(stream), 0, static_cast<size_t>(kGemmWorkspaceBytes),
                                      static_cast<cudaStream_t>(stream.handle())));
    start.record(stream);
    COHORT_CUBLAS_CHECK(multiply(p, algorithm, state, stream));
    stop.record(stream);
    stop.synchronize();
    const double ms = stop.milliseconds_since(start);
    least = std::min(least.value_or(ms), ms);
  }
  return least;
}

void tune(const Product& p, DeviceState& state, Stream& stream) {
  constexpr int kNumCandidates = 8;
  std::optional<double> least;
  for (const cublasLtMatmulHeuristicResult_t& candidate : state.candidates(p, kNumCandidates)) {
    const std::optional<double> ms = measure(p, candidate.algo, state, stream);
    if (!ms || (least && *ms >= *least)) continue;
    least = ms;
    state.set_algorithm(p, candidate.algo);
  }
}

// False if cuBLASLt has no algorithm.
bool try_multiply(const Product& p, DeviceState& state, Stream& stream, bool tunes) {
  if (tunes && state.begin_tuning(p)) tune(p, state, stream);
  const std::optional<cublasLtMatmulAlgo_t> algorithm = state.algorithm(p);
  if (!algorithm) return false;
  COHORT_CUBLAS_CHECK(multiply(p, *algorithm, state, stream));
  return true;
}

// cuBLASLt adds no float32 bias to 16-bit results: the sums stay in the workspace until the bias is added, so many rows
// at a time as it holds, and are rounded once.
void multiply_by_groups(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                        DeviceState& state, Stream& stream, bool tunes) {
  char* const memory = state.workspace(stream) + kLtWorkspaceBytes;
  const int64_t fits = kSumsBytes / dtype_bytes(DType::kF32, weight.n());
  const int64_t group = fits >= kRowsGranule ? fits / kRowsGranule * kRowsGranule : fits;
  if (group == 0) return run_tiled_gemm(out, x, weight, bias, stream);
  for (int64_t begin = 0; begin < x.dim(0); begin += group) {
    const int64_t end = std::min(begin + group, x.dim(0));
    const TensorView sums(memory, DType::kF32, {end - begin, weight.n()}, stream.device());
    const ConstTensorView rows = x.slice(0, begin, end);
    if (!try_multiply({sums, rows, weight, nullptr}, state, stream, tunes))
      run_tiled_gemm(sums, rows, weight, {}, stream);
    store_with_bias(out.slice(0, begin, end), sums, bias, stream);
  }
}

}  // namespace

void prepare_gemm(Stream& stream) { state_of(stream).workspace(stream); }

void run_cublaslt_gemm(TensorView out, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                       Stream& stream, bool tunes) {
  COHORT_CUDA_CHECK(cudaSetDevice(stream.device().index));
  DeviceState& state = state_of(stream);
  const bool is_float_out = out.dtype() == DType::kF32;
  const bool fits_epilogue = is_float_out && !bias.empty() && alignment_of(bias.data()) == 16;
  if (bias.empty() || fits_epilogue) {
    const float* const added = bias.empty() ? nullptr : bias.data<float>();
    if (try_multiply({out, x, weight, added}, state, stream, tunes)) return;
    return run_tiled_gemm(out, x, weight, bias, stream);
  }
  if (!is_float_out) return multiply_by_groups(out, x, weight, bias, state, stream, tunes);
  if (!try_multiply({out, x, weight, nullptr}, state, stream, tunes)) {
    return run_tiled_gemm(out, x, weight, bias, stream);
  }
  store_with_bias(out, out, bias, stream);
}

}  // namespace cohort::cuda
