// cohort bench serve: how fast a server of the OpenAI protocol answers a load that does not wait for it.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "kernels/core/device_facts.h"
#include "launcher/bootstrap/build_facts.h"
#include "launcher/bootstrap/mpi_session.h"
#include "launcher/cli/bench_serve_flags.h"
#include "launcher/cli/command.h"
#include "launcher/loadgen/arrivals.h"
#include "launcher/loadgen/load_picture.h"
#include "launcher/loadgen/load_report.h"
#include "launcher/loadgen/load_run.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

Result<ordered_json> fetch_json(HttpClient& client, const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const HttpAnswer answer, fetch(client, "GET", path));
  if (answer.status != 200) {
    return Status(StatusCode::kUnavailable, fmt::format("HTTP {}: {}", answer.status, error_message(answer.body)));
  }
  auto parsed = ordered_json::parse(answer.body, nullptr, false);
  if (parsed.is_discarded()) return Status(StatusCode::kUnavailable, "the answer is no JSON");
  return parsed;
}

// The first of those that the server lists.
Result<std::string> first_model(HttpClient& client, const std::string& prefix) {
  const std::string path = prefix + "/v1/models";
  auto models = fetch_json(client, path);
  if (!models.ok()) return Status(models.status()).annotate(path);
  const auto id = models->is_object() ? models->value("/data/0/id"_json_pointer, ordered_json()) : ordered_json();
  if (!id.is_string()) return Status(StatusCode::kUnavailable, path + ": no model is listed; give --model");
  return id.get<std::string>();
}

// A server and what it is asked.
struct Bench {
  const BenchServeFlags& flags;
  std::unique_ptr<HttpClient> client = {};
  std::unique_ptr<Tokenizer> tokenizer = {};  // or null
  std::string file_text = {};                 // of --dataset-path
  LoadRunOptions options = {};
};

// Random ones differ between the loads of a sweep, or what a server has cached of one would make the next one quicker.
Result<std::vector<LoadPrompt>> make_prompts(const Bench& bench, int64_t count, uint64_t load) {
  const BenchServeFlags& flags = bench.flags;
  if (flags.dataset == "file") {
    auto prompts = parse_prompts(bench.file_text, count, flags.random.output_length);
    if (!prompts.ok()) return Status(prompts.status()).annotate(flags.dataset_path);
    const bool has_ids = std::any_of(prompts->begin(), prompts->end(), [](const auto& p) { return !p.ids.empty(); });
    if (has_ids && bench.options.form.is_chat) {
      return invalid_argument(flags.dataset_path + ": a chat takes text, not token ids");
    }
    return prompts;
  }
  RandomPrompts random = flags.random;
  random.count = count;
  random.seed = flags.seed + 1'000'003 * load;
  return make_random_prompts(random, bench.tokenizer.get());
}

Status warm_up(const Bench& bench) {
  if (bench.flags.num_warmups == 0) return ok_status();
  COHORT_ASSIGN_OR_RETURN(const auto prompts, make_prompts(bench, bench.flags.num_warmups, 0));
  const LoadResult result =
      run_load(*bench.client, bench.options, prompts, plan_arrivals({.rate = HUGE_VAL}, bench.flags.num_warmups));
  for (const RequestRecord& record : result.requests) {
    if (!record.failure.empty()) {
      return Status(StatusCode::kUnavailable, fmt::format("warm-up: {}: {}", record.failure, record.failure_message));
    }
  }
  return ok_status();
}

Result<LoadReport> measure(const Bench& bench, const LoadSetup& setup, uint64_t load) {
  const BenchServeFlags& flags = bench.flags;
  int64_t count = flags.num_prompts;
  if (flags.duration_s > 0) count = std::max<int64_t>(1, std::llround(flags.duration_s * setup.request_rate));
  COHORT_ASSIGN_OR_RETURN(const auto prompts, make_prompts(bench, count, load));
  if (!flags.quiet) fmt::print(stderr, "{:g} requests/s: {} prompts\n", setup.request_rate, count);
  const auto arrivals = plan_arrivals({setup.request_rate, setup.burstiness, flags.seed}, count);
  return make_report(setup, run_load(*bench.client, bench.options, prompts, arrivals));
}

void print_progress(const LoadProgress& progress) {
  fmt::print(stderr, "  {:.0f} s: {} sent, {} done, of which {} failed\n", progress.seconds, progress.num_sent,
             progress.num_done, progress.num_failed);
}

