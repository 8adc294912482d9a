// The flags of `cohort bench serve`.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "launcher/loadgen/load_report.h"
#include "launcher/loadgen/prompts.h"
#include "launcher/loadgen/server_address.h"

namespace cohort {

struct BenchServeFlags {
  std::string base_url;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::string endpoint = "/v1/completions";
  std::string model;  // empty: the first that the server lists
  std::string key;
  double timeout_s = 600;

  int64_t num_prompts = 1000;
  double duration_s = 0;  // 0: num_prompts
  std::vector<std::string> rates = {"inf"};
  double burstiness = 1;
  uint64_t seed = 0;
  int64_t max_concurrency = 0;
  int64_t num_warmups = 0;

  std::string dataset = "random";
  std::string dataset_path;
  std::string tokenizer;
  RandomPrompts random{.vocab = 1000};
  bool ignore_eos = false;
  double temperature = 0;
  std::string extra_body;

  std::vector<std::string> metrics = {"ttft", "tpot", "itl", "e2el"};
  std::vector<double> percents = {50, 90, 95, 99};
  std::vector<std::string> goodput;
  std::string json_file;
  std::string svg_file;
  std::string title;
  std::vector<std::string> metadata;
  bool quiet = false;

  bool is_chat() const { return endpoint.ends_with("/chat/completions"); }

  // UsageError names the flag.
  ServerAddress address() const;
  std::vector<double> request_rates() const;
  std::vector<ServiceLevel> service_levels() const;
  std::string extra_members() const;  // of the JSON object, as they stand in it
  std::vector<std::pair<std::string, std::string>> facts() const;
  void check() const;  // flags that exclude each other

  std::string api_key() const;  // the flag's, or the environment's, or empty
};

void add_bench_serve_flags(CLI::App& command, BenchServeFlags& flags);

}  // namespace cohort
