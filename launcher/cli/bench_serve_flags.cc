#include "launcher/cli/bench_serve_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "launcher/cli/command.h"

namespace cohort {
namespace {

void add_server_flags(CLI::App& command, BenchServeFlags& flags) {
  CLI::Option* url =
      command.add_option("--base-url", flags.base_url, "http://HOST:PORT of the server")->type_name("URL");
  command.add_option("--host", flags.host, "Its host")->excludes(url)->capture_default_str()->type_name("NAME");
  command.add_option("--port", flags.port, "Of the server")
      ->excludes(url)
      ->check(CLI::Range(1, 65535))
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--endpoint", flags.endpoint, "/v1/completions or /v1/chat/completions")
      ->check(CLI::IsMember({"/v1/completions", "/v1/chat/completions"}))
      ->capture_default_str()
      ->type_name("PATH");
  command.add_option("--model", flags.model, "Its name; the first that the server lists if not given")
      ->type_name("NAME");
  command
      .add_option("--api-key", flags.key, "Or from COHORT_API_KEY or OPENAI_API_KEY, which no list of processes shows")
      ->type_name("KEY");
  command.add_option("--timeout-s", flags.timeout_s, "Of a request, from its start to the end of its answer")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str()
      ->type_name("SECONDS");
}

void add_load_flags(CLI::App& command, BenchServeFlags& flags) {
  CLI::Option* count = command.add_option("--num-prompts", flags.num_prompts, "Of each rate")
                           ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
                           ->capture_default_str()
                           ->type_name("N");
  command.add_option("--duration-s", flags.duration_s, "Instead: as many prompts as arrive in this time")
      ->check(CLI::Range(0.001, 1e6))
      ->excludes(count)
      ->type_name("SECONDS");
  command
      .add_option("--request-rate,--request-rates", flags.rates,
                  "Requests a second, or inf for all at once; several rates are measured in turn")
      ->delimiter(',')
      ->capture_default_str()
      ->type_name("R,...");
  command
      .add_option("--burstiness", flags.burstiness,
                  "Shape of the gamma distribution of intervals: 1 for a Poisson process, less for bursts")
      ->check(CLI::Range(1e-3, 1e6))
      ->capture_default_str()
      ->type_name("SHAPE");
  command
      .add_option("--max-concurrency", flags.max_concurrency,
                  "Requests under way at once; what is due then waits, as before a gate. 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command.add_option("--num-warmups", flags.num_warmups, "Requests beforehand, which do not count")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command.add_option("--seed", flags.seed, "Of arrivals and random prompts")->capture_default_str()->type_name("N");
}

void add_prompt_flags(CLI::App& command, BenchServeFlags& flags) {
  const CLI::Range is_length(int64_t{1}, int64_t{1} << 24);
  command.add_option("--dataset-name", flags.dataset, "random or file")
      ->check(CLI::IsMember({"random", "file"}))
      ->capture_default_str()
      ->type_name("NAME");
  command
      .add_option("--dataset-path", flags.dataset_path,
                  R"(Prompts as lines, or as JSON lines of {"prompt": text or ids, "output_len"})")
      ->type_name("FILE");
  command
      .add_option("--tokenizer", flags.tokenizer,
                  "A model directory: random tokens are sent as text. Without, as ids below --vocab-size")
      ->type_name("DIR");
  command.add_option("--vocab-size", flags.random.vocab, "Of random ids")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str()
      ->type_name("N");
  for (const char* name : {"--input-len,--random-input-len", "--output-len,--random-output-len"}) {
    const bool is_input = std::string_view(name).starts_with("--input");
    command
        .add_option(name, is_input ? flags.random.input_length : flags.random.output_length,
                    is_input ? "Tokens of a random prompt" : "Tokens that are asked for")
        ->check(is_length)
        ->capture_default_str()
        ->type_name("N");
  }
  command
      .add_option("--range-ratio,--random-range-ratio", flags.random.range_ratio,
                  "r: lengths are uniform in [(1 - r) length, (1 + r) length]")
      ->check(CLI::Range(0.0, 0.999))
      ->type_name("R");
  command.add_option("--random-prefix-len", flags.random.prefix_length, "Tokens that all random prompts begin with")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command.add_flag("--ignore-eos", flags.ignore_eos, "Go on to --output-len, if the server can");
  command.add_option("--temperature", flags.temperature, "Of sampling")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("T");
  command.add_option("--extra-body", flags.extra_body, "A JSON object, whose members go into every request")
      ->type_name("JSON");
}

void add_report_flags(CLI::App& command, BenchServeFlags& flags) {
  const std::vector<std::string> metrics(std::begin(kLatencyMetrics), std::end(kLatencyMetrics));
  command.add_option("--percentile-metrics", flags.metrics, "Latencies in the table, some of ttft,tpot,itl,e2el")
      ->delimiter(',')
      ->check(CLI::IsMember(metrics))
      ->capture_default_str()
      ->type_name("NAMES");
  command.add_option("--metric-percentiles", flags.percents, "Of each; the last one is in the picture")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->type_name("P,...");
  command
      .add_option("--goodput", flags.goodput,
                  "Counts requests that keep limits in ms, like ttft:200 tpot:20 (or itl, e2el)")
      ->expected(1, 4)
      ->type_name("METRIC:MS ...");
  command.add_option("--save-json", flags.json_file, "All figures, with what was measured and where")
      ->type_name("FILE");
  command.add_option("--svg", flags.svg_file, "A picture of latency and throughput against the rate")
      ->type_name("FILE");
  command.add_option("--title", flags.title, "Of the picture")->type_name("TEXT");
  command.add_option("--metadata", flags.metadata, "Facts for the JSON and the picture, like gpu=H200")
      ->expected(1, 64)
      ->type_name("NAME=TEXT ...");
  command.add_flag("--quiet", flags.quiet, "No progress on standard error");
}

}  // namespace

ServerAddress BenchServeFlags::address() const {
  if (base_url.empty()) return {host, std::to_string(port), ""};
  const auto parsed = parse_base_url(base_url);
  if (!parsed.ok()) throw UsageError("--base-url: " + parsed.status().message());
  return *parsed;
}

std::vector<double> BenchServeFlags::request_rates() const {
  std::vector<double> result;
  for (const std::string& word : rates) {
    double rate = 0;
    if (word == "inf") {
      rate = HUGE_VAL;
    } else if (!CLI::detail::lexical_cast(word, rate) || !(rate > 0) || std::isinf(rate)) {
      throw UsageError(fmt::format("--request-rate: expected requests a second or inf, got \"{}\"", word));
    }
    result.push_back(rate);
  }
  return result;
}

std::vector<ServiceLevel> BenchServeFlags::service_levels() const {
  std::vector<ServiceLevel> levels;
  for (const std::string& word : goodput) {
    const size_t colon = std::min(word.find(':'), word.size() - 1);
    const std::string metric = word.substr(0, colon);
    double limit = 0;
    if (std::ranges::find(kLatencyMetrics, metric) == std::end(kLatencyMetrics) ||
        !CLI::detail::lexical_cast(word.substr(colon + 1), limit) || !(limit > 0)) {
      throw UsageError(fmt::format("--goodput: expected some of {}, each with milliseconds like ttft:200, got \"{}\"",
                                   fmt::join(kLatencyMetrics, ", "), word));
    }
    levels.push_back({metric, limit});
  }
  return levels;
}

std::string BenchServeFlags::extra_members() const {
  if (extra_body.empty()) return {};
  const auto parsed = nlohmann::ordered_json::parse(extra_body, nullptr, false);
  if (!parsed.is_object()) throw UsageError("--extra-body: expected a JSON object, got " + extra_body);
  for (const char* name : {"model", "max_tokens", "temperature", "stream", "stream_options", "messages", "prompt"}) {
    if (parsed.contains(name)) throw UsageError(fmt::format("--extra-body: {} is in every request already", name));
  }
  if (ignore_eos && parsed.contains("ignore_eos"))
    throw UsageError("--extra-body: ignore_eos goes without --ignore-eos");
  const std::string object = parsed.dump();
  return object.substr(1, object.size() - 2);
}

std::vector<std::pair<std::string, std::string>> BenchServeFlags::facts() const {
  std::vector<std::pair<std::string, std::string>> result;
  for (const std::string& word : metadata) {
    const size_t equals = word.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw UsageError(fmt::format("--metadata: expected NAME=TEXT, got \"{}\"", word));
    }
    result.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return result;
}

void BenchServeFlags::check() const {
  const std::vector<double> all = request_rates();
  const bool has_infinite_rate = std::ranges::find(all, HUGE_VAL) != all.end();
  if (!svg_file.empty() && has_infinite_rate) throw UsageError("--svg: expected rates that are not inf");
  if (duration_s > 0 && has_infinite_rate) throw UsageError("--duration-s: expected rates that are not inf");
  if (dataset == "file" && dataset_path.empty()) throw UsageError("--dataset-path: expected a file");
  if (dataset == "random" && !dataset_path.empty()) throw UsageError("--dataset-path: goes with --dataset-name file");
  if (is_chat() && dataset == "random" && tokenizer.empty()) {
    throw UsageError("--tokenizer: a chat takes text, which random tokens need a tokenizer for");
  }
  service_levels();
  extra_members();
  facts();
  address();
}

std::string BenchServeFlags::api_key() const {
  if (!key.empty()) return key;
  for (const char* name : {"COHORT_API_KEY", "OPENAI_API_KEY"}) {
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0') return value;
  }
  return {};
}

void add_bench_serve_flags(CLI::App& command, BenchServeFlags& flags) {
  add_server_flags(command, flags);
  add_load_flags(command, flags);
  add_prompt_flags(command, flags);
  add_report_flags(command, flags);
}

}  // namespace cohort
