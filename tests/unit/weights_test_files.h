// Safetensors files, good and bad, for the tests of the weights.
#pragma once

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/files.h"

namespace cohort::test {

// The length of the header (or another one), the header, the data.
inline std::string file_of(std::string_view header, std::string_view data, uint64_t length) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  bytes.append(header);
  bytes.append(data);
  return bytes;
}
inline std::string file_of(std::string_view header, std::string_view data) {
  return file_of(header, data, header.size());
}

// Lays out tensors one after the other, as writers do.
class SafetensorsWriter {
 public:
  template <typename T>
  SafetensorsWriter& add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
                         const std::vector<T>& values) {
    const size_t begin = data_.size();
    data_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
    return *this;
  }
  // As Hugging Face writes it, with the data part at a multiple of 8 bytes; `extra` more spaces
  // after the header.
  std::string bytes(size_t extra = 0) const {
    const std::string header = header_.dump();
    return file_of(header + std::string((8 - header.size() % 8) % 8 + extra, ' '), data_);
  }

 private:
  nlohmann::json header_ = {{"__metadata__", {{"format", "pt"}}}};
  std::string data_;
};

// 0, 1, 2, ... as float32.
inline std::vector<float> counted(int64_t count, float first = 0) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = first + static_cast<float>(i);
  return values;
}

}  // namespace cohort::test
