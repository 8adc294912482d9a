// Encoding speed of tokenizers on one thread: the best of several passes over a text, in MB (10^6
// bytes) a second. tokenizer_bench.py runs it next to Hugging Face `tokenizers`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr size_t kPartBytes = 2000;

// Cuts behind the first line that fills a part.
std::vector<std::string> split_parts(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin + kPartBytes - 1);
    const size_t end = newline == text.npos ? text.size() : newline + 1;
    parts.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return parts;
}

bool bench(const std::string& dir, const std::string& text, int num_passes) {
  const auto tokenizer = cohort::Tokenizer::load(dir);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().message().c_str());
    return false;
  }
  const std::vector<std::string> parts = split_parts(text);
  std::vector<std::vector<int32_t>> ids(parts.size());
  double encode_s = 1e9;
  double decode_s = 1e9;
  for (int pass = 0; pass < num_passes; ++pass) {
    auto start = Clock::now();
    for (size_t i = 0; i < parts.size(); ++i) ids[i] = (*tokenizer)->encode(parts[i]);
    encode_s = std::min(encode_s, seconds_since(start));
    start = Clock::now();
    for (const std::vector<int32_t>& part : ids) (void)(*tokenizer)->decode(part, false);
    decode_s = std::min(decode_s, seconds_since(start));
  }
  size_t num_ids = 0;
  for (const std::vector<int32_t>& part : ids) num_ids += part.size();
  const double mb = static_cast<double>(text.size()) / 1e6;
  std::printf("%s\t%zu ids\tencode %.2f MB/s\tdecode %.2f MB/s\n", dir.c_str(), num_ids, mb / encode_s, mb / decode_s);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: tokenizer_bench TEXT_FILE PASSES MODEL_DIR...\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", argv[1]);
    return 1;
  }
  bool ok = true;
  for (int i = 3; i < argc; ++i) ok &= bench(argv[i], text.str(), std::max(1, std::atoi(argv[2])));
  return ok ? 0 : 1;
}
