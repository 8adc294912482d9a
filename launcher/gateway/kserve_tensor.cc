#include "launcher/gateway/kserve_tensor.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "launcher/gateway/json_fields.h"
#include "launcher/gateway/openai_request.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "tensors lie in bodies with their lowest byte first");

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
constexpr size_t kLengthBytes = 4;  // before an element of BYTES

constexpr std::array<Datatype, 14> kDatatypes = {
    kBool,
    kUint32,
    kUint64,
    kInt32,
    kFp32,
    kBytes,
    Datatype{"UINT8", 1, "TYPE_UINT8"},
    Datatype{"UINT16", 2, "TYPE_UINT16"},
    Datatype{"INT8", 1, "TYPE_INT8"},
    Datatype{"INT16", 2, "TYPE_INT16"},
    Datatype{"INT64", 8, "TYPE_INT64"},
    Datatype{"FP16", 2, "TYPE_FP16"},
    Datatype{"BF16", 2, "TYPE_BF16"},
    Datatype{"FP64", 8, "TYPE_FP64"},
};

const Datatype* find_datatype(std::string_view name) {
  const auto* found =
      std::find_if(kDatatypes.begin(), kDatatypes.end(), [&](const Datatype& type) { return type.name == name; });
  return found == kDatatypes.end() ? nullptr : found;
}

Result<std::vector<int64_t>> parse_shape(const json& shape) {
  if (shape.size() > kMaxTensorRank) {
    return field_error("shape", "at most " + std::to_string(kMaxTensorRank) + " dimensions", shape);
  }
  std::vector<int64_t> dims;
  for (const json& dim : shape) {
    // A number with a fraction is none, whatever the fraction; one of the protocol is written as an integer.
    const bool is_dim = dim.is_number_unsigned() && dim.get<uint64_t>() <= static_cast<uint64_t>(kMaxInt64);
    if (!is_dim) return field_error("shape", "dimensions from 0 to " + std::to_string(kMaxInt64), dim);
    dims.push_back(dim.get<int64_t>());
  }
  return dims;
}

Result<int64_t> product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(count, dim, &count)) {
      return invalid_argument("shape: more elements than a 64-bit number counts");
    }
  }
  return count;
}

// Takes the tensor's bytes from the front of `binary`.
Status take_binary(InputTensor& tensor, const Datatype& datatype, int64_t num_bytes, std::string_view& binary) {
  if (static_cast<uint64_t>(num_bytes) > binary.size()) {
    return invalid_argument("binary_data_size: " + std::to_string(num_bytes) + " bytes, of which the body has " +
                            std::to_string(binary.size()));
  }
  int64_t num_expected = 0;
  const bool is_too_long = __builtin_mul_overflow(tensor.num_elements, datatype.element_bytes, &num_expected);
  if (datatype.element_bytes != 0 && (is_too_long || num_expected != num_bytes)) {
    return invalid_argument("binary_data_size: expected " +
                            (is_too_long ? "more than there can be" : std::to_string(num_expected)) + " bytes for " +
                            std::to_string(tensor.num_elements) + " elements of " + std::string(datatype.name) +
                            ", got " + std::to_string(num_bytes));
  }
  tensor.binary = binary.substr(0, static_cast<size_t>(num_bytes));
  binary.remove_prefix(static_cast<size_t>(num_bytes));
  return ok_status();
}

Result<InputTensor> parse_input(const json& object, std::string_view& binary) {
  if (!object.is_object()) return field_error("input", "an object", object);
  FieldReader reader(object);
  InputTensor tensor;
  tensor.name = reader.text("name", kMaxNameBytes).value_or("");
  const std::string datatype_name = reader.text("datatype", kMaxNameBytes).value_or("");
  const json* shape = reader.array("shape");
  tensor.data = reader.array("data");
  const json* parameters = reader.object("parameters");
  COHORT_RETURN_IF_ERROR(reader.status());
  if (tensor.name.empty()) return invalid_argument("name: expected the name of an input, got none");
  const Datatype* datatype = find_datatype(datatype_name);
  if (datatype == nullptr) return field_error("datatype", "one of KServe's, such as BYTES or INT32", datatype_name);
  tensor.datatype = datatype->name;
  if (shape == nullptr) return invalid_argument("shape: expected an array of dimensions, got none");
  COHORT_ASSIGN_OR_RETURN(tensor.shape, parse_shape(*shape));
  COHORT_ASSIGN_OR_RETURN(tensor.num_elements, product(tensor.shape));

  std::optional<int64_t> num_bytes;
  if (parameters != nullptr) {
    FieldReader inner(*parameters, "parameters.");
    num_bytes = inner.integer("binary_data_size", 0, kMaxInt64);
    COHORT_RETURN_IF_ERROR(inner.status());
    if (inner.find("shared_memory_region") != nullptr) {
      return unimplemented("parameters.shared_memory_region: shared memory is not supported");
    }
  }
  if (num_bytes.has_value() == (tensor.data != nullptr)) {
    return invalid_argument("data: expected either it or parameters.binary_data_size");
  }
  if (num_bytes) COHORT_RETURN_IF_ERROR(take_binary(tensor, *datatype, *num_bytes, binary));
  return tensor;
}

