#include "runtime/weights/checkpoint.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "runtime/json/json.h"

namespace cohort {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

// Files of the directory with `extension`, sorted.
std::vector<fs::path> files_with(const fs::path& directory, std::string_view extension) {
  std::vector<fs::path> found;
  std::error_code code;
  for (fs::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
    if (it->path().extension() == extension) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Says what is there instead of safetensors.
Status no_safetensors(const fs::path& directory) {
  for (const char* extension : {".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf"}) {
    const std::vector<fs::path> others = files_with(directory, extension);
    if (others.empty()) continue;
    return not_found(directory.string() + ": no *.safetensors, but " + others[0].filename().string() +
                     ": convert the checkpoint to safetensors (in Python: AutoModel.from_pretrained(...)"
                     ".save_pretrained(..., safe_serialization=True))");
  }
  return not_found(directory.string() + ": no weights: expected " + kSingleName + ", " + kIndexName +
                   " or one *.safetensors");
}

// A file name of an index, which comes with the model: it may not leave the directory.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// tensor -> file name, checked to be that.
Result<std::map<std::string, std::string>> read_weight_map(const json& index, const std::string& where) {
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return invalid_argument(where + ": weight_map: expected an object of tensor names and files");
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string()) return invalid_argument(where + ": weight_map: tensor " + name + ": expected a file name");
    const auto& file_name = file.get_ref<const std::string&>();
    if (!is_plain_file_name(file_name))
      return invalid_argument(where + ": weight_map: tensor " + name +
                              ": expected the name of a file beside the index, got \"" + file_name + "\"");
    weight_map.emplace(name, file_name);
  }
  if (weight_map.empty()) return invalid_argument(where + ": weight_map: expected at least one tensor");
  return weight_map;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& model_dir) {
  std::error_code code;
  const fs::file_type type = fs::status(model_dir, code).type();
  if (type == fs::file_type::not_found) return not_found(model_dir.string() + ": no such directory");
  if (type != fs::file_type::directory)
    return invalid_argument(model_dir.string() + ": expected a model directory, and this is not a directory");

  Checkpoint checkpoint;
  checkpoint.model_dir_ = model_dir;
  if (fs::exists(model_dir / kSingleName, code)) {
    COHORT_RETURN_IF_ERROR(checkpoint.add_file(model_dir / kSingleName));
  } else if (fs::exists(model_dir / kIndexName, code)) {
    COHORT_RETURN_IF_ERROR(checkpoint.open_index(model_dir / kIndexName));
  } else {
    const std::vector<fs::path> candidates = files_with(model_dir, ".safetensors");
    if (candidates.empty()) return no_safetensors(model_dir);
    if (candidates.size() > 1)
      return invalid_argument(model_dir.string() + ": " + std::to_string(candidates.size()) +
                              " *.safetensors and neither " + kSingleName + " nor " + kIndexName +
                              ", so it is not known which belong together");
    COHORT_RETURN_IF_ERROR(checkpoint.add_file(candidates[0]));
  }
  return checkpoint;
}

Status Checkpoint::add_file(const fs::path& path) {
  COHORT_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::open(path));
  for (size_t i = 0; i < file.entries().size(); ++i) {
    const std::string& name = file.entries()[i].name;
    const auto [place, is_new] = entries_.emplace(name, Place{files_.size(), i});
    if (!is_new)
      return data_loss(path.string() + ": tensor " + name + ": is also in " +
                       files_[place->second.file].path().filename().string() + ", expected it in one file");
  }
  files_.push_back(std::move(file));
  return ok_status();
}

