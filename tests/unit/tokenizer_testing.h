// Files of the tests of tokenizers.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace cohort::test {

inline const std::filesystem::path kDataDir = std::filesystem::path(COHORT_SOURCE_DIR) / "tests" / "data";

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

}  // namespace cohort::test
