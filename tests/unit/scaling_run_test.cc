// What `cohort bench scaling` measures, with ranks as threads: the quickstart model over layouts of four, as its
// numbers add up. tests/cli/scaling_test.py does the same with processes of mpirun.
#include <gtest/gtest.h>

#include <array>
#include <set>

#include "launcher/cli/scaling_run.h"
#include "tests/files.h"

namespace cohort {
namespace {

const std::string kModel = test::source_dir() / "configs/quickstart/model";

Config quickstart_config() {
  Config config;
  config.model.path = kModel;
  config.device.kind = "cpu";
  config.device.threads = 1;
  config.cache.num_blocks = 16;
  config.scheduler.max_tokens_per_step = 64;
  return config;
}

// As rank 0 gets it.
ScalingReport measure(const std::vector<std::string>& layouts, const ScalingOptions& options) {
  constexpr int kNumRanks = 4;
  ScalingReport report;
  run_thread_job(kNumRanks, [&](Job& job) {
    ScalingReport mine = measure_scaling(job, quickstart_config(), parse_scaling_layouts(layouts, job.size()), options);
    if (job.rank() == 0) report = std::move(mine);
  });
  return report;
}

void expect_memory_adds_up(const ScalingResult& result) {
  ASSERT_EQ(static_cast<int>(result.ranks.size()), result.layout.num_ranks());
  for (int i = 0; i < result.layout.num_ranks(); ++i) {
    const ScalingRank& rank = result.ranks[static_cast<size_t>(i)];
    EXPECT_EQ(rank.stage * result.layout.sizes.tensor + rank.shard, i);
    const ScalingMemory& memory = rank.memory;
    EXPECT_EQ(memory.weights + memory.cache + memory.workspace + memory.graphs + memory.libraries, memory.total);
    EXPECT_GT(memory.weights, 0);
    EXPECT_GT(memory.cache, 0);
    const RankEngine::StartUp& start = rank.start_up;
    EXPECT_NEAR(rank.load_s, start.weights_s + start.communicators_s + start.graphs_s, 1e-9);
  }
}

void expect_measure_adds_up(const ScalingMeasure& measure, const ScalingResult& result, const ScalingOptions& options) {
  EXPECT_GE(measure.output_length, options.output_length);
  EXPECT_NEAR(measure.decode_tokens_per_second() * measure.step_ms.p50, 1e3 * static_cast<double>(measure.batch), 1e-6);
  EXPECT_LE(measure.step_ms.p50, measure.step_ms.p99);
  EXPECT_LE(measure.ttft_ms.p50, measure.ttft_ms.p99);
  EXPECT_LE(measure.ttft_ms.p99, measure.prefill_ms);
  EXPECT_LE(measure.itl_ms.p50, measure.itl_ms.p99);
  // All of it takes longer than the prefill alone.
  const auto num_tokens = static_cast<double>(measure.batch * measure.output_length);
  EXPECT_GT(1e3 * num_tokens / measure.output_tokens_per_second, measure.prefill_ms);
  EXPECT_EQ(measure.all_reduce_share > 0, result.layout.sizes.tensor > 1);
  EXPECT_EQ(measure.pipeline_share > 0, result.layout.sizes.pipeline > 1);
  EXPECT_LE(measure.all_reduce_share + measure.pipeline_share, 1);
  EXPECT_GE(measure.idle_share, 0);
  EXPECT_LT(measure.idle_share, 1);
  EXPECT_GT(measure.floor_together_ms, 0);
  EXPECT_LE(measure.floor_together_ms, measure.floor_ms * (1 + 1e-9));
}

TEST(ScalingRun, NumbersAddUp) {
  const ScalingOptions options{
      .batches = {1, 2}, .input_length = 20, .output_length = 6, .has_weak = true, .quiet = true};
  const std::vector<std::string> layouts = {"tp1", "tp2", "pp2", "tp4", "tp2pp2", "pp4"};
  const ScalingReport report = measure(layouts, options);
  EXPECT_EQ(report.head["num_ranks"], 4);
  EXPECT_EQ(report.head["model"], kModel);
  ASSERT_EQ(report.results.size(), layouts.size());
  for (size_t i = 0; i < layouts.size(); ++i) {
    const ScalingResult& result = report.results[i];
    SCOPED_TRACE(layouts[i]);
    EXPECT_EQ(result.layout.name, layouts[i]);
    expect_memory_adds_up(result);
    std::set<int64_t> batches(options.batches.begin(), options.batches.end());
    for (const int64_t batch : options.batches) batches.insert(batch * result.layout.num_ranks());
    ASSERT_EQ(result.measures.size(), batches.size());
    for (const int64_t batch : batches) {
      SCOPED_TRACE(batch);
      expect_measure_adds_up(result.measure_of(batch), result, options);
    }
  }
  // Shards and stages have a part of the weights each, but for what all of them have whole.
  const auto weight_bytes = [&](size_t i) { return static_cast<double>(report.results[i].ranks[0].memory.weights); };
  EXPECT_LT(weight_bytes(1), 0.6 * weight_bytes(0));
  EXPECT_LT(weight_bytes(4), 0.6 * weight_bytes(2));

  const std::vector<ScalingSeries> all = scaling_series(report);
  ASSERT_EQ(all.size(), 4u);
  for (const ScalingSeries& series : all) {
    ASSERT_EQ(series.points.size(), layouts.size());
    for (const ScalingPoint& point : series.points) {
      EXPECT_EQ(point.batch, series.batch * (series.is_weak ? point.num_ranks : 1));
      EXPECT_NEAR(point.speed_up * series.points[0].decode_tokens_per_second, point.decode_tokens_per_second, 1e-6);
      EXPECT_NEAR(point.efficiency * point.num_ranks, point.speed_up, 1e-9);
    }
  }
}

// The ranks that a layout does not have wait, and all of them are told.
TEST(ScalingRun, WhatCannotBeIsThrownOnAllRanks) {
  std::array<std::string, 3> messages;
  run_thread_job(3, [&](Job& job) {
    try {
      measure_scaling(job, quickstart_config(), parse_scaling_layouts({"tp1", "tp3"}, job.size()), {.quiet = true});
    } catch (const JobFailure& failure) {
      messages[static_cast<size_t>(job.rank())] = failure.what();
    }
  });
  EXPECT_NE(messages[0].find("3 shards cannot split this model evenly"), std::string::npos) << messages[0];
  EXPECT_EQ(messages[1], messages[0]);
  EXPECT_EQ(messages[2], messages[0]);
}

}  // namespace
}  // namespace cohort
