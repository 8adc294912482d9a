// How much memory this host has to give.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace cohort {

// Bytes that can be taken without swapping: the kernel's MemAvailable, bounded by the limits of the control groups (of
// version 2) that the process is in, as batch systems and containers set them. 0 if nothing can be read.
int64_t available_host_bytes();

// What the limits of control groups leave: of the one that `membership` names ("/a/b", as in "0::/a/b" of
// /proc/self/cgroup) and of those around it, under where they are mounted. Pages of files that can be dropped count as
// free. The largest number where there is no limit.
int64_t cgroup_available_bytes(const std::filesystem::path& mount, std::string_view membership);

}  // namespace cohort
