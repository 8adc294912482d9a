#include "launcher/cli/step_comms.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "kernels/core/check.h"
#include "kernels/core/device_graph.h"
#include "launcher/cli/quantile.h"
#include "parallel/tensor/all_reduce_norm.h"
#include "parallel/tensor/vocab_parallel.h"

namespace cohort {
namespace {

using Call = FlightRecorder::Call;

bool is_step(const Call& call) { return std::string_view(call.where) == "engine"; }
bool is_tensor(const Call& call) { return std::string_view(call.where) == "tensor"; }
bool is_pipeline(const Call& call) {
  const std::string_view where = call.where;
  return where == "next" || where == "previous";
}

double milliseconds(int64_t begin_ns, int64_t end_ns) { return static_cast<double>(end_ns - begin_ns) / 1e6; }

// Operands for calls like those of a step; zeros, which stay what they are.
class Operands {
 public:
  Operands(const std::vector<Call>& calls, const Decoder& decoder, Device device)
      : spec_(decoder.spec()), dtype_(decoder.dtype()) {
    int64_t num_bytes = dtype_bytes(DType::kF32, spec_.hidden);
    for (const Call& call : calls) num_bytes = std::max(num_bytes, call.num_bytes);
    for (Tensor* tensor : {&x_, &y_, &z_}) *tensor = make_zeros(num_bytes, device);
    for (const Call& call : calls) {
      if (std::string_view(call.kind) != "gather_logits") continue;
      logits_ = make_zeros(dtype_bytes(DType::kF32, rows_of_logits(call, decoder.shard()) * spec_.vocab), device);
    }
    norm_weight_ = make_zeros(dtype_bytes(DType::kF32, spec_.hidden), device);
  }

  void run(const Call& call, DeviceComm& comm, const ModelShard& shard, Stream& stream) const {
    const std::string_view kind = call.kind;
    if (kind == "all_reduce_norm") return add_norm(call, &comm, stream);
    if (kind == "gather_logits") {
      const int64_t num_rows = rows_of_logits(call, shard);
      const TensorView logits = as(logits_, DType::kF32, {num_rows, spec_.vocab});
      const TensorView local = as(x_, DType::kF32, {num_rows, shard.vocab.size()});
      return gather_logits(comm.rank() == 0 ? logits : TensorView(), local, spec_.vocab, comm, {}, stream);
    }
    if (kind == "all_reduce") {
      const DType dtype = comm.is_layout_invariant() ? DType::kF32 : dtype_;
      const Shape shape{call.num_bytes / dtype_bytes(dtype, 1)};
      return comm.all_reduce(as(x_, dtype, shape), as(y_, dtype, shape), stream);
    }
    const TensorView bytes = as(x_, DType::kU8, {call.num_bytes});
    if (kind == "send") return comm.send(bytes, call.peer, stream);
    if (kind == "receive") return comm.receive(bytes, call.peer, stream);
    COHORT_CHECK(kind == "broadcast", std::string(kind));
    comm.broadcast(bytes, call.peer, stream);
  }

  // What run() does of it with `comm` null: residual and norm of the sum.
  void add_norm(const Call& call, DeviceComm* comm, Stream& stream) const {
    const Shape shape{call.num_bytes / dtype_bytes(dtype_, spec_.hidden), spec_.hidden};
    const bool is_layer_norm = spec_.norm == NormKind::kLayerNorm;
    const TensorView weight = as(norm_weight_, DType::kF32, {spec_.hidden});
    all_reduce_add_norm(as(y_, dtype_, shape), as(z_, dtype_, shape), {as(x_, dtype_, shape), comm},
                        {.is_layer_norm = is_layer_norm, .weight = weight, .eps = spec_.norm_eps}, stream);
  }

 private:
  static Tensor make_zeros(int64_t num_bytes, Device device) {
    Tensor tensor(DType::kU8, Shape{num_bytes}, device);
    const std::vector<char> zeros(static_cast<size_t>(num_bytes));
    copy_bytes(tensor->data(), device, zeros.data(), kCpuDevice, num_bytes);
    return tensor;
  }
  static TensorView as(const Tensor& tensor, DType dtype, const Shape& shape) {
    return {tensor->data(), dtype, shape, tensor->device()};
  }
  static int64_t rows_of_logits(const Call& call, const ModelShard& shard) {
    return call.num_bytes / dtype_bytes(DType::kF32, std::max<int64_t>(shard.vocab.size(), 1));
  }

