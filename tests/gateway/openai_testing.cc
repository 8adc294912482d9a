#include "tests/gateway/openai_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "tests/files.h"

namespace cohort {
namespace {

class FakeExchange final : public HttpExchange {
 public:
  FakeExchange(HttpRequest request, std::shared_ptr<Answered> answered)
      : request_(std::move(request)), answered_(std::move(answered)) {}
  ~FakeExchange() override {
    if (answered_->status == 0 && !answered_->is_gone) answered_->status = 500;
  }

  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override {
    EXPECT_EQ(answered_->status, 0) << "answered twice";
    answered_->status = response.status;
    answered_->body = std::move(response.body);
    answered_->content_type = std::move(response.content_type);
    answered_->headers.insert(response.headers.begin(), response.headers.end());
    answered_->has_ended = true;
    answered_->on_gone = nullptr;
  }
  void begin_stream(std::string content_type) override {
    EXPECT_EQ(answered_->status, 0) << "answered twice";
    answered_->status = 200;
    answered_->is_stream = true;
    answered_->content_type = std::move(content_type);
  }
  void write(std::string data) override {
    EXPECT_TRUE(answered_->is_stream && !answered_->has_ended && !answered_->is_gone);
    answered_->body += data;
  }
  void end_stream() override {
    EXPECT_TRUE(answered_->is_stream && !answered_->has_ended);
    answered_->has_ended = true;
    answered_->on_gone = nullptr;
  }
  void on_gone(std::function<void()> callback) override { answered_->on_gone = std::move(callback); }
  bool is_gone() const override { return answered_->is_gone; }

