#include "runtime/weights/weight_source.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <set>
#include <type_traits>
#include <utility>

#include "runtime/weights/device_loader.h"
#include "runtime/weights/random_weights.h"

namespace cohort {
namespace {

// As the shell's, with '*' only.
bool matches(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {  // let the last star take one character more
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Status check_slice(std::string_view name, const Shape& shape, int dim, int64_t begin, int64_t end) {
  const bool is_whole_scalar = shape.rank() == 0 && dim == 0 && begin == 0 && end == 1;
  if (is_whole_scalar || (dim >= 0 && dim < shape.rank() && 0 <= begin && begin <= end && end <= shape[dim]))
    return ok_status();
  return invalid_argument("tensor " + std::string(name) + ": there is no slice [" + std::to_string(begin) + ", " +
                          std::to_string(end) + ") of dimension " + std::to_string(dim) + " of shape " +
                          shape.to_string());
}

Shape slice_shape(const Shape& shape, int dim, int64_t begin, int64_t end) {
  std::array<int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < shape.rank(); ++i) dims[static_cast<size_t>(i)] = i == dim ? end - begin : shape[i];
  return Shape(std::span(dims.data(), static_cast<size_t>(shape.rank())));
}

Status check_out(const TensorView& out, Device device, std::string_view name, const Shape& shape, int dim,
                 int64_t begin, int64_t end) {
  COHORT_RETURN_IF_ERROR(check_slice(name, shape, dim, begin, end));
  const Shape expected = slice_shape(shape, dim, begin, end);
  COHORT_CHECK(out.shape() == expected && out.device() == device,
               std::string(name) + ": into " + out.shape().to_string() + ", not " + expected.to_string());
  return ok_status();
}

bool is_aligned(const ConstTensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data()) % static_cast<uintptr_t>(dtype_bits(view.dtype()) / 8) == 0;
}

// Elements of `from`, whose address may be unaligned, to `to`.
template <typename From, typename To>
void copy_run(To* to, const char* from, int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(To));
  } else {
    for (int64_t i = 0; i < count; ++i) {
      From value;
      std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
      to[i] = static_cast<To>(static_cast<float>(value));
    }
  }
}

// Requires equal shapes. Either may be strided, and `from` unaligned.
void copy_tensor(const TensorView& to, const ConstTensorView& from) {
  if (from.empty()) return;
  const int last = from.rank() - 1;
  const int64_t run_elements = last < 0 ? 1 : from.dim(last);
  const int64_t num_runs = from.num_elements() / run_elements;
  dispatch_float(from.dtype(), [&]<typename From>() {
    dispatch_float(to.dtype(), [&]<typename To>() {
      for (int64_t run = 0; run < num_runs; ++run) {
        int64_t rest = run, from_offset = 0, to_offset = 0;
        for (int i = last - 1; i >= 0; --i) {
          from_offset += rest % from.dim(i) * from.stride(i);
          to_offset += rest % from.dim(i) * to.stride(i);
          rest /= from.dim(i);
        }
        copy_run<From>(to.data<To>() + to_offset,
                       static_cast<const char*>(from.data()) + from_offset * static_cast<int64_t>(sizeof(From)),
                       run_elements);
      }
    });
  });
}

class CheckpointSource : public WeightSource {
 public:
  CheckpointSource(Checkpoint checkpoint, Progress* progress, Stream* stream, int num_threads)
      : checkpoint_(std::move(checkpoint)), progress_(progress) {
    if (stream == nullptr) return;
    device_ = stream->device();
    loader_.emplace(*stream, num_threads);
  }

  Result<WeightSlice> load(std::string_view name, const Shape& shape, int dim, int64_t begin, int64_t end) override {
    COHORT_ASSIGN_OR_RETURN(const ConstTensorView view, mapped(name, shape, dim, begin, end));
    note_progress(view.num_bytes());
    checkpoint_.will_need(name, view);
    if (is_aligned(view)) return WeightSlice{view, std::nullopt};
    Tensor copy(view.dtype(), view.shape());
    copy_tensor(copy, view);
    const ConstTensorView copy_view = copy;
    return WeightSlice{copy_view, std::move(copy)};
  }

  Status load_into(const TensorView& out, std::string_view name, const Shape& shape, int dim, int64_t begin,
                   int64_t end) override {
    COHORT_RETURN_IF_ERROR(check_out(out, device(), name, shape, dim, begin, end));
    auto view = mapped(name, shape, dim, begin, end);
    if (!loader_) {
      COHORT_RETURN_IF_ERROR(view.status());
      note_progress(view->num_bytes());
      checkpoint_.will_need(name, *view);
      copy_tensor(out, *view);
      return ok_status();
    }
    if (!view.ok()) {
      (void)loader_->wait();  // the caller gives up, and so does the memory of what is under way
      return view.status();
    }
    loader_->load(out, *view, [this, tensor = std::string(name)](void* to, const ConstTensorView& rows) {
      return read_rows(to, tensor, rows);
    });
    return ok_status();
  }

  Status wait() override { return loader_ ? loader_->wait() : ok_status(); }
  Device device() const override { return device_; }
  bool contains(std::string_view name) const override { return checkpoint_.contains(name); }
  int64_t bytes_read() const override { return bytes_read_.load(std::memory_order_relaxed); }
  void skip(std::string_view name) override { note(name); }

