// What a device is, for the head of a table of measurements.
#pragma once

#include <string>

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

}  // namespace cohort