  const ModelSpec& spec_;
  const DType dtype_;
  Tensor x_;  // [num_bytes] uint8, of the largest call, like the next two
  Tensor y_;
  Tensor z_;
  Tensor logits_;       // of the largest call of gather_logits; empty without
  Tensor norm_weight_;  // [hidden] float32
};

// Milliseconds a run of `body` as a graph of `num_copies` of it. Empty where the rank only waits for the others.
double time_replays(const std::function<void()>& body, int num_copies, HostComm& world, Stream& stream) {
  constexpr int kSamples = 5;
  constexpr int kReplays = 4;
  DeviceGraph graph;
  if (body) {
    body();  // connects the ranks where they are not, which a graph could not
    stream.synchronize();
    graph = DeviceGraph::capture(stream, [&] {
      for (int i = 0; i < num_copies; ++i) body();
    });
  }
  barrier(world);
  if (!body) return 0;
  Event start(stream.device());
  Event stop(stream.device());
  std::vector<double> times_ms;
  for (int sample = -1; sample < kSamples; ++sample) {  // the first warms up
    start.record(stream);
    for (int i = 0; i < kReplays; ++i) graph.launch(stream);
    stop.record(stream);
    stop.synchronize();
    if (sample >= 0) times_ms.push_back(stop.milliseconds_since(start) / (kReplays * num_copies));
  }
  return quantile(times_ms, 0.5);
}

}  // namespace

StepComms logged_step_comms(const std::vector<Call>& log, int64_t begin, int64_t end) {
  StepComms comms;
  for (const Call& call : log) {
    if (call.step < begin || call.step >= end) continue;
    if (is_tensor(call)) comms.tensor_ms += milliseconds(call.begin_ns, call.end_ns);
    if (is_pipeline(call)) comms.pipeline_ms += milliseconds(call.begin_ns, call.end_ns);
  }
  const auto num_steps = static_cast<double>(end - begin);
  return {comms.tensor_ms / num_steps, comms.pipeline_ms / num_steps};
}

double logged_ms(const std::vector<Call>& log, int64_t begin, int64_t end) {
  const auto begin_of = [&](int64_t step) {
    const auto place =
        std::find_if(log.begin(), log.end(), [&](const Call& c) { return is_step(c) && c.step == step; });
    COHORT_CHECK(place != log.end(), "step " + std::to_string(step));
    return place->begin_ns;
  };
  return milliseconds(begin_of(begin), begin_of(end));
}

StepComms replayed_step_comms(Job& job, RankEngine& rank, int64_t num_seqs, const std::vector<Call>& log,
                              int64_t step) {
  constexpr int kLeastCalls = 60;  // of a graph, so that launching it does not count
  std::vector<Call> calls = rank.runner().graph_calls(num_seqs);
  for (const Call& call : log) {
    if (call.step == step && (is_tensor(call) || is_pipeline(call))) calls.push_back(call);
  }
  const Decoder& decoder = rank.runner().decoder();
  Stream& stream = rank.stream();
  const Operands operands(calls, decoder, stream.device());
  // Of the calls that `is_chosen` holds for; 0 on a rank that has none.
  const auto time_calls = [&](const auto& is_chosen, const std::function<void(const Call&)>& run) {
    std::vector<Call> chosen;
    std::copy_if(calls.begin(), calls.end(), std::back_inserter(chosen), is_chosen);
    if (chosen.empty()) return time_replays({}, 1, job.world(), stream);
    const int num_copies = std::max(1, kLeastCalls / static_cast<int>(chosen.size()));
    return time_replays([&] { std::for_each(chosen.begin(), chosen.end(), run); }, num_copies, job.world(), stream);
  };

  const RankComms& comms = rank.comms();
  StepComms result;
  result.tensor_ms =
      time_calls(is_tensor, [&](const Call& c) { operands.run(c, *comms.tensor, decoder.shard(), stream); });
  const auto has_norm = [](const Call& c) { return std::string_view(c.kind) == "all_reduce_norm"; };
  result.tensor_ms -= time_calls(has_norm, [&](const Call& c) { operands.add_norm(c, nullptr, stream); });
  result.tensor_ms = std::max(result.tensor_ms, 0.0);
  // As when they were made: a rank is on one edge at a time, those that begin at even stages first.
  for (int parity = 0; parity < 2 && comms.layout.sizes().pipeline > 1; ++parity) {
    const std::string_view edge = comms.layout.stage() % 2 == parity ? "next" : "previous";
    DeviceComm* const comm = edge == "next" ? comms.next.get() : comms.previous.get();
    result.pipeline_ms += time_calls([&](const Call& c) { return c.where == edge; },
                                     [&](const Call& c) { operands.run(c, *comm, decoder.shard(), stream); });
  }
  return result;
}

}  // namespace cohort
