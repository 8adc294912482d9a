#include "launcher/gateway/kserve_api.h"

#include <algorithm>
#include <array>
#include <utility>

#include "launcher/gateway/json_fields.h"
#include "launcher/gateway/kserve_error.h"
#include "launcher/gateway/kserve_model.h"

namespace cohort {
namespace {

constexpr std::string_view kModels = "/v2/models/";
constexpr std::string_view kHeaderLength = "inference-header-content-length";
constexpr std::array<std::string_view, 4> kGetActions = {"", "ready", "config", "stats"};
constexpr std::array<std::string_view, 3> kPostActions = {"infer", "generate", "generate_stream"};

bool is_one_of(std::string_view action, auto actions) {
  return std::find(actions.begin(), actions.end(), action) != actions.end();
}

HttpResponse wrong_method(const HttpRequest& request, const std::string& expected) {
  HttpResponse response;
  response.status = 405;
  response.body = kserve_error_json(request.method + " " + request.path + ": expected " + expected);
  response.headers.emplace_back("Allow", expected);
  return response;
}

void respond(const std::shared_ptr<HttpExchange>& exchange, const Status& status) {
  exchange->respond(status.ok() ? HttpResponse{} : kserve_error(status));
}

}  // namespace

KserveApi::KserveApi(GenerationService& service, std::shared_ptr<const OpenAiModel> model)
    : service_(service), model_(std::move(model)) {}

std::vector<HttpRoute> KserveApi::routes() {
  std::vector<HttpRoute> routes;
  const auto add = [&routes](const char* method, const char* path, HttpHandler handler, bool needs_key = true) {
    routes.push_back({method, path, std::move(handler), needs_key});
  };
  add("GET", "/v2", [this](const Exchange& exchange) {
    exchange->respond({.body = kserve_server_metadata(model_->options().version)});
  });
  add(
      "GET", "/v2/health/live",
      [this](const Exchange& exchange) {
        const bool is_broken = service_.health().state == EngineState::kBroken;
        respond(exchange, is_broken ? service_.readiness() : ok_status());
      },
      false);
  add(
      "GET", "/v2/health/ready", [this](const Exchange& exchange) { respond(exchange, service_.admission()); }, false);
  add("GET", "/v2/models/*", [this](const Exchange& exchange) { get_model(exchange); });
  add("POST", "/v2/models/*", [this](const Exchange& exchange) { post_model(exchange); });
  add("POST", "/v2/repository/index", [this](const Exchange& exchange) { respond_index(exchange); });
  add("POST", "/v2/repository/models/*", [this](const Exchange& exchange) {
    respond(exchange, unimplemented("the model \"" + model_->options().model_name +
                                    "\" is served as long as the server runs: none is loaded or unloaded"));
  });
  return routes;
}

Result<std::string> KserveApi::action_of(std::string_view path) const {
  const std::string& name = model_->options().model_name;
  std::string_view rest = path.substr(kModels.size());
  const bool is_model = rest.starts_with(name) && (rest.size() == name.size() || rest[name.size()] == '/');
  if (!is_model) {
    return not_found("there is no model \"" + std::string(rest.substr(0, rest.find('/')).substr(0, 64)) + "\", \"" +
                     name + "\" is served");
  }
  rest.remove_prefix(name.size());
  constexpr std::string_view kVersions = "/versions/";
  if (rest.starts_with(kVersions)) {
    rest.remove_prefix(kVersions.size());
    const std::string_view version = rest.substr(0, rest.find('/'));
    if (version != kKserveVersion) {
      return not_found("the model \"" + name + "\" has no version \"" + std::string(version.substr(0, 64)) + "\", " +
                       std::string(kKserveVersion) + " is served");
    }
    rest.remove_prefix(version.size());
  }
  if (!rest.empty()) rest.remove_prefix(1);
  return std::string(rest);
}

void KserveApi::get_model(const Exchange& exchange) const {
  const auto action = action_of(exchange->request().path);
  if (!action.ok()) return respond(exchange, action.status());
  if (is_one_of(*action, kPostActions)) return exchange->respond(wrong_method(exchange->request(), "POST"));
  if (!is_one_of(*action, kGetActions)) {
    return respond(exchange, not_found("GET " + exchange->request().path + ": there is no such path"));
  }
  const std::string& name = model_->options().model_name;
  if (*action == "ready") return respond(exchange, service_.admission());
  if (*action == "stats") {
    return exchange->respond({.body = kserve_model_statistics(name, service_.statistics(), service_.stats())});
  }
  if (const Status status = service_.readiness(); !status.ok()) return respond(exchange, status);
  exchange->respond(
      {.body = *action == "config" ? kserve_model_config(name, service_.facts()) : kserve_model_metadata(name)});
}

void KserveApi::post_model(const Exchange& exchange) {
  const auto action = action_of(exchange->request().path);
  if (!action.ok()) return respond(exchange, action.status());
  if (*action == "infer") return infer(Kind::kInfer, exchange);
  if (*action == "generate") return infer(Kind::kGenerate, exchange);
  if (*action == "generate_stream") return infer(Kind::kGenerateStream, exchange);
  if (is_one_of(*action, kGetActions)) return exchange->respond(wrong_method(exchange->request(), "GET"));
  respond(exchange, not_found("POST " + exchange->request().path + ": there is no such path"));
}

void KserveApi::infer(Kind kind, const Exchange& exchange) {
  const SteadyTime arrival = std::chrono::steady_clock::now();
  const OpenAiOptions& options = model_->options();
  if (options.spec.is_encoder()) {
    return respond(exchange, unimplemented("the model \"" + options.model_name + "\" encodes and generates no text"));
  }
  if (const Status status = service_.admission(); !status.ok()) return respond(exchange, status);
  service_.prepare<Prepared>(
      exchange, false,
      [kind, model = model_, exchange, facts = service_.facts()] {
        return prepare(kind, *model, exchange->request(), facts);
      },
      [this, kind, exchange, arrival](Result<Prepared> prepared) {
        if (!prepared.ok()) return respond(exchange, prepared.status());
        begin(kind, exchange, *std::move(prepared), arrival);
      });
}

Result<KserveApi::Prepared> KserveApi::prepare(Kind kind, const OpenAiModel& model, const HttpRequest& http,
                                               const EngineFacts& facts) {
  const auto num_lengths =
      std::count_if(http.headers.begin(), http.headers.end(), [](const auto& h) { return h.first == kHeaderLength; });
  if (num_lengths > 1) return invalid_argument("Inference-Header-Content-Length: expected once");
  const RequestLimits limits = model.limits(facts);
  auto request = kind == Kind::kInfer ? parse_infer(http.body, http.header(kHeaderLength), limits)
                                      : parse_generate(http.body, kind == Kind::kGenerateStream, limits);
  if (!request.ok()) return request.status();
  Prepared prepared{.request = *std::move(request), .sequences = {}};
  for (CompletionFields& fields : prepared.request.sequences) {
    COHORT_ASSIGN_OR_RETURN(PreparedRequest sequence, model.prepare(std::move(fields), facts));
    sequence.prompt_field = "text_input";
    prepared.sequences.push_back(std::move(sequence));
  }
  return prepared;
}

Status KserveApi::check_size(const Prepared& prepared) const {
  const auto num_sequences = static_cast<int64_t>(prepared.sequences.size());
  const int64_t max_batch = kserve_max_batch(service_.facts());
  if (num_sequences > max_batch) {
    return invalid_argument("text_input: " + std::to_string(num_sequences) +
                            " requests are more than this server holds, which is " + std::to_string(max_batch));
  }
  for (const PreparedRequest& sequence : prepared.sequences) {
    if (const auto error = model_->check_size(sequence, service_.facts())) return invalid_argument(error->message);
  }
  return ok_status();
}

void KserveApi::begin(Kind kind, const Exchange& exchange, Prepared prepared, SteadyTime arrival) {
  // Meanwhile the engine may have broken, or all have been ended; a drain lets it go on.
  if (const Status status = service_.readiness(); !status.ok()) return respond(exchange, status);
  if (const Status status = check_size(prepared); !status.ok()) return respond(exchange, status);
  log_ignored_fields(exchange->request().id, prepared.request.ignored);
  std::vector<SequencePlan> plans;
  std::vector<std::string> echos;
  const uint64_t seed = service_.draw_seed();
  for (PreparedRequest& sequence : prepared.sequences) {
    // Without a seed of the client's each draws for itself, as choices of one prompt do.
    plans.push_back(model_->plan(sequence, 0, 0, seed + plans.size(), service_.facts()));
    echos.push_back(std::move(sequence.prompts[0].echo));
  }
  const auto timeout = prepared.request.timeout;
  KserveAnswerOptions options{
      .model_name = model_->options().model_name, .request = std::move(prepared.request), .echos = std::move(echos)};
  std::unique_ptr<GenerationAnswer> answer;
  if (kind == Kind::kInfer) {
    answer = std::make_unique<KserveInferAnswer>(exchange, std::move(options));
  } else {
    answer = std::make_unique<KserveGenerateAnswer>(exchange, std::move(options), kind == Kind::kGenerateStream);
  }
  service_.begin(exchange, std::move(answer), std::move(plans), arrival, timeout);
}

void KserveApi::respond_index(const Exchange& exchange) const {
  bool ready_only = false;
  // An empty body asks for all.
  if (const std::string& body = exchange->request().body; !body.empty()) {
    const auto object = parse_body(body);
    if (!object.ok()) return respond(exchange, object.status());
    FieldReader reader(*object);
    ready_only = reader.flag("ready").value_or(false);
    if (!reader.ok()) return respond(exchange, reader.status());
  }
  const Status status = service_.admission();
  exchange->respond({.body = kserve_repository_index(model_->options().model_name, status.message(), ready_only)});
}

}  // namespace cohort