ordered_json describe(const Bench& bench, const ServerAddress& address) {
  const BenchServeFlags& flags = bench.flags;
  const DeviceFacts cpu = device_facts(kCpuDevice);
  ordered_json head{
      {"build", build_version()},         {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
      {"client_host", host_name()},       {"client_device", fmt::format("{} x {}", cpu.num_multiprocessors, cpu.name)},
      {"base_url", address.url()},        {"endpoint", flags.endpoint},
      {"model", bench.options.form.model}};
  if (const auto version = fetch_json(*bench.client, address.prefix + "/version"); version.ok()) {
    head["server_version"] = *version;
  }
  head["dataset"] = flags.dataset;
  if (flags.dataset == "random") {
    head["random_prefix_len"] = flags.random.prefix_length;
    head["input_len"] = flags.random.input_length;
    head["range_ratio"] = flags.random.range_ratio;
    head["prompts_are"] = bench.tokenizer ? "text" : "token ids";
  } else {
    head["dataset_path"] = flags.dataset_path;
  }
  head["output_len"] = flags.random.output_length;
  head["ignore_eos"] = flags.ignore_eos;
  head["temperature"] = flags.temperature;
  if (!flags.extra_body.empty()) head["extra_body"] = ordered_json::parse(flags.extra_body);
  head["seed"] = flags.seed;
  head["num_warmups"] = flags.num_warmups;
  for (const auto& [name, value] : flags.facts()) head["metadata"][name] = value;
  return head;
}

double last_percentile(const Distribution& values) {
  return values.percentiles.empty() ? values.max : values.percentiles.back().second;
}

std::string draw(const Bench& bench, const std::vector<LoadReport>& reports) {
  std::vector<LoadPoint> points;
  for (const LoadReport& report : reports) {
    const Distribution& ttft = report.latencies_ms.at("ttft");
    const Distribution& itl = report.latencies_ms.at("itl");
    const double tokens_per_answer =
        static_cast<double>(report.num_output_tokens) / static_cast<double>(std::max<int64_t>(1, report.num_completed));
    points.push_back({.request_rate = report.setup.request_rate,
                      .ttft_median_ms = ttft.median,
                      .ttft_tail_ms = last_percentile(ttft),
                      .itl_median_ms = itl.median,
                      .itl_tail_ms = last_percentile(itl),
                      .output_tokens_per_second = report.output_throughput(),
                      .offered_tokens_per_second = report.offered_rate * tokens_per_answer,
                      .num_failed = report.num_failed});
  }
  const BenchServeFlags& flags = bench.flags;
  std::string load = fmt::format("{}, prompts of {}", flags.endpoint, flags.dataset_path);
  if (flags.dataset == "random") {
    load = fmt::format("{}, {} tokens in, {} out", flags.endpoint,
                       flags.random.prefix_length + flags.random.input_length, flags.random.output_length);
  }
  std::string facts = "measured by cohort " + build_version();
  for (const auto& [name, value] : flags.facts()) facts += ", " + name + " " + value;
  const std::string tail = flags.percents.empty() ? "max" : fmt::format("p{:g}", flags.percents.back());
  return draw_load({flags.title.empty() ? bench.options.form.model : flags.title, {load, facts}, tail}, points);
}

Result<Bench> open_bench(const BenchServeFlags& flags, const ServerAddress& address) {
  Bench bench{.flags = flags};
  HttpClient::Options http{.host = address.host, .port = address.port};
  http.timeout = std::chrono::milliseconds(std::llround(1e3 * flags.timeout_s));
  if (const std::string key = flags.api_key(); !key.empty()) {
    http.headers.emplace_back("Authorization", "Bearer " + key);
  }
  COHORT_ASSIGN_OR_RETURN(bench.client, HttpClient::open(std::move(http)));
  if (!flags.tokenizer.empty()) {
    COHORT_ASSIGN_OR_RETURN(bench.tokenizer, Tokenizer::load(flags.tokenizer));
  }
  if (flags.dataset == "file") {
    COHORT_ASSIGN_OR_RETURN(bench.file_text, read_input(flags.dataset_path));
  }
  bench.options.path = address.prefix + flags.endpoint;
  bench.options.max_at_once = flags.max_concurrency;
  bench.options.form = {.is_chat = flags.is_chat(),
                        .model = flags.model,
                        .temperature = flags.temperature,
                        .ignore_eos = flags.ignore_eos,
                        .extra = flags.extra_members()};
  if (flags.model.empty()) {
    auto model = first_model(*bench.client, address.prefix);
    if (!model.ok()) return Status(model.status()).annotate(address.url());
    bench.options.form.model = *model;
  }
  if (!flags.quiet) bench.options.on_progress = print_progress;
  return bench;
}

// Before what takes long.
Status check_files(const BenchServeFlags& flags) {
  if (!flags.json_file.empty()) COHORT_RETURN_IF_ERROR(can_write(flags.json_file));
  return flags.svg_file.empty() ? ok_status() : can_write(flags.svg_file);
}

Status run_bench_serve(const BenchServeFlags& flags) {
  flags.check();
  COHORT_RETURN_IF_ERROR(check_files(flags));
  const ServerAddress address = flags.address();
  COHORT_ASSIGN_OR_RETURN(const Bench bench, open_bench(flags, address));
  COHORT_RETURN_IF_ERROR(warm_up(bench));

  ordered_json head = describe(bench, address);
  std::vector<LoadReport> reports;
  for (const double rate : flags.request_rates()) {
    const LoadSetup setup{rate, flags.burstiness, flags.max_concurrency, flags.percents, flags.service_levels()};
    COHORT_ASSIGN_OR_RETURN(LoadReport report, measure(bench, setup, reports.size() + 1));
    fmt::print("{}", format_report(report, flags.metrics));
    COHORT_RETURN_IF_ERROR(flush_output());
    head["results"].push_back(report_json(report));
    reports.push_back(std::move(report));
  }
  if (reports.size() > 1) fmt::print("\n{}", format_sweep(reports));
  COHORT_RETURN_IF_ERROR(flush_output());
  if (!flags.json_file.empty()) COHORT_RETURN_IF_ERROR(write_output(flags.json_file, head.dump(2) + "\n"));
  if (!flags.svg_file.empty()) COHORT_RETURN_IF_ERROR(write_output(flags.svg_file, draw(bench, reports)));
  if (std::ranges::any_of(reports, [](const LoadReport& report) { return report.num_completed > 0; })) {
    return ok_status();
  }
  return {StatusCode::kUnavailable, "no request went well"};
}

}  // namespace

void add_bench_serve(CLI::App& bench, Run& run) {
  CLI::App& command = *bench.add_subcommand("serve", "Measure a server under a load that does not wait for it");
  auto flags = std::make_shared<BenchServeFlags>();
  add_bench_serve_flags(command, *flags);
  command.callback([flags, &run] { run = [flags] { return run_bench_serve(*flags); }; });
}

}  // namespace cohort
