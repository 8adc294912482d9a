// The checkpoints of tests/data/golden and what Hugging Face transformers computes with them (make_golden.py).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/weights/safetensors.h"
#include "tests/files.h"

namespace cohort::test {

inline constexpr int kNumPrompts = 6;
inline constexpr int64_t kNumGreedy = 32;
inline constexpr double kTolerance = 1e-4;  // of ||actual - expected|| / ||expected||, in float32

inline std::filesystem::path golden_dir() { return data_dir() / "golden"; }
inline std::filesystem::path encoder_decoder_dir() { return data_dir() / "golden_encoder_decoders"; }

// Of the checkpoints in `dir`.
inline std::vector<std::string> names_in(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::string> golden_names() { return names_in(golden_dir()); }

// What golden.safetensors says, or another file of the folder, by name.
class Expected {
 public:
  explicit Expected(const std::filesystem::path& dir, const std::string& name = "golden.safetensors") {
    auto file = SafetensorsFile::open(dir / name);
    EXPECT_TRUE(file.ok()) << file.status().message();
    file_ = std::make_unique<SafetensorsFile>(*std::move(file));
    for (const SafetensorsEntry& entry : file_->entries()) entries_[entry.name] = &entry;
  }

  bool has(const std::string& name) const { return entries_.count(name) > 0; }
  ConstTensorView tensor(const std::string& name) const { return file_->tensor(*entries_.at(name)); }
  std::vector<int32_t> ids(const std::string& name) const {
    const ConstTensorView t = tensor(name);
    std::vector<int32_t> ids(static_cast<size_t>(t.num_elements()));
    std::memcpy(ids.data(), t.data(), static_cast<size_t>(t.num_bytes()));
    return ids;
  }
  std::vector<float> floats(const std::string& name) const {
    const ConstTensorView t = tensor(name);
    std::vector<float> values(static_cast<size_t>(t.num_elements()));
    std::memcpy(values.data(), t.data(), static_cast<size_t>(t.num_bytes()));
    return values;
  }
  std::vector<std::string> probe_names() const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) {
      if (name.starts_with("probe.")) names.push_back(name.substr(6));
    }
    return names;
  }

 private:
  std::unique_ptr<SafetensorsFile> file_;
  std::map<std::string, const SafetensorsEntry*> entries_;
};

inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (actual.size() != expected.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(double{actual[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

}  // namespace cohort::test
