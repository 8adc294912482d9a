// OpenAiApi: the endpoints of the OpenAI API, and those beside them that its clients and their supervisors use: health,
// version, load, tokenize.
//
// Of the gateway's io thread. What takes long (long bodies, templates of clients) runs on the executor, whose tasks use
// the tokenizer: the executor ends before it does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/openai_generation.h"
#include "launcher/gateway/openai_metrics.h"
#include "launcher/gateway/openai_model.h"
#include "launcher/gateway/task_executor.h"

namespace cohort {

class OpenAiApi {
 public:
  // All are borrowed but the options.
  static Result<std::unique_ptr<OpenAiApi>> make(EngineClient& engine, const Tokenizer& tokenizer,
                                                 TaskExecutor& executor, OpenAiOptions options);
  ~OpenAiApi();
  OpenAiApi(const OpenAiApi&) = delete;
  OpenAiApi& operator=(const OpenAiApi&) = delete;

  // Its handlers borrow this object.
  std::vector<HttpRoute> routes();

  // New requests get 503 from now on; those under way go on.
  void begin_drain() { is_draining_ = true; }

  // Ends all that is under way, for good: streams with an error event, others with 503.
  void fail_all(const std::string& reason);

  // Requests under way.
  int64_t num_active() const { return num_preparing_ + static_cast<int64_t>(active_.size()); }

 private:
  using Exchange = std::shared_ptr<HttpExchange>;
  using Answer = Result<std::string> (OpenAiModel::*)(std::string_view body, const EngineFacts& facts) const;

  OpenAiApi(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor, OpenAiOptions options);

  // Why no request can be taken, or ok.
  Status admission() const;
  void generate(ApiKind kind, const Exchange& exchange);
  void begin(const Exchange& exchange, PreparedRequest request, SteadyTime arrival);
  void answer(Answer make_answer, const Exchange& exchange);
  void run(const Exchange& exchange, std::function<void()> task, std::function<void()> done);
  void on_end(uint64_t number, const std::string& request_id, const GenerationRecord& record);

  void respond_health(const Exchange& exchange) const;
  void respond_models(const Exchange& exchange) const;
  void respond_model(const Exchange& exchange) const;

  EngineClient& engine_;
  TaskExecutor& executor_;
  std::shared_ptr<const OpenAiModel> model_;
  TokenTexts texts_;
  OpenAiMetrics metrics_;
  int64_t created_;  // when this model began to be served, in seconds since 1970
  bool is_draining_ = false;
  std::string failure_;  // of fail_all(): nothing begins any more
  uint64_t num_generations_ = 0;
  int64_t num_preparing_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<OpenAiGeneration>> active_;  // by number
  std::mt19937_64 seeds_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what the executor calls back late
};

}  // namespace cohort
