#include "launcher/gateway/openai_api.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

namespace cohort {
namespace {

using nlohmann::ordered_json;

constexpr size_t kLongBody = 8192;  // from here on a body is worked on elsewhere

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

ordered_json model_card(const OpenAiModel& model, const EngineFacts& facts, int64_t created) {
  return {{"id", model.options().model_name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "cohort"},
          {"root", model.options().model_name},
          {"parent", nullptr},
          {"max_model_len", facts.max_position}};
}

// Names are the client's: shown in short, in ASCII.
void log_ignored(const std::string& request_id, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const nlohmann::json shown = name.substr(0, 64);
    spdlog::debug("request {}: the field {} is ignored", request_id,
                  shown.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }
}

// What `make` returns. One that throws, on whatever thread, fails its own request and no other.
template <typename T, typename Make>
void make_guarded(Result<T>& out, const Make& make) {
  try {
    out = make();
  } catch (const std::exception& error) {
    spdlog::error("a request has failed: {}", error.what());
    out = Status(StatusCode::kInternal, "the server has failed on this request");
  }
}

// "12.3 ms", or "-" for a time that was not reached.
std::string milliseconds(double seconds) { return seconds < 0 ? "-" : fmt::format("{:.1f} ms", seconds * 1e3); }

}  // namespace

Result<std::unique_ptr<OpenAiApi>> OpenAiApi::make(EngineClient& engine, const Tokenizer& tokenizer,
                                                   TaskExecutor& executor, OpenAiOptions options) {
  return std::unique_ptr<OpenAiApi>(new OpenAiApi(engine, tokenizer, executor, std::move(options)));
}

OpenAiApi::OpenAiApi(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor, OpenAiOptions options)
    : engine_(engine),
      executor_(executor),
      model_(std::make_shared<OpenAiModel>(tokenizer, std::move(options))),
      texts_(tokenizer),
      metrics_(model_->options().model_name, model_->options().vllm_metric_names),
      created_(unix_seconds()),
      seeds_(std::random_device{}()) {}

OpenAiApi::~OpenAiApi() { *alive_ = false; }

std::vector<HttpRoute> OpenAiApi::routes() {
  std::vector<HttpRoute> routes;
  const auto add = [&routes](const char* method, const char* path, HttpHandler handler, bool needs_key = true) {
    routes.push_back({method, path, std::move(handler), needs_key});
  };
  add("POST", "/v1/completions", [this](const Exchange& exchange) { generate(ApiKind::kCompletion, exchange); });
  add("POST", "/v1/chat/completions", [this](const Exchange& exchange) { generate(ApiKind::kChat, exchange); });
  add("POST", "/tokenize", [this](const Exchange& exchange) { answer(&OpenAiModel::tokenize, exchange); });
  add("POST", "/detokenize", [this](const Exchange& exchange) { answer(&OpenAiModel::detokenize, exchange); });
  for (const char* path : {"/v1/embeddings", "/v1/classify", "/v1/score", "/v1/rerank"}) {
    add("POST", path, [this, path](const Exchange& exchange) {
      exchange->respond(error_response(unimplemented("model: \"" + model_->options().model_name +
                                                     "\" generates text and does not support " + path)));
    });
  }
  add("GET", "/v1/models", [this](const Exchange& exchange) { respond_models(exchange); });
  add("GET", "/v1/models/*", [this](const Exchange& exchange) { respond_model(exchange); });
  add(
      "GET", "/health", [this](const Exchange& exchange) { respond_health(exchange); }, false);
  add(
      "GET", "/ping", [this](const Exchange& exchange) { respond_health(exchange); }, false);
  add("GET", "/version", [this](const Exchange& exchange) {
    exchange->respond({.body = ordered_json{{"version", model_->options().version}}.dump()});
  });
  add("GET", "/load", [this](const Exchange& exchange) {
    exchange->respond({.body = ordered_json{{"server_load", num_active()}}.dump()});
  });
  add("GET", "/metrics", [this](const Exchange& exchange) {
    exchange->respond(
        {.body = metrics_.text(engine_.stats()), .content_type = std::string(MetricsRegistry::kContentType)});
  });
  return routes;
}

Status OpenAiApi::admission() const {
  const EngineHealth& health = engine_.health();
  if (health.state == EngineState::kBroken) return {StatusCode::kUnavailable, "the engine is broken: " + health.what};
  if (!failure_.empty()) return {StatusCode::kUnavailable, failure_};
  if (is_draining_) return {StatusCode::kUnavailable, "the server is shutting down"};
  if (health.state == EngineState::kLoading) {
    return {StatusCode::kUnavailable,
            fmt::format("the model is loading: {}, {:.0f}%", health.what, health.fraction * 100)};
  }
  return ok_status();
}

// Long ones elsewhere, and all where clients may bring templates, which run as long as their limits let them.
void OpenAiApi::run(const Exchange& exchange, std::function<void()> task, std::function<void()> done) {
  if (exchange->request().body.size() < kLongBody && !model_->options().chat.request_templates) {
    task();
    done();
    return;
  }
  ++num_preparing_;
  executor_.run(std::move(task), [this, alive = alive_, done = std::move(done)] {
    if (!*alive) return;
    --num_preparing_;
    done();
  });
}

void OpenAiApi::generate(ApiKind kind, const Exchange& exchange) {
  const SteadyTime arrival = std::chrono::steady_clock::now();
  if (const Status status = admission(); !status.ok()) return exchange->respond(error_response(status));
  // The engine's facts do not change once it is ready, but belong to this thread.
  auto prepared = std::make_shared<Result<PreparedRequest>>(Status());
  run(
      exchange,
      [model = model_, exchange, kind, prepared, facts = engine_.facts()] {
        make_guarded(*prepared, [&] { return model->prepare(kind, exchange->request().body, facts); });
      },
      [this, exchange, prepared, arrival] {
        if (exchange->is_gone()) return;
        if (!prepared->ok()) return exchange->respond(error_response(prepared->status()));
        begin(exchange, *std::move(*prepared), arrival);
      });
}

void OpenAiApi::begin(const Exchange& exchange, PreparedRequest request, SteadyTime arrival) {
  // Meanwhile the engine may have broken, or all have been ended; a drain lets it go on.
  if (!failure_.empty()) return exchange->respond(error_response(Status(StatusCode::kUnavailable, failure_)));
  if (engine_.health().state != EngineState::kReady) return exchange->respond(error_response(admission()));
  if (const auto error = model_->check_size(request, engine_.facts())) return exchange->respond(error_response(*error));
  log_ignored(exchange->request().id, request.fields.ignored);
  const uint64_t number = num_generations_++;
  OpenAiGeneration::Environment environment{
      .engine = engine_,
      .texts = texts_,
      .on_token_gap = [this](double seconds) { metrics_.add_token_gap(seconds); },
      .on_end = [this, number,
                 id = exchange->request().id](const GenerationRecord& record) { on_end(number, id, record); }};
  auto generation = std::make_shared<OpenAiGeneration>(model_, std::move(request), exchange, std::move(environment),
                                                       arrival, unix_seconds());
  active_.emplace(number, generation);
  generation->start(seeds_());
}

void OpenAiApi::on_end(uint64_t number, const std::string& request_id, const GenerationRecord& record) {
  active_.erase(number);
  metrics_.add(record);
  SequenceRecord sum;
  for (const SequenceRecord& sequence : record.sequences) {
    sum.num_prompt_tokens += sequence.num_prompt_tokens;
    sum.num_cached_tokens += sequence.num_cached_tokens;
    sum.num_output_tokens += sequence.num_output_tokens;
  }
  const SequenceRecord first = record.sequences.empty() ? SequenceRecord() : record.sequences.front();
  spdlog::info(
      "request {}: {}, {} sequences, {} prompt tokens ({} cached), {} output tokens, queued {}, first token {}, "
      "all {}",
      request_id, record.outcome, record.sequences.size(), sum.num_prompt_tokens, sum.num_cached_tokens,
      sum.num_output_tokens, milliseconds(first.queue_seconds), milliseconds(first.first_token_seconds),
      milliseconds(record.total_seconds));
}

void OpenAiApi::fail_all(const std::string& reason) {
  failure_ = reason;
  const auto generations = std::exchange(active_, {});
  for (const auto& [number, generation] : generations) generation->fail({.http_status = 503, .message = reason});
}

void OpenAiApi::answer(Answer make_answer, const Exchange& exchange) {
  if (const Status status = admission(); !status.ok()) return exchange->respond(error_response(status));
  auto made = std::make_shared<Result<std::string>>(Status());
  run(
      exchange,
      [model = model_, make_answer, exchange, made, facts = engine_.facts()] {
        make_guarded(*made, [&] { return ((*model).*make_answer)(exchange->request().body, facts); });
      },
      [exchange, made] {
        exchange->respond(made->ok() ? HttpResponse{.body = **std::move(made)} : error_response(made->status()));
      });
}

void OpenAiApi::respond_health(const Exchange& exchange) const {
  const EngineHealth& health = engine_.health();
  ordered_json body;
  if (health.state == EngineState::kBroken) {
    body = {{"status", "broken"}, {"reason", health.what}};
  } else if (is_draining_) {
    body = {{"status", "draining"}, {"active", num_active()}};
  } else if (health.state == EngineState::kLoading) {
    body = {{"status", "loading"}, {"what", health.what}, {"progress", health.fraction}};
  } else {
    return exchange->respond({.body = R"({"status":"ready"})"});
  }
  exchange->respond({.status = 503, .body = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace)});
}

void OpenAiApi::respond_models(const Exchange& exchange) const {
  const ordered_json body = {{"object", "list"},
                             {"data", ordered_json::array({model_card(*model_, engine_.facts(), created_)})}};
  exchange->respond({.body = body.dump()});
}

void OpenAiApi::respond_model(const Exchange& exchange) const {
  const std::string name = exchange->request().path.substr(std::string_view("/v1/models/").size());
  if (const Status status = model_->check_model(name); !status.ok()) return exchange->respond(error_response(status));
  exchange->respond({.body = model_card(*model_, engine_.facts(), created_).dump()});
}

}  // namespace cohort