Status Checkpoint::open_index(const fs::path& index_path) {
  const std::string where = index_path.string();
  COHORT_ASSIGN_OR_RETURN(const json index, read_json_file(index_path));
  COHORT_ASSIGN_OR_RETURN(const auto weight_map, read_weight_map(index, where));

  std::map<std::string, std::string> file_and_first_tensor;
  for (const auto& [name, file] : weight_map) file_and_first_tensor.emplace(file, name);
  for (const auto& [file, tensor_name] : file_and_first_tensor) {
    std::error_code code;
    if (!fs::exists(model_dir_ / file, code))
      return not_found(where + ": weight_map: tensor " + tensor_name + ": the file " + file + " is missing");
    COHORT_RETURN_IF_ERROR(add_file(model_dir_ / file));
  }
  for (const auto& [name, file] : weight_map) {
    const auto found = entries_.find(name);
    if (found == entries_.end())
      return data_loss(where + ": weight_map: tensor " + name + ": is not in " + file + ", where the index says it is");
    const std::string actual = files_[found->second.file].path().filename().string();
    if (actual != file)
      return data_loss(where + ": weight_map: tensor " + name + ": is in " + actual + ", the index says in " + file);
  }
  for (const auto& [name, place] : entries_) {
    if (!weight_map.contains(name))
      warnings_.push_back(files_[place.file].path().string() + ": tensor " + name + ": is not in the index");
  }
  const json::json_pointer total_size("/metadata/total_size");
  if (index.contains(total_size) && index[total_size] != total_bytes())
    warnings_.push_back(where + ": metadata: total_size is " + index[total_size].dump() + ", the tensors have " +
                        std::to_string(total_bytes()) + " bytes");
  return ok_status();
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, place] : entries_) names.push_back(name);
  return names;
}

Result<Checkpoint::Place> Checkpoint::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    return not_found((files_.size() == 1 ? files_[0].path() : model_dir_).string() + ": tensor " + std::string(name) +
                     " is missing");
  return found->second;
}

Result<ConstTensorView> Checkpoint::tensor(std::string_view name, const Shape& expected_shape) const {
  const Result<Place> place = find(name);
  if (!place.ok())
    return not_found(place.status().message() + ", expected it with shape " + expected_shape.to_string());
  const SafetensorsEntry& found = entry(*place);
  const std::string where = files_[place->file].path().string() + ": tensor " + found.name;
  if (found.dtype != DType::kF32 && found.dtype != DType::kF16 && found.dtype != DType::kBF16)
    return invalid_argument(where + ": expected dtype F32, F16 or BF16, got " + std::string(found.dtype_in_file));
  if (found.shape != expected_shape)
    return invalid_argument(where + ": expected shape " + expected_shape.to_string() + ", got " +
                            found.shape.to_string());
  return files_[place->file].tensor(found);
}

Result<Shape> Checkpoint::shape(std::string_view name) const {
  COHORT_ASSIGN_OR_RETURN(const Place place, find(name));
  return entry(place).shape;
}

Result<DType> Checkpoint::dtype(std::string_view name) const {
  COHORT_ASSIGN_OR_RETURN(const Place place, find(name));
  return entry(place).dtype;
}

Result<std::string> Checkpoint::dtype_in_file(std::string_view name) const {
  COHORT_ASSIGN_OR_RETURN(const Place place, find(name));
  return std::string(entry(place).dtype_in_file);
}

Result<fs::path> Checkpoint::file_of(std::string_view name) const {
  COHORT_ASSIGN_OR_RETURN(const Place place, find(name));
  return files_[place.file].path();
}

Status Checkpoint::read(std::string_view name, void* to, const void* from, int64_t num_bytes) const {
  const auto found = entries_.find(name);
  COHORT_CHECK(found != entries_.end(), name);
  const Status status = files_[found->second.file].read(to, from, num_bytes);
  return status.ok() ? status : data_loss(status.message() + ": tensor " + std::string(name));
}

void Checkpoint::will_need(std::string_view name, const ConstTensorView& view) const {
  const auto found = entries_.find(name);
  COHORT_CHECK(found != entries_.end(), name);
  files_[found->second.file].will_need(view);
}

std::vector<fs::path> Checkpoint::files() const {
  std::vector<fs::path> paths;
  for (const SafetensorsFile& file : files_) paths.push_back(file.path());
  return paths;
}

int64_t Checkpoint::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, place] : entries_) total += entry(place).num_bytes();
  return total;
}

int64_t Checkpoint::num_parameters() const {
  int64_t total = 0;
  for (const auto& [name, place] : entries_) total += entry(place).shape.num_elements();
  return total;
}

std::map<std::string, int64_t> Checkpoint::bytes_per_dtype() const {
  std::map<std::string, int64_t> bytes;
  for (const auto& [name, place] : entries_) bytes[std::string(entry(place).dtype_in_file)] += entry(place).num_bytes();
  return bytes;
}

}  // namespace cohort
