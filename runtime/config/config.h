// Config: every setting of a deployment, and the table that describes each of them once.
//
// config_keys() is the only list of settings: the YAML reader, flags, environment variables, printing, the JSON Schema
// and the comparison between ranks all walk it. Defaults are the initialisers of the structs below.
//
// Invariant: a Config that load_config() (config_loader.h) returned holds values within the ranges and choices of the
// table, and the relations between keys hold. It is not changed afterwards. Plain values; as thread-safe as an int.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cohort {

struct ModelConfigSection {
  std::string path;                    // empty until somebody names one
  std::string weights = "checkpoint";  // checkpoint, random
  uint64_t random_seed = 0;
  std::string dtype = "auto";     // auto, float32, bfloat16, float16
  int64_t max_model_len = 0;      // tokens of a sequence, prompt and output together; 0: as config.json says
  std::string numerics = "fast";  // fast, deterministic
  bool operator==(const ModelConfigSection&) const = default;
};

struct ParallelConfigSection {
  int64_t tensor_parallel_size = 1;
  int64_t pipeline_parallel_size = 1;
  int64_t replicas = 1;
  bool operator==(const ParallelConfigSection&) const = default;
};

struct DeviceConfigSection {
  std::string kind = "auto";  // auto, cpu, cuda
  int64_t threads = 0;        // 0: all that the process may use, divided among the host's ranks
  bool operator==(const DeviceConfigSection&) const = default;
};

struct CacheConfigSection {
  int64_t block_size = 16;       // positions
  double memory_fraction = 0.8;  // of what weights, activations and libraries leave
  int64_t num_blocks = 0;        // 0: as many as fit memory_fraction
  bool operator==(const CacheConfigSection&) const = default;
};

struct SchedulerConfigSection {
  int64_t max_seqs = 64;
  int64_t max_tokens_per_step = 2048;
  int64_t max_waiting = 1024;  // sequences; more are refused
  bool operator==(const SchedulerConfigSection&) const = default;
};

struct HealthConfigSection {
  int64_t heartbeat_interval_ms = 500;
  int64_t heartbeat_timeout_ms = 4000;  // at least twice the interval
  int64_t step_timeout_s = 30;
  int64_t startup_timeout_s = 600;
  bool operator==(const HealthConfigSection&) const = default;
};

struct ServerConfigSection {
  std::string host = "127.0.0.1";
  int64_t port = 8000;
  std::string served_model_name;          // empty: the name of the model's folder
  std::string api_key_file;               // a key a line; empty: no key is asked for
  std::string chat_template;              // a file; empty: the model's own
  std::string request_templates = "off";  // off, on: whether a request may bring its own chat template
  std::string link;                       // socket between gateway and engine; empty: one of their own
  int64_t max_connections = 16384;
  int64_t max_body_bytes = int64_t{16} << 20;
  int64_t max_stream_buffer_bytes = int64_t{1} << 20;  // of a stream that its client does not read
  int64_t header_timeout_s = 10;
  int64_t body_timeout_s = 30;
  int64_t idle_timeout_s = 75;   // of a connection between requests
  int64_t drain_timeout_s = 30;  // after SIGTERM
  int64_t log_interval_s = 10;   // between lines of throughput; 0: none
  bool operator==(const ServerConfigSection&) const = default;
};

struct MetricsConfigSection {
  std::string vllm_names = "off";  // off, on: each metric also under the name that vLLM's dashboards read
  bool operator==(const MetricsConfigSection&) const = default;
};

struct LoggingConfigSection {
  std::string level = "info";  // error, warning, info, debug
  bool operator==(const LoggingConfigSection&) const = default;
};

struct Config {
  ModelConfigSection model;
  ParallelConfigSection parallel;
  DeviceConfigSection device;
  CacheConfigSection cache;
  SchedulerConfigSection scheduler;
  HealthConfigSection health;
  ServerConfigSection server;
  MetricsConfigSection metrics;
  LoggingConfigSection logging;

  // Where each value came from, in the order of config_keys(): "default", "FILE:LINE", "COHORT_X" or "--flag". Empty
  // in a Config that was not loaded.
  std::vector<std::string> origins;

  int64_t num_ranks() const {
    return parallel.tensor_parallel_size * parallel.pipeline_parallel_size * parallel.replicas;
  }

  // Equal values; where they came from does not matter.
  bool operator==(const Config& other) const {
    return model == other.model && parallel == other.parallel && device == other.device && cache == other.cache &&
           scheduler == other.scheduler && health == other.health && server == other.server &&
           metrics == other.metrics && logging == other.logging;
  }
};

// A value of any key. The alternative is that of the key's limits.
using ConfigValue = std::variant<std::string, int64_t, uint64_t, double>;

// What a value may be; inclusive.
struct IntegerRange {
  int64_t min, max;
};
struct UnsignedRange {
  uint64_t min, max;
};
struct NumberRange {
  double min, max;
};
struct TextChoices {
  std::span<const std::string_view> names;
};
struct FreeText {
  bool may_be_empty;
};
using ConfigLimits = std::variant<IntegerRange, UnsignedRange, NumberRange, TextChoices, FreeText>;

// How a key reaches its field of a Config.
struct ConfigField {
  ConfigValue (*get)(const Config& config);
  void (*set)(Config& config, ConfigValue value);  // requires the alternative that get returns
};

struct ConfigKey {
  std::string_view path;             // "parallel.tensor_parallel_size"
  std::string_view flag;             // "--tensor-parallel-size"
  std::string_view short_flag = {};  // "--tp", or empty
  ConfigLimits limits;
  std::string_view help;  // a line
  ConfigField field;
  bool may_differ = false;  // between the ranks of one deployment

  std::string_view section() const { return path.substr(0, path.find('.')); }  // "parallel"
  std::string_view name() const { return path.substr(path.find('.') + 1); }    // "tensor_parallel_size"
  std::string environment() const;                                             // "COHORT_TENSOR_PARALLEL_SIZE"
};

// All keys, those of a section together.
std::span<const ConfigKey> config_keys();

// The key of a path, flag or short flag; null if there is none.
const ConfigKey* find_config_key(std::string_view path_or_flag);

// The sections, in the order of the table.
std::vector<std::string_view> config_sections();

}  // namespace cohort
