#include "kernels/core/dtype.h"

#include <array>
#include <string>
#include <utility>

namespace cohort {
namespace {

struct DTypeInfo {
  DType dtype;
  int bits;
  std::string_view name;
};

constexpr std::array kInfos = {
    DTypeInfo{DType::kF32, 32, "float32"},
    DTypeInfo{DType::kF16, 16, "float16"},
    DTypeInfo{DType::kBF16, 16, "bfloat16"},
    DTypeInfo{DType::kF8E4M3, 8, "float8_e4m3"},
    DTypeInfo{DType::kF8E5M2, 8, "float8_e5m2"},
    DTypeInfo{DType::kI8, 8, "int8"},
    DTypeInfo{DType::kI4, 4, "int4"},
    DTypeInfo{DType::kI32, 32, "int32"},
    DTypeInfo{DType::kI64, 64, "int64"},
    DTypeInfo{DType::kU8, 8, "uint8"},
};

const DTypeInfo& info(DType dtype) {
  for (const DTypeInfo& i : kInfos) {
    if (i.dtype == dtype) return i;
  }
  check_failed(__FILE__, __LINE__, "dtype is known", std::to_string(static_cast<int>(dtype)));
}

}  // namespace

int dtype_bits(DType dtype) { return info(dtype).bits; }

std::string_view dtype_name(DType dtype) { return info(dtype).name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeInfo& i : kInfos) {
    if (i.name == name) return i.dtype;
  }
  return std::nullopt;
}

}  // namespace cohort
