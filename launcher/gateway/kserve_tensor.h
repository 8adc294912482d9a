// Tensors of KServe's inference protocol, version 2, as a body carries them: in JSON, or behind it, by the binary
// tensor data extension. Everything is checked before anything is made of it.
//
// Free functions and values; thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

inline constexpr size_t kMaxTensors = 64;    // inputs, outputs
inline constexpr size_t kMaxTensorRank = 8;  // dimensions of one

// A datatype of the protocol. Values of those that no model here takes are not read.
struct Datatype {
  std::string_view name;         // "FP32"
  int64_t element_bytes = 0;     // 0: BYTES, each of whose elements follows its length, four bytes, the lowest first
  std::string_view config_name;  // of the model configuration, "TYPE_FP32"
};

inline constexpr Datatype kBool{"BOOL", 1, "TYPE_BOOL"};
inline constexpr Datatype kUint32{"UINT32", 4, "TYPE_UINT32"};
inline constexpr Datatype kUint64{"UINT64", 8, "TYPE_UINT64"};
inline constexpr Datatype kInt32{"INT32", 4, "TYPE_INT32"};
inline constexpr Datatype kFp32{"FP32", 4, "TYPE_FP32"};
inline constexpr Datatype kBytes{"BYTES", 0, "TYPE_STRING"};

// Where the JSON of a body ends and what follows it begins, by the value of the header Inference-Header-Content-Length
// or "", which is all JSON. kInvalidArgument for what is no length within the body.
struct SplitBody {
  std::string_view json;
  std::string_view binary;
};
Result<SplitBody> split_body(std::string_view body, std::string_view header_length);

// An input whose values have not been looked at. Borrows the body.
struct InputTensor {
  std::string name;
  std::string_view datatype;             // a name of the protocol's
  std::vector<int64_t> shape;            // none negative
  int64_t num_elements = 0;              // their product
  const nlohmann::json* data = nullptr;  // null: `binary` has it
  std::string_view binary;               // as long as it must be, but for BYTES
};

// `inputs` is the array of a request. kInvalidArgument for two of one name, shapes that are none or whose product is no
// 64-bit number, datatypes that the protocol does not have, data that is missing, or not of the size that was said, or
// left over behind the JSON; kUnimplemented for data in shared memory.
Result<std::vector<InputTensor>> parse_inputs(const nlohmann::json& inputs, std::string_view binary);

// The values of a tensor of kBool, kInt32, kUint64, kFp32 or kBytes, in the order of rows: booleans, numbers and
// strings in UTF-8. kInvalidArgument for values of other types or counts.
Result<std::vector<nlohmann::json>> tensor_values(const InputTensor& tensor);

// What an answer shows of a tensor; the values are of the datatype.
struct OutputTensor {
  std::string_view name;
  Datatype datatype;
  std::vector<int64_t> shape;
  std::vector<nlohmann::json> values;
  bool is_binary = false;
};

// The "outputs" of an answer, and what follows the JSON.
std::pair<nlohmann::ordered_json, std::string> write_outputs(const std::vector<OutputTensor>& outputs);

}  // namespace cohort
