// cohort bench latency and cohort bench throughput: how fast the engine answers requests made up here, without a
// tokenizer and without a client.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/core/device_facts.h"
#include "launcher/bootstrap/build_facts.h"
#include "launcher/cli/bench_kernels.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/engine_load.h"
#include "launcher/cli/quantile.h"
#include "launcher/cli/rank_engine.h"
#include "runtime/engine/engine.h"

namespace cohort {
namespace {

using nlohmann::json;

struct BenchFlags {
  std::vector<int64_t> batches = {1};  // of latency
  int64_t num_prompts = 256;           // of throughput
  int64_t input_length = 512;
  int64_t output_length = 128;
  bool json = false;
  bool quiet = false;
};

// How one batch went, as its leader saw it.
struct Latency {
  int64_t batch = 0;
  double prefill_ms = 0;  // until every sequence has its first token
  // Between the results of one decode step and the next.
  double step_ms = 0;
  double step_p99_ms = 0;
  double device_ms = 0;   // of the device's work in one
  double idle_share = 0;  // of the device's time between decode steps
  double floor_ms = 0;    // reading weights and cache once, at the speed of a copy
};

Result<Latency> measure_latency(RankEngine& rank, Engine& engine, int64_t batch, const BenchFlags& flags,
                                double bytes_per_ms) {
  const int64_t vocab = rank.runner().decoder().spec().vocab;
  // Warms up: the first prefill of a shape chooses algorithms.
  COHORT_RETURN_IF_ERROR(run_requests(engine, make_requests(batch, flags.input_length, 4, vocab)).status());
  const auto max_steps = 2 * (flags.output_length + batch * flags.input_length);
  StepTimer timer(std::min<int64_t>(max_steps, 4096), rank.stream().device());
  rank.runner().set_timer(&timer);
  auto run = run_requests(engine, make_requests(batch, flags.input_length, flags.output_length, vocab));
  rank.runner().set_timer(nullptr);
  if (!run.ok()) return run.status();

  Latency latency{.batch = batch};
  const int num_stages = rank.comms().layout.sizes().pipeline;  // among whose steps the sequences are shared out
  // The prefill ends with the step after which every sequence has a token.
  size_t first_decode = 0;
  size_t first_end = run->result_ms.size();
  for (const std::vector<size_t>& results : run->results_of) {
    first_decode = std::max(first_decode, results.front() + 1);
    first_end = std::min(first_end, results.back());
  }
  latency.prefill_ms = run->result_ms[first_decode - 1];
  std::vector<double> intervals;
  for (size_t i = first_decode; i < run->result_ms.size(); ++i) {
    if (run->num_tokens[i] > 0) intervals.push_back(run->result_ms[i] - run->result_ms[i - 1]);
  }
  latency.step_ms = quantile(intervals, 0.5);
  latency.step_p99_ms = quantile(intervals, 0.99);
  const StepTimer::Times times = timer.times();
  const size_t num_timed = times.step_ms.size();
  if (first_decode < num_timed) {
    latency.device_ms =
        quantile({times.step_ms.begin() + static_cast<std::ptrdiff_t>(first_decode), times.step_ms.end()}, 0.5);
    // Behind the prefills that later stages of a pipeline still had before them, and before a sequence ends.
    const size_t steady = first_decode + static_cast<size_t>(num_stages);
    latency.idle_share = steady < first_end && first_end <= num_timed ? idle_share(times, steady, first_end)
                                                                      : idle_share(times, first_decode, num_timed);
  }
  const double context = static_cast<double>(flags.input_length) + static_cast<double>(flags.output_length) / 2;
  const StepBytes bytes = step_bytes(rank.runner().decoder());
  const auto num_seqs = static_cast<double>((batch + num_stages - 1) / num_stages);
  latency.floor_ms = (bytes.weights + num_seqs * context * bytes.cache_per_position) / bytes_per_ms;
  return latency;
}

// What the head of every report says.
json describe(Job& job, const Config& config, RankEngine& rank) {
  const DeviceFacts facts = device_facts(rank.stream().device());
  json head{{"build", build_version()},
            {"device", facts.name},
            {"num_ranks", job.size()},
            {"hosts", job.hosts()},
            {"model", config.model.path},
            {"weights", config.model.weights},
            {"dtype", dtype_name(rank.runner().decoder().dtype())},
            {"numerics", config.model.numerics},
            {"tensor_parallel_size", config.parallel.tensor_parallel_size},
            {"pipeline_parallel_size", config.parallel.pipeline_parallel_size}};
  if (!facts.cuda_version.empty()) head["cuda"] = facts.cuda_version;
  if (!facts.driver_version.empty()) head["driver"] = facts.driver_version;
  return head;
}

std::string head_line(const json& head) {
  return fmt::format("{}, {} weights, {}, {}, tensor {} x pipeline {} on {} x {}, cohort {}\n",
                     head["model"].get<std::string>(), head["weights"].get<std::string>(),
                     head["dtype"].get<std::string>(), head["numerics"].get<std::string>(),
                     head["tensor_parallel_size"].get<int64_t>(), head["pipeline_parallel_size"].get<int64_t>(),
                     head["num_ranks"].get<int>(), head["device"].get<std::string>(), head["build"].get<std::string>());
}

void print_latencies(json head, const std::vector<Latency>& latencies, const BenchFlags& flags, double copy_gbps) {
  if (!flags.json) {
    std::string text = head_line(head);
    text += fmt::format("{} tokens in, {} out; floor: weights and cache once at {:.0f} GB/s, as measured\n",
                        flags.input_length, flags.output_length, copy_gbps);
    text += fmt::format("{:>6} {:>11} {:>9} {:>9} {:>10} {:>9} {:>9} {:>7}\n", "batch", "prefill ms", "step ms",
                        "p99 ms", "device ms", "floor ms", "of floor", "idle");
    for (const Latency& l : latencies) {
      text += fmt::format("{:>6} {:>11.2f} {:>9.3f} {:>9.3f} {:>10.3f} {:>9.3f} {:>8.1f}% {:>6.2f}%\n", l.batch,
                          l.prefill_ms, l.step_ms, l.step_p99_ms, l.device_ms, l.floor_ms, 100 * l.floor_ms / l.step_ms,
                          100 * l.idle_share);
    }
    fmt::print("{}", text);
    return;
  }
  head["input_length"] = flags.input_length;
  head["output_length"] = flags.output_length;
  head["copy_gbps"] = copy_gbps;
  for (const Latency& l : latencies) {
    head["results"].push_back({{"batch", l.batch},
                               {"prefill_ms", l.prefill_ms},
                               {"step_ms", l.step_ms},
                               {"step_p99_ms", l.step_p99_ms},
                               {"device_ms", l.device_ms},
                               {"floor_ms", l.floor_ms},
                               {"idle_share", l.idle_share}});
  }
  fmt::print("{}\n", head.dump(2));
}

Status lead_latency(Job& job, const Config& config, const BenchFlags& flags, RankEngine& rank) {
  const double copy_gbps = measure_copy_gbps(rank.stream());
  Engine engine(rank.runner(), rank.comms());
  std::vector<Latency> latencies;
  for (const int64_t batch : flags.batches) {
    COHORT_ASSIGN_OR_RETURN(const Latency latency, measure_latency(rank, engine, batch, flags, copy_gbps * 1e6));
    latencies.push_back(latency);
  }
  engine.stop();
  print_latencies(describe(job, config, rank), latencies, flags, copy_gbps);
  return flush_output();
}

Status lead_throughput(Job& job, const Config& config, const BenchFlags& flags, RankEngine& rank) {
  const int64_t vocab = rank.runner().decoder().spec().vocab;
  Engine engine(rank.runner(), rank.comms());
  COHORT_RETURN_IF_ERROR(run_requests(engine, make_requests(1, flags.input_length, 2, vocab)).status());
  COHORT_ASSIGN_OR_RETURN(const EngineRun run, run_requests(engine, make_requests(flags.num_prompts, flags.input_length,
                                                                                  flags.output_length, vocab)));
  engine.stop();
  const double seconds = run.result_ms.back() / 1e3;
  const auto prompts_per_second = static_cast<double>(flags.num_prompts) / seconds;
  json report = describe(job, config, rank);
  report["num_prompts"] = flags.num_prompts;
  report["input_length"] = flags.input_length;
  report["output_length"] = flags.output_length;
  report["max_seqs"] = rank.runner().options().max_seqs;
  report["seconds"] = seconds;
  report["requests_per_second"] = prompts_per_second;
  report["output_tokens_per_second"] = prompts_per_second * static_cast<double>(flags.output_length);
  report["total_tokens_per_second"] =
      prompts_per_second * static_cast<double>(flags.input_length + flags.output_length);
  if (flags.json) {
    fmt::print("{}\n", report.dump(2));
  } else {
    fmt::print("{}{} prompts of {} tokens in, {} out, {} at once: {:.2f} s\n", head_line(report), flags.num_prompts,
               flags.input_length, flags.output_length, rank.runner().options().max_seqs, seconds);
    fmt::print("{:.2f} requests/s, {:.1f} output tokens/s, {:.1f} tokens/s in all\n", prompts_per_second,
               report["output_tokens_per_second"].get<double>(), report["total_tokens_per_second"].get<double>());
  }
  return flush_output();
}

using Lead = Status (*)(Job&, const Config&, const BenchFlags&, RankEngine&);

// One rank's part. count: the most requests that are under way at once.
Status bench(Job& job, const Config& config, const BenchFlags& flags, bool dry_run, int64_t count, Lead lead) {
  RankModel model = open_rank_model(job, config);
  const ModelSpec& spec = model.model.config.spec;
  const std::vector<GenerationRequest> requests =
      make_requests(count, flags.input_length, flags.output_length, spec.vocab);
  job.agree([&] { return requests.front().validate(sequence_limits(spec)); });
  RankPlan plan = make_rank_plan(job, config, model.model, model.layout, model.device, requests);
  plan.engine.shares_prefixes = false;  // the same prompts are measured again and again
  if (dry_run) return print_rank_table(job, plan);
  RankEngine rank(job, std::move(model), plan, static_cast<int>(config.device.threads), flags.quiet);
  if (rank.is_leader()) return lead(job, config, flags, rank);
  follow(rank.runner(), rank.comms());
  return ok_status();
}

Status run_bench(const ConfigFlags& config_flags, const BenchFlags& flags, int64_t count, Lead lead) {
  return run_model_job(config_flags, "a bench", [&](Job& job, const Config& config) {
    return bench(job, config, flags, config_flags.dry_run(), count, lead);
  });
}

void add_common_flags(CLI::App& command, BenchFlags& flags) {
  const CLI::Range is_count(int64_t{1}, int64_t{1} << 24);
  command.add_option("--input-len", flags.input_length, "Tokens of a prompt")
      ->check(is_count)
      ->capture_default_str()
      ->option_text("N");
  command.add_option("--output-len", flags.output_length, "Tokens of an output")
      ->check(is_count)
      ->capture_default_str()
      ->option_text("N");
  command.add_flag("--json", flags.json, "One JSON object instead of a table");
  command.add_flag("--quiet", flags.quiet, "No progress on standard error");
}

}  // namespace

void add_bench_engine(CLI::App& bench, Run& run) {
  const CLI::Range is_count(int64_t{1}, int64_t{1} << 16);
  CLI::App& latency = *bench.add_subcommand("latency", "Measure prefill and decode steps of a model");
  auto latency_flags = std::make_shared<BenchFlags>();
  latency
      .add_option("--batch", latency_flags->batches,
                  "Sequences that run together; several numbers are measured in turn")
      ->delimiter(',')
      ->check(is_count)
      ->capture_default_str()
      ->option_text("N,...");
  add_common_flags(latency, *latency_flags);
  auto latency_config = std::make_shared<ConfigFlags>(latency);
  latency.callback([latency_flags, latency_config, &run] {
    run = [latency_flags, latency_config] {
      const std::vector<int64_t>& batches = latency_flags->batches;
      return run_bench(*latency_config, *latency_flags, *std::max_element(batches.begin(), batches.end()),
                       lead_latency);
    };
  });

  CLI::App& throughput = *bench.add_subcommand("throughput", "Measure how many tokens a second many prompts get");
  auto throughput_flags = std::make_shared<BenchFlags>();
  throughput.add_option("--num-prompts", throughput_flags->num_prompts, "Prompts, all there at the start")
      ->check(is_count)
      ->capture_default_str()
      ->option_text("N");
  add_common_flags(throughput, *throughput_flags);
  auto throughput_config = std::make_shared<ConfigFlags>(throughput);
  throughput.callback([throughput_flags, throughput_config, &run] {
    run = [throughput_flags, throughput_config] {
      return run_bench(*throughput_config, *throughput_flags, throughput_flags->num_prompts, lead_throughput);
    };
  });
}

}  // namespace cohort
