// What a device is, for the head of a table of measurements, and which one it is.
#pragma once

#include <string>
#include <vector>

#include "kernels/core/device.h"

namespace cohort {

struct DeviceFacts {
  std::string name;             // as the driver or the kernel calls it
  int num_multiprocessors = 0;  // or CPU threads that the process may run on
  // "13.0"; of CUDA devices: which the program was built with, and the latest that the driver can run.
  std::string cuda_version;
  std::string driver_version;
};

DeviceFacts device_facts(Device device);

// By CUDA ordinal, what tells each device that this process can use from every other device of the world.
std::vector<std::string> cuda_device_ids();

}  // namespace cohort
