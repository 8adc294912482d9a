#include "launcher/cli/scaling_run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/core/device_facts.h"
#include "kernels/core/device_memory.h"
#include "launcher/bootstrap/build_facts.h"
#include "launcher/cli/bench_kernels.h"
#include "launcher/cli/command.h"
#include "launcher/cli/engine_load.h"
#include "launcher/cli/quantile.h"
#include "launcher/cli/step_comms.h"

namespace cohort {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A layout and what is to be measured on it.
struct LayoutTask {
  ScalingLayout layout;
  Config config;  // with the layout's sizes
  std::vector<int64_t> batches;

  // Of each sequence: as long as options.output_length after the last prompt is done. Until then the first sequences go
  // on for as many steps as the prompts take.
  int64_t output_length(const ScalingOptions& options, int64_t batch) const {
    const int64_t spare = std::max<int64_t>(config.scheduler.max_tokens_per_step - batch, 0) + 1;
    return options.output_length + batch * options.input_length / spare;
  }
};

std::vector<LayoutTask> make_tasks(const std::vector<ScalingLayout>& layouts, const Config& config,
                                   const ScalingOptions& options) {
  std::vector<LayoutTask> tasks;
  for (const ScalingLayout& layout : layouts) {
    std::set<int64_t> batches(options.batches.begin(), options.batches.end());
    for (const int64_t batch : options.batches) {
      if (options.has_weak) batches.insert(batch * layout.num_ranks());
    }
    LayoutTask task{layout, config, {batches.begin(), batches.end()}};
    task.config.parallel.tensor_parallel_size = layout.sizes.tensor;
    task.config.parallel.pipeline_parallel_size = layout.sizes.pipeline;
    task.config.scheduler.max_seqs = std::max(config.scheduler.max_seqs, task.batches.back());
    tasks.push_back(std::move(task));
  }
  return tasks;
}

// Looks at the model and decides what each of the layout's ranks will hold. What cannot be is a JobFailure.
RankPlan plan_layout(Job& job, const LayoutTask& task, const ScalingOptions& options, RankModel& model) {
  model = open_rank_model(job, task.config);
  const ModelSpec& spec = model.model.config.spec;
  job.agree([&] {
    const auto shard = shard_model(spec, model.layout);
    if (!shard.ok()) throw UsageError(fmt::format("--layouts: {}: {}", task.layout.name, shard.status().message()));
    return ok_status();
  });
  const int64_t batch = task.batches.back();
  const std::vector<GenerationRequest> requests =
      make_requests(batch, options.input_length, task.output_length(options, batch), spec.vocab);
  job.agree([&] { return requests.front().validate(sequence_limits(spec)); });
  RankPlan plan = make_rank_plan(job, task.config, model.model, model.layout, model.device, requests);
  plan.engine.shares_prefixes = false;  // the same prompts are measured again and again
  // All run together, and a request is let in only while a block is left for each that runs.
  const int64_t length = options.input_length + task.output_length(options, batch);
  const int64_t bytes_per_block = plan.memory.cache / plan.engine.num_blocks;
  int64_t& num_blocks = plan.engine.num_blocks;
  num_blocks = std::max(num_blocks, batch * (length / plan.engine.block_size + 2) + 1);
  plan.memory.cache = num_blocks * bytes_per_block;
  job.agree(
      [&] { return check_cache_fits(plan.memory, num_blocks, bytes_per_block, fmt::format("batch {} needs", batch)); });
  return plan;
}

// What the leader found out about a batch, and the steps [begin, end) of its plans in which all sequences decode.
struct BatchRun {
  ScalingMeasure measure;
  int64_t begin = 0;
  int64_t end = 0;
};

Percentiles percentiles(const std::vector<double>& values) { return {quantile(values, 0.5), quantile(values, 0.99)}; }

// num_steps: steps that the engine has made; goes on counting.
Result<BatchRun> run_batch(RankEngine& rank, Engine& engine, int64_t batch, int64_t input_length, int64_t output_length,
                           int64_t& num_steps) {
  const int64_t vocab = rank.runner().decoder().spec().vocab;
  const EngineOptions& options = rank.runner().options();
  // Warms up: the first prefill of a shape chooses algorithms. Decode steps have run before.
  constexpr int64_t kWarmUpLength = 4;
  const int64_t num_warm_ups = std::clamp<int64_t>(2 * options.max_tokens_per_step / input_length, 1, batch);
  COHORT_ASSIGN_OR_RETURN(const EngineRun warm_up,
                          run_requests(engine, make_requests(num_warm_ups, input_length, kWarmUpLength, vocab)));
  num_steps += static_cast<int64_t>(warm_up.result_ms.size());
  // The output is longer than the prompts take steps; stages have steps of their own.
  StepTimer timer(2 * output_length * rank.comms().layout.sizes().pipeline, rank.stream().device());
  rank.runner().set_timer(&timer);
  auto run = run_requests(engine, make_requests(batch, input_length, output_length, vocab));
  rank.runner().set_timer(nullptr);
  if (!run.ok()) return run.status();

  const std::vector<double>& ms = run->result_ms;
  size_t all_begun = 0;
  size_t first_end = ms.size();
  for (const std::vector<size_t>& results : run->results_of) {
    all_begun = std::max(all_begun, results.front());
    first_end = std::min(first_end, results.back());
  }
  std::vector<double> first_tokens, all_intervals, decode_intervals;
  for (const std::vector<size_t>& results : run->results_of) {
    first_tokens.push_back(ms[results.front()]);
    for (size_t i = 1; i < results.size(); ++i) {
      const double interval = ms[results[i]] - ms[results[i - 1]];
      all_intervals.push_back(interval);
      if (results[i - 1] >= all_begun && results[i] <= first_end) decode_intervals.push_back(interval);
    }
  }
  if (decode_intervals.empty() || first_end < all_begun + 2) {
    return invalid_argument(fmt::format("of {} sequences the first ended before all decoded", batch));
  }
  BatchRun found;
  found.begin = num_steps + static_cast<int64_t>(all_begun) + 1;
  found.end = num_steps + static_cast<int64_t>(first_end);
  num_steps += static_cast<int64_t>(ms.size());
  ScalingMeasure& measure = found.measure;
  measure.batch = batch;
  measure.output_length = output_length;
  measure.prefill_ms = ms[all_begun];
  measure.step_ms = percentiles(decode_intervals);
  measure.ttft_ms = percentiles(first_tokens);
  measure.itl_ms = percentiles(all_intervals);
  measure.output_tokens_per_second = 1e3 * static_cast<double>(batch * output_length) / ms.back();
  const StepTimer::Times times = timer.times();
  // Behind the prefills that later stages of a pipeline still had before them.
  const size_t steady = all_begun + 1 + static_cast<size_t>(rank.comms().layout.sizes().pipeline);
  if (steady < first_end && first_end <= times.step_ms.size()) {
    measure.idle_share = idle_share(times, steady, first_end);
  }
  return found;
}

Result<std::vector<BatchRun>> run_batches(RankEngine& rank, const LayoutTask& task, const ScalingOptions& options) {
  Engine engine(rank.runner(), rank.comms());
  std::vector<BatchRun> runs;
  int64_t num_steps = 0;
  for (const int64_t batch : task.batches) {
    const int64_t output_length = task.output_length(options, batch);
    COHORT_ASSIGN_OR_RETURN(const BatchRun run,
                            run_batch(rank, engine, batch, options.input_length, output_length, num_steps));
    if (!options.quiet) {
      spdlog::info("{}, batch {}: prefill {:.2f} ms, a step {:.3f} ms", task.layout.name, batch, run.measure.prefill_ms,
                   run.measure.step_ms.p50);
    }
    runs.push_back(run);
  }
  engine.stop();
  return runs;
}

// The shares of the layout's steps that this rank's communications take, by batch: [[all-reduce, pipeline], ...].
// `runs`: the leader's; others learn of them here.
json comm_shares(Job& job, RankEngine& rank, const std::vector<BatchRun>& runs,
                 const std::vector<FlightRecorder::Call>& log) {
  json windows = json::array();
  for (const BatchRun& run : runs) windows.push_back({run.measure.batch, run.begin, run.end});
  windows = json::parse(broadcast(job.world(), windows.dump(), 0));
  json shares = json::array();
  for (const auto& window : windows.get<std::vector<std::array<int64_t, 3>>>()) {
    const auto [batch, begin, end] = window;
    const double step_ms = logged_ms(log, begin, end) / static_cast<double>(end - begin);
    const int64_t num_micro_batches = std::min<int64_t>(batch, rank.comms().layout.sizes().pipeline);
    const StepComms comms =
        rank.stream().device() == kCpuDevice
            ? logged_step_comms(log, begin, end)
            : replayed_step_comms(job, rank, (batch + num_micro_batches - 1) / num_micro_batches, log, begin);
    shares.push_back({comms.tensor_ms / step_ms, comms.pipeline_ms / step_ms});
  }
  return shares;
}

// How this rank fared, once the layout's engine is gone.
struct RankRun {
  ScalingRank rank;
  json shares;                 // of comm_shares()
  std::vector<BatchRun> runs;  // the leader's; empty on others
};

RankRun run_engine(Job& job, const LayoutTask& task, const ScalingOptions& options, RankModel model,
                   const RankPlan& plan) {
  const bool is_cuda = model.device != kCpuDevice;
  const Device device = model.device;
  const int64_t free_before = is_cuda ? num_free_cuda_bytes(device) : 0;
  RankRun found;
  found.rank.host = job.host();
  found.rank.stage = plan.layout.stage();
  found.rank.shard = plan.layout.shard();
  ScalingMemory& memory = found.rank.memory;
  {
    RankEngine rank(job, std::move(model), plan, static_cast<int>(task.config.device.threads), options.quiet);
    found.rank.start_up = rank.start_up();
    found.rank.load_s = rank.load_seconds();
    found.rank.bytes = step_bytes(rank.runner().decoder());
    memory.weights = rank.runner().decoder().num_weight_bytes();
    memory.cache = rank.runner().num_cache_bytes();
    memory.workspace = plan.memory.workspace;
    memory.graphs = rank.runner().num_graph_bytes();
    const int64_t known = memory.weights + memory.cache + memory.workspace + memory.graphs;
    memory.total = is_cuda ? free_before - num_free_cuda_bytes(device) : known;
    memory.libraries = memory.total - known;
    barrier(job.world());
    found.rank.copy_gbps = measure_copy_gbps(rank.stream());
    barrier(job.world());
    std::vector<FlightRecorder::Call> log;
    rank.comms().recorder->set_log(&log);
    Status status;
    if (rank.is_leader()) {
      auto runs = run_batches(rank, task, options);
      status = runs.status();
      if (runs.ok()) found.runs = *std::move(runs);
    } else {
      follow(rank.runner(), rank.comms());
    }
    rank.comms().recorder->set_log(nullptr);
    job.agree([&] { return status; });
    found.shares = comm_shares(job, rank, found.runs, log);
    rank.stream().synchronize();
    barrier(job.world());
  }
  if (is_cuda) memory.kept = free_before - num_free_cuda_bytes(device);
  return found;
}

json to_json(const RankRun& run) {
  const ScalingRank& r = run.rank;
  const ScalingMemory& m = r.memory;
  return {{"host", r.host},
          {"place", {r.stage, r.shard}},
          {"memory", {m.weights, m.cache, m.workspace, m.graphs, m.libraries, m.total, m.kept}},
          {"seconds", {r.start_up.weights_s, r.start_up.communicators_s, r.start_up.graphs_s, r.load_s}},
          {"copy_gbps", r.copy_gbps},
          {"bytes", {r.bytes.weights, r.bytes.cache_per_position}},
          {"shares", run.shares}};
}

ScalingRank rank_of(const json& run) {
  const auto memory = run["memory"].get<std::vector<int64_t>>();
  const auto seconds = run["seconds"].get<std::vector<double>>();
  return {.host = run["host"],
          .stage = run["place"][0],
          .shard = run["place"][1],
          .memory = {memory[0], memory[1], memory[2], memory[3], memory[4], memory[5], memory[6]},
          .start_up = {seconds[0], seconds[1], seconds[2]},
          .load_s = seconds[3],
          .copy_gbps = run["copy_gbps"],
          .bytes = {run["bytes"][0], run["bytes"][1]}};
}

// Every rank of the layout takes part; rank 0 gets the result.
ScalingResult run_layout(Job& job, const LayoutTask& task, const ScalingOptions& options) {
  if (job.rank() == 0 && !options.quiet) spdlog::info("{}: {} ranks", task.layout.name, job.size());
  RankModel model;
  const RankPlan plan = plan_layout(job, task, options, model);
  const RankRun mine = run_engine(job, task, options, std::move(model), plan);
  ScalingResult result{.layout = task.layout, .ranks = {}, .measures = {}};
  for (const BatchRun& run : mine.runs) result.measures.push_back(run.measure);
  for (const std::string& text : all_gather(job.world(), to_json(mine).dump())) {
    const json run = json::parse(text);
    result.ranks.push_back(rank_of(run));
    for (size_t i = 0; i < result.measures.size(); ++i) {
      result.measures[i].all_reduce_share += run["shares"][i][0].get<double>() / job.size();
      result.measures[i].pipeline_share += run["shares"][i][1].get<double>() / job.size();
    }
  }
  for (ScalingMeasure& measure : result.measures) set_floors(measure, result, options.input_length);
  return result;
}

ordered_json describe(const Job& job, const Config& config, const RankModel& model) {
  const DeviceFacts facts = device_facts(model.device);
  ordered_json head{{"build", build_version()},
                    {"device", facts.name},
                    {"num_ranks", job.size()},
                    {"hosts", job.hosts()},
                    {"model", config.model.path},
                    {"weights", config.model.weights},
                    {"dtype", dtype_name(model.model.dtype)},
                    {"numerics", config.model.numerics},
                    {"max_tokens_per_step", config.scheduler.max_tokens_per_step}};
  if (!facts.cuda_version.empty()) head["cuda"] = facts.cuda_version;
  if (!facts.driver_version.empty()) head["driver"] = facts.driver_version;
  return head;
}

using ShowPlan = std::function<Status(const ScalingLayout&, const RankPlan&)>;

// Says whatever cannot be. The report has no results yet. `show` is called on every rank of a layout.
ScalingReport plan_layouts(Job& job, const Config& config, const std::vector<LayoutTask>& tasks,
                           const ScalingOptions& options, const ShowPlan& show) {
  ScalingReport report;
  report.batches = options.batches;
  report.input_length = options.input_length;
  report.output_length = options.output_length;
  report.has_weak = options.has_weak;
  for (const LayoutTask& task : tasks) {
    job.on_first_ranks(task.layout.num_ranks(), [&] {
      RankModel model;
      const RankPlan plan = plan_layout(job, task, options, model);
      if (report.head.empty()) report.head = describe(job, config, model);
      return show(task.layout, plan);
    });
  }
  report.head["num_ranks"] = job.size();
  report.head["hosts"] = job.hosts();
  return report;
}

}  // namespace

ScalingReport measure_scaling(Job& job, const Config& config, const std::vector<ScalingLayout>& layouts,
                              const ScalingOptions& options) {
  const std::vector<LayoutTask> tasks = make_tasks(layouts, config, options);
  const ShowPlan show_nothing = [](const ScalingLayout&, const RankPlan&) { return ok_status(); };
  ScalingReport report = plan_layouts(job, config, tasks, options, show_nothing);
  for (const LayoutTask& task : tasks) {
    job.on_first_ranks(task.layout.num_ranks(), [&] {
      report.results.push_back(run_layout(job, task, options));
      return ok_status();
    });
  }
  return report;
}

void print_scaling_plans(Job& job, const Config& config, const std::vector<ScalingLayout>& layouts,
                         const ScalingOptions& options) {
  plan_layouts(job, config, make_tasks(layouts, config, options), options,
               [&](const ScalingLayout& layout, const RankPlan& plan) {
                 if (job.rank() == 0) fmt::print("{}:\n", layout.name);
                 return print_rank_table(job, plan);
               });
}

}  // namespace cohort
