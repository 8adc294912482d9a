// Checkpoint: all tensors of a model directory as Hugging Face saves it, by name.
//
// The files are model.safetensors, or else those of model.safetensors.index.json, or else the only
// *.safetensors of the directory. They are mapped, not read: opening costs the headers, and a
// tensor costs the pages that are touched.
//
// Thread-safety: read-only after open(); any thread may read it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/shape.h"
#include "kernels/core/status.h"
#include "kernels/core/tensor.h"
#include "runtime/weights/safetensors.h"

namespace cohort {

class Checkpoint {
 public:
  // kNotFound when there is no such directory or it has no safetensors; kDataLoss, kInvalidArgument
  // or kUnimplemented when a file is damaged, contradicts the index, or is not in the format.
  // Messages name file and tensor.
  static Result<Checkpoint> open(const std::filesystem::path& model_dir);

  bool contains(std::string_view name) const { return entries_.find(name) != entries_.end(); }
  std::vector<std::string> names() const;  // sorted

  // A view of the whole tensor, valid as long as the checkpoint. kNotFound when it is missing;
  // kInvalidArgument when its shape is not `expected_shape` or its dtype is not float32, float16 or
  // bfloat16. The address may be less aligned than the dtype, because the format does not pad; see
  // WeightSource::load.
  Result<ConstTensorView> tensor(std::string_view name, const Shape& expected_shape) const;

  // kNotFound when there is no such tensor.
  Result<Shape> shape(std::string_view name) const;
  Result<DType> dtype(std::string_view name) const;                // as SafetensorsEntry::dtype
  Result<std::string> dtype_in_file(std::string_view name) const;  // "BF16", "F64", ...
  Result<std::filesystem::path> file_of(std::string_view name) const;

  // As read of the file that has the tensor. Requires contains(name) and bytes of that tensor.
  Status read(std::string_view name, void* to, const void* from, int64_t num_bytes) const;

  // As will_need of the file that has the tensor. Requires contains(name) and a view of that
  // tensor.
  void will_need(std::string_view name, const ConstTensorView& view) const;

  const std::filesystem::path& model_dir() const { return model_dir_; }
  std::vector<std::filesystem::path> files() const;
  int64_t total_bytes() const;                             // of all tensors
  int64_t num_parameters() const;                          // elements of all tensors
  std::map<std::string, int64_t> bytes_per_dtype() const;  // by dtype_in_file

  // What is odd but does not keep the model from running, for the log: such as a total_size that is
  // not the sum.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct Place {
    size_t file;   // index in files_
    size_t entry;  // index in its entries()
  };

  Checkpoint() = default;
  Status add_file(const std::filesystem::path& path);
  Status open_index(const std::filesystem::path& index_path);
  const SafetensorsEntry& entry(const Place& place) const { return files_[place.file].entries()[place.entry]; }
  Result<Place> find(std::string_view name) const;

  std::filesystem::path model_dir_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place, std::less<>> entries_;
  std::vector<std::string> warnings_;
};

}  // namespace cohort