 private:
  HttpRequest request_;
  std::shared_ptr<Answered> answered_;
};

}  // namespace

FakeEngine::FakeEngine() {
  facts_ = {
      .vocab = 4096, .max_position = 2048, .block_size = 16, .num_blocks = 512, .max_seqs = 64, .max_waiting = 512};
}

uint64_t FakeEngine::submit(GenerationRequest request, OnEvent on_event) {
  const Status status = request.validate(facts_.limits());
  EXPECT_TRUE(status.ok()) << status.message();
  submitted.push_back({std::move(request), std::move(on_event)});
  return submitted.size() - 1;
}

void FakeEngine::cancel(uint64_t id) {
  Submitted& one = submitted.at(id);
  EXPECT_NE(one.on_event, nullptr) << "cancelled after its end";
  one.is_cancelled = true;
  one.on_event = nullptr;
}

void FakeEngine::send(size_t index, const EngineEvent& event) {
  ASSERT_NE(submitted.at(index).on_event, nullptr) << "an event after the end";
  if (event.is_last()) {
    const OnEvent last = std::exchange(submitted.at(index).on_event, nullptr);
    last(event);
  } else {
    submitted.at(index).on_event(event);
  }
}

void FakeEngine::send_token(size_t index, int32_t token, FinishReason finish) {
  EngineEvent event;
  event.token = token;
  event.finish = finish;
  event.logprob = -0.5F;
  send(index, event);
}

void FakeEngine::send_tokens(size_t index, const std::vector<int32_t>& tokens, FinishReason finish) {
  for (size_t i = 0; i < tokens.size() && !has_ended(index); ++i) {
    send_token(index, tokens[i], i + 1 == tokens.size() ? finish : FinishReason::kNone);
  }
}

void FakeEngine::send_status(size_t index, Status status) {
  EngineEvent event;
  event.status = std::move(status);
  send(index, event);
}

size_t FakeEngine::num_open() const {
  return static_cast<size_t>(
      std::count_if(submitted.begin(), submitted.end(), [](const Submitted& one) { return one.on_event != nullptr; }));
}

std::vector<nlohmann::json> Answered::events(bool has_done) const {
  constexpr std::string_view kBegin = "data: ";
  constexpr std::string_view kEnd = "\n\n";
  std::vector<nlohmann::json> events;
  bool is_done = false;
  for (size_t at = 0; at < body.size();) {
    EXPECT_EQ(body.compare(at, kBegin.size(), kBegin), 0);
    const size_t end = body.find(kEnd, at);
    if (end == std::string::npos) {
      ADD_FAILURE() << "an event without an end";
      break;
    }
    const std::string event = body.substr(at + kBegin.size(), end - at - kBegin.size());
    at = end + kEnd.size();
    EXPECT_FALSE(is_done);
    is_done = event == "[DONE]";
    if (!is_done) events.push_back(nlohmann::json::parse(event));
  }
  EXPECT_EQ(is_done, has_ended && has_done);
  return events;
}

void Answered::go() {
  is_gone = true;
  if (const auto callback = std::exchange(on_gone, nullptr)) callback();
}

TestedApi::TestedApi(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor,
                     const OpenAiOptions& options)
    : service(engine, tokenizer, executor,
              {.model_name = options.model_name,
               .vllm_metric_names = true,
               .call_later =
                   [this](std::chrono::microseconds delay, std::function<void()> function) {
                     auto held = std::make_shared<int>();
                     timers.push_back({delay, std::move(function), held});
                     return held;
                   }}),
      openai(service, std::make_shared<const OpenAiModel>(tokenizer, options)),
      kserve(service, std::make_shared<const OpenAiModel>(tokenizer, options)) {}

std::vector<HttpRoute> TestedApi::routes() {
  std::vector<HttpRoute> routes = openai.routes();
  std::ranges::move(kserve.routes(), std::back_inserter(routes));
  return routes;
}

OpenAiTester::OpenAiTester(const OpenAiOptions& options, const std::string& model_dir) {
  auto tokenizer = Tokenizer::load(test::source_dir() / model_dir);
  if (!tokenizer.ok()) throw std::runtime_error(tokenizer.status().message());
  tokenizer_ = *std::move(tokenizer);
  engine.facts_.vocab = tokenizer_->vocab_size();
  api = std::make_unique<TestedApi>(engine, *tokenizer_, executor, options);
  routes_ = api->routes();
}

OpenAiOptions OpenAiTester::default_options() {
  OpenAiOptions options;
  options.model_name = "quickstart";
  options.generation.eos_ids = {1};
  options.version = "1.2.3";
  options.chat = chat_options();
  return options;
}

ChatOptions OpenAiTester::chat_options() {
  ChatOptions options;
  options.chat_template = *ChatTemplate::parse(
      "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}{{ eos_token }}{% endfor %}"
      "{% if add_generation_prompt %}assistant: {% endif %}{% if is_loud %}!{% endif %}");
  return options;
}

std::shared_ptr<Answered> OpenAiTester::send(std::string method, std::string path, std::string body,
                                             std::vector<std::pair<std::string, std::string>> headers) {
  auto answered = std::make_shared<Answered>();
  for (const HttpRoute& route : routes_) {
    const bool is_below = route.path.ends_with("/*") && path.starts_with(route.path.substr(0, route.path.size() - 1));
    if (route.method != method || (route.path != path && !is_below)) continue;
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.body = std::move(body);
    request.headers = std::move(headers);
    request.id = "request-1";
    request.tenant = "someone";
    route.handler(std::make_shared<FakeExchange>(std::move(request), answered));
    return answered;
  }
  ADD_FAILURE() << "no route for " << method << " " << path;
  return answered;
}

void expect_refused(const Answered& answered, const std::string& param) {
  ASSERT_EQ(answered.status, 400) << param << ": " << answered.body;
  const nlohmann::json error = answered.json()["error"];
  EXPECT_EQ(error["code"], 400);
  EXPECT_EQ(error["param"], param) << error;
  EXPECT_TRUE(error["message"].get<std::string>().starts_with(param)) << error;
  EXPECT_FALSE(error["type"].get<std::string>().empty());
}

}  // namespace cohort
