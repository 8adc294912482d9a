#include "launcher/gateway/gateway.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <mutex>
#include <thread>

#include "launcher/gateway/engine_link_client.h"
#include "launcher/gateway/generation_service.h"
#include "launcher/gateway/http_server.h"
#include "launcher/gateway/kserve_api.h"
#include "launcher/gateway/openai_api.h"
#include "launcher/gateway/task_executor.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr int kNumTaskThreads = 2;                      // for long prompts
constexpr std::chrono::milliseconds kTick{50};          // between looks at what is left, while ending
constexpr std::chrono::milliseconds kLastWords{1000};   // for clients to read how it ended
constexpr std::chrono::seconds kSilenceBeyondStep{10};  // of the engine, beyond what a step may take

std::string model_name(const Config& config) {
  if (!config.server.served_model_name.empty()) return config.server.served_model_name;
  const std::filesystem::path path = std::filesystem::weakly_canonical(config.model.path);
  return path.filename().string();
}

// What the gateway knows from files.
struct GatewayFiles {
  ApiKeys keys;
  std::unique_ptr<Tokenizer> tokenizer;
  ChatOptions chat;
};

Result<GatewayFiles> read_files(const Config& config) {
  if (!is_valid_utf8(model_name(config))) {  // which every answer has
    return invalid_argument("server.served_model_name: expected UTF-8, which the name of the model's directory is not");
  }
  GatewayFiles files;
  if (!config.server.api_key_file.empty()) {
    COHORT_ASSIGN_OR_RETURN(files.keys, ApiKeys::read(config.server.api_key_file));
  }
  COHORT_ASSIGN_OR_RETURN(files.tokenizer, Tokenizer::load(config.model.path));
  COHORT_ASSIGN_OR_RETURN(files.chat, read_chat_options(config.model.path, config.server.chat_template));
  return files;
}

// A client is an open file, and the usual limit of 1024 is far below what --max-connections lets in.
void allow_connections(int64_t max_connections) {
  constexpr rlim_t kOthers = 1024;  // that the process has open
  const rlim_t wanted = static_cast<rlim_t>(max_connections) + kOthers;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    spdlog::warn("--max-connections lets in {} clients, but this process may open {} files (ulimit -n)",
                 max_connections, limit.rlim_cur);
  }
}

HttpServerOptions http_options(const Config& config, ApiKeys keys) {
  const ServerConfigSection& server = config.server;
  HttpServerOptions options;
  options.host = server.host;
  options.port = static_cast<int>(server.port);
  options.keys = std::move(keys);
  options.limits.max_body_bytes = server.max_body_bytes;
  options.max_connections = server.max_connections;
  options.max_stream_buffer_bytes = server.max_stream_buffer_bytes;
  options.header_timeout_ms = server.header_timeout_s * 1000;
  options.body_timeout_ms = server.body_timeout_s * 1000;
  options.idle_timeout_ms = server.idle_timeout_s * 1000;
  return options;
}

// What happened between two looks at counters that only grow, as a line.
std::string throughput_line(const EngineStats& stats, const EngineStats& before, double seconds) {
  const auto rate = [&](int64_t now, int64_t then) { return static_cast<double>(now - then) / seconds; };
  const int64_t num_queries = stats.num_prefix_queries - before.num_prefix_queries;
  const auto percent = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
  };
  return fmt::format(
      "prompt {:.1f} tokens/s, output {:.1f} tokens/s, {} running, {} waiting, cache {:.1f}% in use, {:.1f}% of "
      "prompts "
      "found in it, {} preempted",
      rate(stats.num_prompt_tokens, before.num_prompt_tokens), rate(stats.num_output_tokens, before.num_output_tokens),
      stats.num_running, stats.num_waiting, percent(stats.num_owned_blocks, stats.num_blocks),
      percent(stats.num_prefix_hits - before.num_prefix_hits, num_queries),
      stats.num_preemptions - before.num_preemptions);
}

}  // namespace

class Gateway::Impl {
 public:
  explicit Impl(Options options)
      : options_(std::move(options)),
        engine_(io_, options_.link_path, std::chrono::seconds(config_.health.step_timeout_s) + kSilenceBeyondStep,
                [this](const std::string& reason) { on_broken(reason); }) {}

  ~Impl() {
    asio::post(io_, [this] { io_.stop(); });
    if (thread_.joinable()) thread_.join();
  }

  Status open() {
    COHORT_ASSIGN_OR_RETURN(GatewayFiles files, read_files(config_));
    tokenizer_ = std::move(files.tokenizer);
    GenerationService::Options service = {
        .model_name = model_name(config_),
        .vllm_metric_names = config_.metrics.vllm_names == "on",
        .call_later = [this](auto delay, auto function) { return call_later(delay, std::move(function)); }};
    service_ = std::make_unique<GenerationService>(engine_, *tokenizer_, tasks_, std::move(service));
    const auto model = std::make_shared<const OpenAiModel>(*tokenizer_, openai_options(std::move(files.chat)));
    openai_ = std::make_unique<OpenAiApi>(*service_, model);
    kserve_ = std::make_unique<KserveApi>(*service_, model);
    std::vector<HttpRoute> routes = openai_->routes();
    std::ranges::move(kserve_->routes(), std::back_inserter(routes));
    allow_connections(config_.server.max_connections);
    COHORT_ASSIGN_OR_RETURN(http_,
                            HttpServer::listen(io_, http_options(config_, std::move(files.keys)), std::move(routes)));
    spdlog::info("listening on http://{}", http_->address());
    wait_for_signal();
    if (config_.server.log_interval_s > 0) log_later();
    thread_ = std::thread([this] { run(); });
    return ok_status();
  }

