// Reading one safetensors file: a header of JSON, then the bytes of the tensors.
//
//   8 bytes          length of the header, little endian
//   length bytes     {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]},
//   ...} the data part    tensors without overlap or holes, row-major, little endian
//
// As strict as Hugging Face's own reader (safetensors/src/tensor.rs, Metadata::validate): the
// header has at most 100 MB, and the tensors cover the data part exactly. Every message begins with
// the file, and names the tensor.
//
// Thread-safety: a SafetensorsFile is read-only after open(); any thread may read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/shape.h"
#include "kernels/core/status.h"
#include "kernels/core/tensor.h"

namespace cohort {

inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  DType dtype;  // kU8 for the types that kernels/core does not know (BOOL, F64, I16, ...)
  Shape shape;
  int64_t begin, end;              // bytes within the data part
  std::string_view dtype_in_file;  // as the format names it: "BF16", "F64"; a static string

  int64_t num_bytes() const { return end - begin; }
};

// The entries in order of their bytes. `file_prefix` is the beginning of the file, at least its
// header (more is ignored), `file_bytes` the size of the whole file; `file` begins the messages.
// kDataLoss for a file that is truncated or contradicts itself, kInvalidArgument for a header that
// is not in the format, kUnimplemented for a dtype or rank that is not known.
Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::span<const uint8_t> file_prefix, int64_t file_bytes,
                                                               std::string_view file);

// A memory-mapped file. Move-only; its views end with it. The file must not shrink while it is
// open.
class SafetensorsFile {
 public:
  // kNotFound when there is no such file; otherwise as parse_safetensors_header.
  static Result<SafetensorsFile> open(const std::filesystem::path& path);

  SafetensorsFile(SafetensorsFile&& other) noexcept { swap(other); }
  SafetensorsFile& operator=(SafetensorsFile&& other) noexcept {
    SafetensorsFile(std::move(other)).swap(*this);
    return *this;
  }
  ~SafetensorsFile();

  const std::filesystem::path& path() const { return path_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }

  // A view into the mapping; nothing is read before it is touched. Of shape [num_bytes] for a type
  // that kernels/core does not know. Its address may be less aligned than its dtype: the format
  // does not pad. `entry` must be one of entries().
  ConstTensorView tensor(const SafetensorsEntry& entry) const;

  // Copies [from, from + num_bytes), which lies in the mapping, to `to` by reading the file: without
  // page faults, by any number of threads at once. kDataLoss when the file cannot be read.
  Status read(void* to, const void* from, int64_t num_bytes) const;

  // Tells the kernel that the bytes of `view`, a part of a tensor of this file, are wanted soon;
  // only their pages are then read ahead.
  void will_need(const ConstTensorView& view) const;

 private:
  SafetensorsFile() = default;
  void swap(SafetensorsFile& other) noexcept;

  std::filesystem::path path_;
  int fd_ = -1;
  void* map_ = nullptr;  // the whole file
  int64_t map_bytes_ = 0;
  int64_t data_begin_ = 0;  // where the data part is in the file
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace cohort