// The elements of `data`, which is nested as the dimensions from `dim` on say.
Status flatten(const json& data, const std::vector<int64_t>& shape, size_t dim, std::vector<const json*>& out) {
  if (!data.is_array() || data.size() != static_cast<uint64_t>(shape[dim])) {
    return field_error("data", "arrays as long as the shape says, or one of all elements", data);
  }
  for (const json& item : data) {
    if (dim + 1 < shape.size()) {
      COHORT_RETURN_IF_ERROR(flatten(item, shape, dim + 1, out));
    } else {
      out.push_back(&item);
    }
  }
  return ok_status();
}

Result<json> checked_value(const json& value, std::string_view datatype) {
  const auto is_integer_within = [&](int64_t min, uint64_t max) {
    if (value.is_number_unsigned()) return value.get<uint64_t>() <= max;
    return value.is_number_integer() && value.get<int64_t>() >= min && value.get<int64_t>() < 0;
  };
  bool is_right = false;
  if (datatype == kBool.name) is_right = value.is_boolean();
  if (datatype == kBytes.name) is_right = value.is_string();
  if (datatype == kFp32.name) is_right = value.is_number();
  if (datatype == kInt32.name) {
    is_right = is_integer_within(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max());
  }
  if (datatype == kUint64.name) is_right = is_integer_within(0, std::numeric_limits<uint64_t>::max());
  if (!is_right) return field_error("data", "values of " + std::string(datatype), value);
  return value;
}

Result<std::vector<json>> values_of_json(const InputTensor& tensor) {
  std::vector<const json*> items;
  const json& data = *tensor.data;
  const bool is_nested = !data.empty() && data.front().is_array();
  if (is_nested && !tensor.shape.empty()) {
    COHORT_RETURN_IF_ERROR(flatten(data, tensor.shape, 0, items));
  } else {
    for (const json& item : data) items.push_back(&item);
  }
  if (items.size() != static_cast<uint64_t>(tensor.num_elements)) {
    return field_error("data", std::to_string(tensor.num_elements) + " elements, as the shape says", data);
  }
  std::vector<json> values;
  for (const json* item : items) {
    COHORT_ASSIGN_OR_RETURN(json value, checked_value(*item, tensor.datatype));
    values.push_back(std::move(value));
  }
  return values;
}

template <typename T>
T load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

Result<std::vector<json>> strings_of_binary(const InputTensor& tensor) {
  std::vector<json> values;
  std::string_view rest = tensor.binary;
  for (int64_t i = 0; i < tensor.num_elements; ++i) {
    if (rest.size() < kLengthBytes) {
      return invalid_argument("data: expected " + std::to_string(tensor.num_elements) + " elements, which end after " +
                              std::to_string(i));
    }
    const auto num_bytes = load<uint32_t>(rest.data());
    rest.remove_prefix(kLengthBytes);
    if (num_bytes > rest.size()) {
      return invalid_argument("data: an element of " + std::to_string(num_bytes) + " bytes, of which there are " +
                              std::to_string(rest.size()));
    }
    const std::string_view text = rest.substr(0, num_bytes);
    if (!is_valid_utf8(text)) return invalid_argument("data: expected text in UTF-8");
    values.emplace_back(std::string(text));
    rest.remove_prefix(num_bytes);
  }
  if (!rest.empty()) return invalid_argument("data: " + std::to_string(rest.size()) + " bytes after the last element");
  return values;
}