  Status finish(std::span<const std::string> ignorable) override {
    COHORT_RETURN_IF_ERROR(wait());
    const std::lock_guard lock(mutex_);
    std::vector<std::string> unexpected;
    for (const std::string& name : checkpoint_.names()) {
      const bool is_known =
          asked_.contains(name) || std::any_of(ignorable.begin(), ignorable.end(),
                                               [&](const std::string& pattern) { return matches(pattern, name); });
      if (!is_known) unexpected.push_back(name);
    }
    if (unexpected.empty()) return ok_status();
    COHORT_ASSIGN_OR_RETURN(const std::filesystem::path file, checkpoint_.file_of(unexpected[0]));
    COHORT_ASSIGN_OR_RETURN(const Shape shape, checkpoint_.shape(unexpected[0]));
    std::string message = file.string() + ": unexpected tensor " + unexpected[0] + " of shape " + shape.to_string();
    if (unexpected.size() > 1) message += " and " + std::to_string(unexpected.size() - 1) + " more";
    return invalid_argument(message + ": expected only tensors that config.json's architecture has");
  }

 private:
  Result<ConstTensorView> mapped(std::string_view name, const Shape& shape, int dim, int64_t begin, int64_t end) {
    COHORT_RETURN_IF_ERROR(check_slice(name, shape, dim, begin, end));
    COHORT_ASSIGN_OR_RETURN(const ConstTensorView whole, checkpoint_.tensor(name, shape));
    const ConstTensorView view = shape.rank() == 0 ? whole : whole.slice(dim, begin, end);
    note(name);
    bytes_read_.fetch_add(view.num_bytes(), std::memory_order_relaxed);
    return view;
  }

  // Writes rows of the tensor `name` to `to`, one after the other.
  Status read_rows(void* to, std::string_view name, const ConstTensorView& rows) {
    if (rows.is_dense()) {
      COHORT_RETURN_IF_ERROR(checkpoint_.read(name, to, rows.data(), rows.num_bytes()));
    } else {  // a call for each of many short rows would take longer than the mapping's page faults
      checkpoint_.will_need(name, rows);
      const int64_t row_bytes = dtype_bytes(rows.dtype(), rows.dim(1));
      const int64_t stride_bytes = dtype_bytes(rows.dtype(), rows.stride(0));
      for (int64_t i = 0; i < rows.dim(0); ++i) {
        std::memcpy(static_cast<char*>(to) + i * row_bytes, static_cast<const char*>(rows.data()) + i * stride_bytes,
                    static_cast<size_t>(row_bytes));
      }
    }
    note_progress(rows.num_bytes());
    return ok_status();
  }

  void note_progress(int64_t num_bytes) {
    if (progress_ != nullptr) progress_->add(num_bytes);
  }

  void note(std::string_view name) {
    const std::lock_guard lock(mutex_);
    asked_.emplace(name);
  }

  const Checkpoint checkpoint_;
  Progress* const progress_;
  Device device_ = kCpuDevice;
  std::atomic<int64_t> bytes_read_{0};
  std::mutex mutex_;
  std::set<std::string, std::less<>> asked_;
  std::optional<DeviceLoader> loader_;  // where tensors go to a GPU; its threads use the checkpoint
};

class RandomSource : public WeightSource {
 public:
  RandomSource(uint64_t seed, DType dtype, Progress* progress, Stream& stream)
      : seed_(seed), dtype_(dtype), progress_(progress), stream_(stream) {
    dispatch_float(dtype, []<typename T>() {});  // throws for other types
  }

  Result<WeightSlice> load(std::string_view name, const Shape& shape, int dim, int64_t begin, int64_t end) override {
    COHORT_RETURN_IF_ERROR(check_slice(name, shape, dim, begin, end));
    Tensor values(dtype_, slice_shape(shape, dim, begin, end));
    COHORT_RETURN_IF_ERROR(load_into(values, name, shape, dim, begin, end));
    const ConstTensorView view = values;
    return WeightSlice{view, std::move(values)};
  }

  Status load_into(const TensorView& out, std::string_view name, const Shape& shape, int dim, int64_t begin,
                   int64_t end) override {
    COHORT_RETURN_IF_ERROR(check_out(out, device(), name, shape, dim, begin, end));
    fill_random(out, {random_key(seed_, name), random_distribution(name, shape)}, shape, dim, begin, stream_);
    const int64_t num_bytes = dtype_bytes(dtype_, out.num_elements());
    bytes_read_.fetch_add(num_bytes, std::memory_order_relaxed);
    if (progress_ != nullptr) progress_->add(num_bytes);
    return ok_status();
  }

  Device device() const override { return stream_.device(); }
  Status wait() override { return ok_status(); }
  bool contains(std::string_view) const override { return true; }
  int64_t bytes_read() const override { return bytes_read_.load(std::memory_order_relaxed); }
  void skip(std::string_view) override {}
  Status finish(std::span<const std::string>) override { return ok_status(); }

 private:
  const uint64_t seed_;
  const DType dtype_;
  Progress* const progress_;
  Stream& stream_;
  std::atomic<int64_t> bytes_read_{0};
};

}  // namespace

Result<WeightSlice> WeightSource::load(std::string_view name, const Shape& shape) {
  return load(name, shape, 0, 0, shape.rank() == 0 ? 1 : shape[0]);
}

std::unique_ptr<WeightSource> checkpoint_source(Checkpoint checkpoint, Progress* progress, Stream* stream,
                                                int num_threads) {
  return std::make_unique<CheckpointSource>(std::move(checkpoint), progress, stream, num_threads);
}

std::unique_ptr<WeightSource> random_source(uint64_t seed, DType dtype, Progress* progress, Stream& stream) {
  return std::make_unique<RandomSource>(seed, dtype, progress, stream);
}

}  // namespace cohort
