#include "launcher/cli/bench_comm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>

#include "kernels/core/check.h"
#include "launcher/cli/quantile.h"
#include "parallel/comm/thread_comm.h"

namespace cohort {
namespace {

// The results of every rank, by rank.
std::vector<std::vector<CommResult>> measure_on_threads(int num_ranks, const BenchCommOptions& options) {
  std::vector<std::vector<CommResult>> results(static_cast<size_t>(num_ranks));
  run_thread_ranks(num_ranks, [&](HostComm& world) {
    const auto comm = world.make_cpu_comm("bench");
    Stream stream(kCpuDevice, 1);
    results[static_cast<size_t>(world.rank())] = measure_comm(world, *comm, stream, options);
  });
  return results;
}

std::vector<int64_t> sizes_of(const std::vector<CommResult>& results, const std::string& operation) {
  std::vector<int64_t> sizes;
  for (const CommResult& result : results) {
    if (result.operation == operation) sizes.push_back(result.num_bytes);
  }
  return sizes;
}

TEST(Quantile, IsAValueThatWasMeasured) {
  EXPECT_EQ(quantile({}, 0.5), 0);
  EXPECT_EQ(quantile({3}, 0), 3);
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({4, 3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({4, 3, 1, 2}, 0.51), 3);
  EXPECT_EQ(quantile({4, 3, 1, 2}, 0), 1);
  EXPECT_EQ(quantile({4, 3, 1, 2}, 1), 4);
  std::vector<double> hundred(100);
  for (size_t i = 0; i < hundred.size(); ++i) hundred[i] = static_cast<double>(100 - i);
  EXPECT_EQ(quantile(hundred, 0.99), 99);
}

TEST(BenchComm, MeasuresEveryOperationAtEverySize) {
  const BenchCommOptions options{.min_bytes = 8, .max_bytes = 64, .num_iterations = 25};
  const auto all = measure_on_threads(4, options);
  const std::vector<CommResult>& results = all[0];
  for (const char* operation : {"all_reduce", "send_receive", "broadcast"}) {
    EXPECT_EQ(sizes_of(results, operation), (std::vector<int64_t>{8, 16, 32, 64})) << operation;
  }
  // Four ranks gather 16 bytes at least, an element each.
  EXPECT_EQ(sizes_of(results, "all_gather"), (std::vector<int64_t>{16, 32, 64}));
  for (const CommResult& result : results) {
    SCOPED_TRACE(result.operation + " " + std::to_string(result.num_bytes));
    EXPECT_EQ(result.num_ranks, 4);
    EXPECT_GT(result.min_us, 0);
    EXPECT_LE(result.min_us, result.median_us);
    EXPECT_LE(result.median_us, result.p99_us);
    EXPECT_NEAR(result.algorithm_gbps, static_cast<double>(result.num_bytes) / (1000 * result.median_us),
                1e-9 * result.algorithm_gbps);
    EXPECT_DOUBLE_EQ(result.bus_gbps, result.algorithm_gbps * bus_factor(result.operation, 4));
  }
}

TEST(BenchComm, EveryRankGetsTheSame) {
  const BenchCommOptions options{.min_bytes = 64, .max_bytes = 64, .num_iterations = 3};
  const CommBenchSetup setup{"cpu", {"a", "a"}};
  const auto all = measure_on_threads(2, options);
  EXPECT_EQ(format_comm_json(all[0], setup), format_comm_json(all[1], setup));
}

TEST(BenchComm, TheLastOfAnOddNumberSitsOut) {
  const BenchCommOptions options{
      .min_bytes = 1024, .max_bytes = 1024, .num_iterations = 12, .operations = {"send_receive", "broadcast"}};
  const auto all = measure_on_threads(3, options);
  for (const auto& results : all) {
    ASSERT_EQ(results.size(), 2u);
    EXPECT_GT(results[0].min_us, 0);
    EXPECT_EQ(results[0].num_ranks, 3);
  }
}

TEST(BenchComm, FillsTheTimeItIsGiven) {
  BenchCommOptions options{.min_bytes = 4, .max_bytes = 4, .seconds_per_size = 0.2, .operations = {"all_reduce"}};
  const auto begin = std::chrono::steady_clock::now();
  const auto results = measure_on_threads(2, options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(results[0].size(), 1u);
  EXPECT_GT(seconds, 0.01);  // the estimate is of few runs on what may be a busy machine
  EXPECT_LT(seconds, 60);
}

TEST(BenchComm, RefusesWhatItCannotMeasure) {
  EXPECT_THROW(measure_on_threads(2, {.operations = {"reduce_scatter"}}), CheckError);
  EXPECT_THROW(measure_on_threads(2, {.min_bytes = 16, .max_bytes = 8}), CheckError);
  EXPECT_THROW(measure_on_threads(1, {}), CheckError);
}

TEST(BenchComm, BusFactors) {
  EXPECT_DOUBLE_EQ(bus_factor("all_reduce", 4), 1.5);
  EXPECT_DOUBLE_EQ(bus_factor("all_reduce", 2), 1);
  EXPECT_DOUBLE_EQ(bus_factor("all_gather", 4), 0.75);
  EXPECT_DOUBLE_EQ(bus_factor("broadcast", 4), 1);
  EXPECT_DOUBLE_EQ(bus_factor("send_receive", 4), 1);
}

const CommResult kResult{.operation = "all_gather",
                         .num_bytes = 4096,
                         .num_ranks = 3,
                         .min_us = 1.5,
                         .median_us = 2,
                         .p99_us = 4,
                         .algorithm_gbps = 2.048,
                         .bus_gbps = 1.5};

TEST(BenchComm, JsonHasAllFacts) {
  const auto json = nlohmann::json::parse(format_comm_json({kResult, kResult}, {"cpu", {"a", "b", "a"}}));
  EXPECT_EQ(json, nlohmann::json::parse(R"({"ranks": 3, "device": "cpu", "hosts": ["a", "b"], "results": [
    {"operation": "all_gather", "bytes": 4096, "min_us": 1.5, "median_us": 2.0, "p99_us": 4.0,
     "algorithm_gbps": 2.048, "bus_gbps": 1.5},
    {"operation": "all_gather", "bytes": 4096, "min_us": 1.5, "median_us": 2.0, "p99_us": 4.0,
     "algorithm_gbps": 2.048, "bus_gbps": 1.5}]})"));
}

TEST(BenchComm, TableColumnsAreAligned) {
  const std::string table = format_comm_table({kResult, kResult}, {"cpu", {"a", "b", "a"}});
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < table.size();) {
    const size_t end = table.find('\n', begin);
    lines.push_back(table.substr(begin, end - begin));
    begin = end + 1;
  }
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "3 ranks on cpu; hosts: a b");
  EXPECT_EQ(lines[1].size(), lines[2].size());
  EXPECT_EQ(lines[1].find("bytes") + 5, lines[2].find("4096") + 4);
  EXPECT_EQ(lines[2], lines[3]);
}

}  // namespace
}  // namespace cohort
