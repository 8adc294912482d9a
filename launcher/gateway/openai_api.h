// OpenAiApi: the endpoints of the OpenAI API, and those beside them that its clients and their supervisors use: health,
// version, load, tokenize.
//
// Of the gateway's io thread. What takes long (long bodies, templates of clients) runs on the executor of the service.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launcher/gateway/generation_service.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/openai_encoding_request.h"
#include "launcher/gateway/openai_model.h"

namespace cohort {

class OpenAiApi {
 public:
  // `service` is borrowed.
  OpenAiApi(GenerationService& service, std::shared_ptr<const OpenAiModel> model);
  OpenAiApi(const OpenAiApi&) = delete;
  OpenAiApi& operator=(const OpenAiApi&) = delete;

  // Its handlers borrow this object.
  std::vector<HttpRoute> routes();

 private:
  using Exchange = std::shared_ptr<HttpExchange>;
  using Answer = Result<std::string> (OpenAiModel::*)(std::string_view body, const EngineFacts& facts) const;

  void generate(ApiKind kind, const Exchange& exchange);
  void begin(const Exchange& exchange, PreparedRequest request, SteadyTime arrival);
  void encode(EncodingKind kind, const Exchange& exchange);
  void begin(const Exchange& exchange, PreparedEncoding request, SteadyTime arrival);
  void answer(Answer make_answer, const Exchange& exchange);

  void respond_health(const Exchange& exchange) const;
  void respond_models(const Exchange& exchange) const;
  void respond_model(const Exchange& exchange) const;

  GenerationService& service_;
  std::shared_ptr<const OpenAiModel> model_;
  TokenTexts texts_;
  int64_t created_;  // when this model began to be served, in seconds since 1970
  // Of requests for masks that the engine has, at most kMaxScoresUnderWay. Their answers may outlive this object.
  std::shared_ptr<int64_t> num_scores_ = std::make_shared<int64_t>(0);
};

}  // namespace cohort