Result<std::vector<json>> values_of_binary(const InputTensor& tensor) {
  if (tensor.datatype == kBytes.name) return strings_of_binary(tensor);
  std::vector<json> values;
  for (int64_t i = 0; i < tensor.num_elements; ++i) {
    if (tensor.datatype == kBool.name) {
      const auto byte = static_cast<unsigned char>(tensor.binary[static_cast<size_t>(i)]);
      if (byte > 1) return invalid_argument("data: expected 0 or 1 of BOOL, got " + std::to_string(byte));
      values.emplace_back(byte == 1);
    } else if (tensor.datatype == kInt32.name) {
      values.emplace_back(load<int32_t>(tensor.binary.data() + 4 * i));
    } else if (tensor.datatype == kUint64.name) {
      values.emplace_back(load<uint64_t>(tensor.binary.data() + 8 * i));
    } else {
      values.emplace_back(load<float>(tensor.binary.data() + 4 * i));
    }
  }
  return values;
}

template <typename T>
void append_bytes(std::string& out, T value) {
  std::array<char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof(T));
  out.append(bytes.data(), bytes.size());
}

void append_value(std::string& out, const json& value, const Datatype& datatype) {
  if (datatype.name == kBytes.name) {
    const auto& text = value.get_ref<const std::string&>();
    append_bytes(out, static_cast<uint32_t>(text.size()));
    out += text;
  } else if (datatype.name == kUint32.name) {
    append_bytes(out, value.get<uint32_t>());
  } else {
    append_bytes(out, value.get<float>());
  }
}

}  // namespace

Result<SplitBody> split_body(std::string_view body, std::string_view header_length) {
  if (header_length.empty()) return SplitBody{.json = body, .binary = {}};
  uint32_t num_bytes = 0;
  const char* end = header_length.data() + header_length.size();
  const auto [parsed, error] = std::from_chars(header_length.data(), end, num_bytes);
  if (error != std::errc() || parsed != end || num_bytes > body.size()) {
    return invalid_argument("Inference-Header-Content-Length: expected a number from 0 to the body's " +
                            std::to_string(body.size()) + " bytes, got " + std::string(header_length.substr(0, 64)));
  }
  return SplitBody{.json = body.substr(0, num_bytes), .binary = body.substr(num_bytes)};
}

Result<std::vector<InputTensor>> parse_inputs(const json& inputs, std::string_view binary) {
  if (!inputs.is_array() || inputs.empty() || inputs.size() > kMaxTensors) {
    return field_error("inputs", "an array of 1 to " + std::to_string(kMaxTensors), inputs);
  }
  std::vector<InputTensor> tensors;
  std::unordered_set<std::string_view> names;
  tensors.reserve(inputs.size());  // names point into it
  for (const json& input : inputs) {
    auto tensor = parse_input(input, binary);
    if (!tensor.ok()) {
      Status status = tensor.status();
      return std::move(status).annotate("inputs[" + std::to_string(tensors.size()) + "]");
    }
    tensors.push_back(*std::move(tensor));
    if (!names.insert(tensors.back().name).second) {
      return field_error("inputs", "each input once", tensors.back().name);
    }
  }
  if (!binary.empty()) {
    return invalid_argument("body: " + std::to_string(binary.size()) + " bytes behind the data of the last input");
  }
  return tensors;
}

Result<std::vector<json>> tensor_values(const InputTensor& tensor) {
  return tensor.data != nullptr ? values_of_json(tensor) : values_of_binary(tensor);
}

std::pair<nlohmann::ordered_json, std::string> write_outputs(const std::vector<OutputTensor>& outputs) {
  std::pair<nlohmann::ordered_json, std::string> written(nlohmann::ordered_json::array(), "");
  for (const OutputTensor& output : outputs) {
    nlohmann::ordered_json object = {
        {"name", output.name}, {"datatype", output.datatype.name}, {"shape", output.shape}};
    if (output.is_binary) {
      const size_t before = written.second.size();
      for (const json& value : output.values) append_value(written.second, value, output.datatype);
      object["parameters"] = {{"binary_data_size", written.second.size() - before}};
    } else {
      object["data"] = output.values;
    }
    written.first.push_back(std::move(object));
  }
  return written;
}

}  // namespace cohort
