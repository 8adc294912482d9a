#include "kernels/core/device_facts.h"

#include <fstream>

#include "kernels/core/cuda_runtime.h"
#include "kernels/core/stream.h"

namespace cohort {
namespace {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

std::string version_text(int version) {  // 13000
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

DeviceFacts device_facts(Device device) {
  if (device.kind == DeviceKind::kCpu) return {cpu_name(), Stream(device).num_threads(), "", ""};
  return {cuda::device_name(device.index), cuda::num_multiprocessors(device.index),
          version_text(cuda::runtime_version()), version_text(cuda::driver_version())};
}

std::vector<std::string> cuda_device_ids() {
  std::vector<std::string> ids;
  for (int i = 0; i < num_cuda_devices(); ++i) ids.push_back(cuda::device_uuid(i));
  return ids;
}

}  // namespace cohort
