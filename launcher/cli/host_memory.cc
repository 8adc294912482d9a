#include "launcher/cli/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace cohort {
namespace {

int64_t meminfo_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (file >> key >> kib && std::getline(file, unit)) {
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

// What version 2 of control groups leaves; no limit reads as "max".
int64_t cgroup_available() {
  int64_t limit = 0;
  int64_t used = 0;
  if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit) ||
      !(std::ifstream("/sys/fs/cgroup/memory.current") >> used)) {
    return std::numeric_limits<int64_t>::max();
  }
  return std::max<int64_t>(0, limit - used);
}

}  // namespace

int64_t available_host_bytes() { return std::min(meminfo_available(), cgroup_available()); }

}  // namespace cohort
