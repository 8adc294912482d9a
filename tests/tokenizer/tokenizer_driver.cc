// Encodes what compare_hf.py sends: loads the tokenizer of a directory, then answers request lines on stdin.
//   encode <add_special_tokens 0|1> <parse_special 0|1> <hex of the text>  ->  ids, separated by spaces
//   pair <hex of the first text or -> <hex of the second or ->             ->  ids, then as many type ids
//   decode <skip_special_tokens 0|1> <ids...>                              ->  hex of the text
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace {

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

void print_hex(const std::string& bytes) {
  for (const char byte : bytes) std::printf("%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
  std::printf("\n");
}

void answer(const cohort::Tokenizer& tokenizer, const std::string& line) {
  std::istringstream request(line);
  std::string command;
  request >> command;
  if (command == "encode") {
    cohort::Tokenizer::EncodeOptions options;
    std::string hex;
    request >> options.add_special_tokens >> options.parse_special >> hex;
    for (const int32_t id : tokenizer.encode(from_hex(hex), options)) std::printf("%d ", id);
    std::printf("\n");
  } else if (command == "pair") {
    std::string first;
    std::string second;
    request >> first >> second;
    const auto [ids, type_ids] = tokenizer.encode_pair(from_hex(first), from_hex(second));
    for (const int32_t id : ids) std::printf("%d ", id);
    for (const int32_t id : type_ids) std::printf("%d ", id);
    std::printf("\n");
  } else {
    bool skip_special_tokens = false;
    request >> skip_special_tokens;
    std::vector<int32_t> ids;
    for (int32_t id; request >> id;) ids.push_back(id);
    print_hex(tokenizer.decode(ids, skip_special_tokens));
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: tokenizer_driver MODEL_DIR\n");
    return 2;
  }
  const auto tokenizer = cohort::Tokenizer::load(argv[1]);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().message().c_str());
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) answer(**tokenizer, line);
  return 0;
}
