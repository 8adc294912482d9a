#include "launcher/gateway/openai_api.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "launcher/gateway/json_fields.h"
#include "launcher/gateway/openai_answer.h"
#include "launcher/gateway/openai_encoding_answer.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

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

}  // namespace

OpenAiApi::OpenAiApi(GenerationService& service, std::shared_ptr<const OpenAiModel> model)
    : service_(service), model_(std::move(model)), texts_(model_->tokenizer()), created_(unix_seconds()) {}

std::vector<HttpRoute> OpenAiApi::routes() {
  std::vector<HttpRoute> routes;
  const auto add = [&routes](const char* method, const char* path, HttpHandler handler, bool needs_key = true) {
    routes.push_back({method, path, std::move(handler), needs_key});
  };
  add("POST", "/v1/completions", [this](const Exchange& exchange) { generate(ApiKind::kCompletion, exchange); });
  add("POST", "/v1/chat/completions", [this](const Exchange& exchange) { generate(ApiKind::kChat, exchange); });
  add("POST", "/tokenize", [this](const Exchange& exchange) { answer(&OpenAiModel::tokenize, exchange); });
  add("POST", "/detokenize", [this](const Exchange& exchange) { answer(&OpenAiModel::detokenize, exchange); });
  for (const EncodingKind kind : {EncodingKind::kEmbeddings, EncodingKind::kClassify, EncodingKind::kScore,
                                  EncodingKind::kRerank, EncodingKind::kFillMask}) {
    add("POST", path_of(kind), [this, kind](const Exchange& exchange) { encode(kind, exchange); });
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
    exchange->respond({.body = ordered_json{{"server_load", service_.num_active()}}.dump()});
  });
  add("GET", "/metrics", [this](const Exchange& exchange) {
    exchange->respond({.body = service_.metrics_text(), .content_type = std::string(MetricsRegistry::kContentType)});
  });
  return routes;
}

void OpenAiApi::generate(ApiKind kind, const Exchange& exchange) {
  const SteadyTime arrival = std::chrono::steady_clock::now();
  if (model_->options().spec.is_encoder()) {
    return exchange->respond(error_response(
        unimplemented("model: \"" + model_->options().model_name + "\" encodes and does not support generating text")));
  }
  if (const Status status = service_.admission(); !status.ok()) return exchange->respond(error_response(status));
  // The engine's facts do not change once it is ready, but belong to this thread.
  service_.prepare<PreparedRequest>(
      exchange, model_->options().chat.request_templates,
      [model = model_, exchange, kind, facts = service_.facts()] {
        return model->prepare(kind, exchange->request().body, facts);
      },
      [this, exchange, arrival](Result<PreparedRequest> prepared) {
        if (!prepared.ok()) return exchange->respond(error_response(prepared.status()));
        begin(exchange, *std::move(prepared), arrival);
      });
}

void OpenAiApi::begin(const Exchange& exchange, PreparedRequest request, SteadyTime arrival) {
  // Meanwhile the engine may have broken, or all have been ended; a drain lets it go on.
  if (const Status status = service_.readiness(); !status.ok()) return exchange->respond(error_response(status));
  if (const auto error = model_->check_size(request, service_.facts())) {
    return exchange->respond(error_response(*error));
  }
  log_ignored_fields(exchange->request().id, request.fields.ignored);
  auto answer = std::make_unique<OpenAiAnswer>(model_, std::move(request), exchange, texts_, unix_seconds());
  std::vector<SequencePlan> plans = answer->plans(service_.draw_seed(), service_.facts());
  service_.begin(exchange, std::move(answer), std::move(plans), arrival);
}

void OpenAiApi::encode(EncodingKind kind, const Exchange& exchange) {
  const SteadyTime arrival = std::chrono::steady_clock::now();
  if (const Status status = check_kind(kind, *model_); !status.ok()) return exchange->respond(error_response(status));
  if (const Status status = service_.admission(); !status.ok()) return exchange->respond(error_response(status));
  service_.prepare<PreparedEncoding>(
      exchange, /*may_take_long=*/false,
      [model = model_, exchange, kind, facts = service_.facts()] {
        return prepare_encoding(kind, exchange->request().body, *model, facts);
      },
      [this, exchange, arrival](Result<PreparedEncoding> prepared) {
        if (!prepared.ok()) return exchange->respond(error_response(prepared.status()));
        begin(exchange, *std::move(prepared), arrival);
      });
}

void OpenAiApi::begin(const Exchange& exchange, PreparedEncoding request, SteadyTime arrival) {
  if (const Status status = service_.readiness(); !status.ok()) return exchange->respond(error_response(status));
  if (const auto error = check_size(request, service_.facts())) return exchange->respond(error_response(*error));
  if (*num_scores_ + request.num_scores > kMaxScoresUnderWay) {
    return exchange->respond(error_response(resource_exhausted("too many masks are being filled")));
  }
  log_ignored_fields(exchange->request().id, request.ignored);
  auto answer = std::make_unique<EncodingAnswer>(model_, std::move(request), exchange, unix_seconds(), num_scores_);
  std::vector<SequencePlan> plans = answer->plans();
  service_.begin(exchange, std::move(answer), std::move(plans), arrival);
}

void OpenAiApi::answer(Answer make_answer, const Exchange& exchange) {
  if (const Status status = service_.admission(); !status.ok()) return exchange->respond(error_response(status));
  service_.prepare<std::string>(
      exchange, model_->options().chat.request_templates,
      [model = model_, make_answer, exchange, facts = service_.facts()] {
        return ((*model).*make_answer)(exchange->request().body, facts);
      },
      [exchange](Result<std::string> made) {
        exchange->respond(made.ok() ? HttpResponse{.body = *std::move(made)} : error_response(made.status()));
      });
}

void OpenAiApi::respond_health(const Exchange& exchange) const {
  const EngineHealth& health = service_.health();
  ordered_json body;
  if (health.state == EngineState::kBroken) {
    body = {{"status", "broken"}, {"reason", health.what}};
  } else if (service_.is_draining()) {
    body = {{"status", "draining"}, {"active", service_.num_active()}};
  } else if (health.state == EngineState::kLoading) {
    body = {{"status", "loading"}, {"what", health.what}, {"progress", health.fraction}};
  } else {
    return exchange->respond({.body = R"({"status":"ready"})"});
  }
  exchange->respond({.status = 503, .body = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace)});
}

void OpenAiApi::respond_models(const Exchange& exchange) const {
  if (const Status status = service_.readiness(); !status.ok()) return exchange->respond(error_response(status));
  const ordered_json body = {{"object", "list"},
                             {"data", ordered_json::array({model_card(*model_, service_.facts(), created_)})}};
  exchange->respond({.body = body.dump()});
}

void OpenAiApi::respond_model(const Exchange& exchange) const {
  const std::string name = exchange->request().path.substr(std::string_view("/v1/models/").size());
  if (const Status status = service_.readiness(); !status.ok()) return exchange->respond(error_response(status));
  if (const Status status = model_->check_model(name); !status.ok()) return exchange->respond(error_response(status));
  exchange->respond({.body = model_card(*model_, service_.facts(), created_).dump()});
}

}  // namespace cohort