  bool has_ended() const { return has_ended_.load(std::memory_order_relaxed); }

  void fail(const std::string& reason) {
    if (std::this_thread::get_id() == thread_.get_id()) return;  // it is what says so
    asio::post(io_, [this, reason] { engine_.set_broken(reason); });
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kLastWords + 2 * kTick, [this] { return has_said_last_words_; });
  }

 private:
  OpenAiOptions openai_options(ChatOptions chat) const {
    OpenAiOptions openai;
    openai.model_name = model_name(config_);
    openai.generation = options_.generation;
    openai.spec = options_.spec;
    openai.version = options_.version;
    openai.chat = std::move(chat);
    openai.chat.request_templates = config_.server.request_templates == "on";
    return openai;
  }

  // While somebody holds what it returns.
  std::shared_ptr<void> call_later(std::chrono::microseconds delay, std::function<void()> function) {
    auto timer = std::make_shared<asio::steady_timer>(io_, delay);
    timer->async_wait([function = std::move(function)](error_code error) {
      if (!error) function();
    });
    return timer;
  }

  void run() {
    try {
      io_.run();
    } catch (const std::exception& error) {
      options_.on_failure(std::string("the gateway: ") + error.what());
    }
  }

  void wait_for_signal() {
    signals_.async_wait([this](error_code error, int signal) {
      if (error) return;
      if (is_draining_) _exit(1);  // the second
      is_draining_ = true;
      spdlog::info("draining: {} requests are under way", service_->num_active());
      service_->begin_drain();
      drain_end_ = Clock::now() + drain_limit(signal);
      drain();
      wait_for_signal();
    });
  }

  std::chrono::milliseconds drain_limit(int signal) const {
    const std::chrono::milliseconds limit = std::chrono::seconds(config_.server.drain_timeout_s);
    if (signal != SIGTERM || !options_.patience_after_sigterm) return limit;
    return std::min(limit, *options_.patience_after_sigterm / 2);
  }

  // Looks every now and then whether all is over.
  void drain() {
    const bool is_over = service_->num_active() == 0 && http_->num_answering() == 0;
    const Clock::time_point now = Clock::now();
    if (!is_over && now > drain_end_ && !is_late_) {
      is_late_ = true;
      spdlog::warn("draining took too long: {} requests are ended", service_->num_active());
      service_->fail_all("the server is shutting down");
    }
    if (is_over || now > drain_end_ + kLastWords) {
      has_ended_.store(true, std::memory_order_relaxed);
      return;
    }
    timer_.expires_after(kTick);
    timer_.async_wait([this](error_code error) {
      if (!error) drain();
    });
  }

  // Every request has had its last event.
  void on_broken(const std::string& reason) {
    if (has_ended()) return;  // the engine ends after a drain
    spdlog::error("the engine is broken: {}", reason);
    broken_end_ = Clock::now() + kLastWords;
    say_last_words(reason);
  }

  void say_last_words(const std::string& reason) {
    timer_.expires_after(kTick);
    timer_.async_wait([this, reason](error_code error) {
      if (error) return;
      if (Clock::now() < broken_end_) return say_last_words(reason);
      {
        const std::lock_guard lock(mutex_);
        has_said_last_words_ = true;
      }
      changed_.notify_all();
      options_.on_failure(reason);
    });
  }

  void log_later() {
    log_timer_.expires_after(std::chrono::seconds(config_.server.log_interval_s));
    log_timer_.async_wait([this, start = Clock::now(), before = engine_.stats()](error_code error) {
      if (error) return;
      const EngineStats& stats = engine_.stats();
      const bool is_idle = stats.num_steps == before.num_steps && stats.num_running + stats.num_waiting == 0;
      if (!is_idle) {
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        spdlog::info("{}", throughput_line(stats, before, seconds));
      }
      log_later();
    });
  }

  const Options options_;
  const Config& config_ = options_.config;

  asio::io_context io_{1};
  asio::signal_set signals_{io_, SIGTERM, SIGINT, SIGUSR2};
  asio::steady_timer timer_{io_};
  asio::steady_timer log_timer_{io_};
  std::unique_ptr<Tokenizer> tokenizer_;
  EngineLinkClient engine_;
  PoolExecutor tasks_{kNumTaskThreads, [this](std::function<void()> f) { asio::post(io_, std::move(f)); }};
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<OpenAiApi> openai_;
  std::unique_ptr<KserveApi> kserve_;
  std::unique_ptr<HttpServer> http_;

  // Of the thread.
  bool is_draining_ = false;
  bool is_late_ = false;
  Clock::time_point drain_end_;
  Clock::time_point broken_end_;

  std::atomic<bool> has_ended_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool has_said_last_words_ = false;  // guarded by mutex_
  std::thread thread_;
};

Result<std::unique_ptr<Gateway>> Gateway::open(Options options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  COHORT_RETURN_IF_ERROR(impl->open());
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

Status Gateway::check(const Config& config) { return read_files(config).status(); }

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gateway::~Gateway() = default;
bool Gateway::has_ended() const { return impl_->has_ended(); }
void Gateway::fail(const std::string& reason) { impl_->fail(reason); }

}  // namespace cohort
