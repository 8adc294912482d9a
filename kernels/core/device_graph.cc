#include "kernels/core/device_graph.h"

#include "kernels/core/check.h"
#include "kernels/core/cuda_runtime.h"

namespace cohort {

DeviceGraph DeviceGraph::capture(Stream& stream, const std::function<void()>& body) {
  COHORT_CHECK(stream.device().kind == DeviceKind::kCuda, to_string(stream.device()));
  cuda::begin_capture(stream.handle());
  try {
    body();
  } catch (...) {
    cuda::cancel_capture(stream.handle());
    throw;
  }
  DeviceGraph graph;
  graph.handle_ = cuda::end_capture(stream.handle());
  return graph;
}

DeviceGraph::~DeviceGraph() {
  if (handle_ != nullptr) cuda::destroy_graph(handle_);
}

void DeviceGraph::launch(Stream& stream) const {
  COHORT_CHECK(!empty(), "an empty graph");
  cuda::launch_graph(handle_, stream.handle());
}

}  // namespace cohort
