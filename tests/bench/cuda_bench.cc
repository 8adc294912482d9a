#include "tests/bench/cuda_bench.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "kernels/core/device_graph.h"

namespace cohort {

Tensor random_tensor(const Shape& shape, uint32_t seed) {
  constexpr int64_t kMaxDrawn = 1 << 24;  // of which a larger tensor has copies
  Tensor out(DType::kBF16, shape, kCuda);
  const int64_t n = out->num_elements();
  std::vector<uint16_t> bits(static_cast<size_t>(std::min(n, kMaxDrawn)));
  for (uint16_t& b : bits) {
    seed = seed * 1664525u + 1013904223u;
    b = static_cast<uint16_t>(((seed >> 16) & 0x807fu) | 0x3f80u);
  }
  const auto num_drawn = static_cast<int64_t>(bits.size());
  copy_bytes(out->data(), kCuda, bits.data(), kCpuDevice, num_drawn * 2);
  for (int64_t i = num_drawn; i < n; i += num_drawn) {
    copy_bytes(static_cast<char*>(out->data()) + i * 2, kCuda, out->data(), kCuda, std::min(num_drawn, n - i) * 2);
  }
  return out;
}

Tensor int32s(const std::vector<int32_t>& values, const Shape& shape) {
  Tensor out(DType::kI32, shape, kCuda);
  copy_bytes(out->data(), kCuda, values.data(), kCpuDevice, out->num_bytes());
  return out;
}

double time_us(Stream& stream, int num_calls, const std::function<void(int)>& submit) {
  constexpr int kNumReplays = 9;
  submit(0);  // the first use chooses algorithms and loads kernels
  stream.synchronize();
  const DeviceGraph graph = DeviceGraph::capture(stream, [&] {
    for (int i = 0; i < num_calls; ++i) submit(i);
  });
  graph.launch(stream);
  Event start(kCuda);
  Event stop(kCuda);
  std::vector<double> times;
  for (int i = 0; i < kNumReplays; ++i) {
    start.record(stream);
    graph.launch(stream);
    stop.record(stream);
    stop.synchronize();
    times.push_back(stop.milliseconds_since(start) * 1000 / num_calls);
  }
  std::nth_element(times.begin(), times.begin() + kNumReplays / 2, times.end());
  return times[kNumReplays / 2];
}

int write_results(const std::string& path, const std::string& json) {
  if (path.empty()) return 0;
  std::ofstream file(path);
  file << json << "\n";
  file.close();
  if (!file) std::fprintf(stderr, "%s: cannot be written\n", path.c_str());
  return file ? 0 : 1;
}

}  // namespace cohort
