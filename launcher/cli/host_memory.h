// How much memory this host has to give.
#pragma once

#include <cstdint>

namespace cohort {

// Bytes that can be taken without swapping: the kernel's MemAvailable, bounded by the limit of the process's control
// group. 0 if neither can be read.
int64_t available_host_bytes();

}  // namespace cohort
