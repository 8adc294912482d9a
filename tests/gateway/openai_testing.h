// What tests of the gateway's protocols stand on: an engine that says what the test tells it to, and an HTTP exchange
// that keeps what is written.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/generation_service.h"
#include "launcher/gateway/http.h"
#include "launcher/gateway/kserve_api.h"
#include "launcher/gateway/openai_api.h"
#include "launcher/gateway/task_executor.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

class FakeEngine final : public EngineClient {
 public:
  struct Submitted {
    GenerationRequest request;
    OnEvent on_event;  // null once it has ended
    bool is_cancelled = false;
  };

  FakeEngine();

  const EngineHealth& health() const override { return health_; }
  const EngineFacts& facts() const override { return facts_; }
  const EngineStats& stats() const override { return stats_; }
  uint64_t submit(GenerationRequest request, OnEvent on_event) override;
  void cancel(uint64_t id) override;

  // Sends an event of submission number `index`, which must not have ended.
  void send(size_t index, const EngineEvent& event);
  void send_token(size_t index, int32_t token, FinishReason finish = FinishReason::kNone);
  // A token each, the last with `finish`.
  void send_tokens(size_t index, const std::vector<int32_t>& tokens, FinishReason finish = FinishReason::kLength);
  void send_status(size_t index, Status status);

  bool has_ended(size_t index) const { return submitted.at(index).on_event == nullptr; }
  size_t num_open() const;

  EngineHealth health_{.state = EngineState::kReady, .what = "", .fraction = 1};
  EngineFacts facts_;
  EngineStats stats_;
  std::vector<Submitted> submitted;  // by id
};

// What an exchange has been given; outlives it.
struct Answered {
  int status = 0;  // 0: not answered yet
  std::string body;
  std::string content_type;
  std::map<std::string, std::string> headers;
  bool is_stream = false;
  bool has_ended = false;
  bool is_gone = false;
  std::function<void()> on_gone;

  nlohmann::json json() const { return nlohmann::json::parse(body); }
  // The events of a stream but [DONE], which must be the last, once, unless the stream has none.
  std::vector<nlohmann::json> events(bool has_done = true) const;
  // The client goes away.
  void go();
};

// What serves a tester's requests.
struct TestedApi {
  TestedApi(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor, const OpenAiOptions& options);

  // Those of all protocols.
  std::vector<HttpRoute> routes();

  struct Timer {
    std::chrono::microseconds delay;
    std::function<void()> function;
    std::weak_ptr<void> is_held;
  };
  std::vector<Timer> timers;
  GenerationService service;
  OpenAiApi openai;
  KserveApi kserve;
};

// One request, and an API before a fake engine to send it to. The tokenizer is that of the quickstart model unless
// another is named (a folder of the source tree).
class OpenAiTester {
 public:
  explicit OpenAiTester(const OpenAiOptions& options = default_options(),
                        const std::string& model_dir = "configs/quickstart/model");

  static OpenAiOptions default_options();
  // "<|begin_of_text|>role: content<|end_of_text|>..." and "assistant: ".
  static ChatOptions chat_options();

  // Sends what follows to another API.
  void use(TestedApi& other) { routes_ = other.routes(); }

  // Names of headers in lower case.
  std::shared_ptr<Answered> send(std::string method, std::string path, std::string body = "",
                                 std::vector<std::pair<std::string, std::string>> headers = {});
  std::shared_ptr<Answered> post(const std::string& path, const nlohmann::json& body) {
    return send("POST", path, body.dump());
  }
  std::shared_ptr<Answered> get(const std::string& path) { return send("GET", path); }

  std::vector<int32_t> ids(std::string_view text) const {
    return tokenizer_->encode(text, {.add_special_tokens = false});
  }
  // Answers submission `index` with a text.
  void reply(size_t index, std::string_view text, FinishReason finish = FinishReason::kLength) {
    engine.send_tokens(index, ids(text), finish);
  }

  FakeEngine engine;
  InlineExecutor executor;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<TestedApi> api;

 private:
  std::vector<HttpRoute> routes_;
};

// The message of an error answer whose status is 400 and whose param is `param`; a failure of the test otherwise.
void expect_refused(const Answered& answered, const std::string& param);

}  // namespace cohort
