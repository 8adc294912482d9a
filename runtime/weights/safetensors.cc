#include "runtime/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "runtime/json/json.h"

namespace cohort {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the format is little endian");

constexpr int64_t kLengthBytes = 8;
constexpr int kMaxHeaderDepth = 8;  // the format needs 3

struct FileDType {
  std::string_view name;
  int bits;
  DType dtype;
};

constexpr std::array kFileDTypes = {
    FileDType{"F32", 32, DType::kF32},       FileDType{"F16", 16, DType::kF16},
    FileDType{"BF16", 16, DType::kBF16},     FileDType{"F8_E4M3", 8, DType::kF8E4M3},
    FileDType{"F8_E5M2", 8, DType::kF8E5M2}, FileDType{"I8", 8, DType::kI8},
    FileDType{"I32", 32, DType::kI32},       FileDType{"I64", 64, DType::kI64},
    FileDType{"U8", 8, DType::kU8},          FileDType{"BOOL", 8, DType::kU8},
    FileDType{"I16", 16, DType::kU8},        FileDType{"U16", 16, DType::kU8},
    FileDType{"U32", 32, DType::kU8},        FileDType{"U64", 64, DType::kU8},
    FileDType{"F64", 64, DType::kU8},        FileDType{"F8_E8M0", 8, DType::kU8},
};

const FileDType* find_dtype(std::string_view name) {
  const auto found =
      std::find_if(kFileDTypes.begin(), kFileDTypes.end(), [&](const FileDType& d) { return d.name == name; });
  return found == kFileDTypes.end() ? nullptr : &*found;
}

// A value for a message: short, whatever the file has there.
std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

// A whole number of [0, 2^63); nothing for other JSON.
std::optional<int64_t> whole_number(const json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > INT64_MAX) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  const auto number = value.get<int64_t>();
  return number < 0 ? std::nullopt : std::optional(number);
}

// The length of the header, checked against the size of the file.
Result<int64_t> header_length(std::span<const uint8_t> prefix, int64_t file_bytes, const std::string& file) {
  if (file_bytes < kLengthBytes || std::ssize(prefix) < kLengthBytes)
    return data_loss(file + ": truncated: " + std::to_string(file_bytes) +
                     " bytes, expected at least the 8 of the header's length");
  uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes))
    return invalid_argument(file + ": header of " + std::to_string(length) + " bytes, expected at most " +
                            std::to_string(kMaxSafetensorsHeaderBytes) + "; is this a safetensors file?");
  const auto header_bytes = static_cast<int64_t>(length);
  if (header_bytes > file_bytes - kLengthBytes || header_bytes > std::ssize(prefix) - kLengthBytes)
    return data_loss(file + ": truncated: header of " + std::to_string(header_bytes) + " bytes, but only " +
                     std::to_string(file_bytes - kLengthBytes) + " follow its length");
  return header_bytes;
}

Result<Shape> parse_shape(const json& dims, const std::string& where) {
  if (!dims.is_array()) return invalid_argument(where + ": shape: expected an array of sizes, got " + shown(dims));
  if (dims.size() > Shape::kMaxRank)
    return unimplemented(where + ": shape: expected at most " + std::to_string(Shape::kMaxRank) + " dimensions, got " +
                         std::to_string(dims.size()));
  std::array<int64_t, Shape::kMaxRank> sizes{};
  int64_t product = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const std::optional<int64_t> size = whole_number(dims[i]);
    if (!size) return invalid_argument(where + ": shape: expected sizes of at least 0, got " + shown(dims));
    sizes[i] = *size;
    // Below 2^56, so that the bits of the tensor can be counted too. As in Shape, also where a
    // later size is 0.
    if (__builtin_mul_overflow(product, *size, &product) || product >= (int64_t{1} << 56))
      return invalid_argument(where + ": shape: too many elements: " + shown(dims));
  }
  return Shape(std::span(sizes.data(), dims.size()));
}

