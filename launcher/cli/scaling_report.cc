#include "launcher/cli/scaling_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/core/check.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

double gigabytes(int64_t num_bytes) { return static_cast<double>(num_bytes) / 1e9; }

// The largest of the ranks', each for itself.
RankEngine::StartUp slowest_start(const ScalingResult& result) {
  RankEngine::StartUp slowest;
  for (const ScalingRank& rank : result.ranks) {
    slowest.weights_s = std::max(slowest.weights_s, rank.start_up.weights_s);
    slowest.communicators_s = std::max(slowest.communicators_s, rank.start_up.communicators_s);
    slowest.graphs_s = std::max(slowest.graphs_s, rank.start_up.graphs_s);
  }
  return slowest;
}

double slowest_load_s(const ScalingResult& result) {
  double slowest = 0;
  for (const ScalingRank& rank : result.ranks) slowest = std::max(slowest, rank.load_s);
  return slowest;
}

const ScalingRank& fullest_rank(const ScalingResult& result) {
  return *std::max_element(result.ranks.begin(), result.ranks.end(),
                           [](const ScalingRank& a, const ScalingRank& b) { return a.memory.total < b.memory.total; });
}

std::string format_layout(const ScalingResult& result) {
  const RankEngine::StartUp start = slowest_start(result);
  const ScalingMemory& memory = fullest_rank(result).memory;
  return fmt::format(
      "{:<8} start-up {:.2f} s: weights {:.2f}, communicators {:.2f}, graphs {:.2f}; memory of the fullest rank "
      "{:.3f} GB: weights {:.3f}, cache {:.3f}, activations {:.3f}, graphs {:.3f}, libraries {:.3f}\n",
      result.layout.name, slowest_load_s(result), start.weights_s, start.communicators_s, start.graphs_s,
      gigabytes(memory.total), gigabytes(memory.weights), gigabytes(memory.cache), gigabytes(memory.workspace),
      gigabytes(memory.graphs), gigabytes(memory.libraries));
}

std::string format_measure(const ScalingResult& result, const ScalingMeasure& m) {
  return fmt::format(
      "{:<8} {:>5} {:>5} {:>11.2f} {:>9.2f} {:>9.2f} {:>9.3f} {:>9.3f} {:>9.3f} {:>9.3f} {:>10.1f} {:>9.3f} {:>7.1f}% "
      "{:>9.2f}% {:>7.2f}% {:>6.2f}%\n",
      result.layout.name, result.layout.num_ranks(), m.batch, m.prefill_ms, m.ttft_ms.p50, m.ttft_ms.p99, m.step_ms.p50,
      m.step_ms.p99, m.itl_ms.p50, m.itl_ms.p99, m.decode_tokens_per_second(), m.floor_ms,
      100 * m.floor_ms / m.step_ms.p50, 100 * m.all_reduce_share, 100 * m.pipeline_share, 100 * m.idle_share);
}

std::string format_series(const ScalingSeries& series) {
  std::string text =
      series.is_weak ? fmt::format("weak, {} a rank:", series.batch) : fmt::format("strong, batch {}:", series.batch);
  text = fmt::format("{:<20}", text);
  for (const ScalingPoint& p : series.points) {
    text += fmt::format("  {} x{:.2f} ({:.0f}%)", p.layout, p.speed_up, 100 * p.efficiency);
  }
  return text + "\n";
}

ordered_json percentiles_json(const Percentiles& p) { return {{"p50", p.p50}, {"p99", p.p99}}; }

ordered_json rank_json(const ScalingRank& rank) {
  const ScalingMemory& memory = rank.memory;
  return {{"host", rank.host},
          {"stage", rank.stage},
          {"shard", rank.shard},
          {"weight_bytes", memory.weights},
          {"cache_bytes", memory.cache},
          {"activation_bytes", memory.workspace},
          {"graph_bytes", memory.graphs},
          {"library_bytes", memory.libraries},
          {"total_bytes", memory.total},
          {"kept_bytes", memory.kept},
          {"copy_gbps", rank.copy_gbps}};
}

