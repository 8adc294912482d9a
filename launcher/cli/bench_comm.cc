#include "launcher/cli/bench_comm.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/core/check.h"
#include "kernels/core/device_graph.h"
#include "kernels/core/tensor.h"
#include "launcher/cli/quantile.h"
#include "parallel/tensor/all_reduce_norm.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBatchSize = 10;
constexpr int kMinIterations = 5;
constexpr int kCallsPerGraph = 50;
constexpr int kMaxIterations = 100'000;
// Elements of float32, the dtype of sums.
constexpr auto kElementBytes = static_cast<int64_t>(sizeof(float));

// An operation at a size, ready to be run over and over.
struct Operation {
  int64_t num_bytes = 0;      // as CommResult has it
  double num_one_way = 1;     // how many of what is measured a run makes
  std::function<void()> run;  // empty on a rank that has nobody to talk to
};

// Dense memory of every operation, for the largest size.
struct Memory {
  Memory(int64_t num_bytes, int size, Device device)
      : x(DType::kF32, {std::max<int64_t>(size, num_bytes / kElementBytes)}, device),
        y(DType::kF32, {std::max<int64_t>(size, num_bytes / kElementBytes)}, device) {
    // Zeros: sums stay finite however often they are summed.
    const std::vector<char> zeros(static_cast<size_t>(x->num_bytes()));
    for (const Tensor* tensor : {&x, &y}) {
      copy_bytes((*tensor)->data(), device, zeros.data(), kCpuDevice, (*tensor)->num_bytes());
    }
  }
  TensorView head(const Tensor& tensor, int64_t n) const { return tensor.view().slice(0, 0, n); }

  Tensor x;
  Tensor y;
};

Operation make_operation(const std::string& name, int64_t num_bytes, const Memory& memory, DeviceComm& comm,
                         Stream& stream) {
  const int64_t n = std::max<int64_t>(1, num_bytes / kElementBytes);
  const TensorView x = memory.head(memory.x, n);
  const TensorView y = memory.head(memory.y, n);
  if (name == "all_reduce") return {n * kElementBytes, 1, [=, &comm, &stream] { comm.all_reduce(x, y, stream); }};
  if (name == "broadcast") return {n * kElementBytes, 1, [=, &comm, &stream] { comm.broadcast(x, 0, stream); }};
  if (name == "all_gather") {
    const int64_t local_n = std::max<int64_t>(1, n / comm.size());
    const TensorView part = memory.head(memory.x, local_n);
    const TensorView all = memory.head(memory.y, local_n * comm.size());
    return {all.num_bytes(), 1, [=, &comm, &stream] { comm.all_gather(all, part, stream); }};
  }
  COHORT_CHECK(name == "send_receive", name);
  const int peer = comm.rank() ^ 1;
  if (peer >= comm.size()) return {n * kElementBytes, 2, {}};
  return {n * kElementBytes, 2, [=, &comm, &stream] {
            if (comm.rank() < peer) comm.send(x, peer, stream);
            comm.receive(y, peer, stream);
            if (comm.rank() > peer) comm.send(x, peer, stream);
          }};
}

// Adds the times of `count` runs in microseconds a run, by the device's clock. The ranks begin together: a run that
// does not count waits for the last of them.
void sample(const Operation& operation, int count, HostComm& world, Stream& stream, std::vector<double>& times_us) {
  barrier(world);
  if (!operation.run) return;
  operation.run();
  const int num_together = stream.device().kind == DeviceKind::kCuda ? count : 1;
  Event start(stream.device());
  Event stop(stream.device());
  for (int i = 0; i < count; i += num_together) {
    start.record(stream);
    for (int j = 0; j < num_together; ++j) operation.run();
    stop.record(stream);
    stop.synchronize();
    times_us.push_back(1000 * stop.milliseconds_since(start) / num_together);
  }
}

// Rank 0 decides for all.
int choose_num_iterations(const Operation& operation, HostComm& world, Stream& stream,
                          const BenchCommOptions& options) {
  std::vector<double> times_us;
  sample(operation, 1, world, stream, times_us);  // which connects the ranks
  if (options.num_iterations > 0) return options.num_iterations;
  const Clock::time_point begin = Clock::now();
  sample(operation, 2, world, stream, times_us);
  const double seconds = std::max(1e-7, std::chrono::duration<double>(Clock::now() - begin).count() / 3);
  const double wanted = std::clamp<double>(options.seconds_per_size / seconds, kMinIterations, kMaxIterations);
  return std::stoi(broadcast(world, std::to_string(static_cast<int>(wanted)), 0));
}

