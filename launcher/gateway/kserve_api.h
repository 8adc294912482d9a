// KserveApi: KServe's inference protocol, version 2, over HTTP, for the one model that is served, with Triton's
// generate extension: health, metadata, inference.
//
// Of the gateway's io thread. Long bodies are prepared on the executor of the service.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/gateway/generation_service.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/kserve_answer.h"
#include "launcher/gateway/openai_model.h"

namespace cohort {

class KserveApi {
 public:
  // `service` is borrowed.
  KserveApi(GenerationService& service, std::shared_ptr<const OpenAiModel> model);
  KserveApi(const KserveApi&) = delete;
  KserveApi& operator=(const KserveApi&) = delete;

  // Its handlers borrow this object.
  std::vector<HttpRoute> routes();

 private:
  using Exchange = std::shared_ptr<HttpExchange>;
  enum class Kind { kInfer, kGenerate, kGenerateStream };

  // A request whose prompts are tokens.
  struct Prepared {
    KserveRequest request;
    std::vector<PreparedRequest> sequences;
  };

  // /v2/models/NAME[/versions/VERSION][/ACTION]: the action, "" for none; kNotFound for another model or version.
  Result<std::string> action_of(std::string_view path) const;
  void get_model(const Exchange& exchange) const;
  void post_model(const Exchange& exchange);
  void infer(Kind kind, const Exchange& exchange);
  static Result<Prepared> prepare(Kind kind, const OpenAiModel& model, const HttpRequest& http,
                                  const EngineFacts& facts);
  void begin(Kind kind, const Exchange& exchange, Prepared prepared, SteadyTime arrival);
  // What stands against running it, or ok.
  Status check_size(const Prepared& prepared) const;
  void respond_index(const Exchange& exchange) const;

  GenerationService& service_;
  std::shared_ptr<const OpenAiModel> model_;
};

}  // namespace cohort
