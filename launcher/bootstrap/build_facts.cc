#include "launcher/bootstrap/build_facts.h"

#include <build_commit.h>  // made by every build: COHORT_COMMIT
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

#include "kernels/gemm/gemm.h"

namespace cohort {
namespace {

// FNV-1a (Fowler, Noll, Vo) by words of 8 bytes: tells programs apart in some milliseconds, and keeps no secrets.
uint64_t hash_of_executable() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  std::vector<char> block(1 << 20);
  uint64_t hash = 0xcbf29ce484222325u;
  while (file) {
    std::fill(block.begin(), block.end(), '\0');
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    for (size_t i = 0; i < static_cast<size_t>(file.gcount()); i += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, block.data() + i, sizeof(word));
      hash = (hash ^ word) * 0x100000001b3u;
    }
  }
  return hash;
}

}  // namespace

std::string build_version() { return COHORT_VERSION " (" COHORT_COMMIT ")"; }

std::string build_facts() {
  return fmt::format("version={}\nbuild={:016x}\nbfloat16 summation order={}\n", COHORT_VERSION, hash_of_executable(),
                     sum_order_name(DType::kBF16));
}

}  // namespace cohort