ordered_json measure_json(const ScalingMeasure& m) {
  return {{"batch", m.batch},
          {"output_length", m.output_length},
          {"prefill_ms", m.prefill_ms},
          {"step_ms", m.step_ms.p50},
          {"step_p99_ms", m.step_ms.p99},
          {"ttft_ms", percentiles_json(m.ttft_ms)},
          {"itl_ms", percentiles_json(m.itl_ms)},
          {"decode_tokens_per_second", m.decode_tokens_per_second()},
          {"output_tokens_per_second", m.output_tokens_per_second},
          {"floor_ms", m.floor_ms},
          {"floor_share", m.floor_ms / m.step_ms.p50},
          {"floor_together_ms", m.floor_together_ms},
          {"all_reduce_share", m.all_reduce_share},
          {"all_reduce_ms", m.all_reduce_share * m.step_ms.p50},
          {"pipeline_share", m.pipeline_share},
          {"pipeline_ms", m.pipeline_share * m.step_ms.p50},
          {"idle_share", m.idle_share}};
}

ordered_json result_json(const ScalingResult& result) {
  const RankEngine::StartUp start = slowest_start(result);
  ordered_json json{{"layout", result.layout.name},
                    {"tensor_parallel_size", result.layout.sizes.tensor},
                    {"pipeline_parallel_size", result.layout.sizes.pipeline},
                    {"num_ranks", result.layout.num_ranks()},
                    {"start_up_s",
                     {{"weights", start.weights_s},
                      {"communicators", start.communicators_s},
                      {"graphs", start.graphs_s},
                      {"total", slowest_load_s(result)}}},
                    {"ranks", ordered_json::array()},
                    {"results", ordered_json::array()}};
  for (const ScalingRank& rank : result.ranks) json["ranks"].push_back(rank_json(rank));
  for (const ScalingMeasure& measure : result.measures) json["results"].push_back(measure_json(measure));
  return json;
}

ordered_json series_json(const ScalingSeries& series) {
  ordered_json json{{series.is_weak ? "batch_of_a_rank" : "batch", series.batch}, {"points", ordered_json::array()}};
  for (const ScalingPoint& p : series.points) {
    json["points"].push_back({{"layout", p.layout},
                              {"num_ranks", p.num_ranks},
                              {"batch", p.batch},
                              {"decode_tokens_per_second", p.decode_tokens_per_second},
                              {"speed_up", p.speed_up},
                              {"efficiency", p.efficiency},
                              {"prefill_speed_up", p.prefill_speed_up}});
  }
  return json;
}

ScalingSeries make_series(const ScalingReport& report, int64_t batch, bool is_weak) {
  ScalingSeries series{.is_weak = is_weak, .batch = batch, .points = {}};
  double first_prefill = 0;  // sequences a millisecond
  for (const ScalingResult& result : report.results) {
    ScalingPoint point{.layout = result.layout.name, .num_ranks = result.layout.num_ranks()};
    point.batch = is_weak ? batch * point.num_ranks : batch;
    const ScalingMeasure& measure = result.measure_of(point.batch);
    point.decode_tokens_per_second = measure.decode_tokens_per_second();
    point.step_ms = measure.step_ms.p50;
    point.floor_ms = measure.floor_ms;
    const double prefill = static_cast<double>(point.batch) / measure.prefill_ms;
    if (series.points.empty()) first_prefill = prefill;
    const ScalingPoint& first = series.points.empty() ? point : series.points[0];
    point.speed_up = point.decode_tokens_per_second / first.decode_tokens_per_second;
    point.efficiency = point.speed_up * first.num_ranks / point.num_ranks;
    point.prefill_speed_up = prefill / first_prefill;
    series.points.push_back(point);
  }
  return series;
}

}  // namespace

