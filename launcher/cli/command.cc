#include "launcher/cli/command.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>

namespace cohort {

Result<std::string> read_input(const std::string& path) {
  if (path == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return not_found(path + ": " + std::strerror(errno));
  file.peek();  // fails with a directory, of which the iterators would throw
  if (file.bad()) return data_loss(path + ": cannot be read");
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Result<std::vector<int32_t>> parse_token_ids(std::string_view text) {
  constexpr std::string_view kSeparators = ", \t\r\n[]";
  std::vector<int32_t> ids;
  for (size_t begin = text.find_first_not_of(kSeparators); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    int32_t id = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || rest != word.data() + word.size() || id < 0) {
      return invalid_argument("expected token ids like 1,2,3, got \"" + std::string(word) + "\"");
    }
    ids.push_back(id);
    begin = text.find_first_not_of(kSeparators, end);
  }
  return ids;
}

Status write_output(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (file << text && file.flush()) return ok_status();
  return data_loss(path + ": " + std::strerror(errno));
}

Status can_write(const std::string& path) {
  const std::ofstream file(path, std::ios::binary | std::ios::app);
  return file ? ok_status() : data_loss(path + ": " + std::strerror(errno));
}

Status flush_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return ok_status();
  return data_loss(std::string("standard output: ") + std::strerror(errno));
}

}  // namespace cohort