using Times = std::array<double, 3>;  // min, median, p99

// Of the slowest rank, each for itself.
Times slowest(HostComm& world, const Times& mine) {
  Times times{};
  const std::string_view bytes(reinterpret_cast<const char*>(mine.data()), sizeof(mine));
  for (const std::string& message : all_gather(world, bytes)) {
    Times theirs{};
    COHORT_CHECK(message.size() == sizeof(theirs), std::to_string(message.size()));
    std::memcpy(theirs.data(), message.data(), sizeof(theirs));
    for (size_t i = 0; i < times.size(); ++i) times[i] = std::max(times[i], theirs[i]);
  }
  return times;
}

CommResult measure(const std::string& name, const Operation& operation, HostComm& world, Stream& stream,
                   const BenchCommOptions& options) {
  const int num_iterations = choose_num_iterations(operation, world, stream, options);
  std::vector<double> times_us;
  for (int done = 0; done < num_iterations; done += kBatchSize) {
    sample(operation, std::min(kBatchSize, num_iterations - done), world, stream, times_us);
  }
  for (double& time : times_us) time /= operation.num_one_way;
  const Times times = slowest(world, {quantile(times_us, 0), quantile(times_us, 0.5), quantile(times_us, 0.99)});

  CommResult result{.operation = name, .num_bytes = operation.num_bytes, .num_ranks = world.size()};
  result.min_us = times[0];
  result.median_us = times[1];
  result.p99_us = times[2];
  // A clock may be too coarse for what takes no time.
  result.algorithm_gbps = static_cast<double>(result.num_bytes) / (1000 * std::max(result.median_us, 1e-3));
  result.bus_gbps = result.algorithm_gbps * bus_factor(name, result.num_ranks);
  return result;
}

// Terms, residual stream and norm of a call of all_reduce_add_norm().
struct NormOperands {
  NormOperands(int64_t num_tokens, int64_t hidden, Device device)
      : term(DType::kBF16, {num_tokens, hidden}, device),
        residual(DType::kBF16, {num_tokens, hidden}, device),
        out(DType::kBF16, {num_tokens, hidden}, device),
        weight(DType::kF32, {hidden}, device) {
    // Of both signs, so that the residual stream stays finite however often it is added to.
    std::vector<bf16> terms(static_cast<size_t>(num_tokens * hidden));
    for (size_t i = 0; i < terms.size(); ++i) terms[i] = bf16(static_cast<float>(i * 2654435761u % 2001) / 1000 - 1);
    const std::vector<float> ones(static_cast<size_t>(hidden), 1.0f);
    for (const Tensor* tensor : {&term, &residual}) {
      copy_bytes((*tensor)->data(), device, terms.data(), kCpuDevice, (*tensor)->num_bytes());
    }
    copy_bytes(weight->data(), device, ones.data(), kCpuDevice, weight->num_bytes());
  }
  void run(const std::optional<AllReduceNormConfig>& config, DeviceComm& comm, Stream& stream) const {
    all_reduce_add_norm_by(config, out, residual, {term, &comm}, {.weight = weight, .eps = 1e-5f}, stream);
  }

  Tensor term;  // [num_tokens, hidden], like the next two
  Tensor residual;
  Tensor out;
  Tensor weight;  // [hidden]
};

struct AllReduceNormWay {
  const char* name;
  // Of a size, or null: the library's sum and a norm.
  std::optional<AllReduceNormConfig> (*choose)(int64_t num_tokens, int64_t row_bytes, const Mailbox& mailbox);
  bool must_be_kernel;  // not measured where choose() has nothing
};

constexpr AllReduceNormWay kAllReduceNormWays[] = {
    {kAllReduceNorm, choose_all_reduce_norm_config, false},
    {"all_reduce_norm_one_shot",
     [](int64_t num_tokens, int64_t row_bytes, const Mailbox& mailbox) {
       return all_reduce_norm_config(AllReduceAlgorithm::kOneShot, num_tokens, row_bytes, mailbox);
     },
     true},
    {"all_reduce_norm_two_shot",
     [](int64_t num_tokens, int64_t row_bytes, const Mailbox& mailbox) {
       return all_reduce_norm_config(AllReduceAlgorithm::kTwoShot, num_tokens, row_bytes, mailbox);
     },
     true},
    {"all_reduce_then_norm", nullptr, false}};

