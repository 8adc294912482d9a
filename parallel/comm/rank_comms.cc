#include "parallel/comm/rank_comms.h"

#include "parallel/comm/nccl_comm.h"

namespace cohort {
namespace {

// For plans and results: longer than a step, and short beside the time between two requests of a server at rest.
constexpr std::chrono::milliseconds kDevicePatience{500};

std::unique_ptr<DeviceComm> make_comm(HostComm& group, const char* name, bool is_tensor_group, Device device,
                                      const RankCommsOptions& options) {
  if (device.kind == DeviceKind::kCpu) return group.make_cpu_comm(name);
  return make_nccl_comm(group, device,
                        {.name = name,
                         .deterministic = options.deterministic,
                         .has_mailbox = is_tensor_group && !options.deterministic,
                         .on_failure = options.on_failure});
}

}  // namespace

RankComms RankComms::solo() {
  RankComms comms;
  comms.recorder = std::make_shared<FlightRecorder>();
  return comms;
}

RankComms RankComms::create(HostComm& world, const ParallelSizes& sizes, Device device,
                            const RankCommsOptions& options) {
  RankComms comms = solo();
  if (options.recorder != nullptr) comms.recorder = options.recorder;
  comms.layout = ParallelLayout(sizes, world.rank());
  const ParallelLayout& layout = comms.layout;
  if (world.size() == 1) return comms;

  comms.control = world.split(layout.replica());
  if (device != kCpuDevice) comms.control->set_patience(kDevicePatience);
  const int stage_color = layout.rank() / sizes.tensor;
  if (sizes.tensor > 1) {
    comms.tensor = make_comm(*world.split(stage_color), "tensor", true, device, options);
    comms.tensor->set_recorder(comms.recorder.get());
  }
  // Edges in two rounds, first those that begin at even stages: in a round a rank is on one edge at most.
  for (int parity = 0; parity < 2 && sizes.pipeline > 1; ++parity) {
    const bool is_begin = layout.stage() % 2 == parity;
    const int begin_stage = is_begin ? layout.stage() : layout.stage() - 1;
    const bool is_on_edge = begin_stage >= 0 && begin_stage + 1 < sizes.pipeline;
    const int color = (layout.replica() * sizes.pipeline + begin_stage + 1) * sizes.tensor + layout.shard();
    const std::unique_ptr<HostComm> pair = world.split(color);
    if (!is_on_edge) continue;
    std::unique_ptr<DeviceComm>& edge = is_begin ? comms.next : comms.previous;
    edge = make_comm(*pair, is_begin ? "next" : "previous", false, device, options);
    edge->set_recorder(comms.recorder.get());
  }
  return comms;
}

}  // namespace cohort