Result<SafetensorsEntry> parse_entry(const std::string& name, const json& info, const std::string& file) {
  const std::string where = file + ": tensor " + name;
  if (!info.is_object()) return invalid_argument(where + ": expected an object, got " + shown(info));
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!info.contains(field)) return invalid_argument(where + ": " + field + " is missing");
  }
  const json& dtype = info["dtype"];
  if (!dtype.is_string()) return invalid_argument(where + ": dtype: expected a string, got " + shown(dtype));
  const FileDType* known = find_dtype(dtype.get_ref<const std::string&>());
  if (known == nullptr)
    return unimplemented(where + ": dtype: expected F32, F16, BF16 or another type of the format, got " + shown(dtype));
  COHORT_ASSIGN_OR_RETURN(const Shape shape, parse_shape(info["shape"], where));

  const json& offsets = info["data_offsets"];
  std::optional<int64_t> begin, end;
  if (offsets.is_array() && offsets.size() == 2) {
    begin = whole_number(offsets[0]);
    end = whole_number(offsets[1]);
  }
  if (!begin || !end || *begin > *end)
    return invalid_argument(where + ": data_offsets: expected [begin, end] with 0 <= begin <= end, got " +
                            shown(offsets));
  const int64_t expected_bytes = shape.num_elements() * (known->bits / 8);
  if (*end - *begin != expected_bytes)
    return data_loss(where + ": expected " + std::to_string(expected_bytes) + " bytes for " + std::string(known->name) +
                     " " + shape.to_string() + ", data_offsets give " + std::to_string(*end - *begin));
  return SafetensorsEntry{name, known->dtype, shape, *begin, *end, known->name};
}

std::string bytes_text(const SafetensorsEntry& entry) {
  std::string text(1, '[');
  text += std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ')';
  return text;
}

// The tensors, in order of their bytes, cover [0, data_bytes) without overlap or hole.
Status check_cover(std::span<const SafetensorsEntry> entries, int64_t data_bytes, const std::string& file) {
  int64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string where = file + ": tensor " + entry.name;
    const std::string range = bytes_text(entry);
    if (entry.end > data_bytes)
      return data_loss(where + ": bytes " + range +
                       " are out of range: the file is truncated or corrupt, its data has " +
                       std::to_string(data_bytes) + " bytes");
    if (entry.begin < covered)
      return data_loss(where + ": bytes " + range + " overlap the tensor before, which ends at " +
                       std::to_string(covered));
    if (entry.begin > covered)
      return data_loss(where + ": bytes " + range + " leave a hole, expected them to begin at " +
                       std::to_string(covered));
    covered = entry.end;
  }
  if (covered != data_bytes)
    return data_loss(file + ": " + std::to_string(data_bytes - covered) +
                     " trailing bytes after the last tensor, expected none");
  return ok_status();
}

}  // namespace

Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::span<const uint8_t> file_prefix, int64_t file_bytes,
                                                               std::string_view file) {
  const std::string where(file);
  COHORT_ASSIGN_OR_RETURN(const int64_t header_bytes, header_length(file_prefix, file_bytes, where));
  const std::string_view text(reinterpret_cast<const char*>(file_prefix.data()) + kLengthBytes,
                              static_cast<size_t>(header_bytes));
  if (!text.starts_with('{')) return invalid_argument(where + ": header: expected a JSON object that begins with {");
  COHORT_ASSIGN_OR_RETURN(const json header, parse_json(text, where + ": header", kMaxHeaderDepth));

  std::vector<SafetensorsEntry> entries;
  entries.reserve(header.size());
  for (const auto& [name, info] : header.items()) {
    if (name == "__metadata__") {
      if (!info.is_object()) return invalid_argument(where + ": __metadata__: expected an object, got " + shown(info));
      continue;
    }
    COHORT_ASSIGN_OR_RETURN(SafetensorsEntry entry, parse_entry(name, info, where));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  COHORT_RETURN_IF_ERROR(check_cover(entries, file_bytes - kLengthBytes - header_bytes, where));
  return entries;
}

}  // namespace cohort