// By the first rank of each.
std::vector<std::string> distinct(const std::vector<std::string>& hosts) {
  std::vector<std::string> names;
  for (const std::string& host : hosts) {
    if (std::find(names.begin(), names.end(), host) == names.end()) names.push_back(host);
  }
  return names;
}

}  // namespace

double bus_factor(const std::string& operation, int num_ranks) {
  const double n = num_ranks;
  if (operation.starts_with("all_reduce")) return 2 * (n - 1) / n;
  if (operation == "all_gather") return (n - 1) / n;
  return 1;
}

std::vector<CommResult> measure_comm(HostComm& world, DeviceComm& comm, Stream& stream,
                                     const BenchCommOptions& options) {
  COHORT_CHECK(world.size() >= 2 && comm.size() == world.size(), std::to_string(world.size()) + " ranks");
  COHORT_CHECK(0 < options.min_bytes && options.min_bytes <= options.max_bytes,
               fmt::format("from {} to {} bytes", options.min_bytes, options.max_bytes));
  const Memory memory(options.max_bytes, comm.size(), stream.device());
  std::vector<CommResult> results;
  for (const std::string& name : options.operations) {
    for (int64_t num_bytes = options.min_bytes; num_bytes <= options.max_bytes; num_bytes *= 2) {
      const Operation operation = make_operation(name, num_bytes, memory, comm, stream);
      // The least that all ranks can gather may be more than was asked for.
      const bool is_again =
          !results.empty() && results.back().operation == name && results.back().num_bytes == operation.num_bytes;
      if (is_again) continue;
      results.push_back(measure(name, operation, world, stream, options));
    }
  }
  stream.synchronize();
  barrier(world);
  return results;
}

std::vector<CommResult> measure_all_reduce_norm(HostComm& world, DeviceComm& comm, DeviceComm& plain, Stream& stream,
                                                const BenchCommOptions& options) {
  std::vector<CommResult> results;
  for (const AllReduceNormWay& way : kAllReduceNormWays) {
    for (const int64_t hidden : {5120, 8192}) {
      for (const int64_t num_tokens : {1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048}) {
        const auto config = comm.mailbox() != nullptr && way.choose != nullptr
                                ? way.choose(num_tokens, dtype_bytes(DType::kBF16, hidden), *comm.mailbox())
                                : std::nullopt;
        if (!config && way.must_be_kernel) continue;
        DeviceComm& by = config ? comm : plain;
        const NormOperands operands(num_tokens, hidden, stream.device());
        operands.run(config, by, stream);  // connects the ranks, which a graph could not
        stream.synchronize();
        const DeviceGraph graph = DeviceGraph::capture(stream, [&] {
          for (int i = 0; i < kCallsPerGraph; ++i) operands.run(config, by, stream);
        });
        const Operation operation{operands.term->num_bytes(), kCallsPerGraph, [&] { graph.launch(stream); }};
        results.push_back(measure(way.name, operation, world, stream, options));
        stream.synchronize();
      }
    }
  }
  barrier(world);
  return results;
}

std::string format_comm_table(const std::vector<CommResult>& results, const CommBenchSetup& setup) {
  std::string text = fmt::format("{} ranks on {}; hosts: {}\n", setup.hosts.size(), setup.device,
                                 fmt::join(distinct(setup.hosts), " "));
  text += fmt::format("{:<26}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "operation", "bytes", "min us", "median us",
                      "p99 us", "alg GB/s", "bus GB/s");
  for (const CommResult& r : results) {
    text += fmt::format("{:<26}{:>12}{:>12.2f}{:>12.2f}{:>12.2f}{:>12.3f}{:>12.3f}\n", r.operation, r.num_bytes,
                        r.min_us, r.median_us, r.p99_us, r.algorithm_gbps, r.bus_gbps);
  }
  return text;
}

std::string format_comm_json(const std::vector<CommResult>& results, const CommBenchSetup& setup) {
  nlohmann::ordered_json json = {{"ranks", setup.hosts.size()},
                                 {"device", setup.device},
                                 {"hosts", distinct(setup.hosts)},
                                 {"results", nlohmann::ordered_json::array()}};
  for (const CommResult& r : results) {
    json["results"].push_back({{"operation", r.operation},
                               {"bytes", r.num_bytes},
                               {"min_us", r.min_us},
                               {"median_us", r.median_us},
                               {"p99_us", r.p99_us},
                               {"algorithm_gbps", r.algorithm_gbps},
                               {"bus_gbps", r.bus_gbps}});
  }
  return json.dump();
}

}  // namespace cohort
