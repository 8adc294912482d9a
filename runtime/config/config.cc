#include "runtime/config/config.h"

#include <array>
#include <limits>
#include <type_traits>
#include <utility>

namespace cohort {
namespace {

using namespace std::string_view_literals;

template <auto kSection, auto kMember>
consteval ConfigField field() {
  using Value = std::remove_cvref_t<decltype((std::declval<Config&>().*kSection).*kMember)>;
  return {
      .get = [](const Config& config) -> ConfigValue { return (config.*kSection).*kMember; },
      .set = [](Config& config, ConfigValue value) { (config.*kSection).*kMember = std::get<Value>(std::move(value)); },
  };
}

constexpr std::array kWeights = {"checkpoint"sv, "random"sv};
constexpr std::array kDtypes = {"auto"sv, "float32"sv, "bfloat16"sv, "float16"sv};
constexpr std::array kNumerics = {"fast"sv, "deterministic"sv};
constexpr std::array kDevices = {"auto"sv, "cpu"sv, "cuda"sv};
constexpr std::array kSwitch = {"off"sv, "on"sv};
constexpr std::array kLevels = {"error"sv, "warning"sv, "info"sv, "debug"sv};

// Keeps the product of the three sizes within int64_t.
constexpr int64_t kMaxParallelSize = 65536;
constexpr int64_t kMaxBlocks = std::numeric_limits<int32_t>::max();  // a block id is an int32_t
constexpr int64_t kMaxModelLen = 1 << 24;
constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kDayS = 86'400;

constexpr auto kKeys = std::to_array<ConfigKey>({
    {.path = "model.path",
     .flag = "--model",
     .limits = FreeText{.may_be_empty = true},
     .help = "Hugging Face model directory; a relative one is relative to the current directory",
     .field = field<&Config::model, &ModelConfigSection::path>(),
     .may_differ = true},  // each host may have its copy; what is in it is compared
    {.path = "model.weights",
     .flag = "--weights",
     .limits = TextChoices{kWeights},
     .help = "random makes them from config.json alone",
     .field = field<&Config::model, &ModelConfigSection::weights>()},
    {.path = "model.random_seed",
     .flag = "--random-seed",
     .limits = UnsignedRange{0, std::numeric_limits<uint64_t>::max()},
     .help = "Seed of random weights",
     .field = field<&Config::model, &ModelConfigSection::random_seed>()},
    {.path = "model.dtype",
     .flag = "--dtype",
     .limits = TextChoices{kDtypes},
     .help = "Of weights and activations; auto is the checkpoint's",
     .field = field<&Config::model, &ModelConfigSection::dtype>()},
    {.path = "model.max_model_len",
     .flag = "--max-model-len",
     .limits = IntegerRange{0, kMaxModelLen},
     .help = "The longest sequence; 0 is the checkpoint's. More than that only where positions are relative: T5, ALiBi",
     .field = field<&Config::model, &ModelConfigSection::max_model_len>()},
    {.path = "model.numerics",
     .flag = "--numerics",
     .limits = TextChoices{kNumerics},
     .help = "What GPUs promise; deterministic: the same bits in every batch and layout, more slowly. CPUs always do",
     .field = field<&Config::model, &ModelConfigSection::numerics>()},

    {.path = "parallel.tensor_parallel_size",
     .flag = "--tensor-parallel-size",
     .short_flag = "--tp",
     .limits = IntegerRange{1, kMaxParallelSize},
     .help = "Ranks that split each layer",
     .field = field<&Config::parallel, &ParallelConfigSection::tensor_parallel_size>()},
    {.path = "parallel.pipeline_parallel_size",
     .flag = "--pipeline-parallel-size",
     .short_flag = "--pp",
     .limits = IntegerRange{1, kMaxParallelSize},
     .help = "Stages, each with a run of the layers",
     .field = field<&Config::parallel, &ParallelConfigSection::pipeline_parallel_size>()},
    {.path = "parallel.replicas",
     .flag = "--replicas",
     .limits = IntegerRange{1, kMaxParallelSize},
     .help = "Copies of the model, each of tensor x pipeline ranks",
     .field = field<&Config::parallel, &ParallelConfigSection::replicas>()},

    {.path = "device.kind",
     .flag = "--device",
     .limits = TextChoices{kDevices},
     .help = "What a rank computes on",
     .field = field<&Config::device, &DeviceConfigSection::kind>()},
    {.path = "device.threads",
     .flag = "--threads",
     .limits = IntegerRange{0, 4096},
     .help = "CPU threads of a rank; 0 takes all that the process may use, divided among the host's ranks",
     .field = field<&Config::device, &DeviceConfigSection::threads>(),
     .may_differ = true},

    {.path = "cache.block_size",
     .flag = "--block-size",
     .limits = IntegerRange{1, 1024},
     .help = "Positions a block of the cache",
     .field = field<&Config::cache, &CacheConfigSection::block_size>()},
    {.path = "cache.memory_fraction",
     .flag = "--cache-memory-fraction",
     .limits = NumberRange{0.01, 0.98},
     .help = "Of the memory of host or device that weights, activations and libraries leave, what the cache takes",
     .field = field<&Config::cache, &CacheConfigSection::memory_fraction>()},
    {.path = "cache.num_blocks",
     .flag = "--num-blocks",
     .limits = IntegerRange{0, kMaxBlocks},
     .help = "Blocks of the cache; 0 takes as many as fit memory_fraction",
     .field = field<&Config::cache, &CacheConfigSection::num_blocks>()},

    {.path = "scheduler.max_seqs",
     .flag = "--max-seqs",
     .limits = IntegerRange{1, 65536},
     .help = "Sequences that run at once",
     .field = field<&Config::scheduler, &SchedulerConfigSection::max_seqs>()},
    {.path = "scheduler.max_tokens_per_step",
     .flag = "--max-tokens-per-step",
     .limits = IntegerRange{1, 1 << 20},
     .help = "Tokens of one pass of the model",
     .field = field<&Config::scheduler, &SchedulerConfigSection::max_tokens_per_step>()},
    {.path = "scheduler.max_waiting",
     .flag = "--max-waiting",
     .limits = IntegerRange{0, 1 << 20},
     .help = "Sequences that wait to run; more are refused",
     .field = field<&Config::scheduler, &SchedulerConfigSection::max_waiting>()},

    {.path = "health.heartbeat_interval_ms",
     .flag = "--heartbeat-interval-ms",
     .limits = IntegerRange{1, kHourMs},
     .help = "How often a rank says that it lives",
     .field = field<&Config::health, &HealthConfigSection::heartbeat_interval_ms>()},
    {.path = "health.heartbeat_timeout_ms",
     .flag = "--heartbeat-timeout-ms",
     .limits = IntegerRange{2, 2 * kHourMs},
     .help = "How long a rank may be silent before it is taken for dead; at least 2 x heartbeat_interval_ms",
     .field = field<&Config::health, &HealthConfigSection::heartbeat_timeout_ms>()},
    {.path = "health.step_timeout_s",
     .flag = "--step-timeout-s",
     .limits = IntegerRange{1, kDayS},
     .help = "How long a step may take before the job is ended",
     .field = field<&Config::health, &HealthConfigSection::step_timeout_s>()},
    {.path = "health.startup_timeout_s",
     .flag = "--startup-timeout-s",
     .limits = IntegerRange{1, kDayS},
     .help = "How long ranks wait for each other at bring-up",
     .field = field<&Config::health, &HealthConfigSection::startup_timeout_s>()},

    {.path = "server.host",
     .flag = "--server-host",
     .limits = FreeText{.may_be_empty = false},
     .help = "Address that the HTTP server listens on",
     .field = field<&Config::server, &ServerConfigSection::host>()},
    {.path = "server.port",
     .flag = "--server-port",
     .limits = IntegerRange{0, 65535},
     .help = "Port of the HTTP server, 0 for any free one",
     .field = field<&Config::server, &ServerConfigSection::port>()},
    {.path = "server.served_model_name",
     .flag = "--served-model-name",
     .limits = FreeText{.may_be_empty = true},
     .help = "What clients call the model; empty for the name of its directory",
     .field = field<&Config::server, &ServerConfigSection::served_model_name>()},
    {.path = "server.api_key_file",
     .flag = "--api-key-file",
     .limits = FreeText{.may_be_empty = true},
     .help = "File of API keys, one a line; empty: none is asked for",
     .field = field<&Config::server, &ServerConfigSection::api_key_file>()},
    {.path = "server.chat_template",
     .flag = "--chat-template",
     .limits = FreeText{.may_be_empty = true},
     .help = "File of a chat template; empty for the model's own",
     .field = field<&Config::server, &ServerConfigSection::chat_template>()},
    {.path = "server.request_templates",
     .flag = "--request-templates",
     .limits = TextChoices{kSwitch},
     .help = "Whether a request may bring its own chat template",
     .field = field<&Config::server, &ServerConfigSection::request_templates>()},
    {.path = "server.link",
     .flag = "--link",
     .limits = FreeText{.may_be_empty = true},
     .help = "Socket between gateway and engine, for those of two processes; empty for one of their own",
     .field = field<&Config::server, &ServerConfigSection::link>()},
    {.path = "server.max_connections",
     .flag = "--max-connections",
     .limits = IntegerRange{1, 1 << 20},
     .help = "Connections at once; more are answered 503",
     .field = field<&Config::server, &ServerConfigSection::max_connections>()},
    {.path = "server.max_body_bytes",
     .flag = "--max-body-bytes",
     .limits = IntegerRange{1, int64_t{1} << 32},
     .help = "Of a request's body, decompressed; more is answered 413",
     .field = field<&Config::server, &ServerConfigSection::max_body_bytes>()},
    {.path = "server.max_stream_buffer_bytes",
     .flag = "--max-stream-buffer-bytes",
     .limits = IntegerRange{1024, int64_t{1} << 32},
     .help = "Of a stream that its client does not read; more, and the request is cancelled",
     .field = field<&Config::server, &ServerConfigSection::max_stream_buffer_bytes>()},
    {.path = "server.header_timeout_s",
     .flag = "--header-timeout-s",
     .limits = IntegerRange{1, kDayS},
     .help = "How long the headers of a request may take",
     .field = field<&Config::server, &ServerConfigSection::header_timeout_s>()},
    {.path = "server.body_timeout_s",
     .flag = "--body-timeout-s",
     .limits = IntegerRange{1, kDayS},
     .help = "How long the body of a request may take",
     .field = field<&Config::server, &ServerConfigSection::body_timeout_s>()},
    {.path = "server.idle_timeout_s",
     .flag = "--idle-timeout-s",
     .limits = IntegerRange{1, kDayS},
     .help = "How long a connection may wait between requests",
     .field = field<&Config::server, &ServerConfigSection::idle_timeout_s>()},
    {.path = "server.drain_timeout_s",
     .flag = "--drain-timeout-s",
     .limits = IntegerRange{0, kDayS},
     .help = "How long requests under way may take to end after SIGTERM",
     .field = field<&Config::server, &ServerConfigSection::drain_timeout_s>()},
    {.path = "server.log_interval_s",
     .flag = "--log-interval-s",
     .limits = IntegerRange{0, kDayS},
     .help = "Seconds between log lines of throughput; 0 for none",
     .field = field<&Config::server, &ServerConfigSection::log_interval_s>()},

    {.path = "metrics.vllm_names",
     .flag = "--vllm-metric-names",
     .limits = TextChoices{kSwitch},
     .help = "Serve each metric also under the name that dashboards for vLLM read",
     .field = field<&Config::metrics, &MetricsConfigSection::vllm_names>()},

    {.path = "logging.level",
     .flag = "--log-level",
     .limits = TextChoices{kLevels},
     .help = "The least severe messages that are logged",
     .field = field<&Config::logging, &LoggingConfigSection::level>(),
     .may_differ = true},
});

}  // namespace

std::string ConfigKey::environment() const {
  std::string name = "COHORT_";
  for (const char c : flag.substr(2)) {
    name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  return name;
}

std::span<const ConfigKey> config_keys() { return kKeys; }

const ConfigKey* find_config_key(std::string_view path_or_flag) {
  if (path_or_flag.empty()) return nullptr;
  for (const ConfigKey& key : kKeys) {
    if (path_or_flag == key.path || path_or_flag == key.flag || path_or_flag == key.short_flag) return &key;
  }
  return nullptr;
}

std::vector<std::string_view> config_sections() {
  std::vector<std::string_view> sections;
  for (const ConfigKey& key : kKeys) {
    if (sections.empty() || sections.back() != key.section()) sections.push_back(key.section());
  }
  return sections;
}

}  // namespace cohort
