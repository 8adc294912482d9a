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

// The number behind `key` in a file of lines "key number"; 0 if there is none.
int64_t number_of(const std::filesystem::path& path, std::string_view wanted) {
  std::ifstream file(path);
  std::string key;
  int64_t number = 0;
  while (file >> key >> number) {
    if (key == wanted) return number;
  }
  return 0;
}

// What the limit of one group leaves; no limit reads as "max".
int64_t group_available_bytes(const std::filesystem::path& group) {
  int64_t limit = 0;
  int64_t used = 0;
  if (!(std::ifstream(group / "memory.max") >> limit) || !(std::ifstream(group / "memory.current") >> used)) {
    return std::numeric_limits<int64_t>::max();
  }
  return std::clamp<int64_t>(limit - used + number_of(group / "memory.stat", "inactive_file"), 0, limit);
}

// The group of this process, "/" where it cannot be told.
std::string own_group() {
  std::ifstream file("/proc/self/cgroup");
  constexpr std::string_view kVersion2 = "0::";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kVersion2)) return line.substr(kVersion2.size());
  }
  return "/";
}

}  // namespace

int64_t cgroup_available_bytes(const std::filesystem::path& mount, std::string_view membership) {
  int64_t available = group_available_bytes(mount);
  std::filesystem::path group = mount;
  for (const std::filesystem::path& name : std::filesystem::path(membership).relative_path()) {
    available = std::min(available, group_available_bytes(group /= name));
  }
  return available;
}

int64_t available_host_bytes() {
  return std::min(meminfo_available(), cgroup_available_bytes("/sys/fs/cgroup", own_group()));
}

}  // namespace cohort