const ScalingMeasure& ScalingResult::measure_of(int64_t batch) const {
  const auto place =
      std::find_if(measures.begin(), measures.end(), [&](const ScalingMeasure& m) { return m.batch == batch; });
  COHORT_CHECK(place != measures.end(), fmt::format("{}, batch {}", layout.name, batch));
  return *place;
}

void set_floors(ScalingMeasure& measure, const ScalingResult& result, int64_t input_length) {
  const int num_stages = result.layout.sizes.pipeline;
  const auto num_micro_batches = static_cast<double>(std::min<int64_t>(num_stages, measure.batch));
  const double context = static_cast<double>(input_length) + static_cast<double>(measure.output_length) / 2;
  const double num_positions = static_cast<double>(measure.batch) * context;
  std::vector<double> stage_ms(static_cast<size_t>(num_stages));  // of a micro-batch
  double num_bytes = 0;
  double bytes_per_ms = 0;
  for (const ScalingRank& rank : result.ranks) {
    const double rank_bytes_per_ms = rank.copy_gbps * 1e6;
    const double cache = num_positions * rank.bytes.cache_per_position;
    double& slowest = stage_ms[static_cast<size_t>(rank.stage)];
    slowest = std::max(slowest, (rank.bytes.weights + cache / num_micro_batches) / rank_bytes_per_ms);
    num_bytes += rank.bytes.weights + cache;
    bytes_per_ms += rank_bytes_per_ms;
  }
  double pass_ms = 0;
  double slowest_stage_ms = 0;
  for (const double ms : stage_ms) {
    pass_ms += ms;
    slowest_stage_ms = std::max(slowest_stage_ms, ms);
  }
  // A sequence goes through all stages; each stage has every micro-batch.
  measure.floor_ms = std::max(pass_ms, num_micro_batches * slowest_stage_ms);
  measure.floor_together_ms = num_bytes / bytes_per_ms;
}

std::vector<ScalingSeries> scaling_series(const ScalingReport& report) {
  std::vector<ScalingSeries> all;
  for (const bool is_weak : {false, true}) {
    if (is_weak && !report.has_weak) break;
    for (const int64_t batch : report.batches) all.push_back(make_series(report, batch, is_weak));
  }
  return all;
}

std::string format_scaling_table(const ScalingReport& report) {
  std::string text;
  for (const ScalingResult& result : report.results) text += format_layout(result);
  text += fmt::format(
      "\n{} tokens in, {} out with all sequences decoding; ms; floor: weights and cache once at the speed of a copy, "
      "{:.0f} GB/s\n",
      report.input_length, report.output_length, report.results[0].ranks[0].copy_gbps);
  text += fmt::format(
      "{:<8} {:>5} {:>5} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>8} {:>10} {:>8} {:>7}\n", "layout",
      "ranks", "batch", "prefill", "TTFT p50", "TTFT p99", "step", "step p99", "ITL p50", "ITL p99", "tokens/s",
      "floor", "of floor", "all-reduce", "pipeline", "idle");
  for (const ScalingResult& result : report.results) {
    for (const ScalingMeasure& measure : result.measures) text += format_measure(result, measure);
  }
  text += "\ndecode tokens/s over the first layout's (efficiency)\n";
  for (const ScalingSeries& series : scaling_series(report)) text += format_series(series);
  return text;
}

ordered_json scaling_json(const ScalingReport& report) {
  ordered_json json = report.head;
  json["input_length"] = report.input_length;
  json["output_length"] = report.output_length;
  json["layouts"] = ordered_json::array();
  for (const ScalingResult& result : report.results) json["layouts"].push_back(result_json(result));
  for (const ScalingSeries& series : scaling_series(report)) {
    json[series.is_weak ? "weak" : "strong"].push_back(series_json(series));
  }
  return json;
}

}  // namespace cohort
