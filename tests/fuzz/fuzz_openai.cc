// Any bytes as the body of a request to the OpenAI API or KServe's: an error that says so, or an answer, whole or as a
// stream, from an engine that generates something.
//
// Input: the first byte chooses the endpoint; the rest is the body. At the one for binary tensors the value of
// Inference-Header-Content-Length comes before, up to the end of its line.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "launcher/gateway/kserve_api.h"
#include "launcher/gateway/openai_api.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/unicode.h"

namespace {

using namespace cohort;
using nlohmann::json;

void require(bool condition) {
  if (!condition) std::abort();
}

// A token a byte, and two special ones.
std::unique_ptr<Tokenizer> make_tokenizer() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelling;
    append_utf8(byte_to_char(static_cast<unsigned char>(byte)), spelling);
    vocab[spelling] = byte + 2;
  }
  const json file = {{"added_tokens",
                      {{{"id", 0}, {"content", "<s>"}, {"special", true}, {"normalized", false}},
                       {{"id", 1}, {"content", "</s>"}, {"special", true}, {"normalized", true}}}},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
                     {"post_processor", nullptr},
                     {"decoder", {{"type", "ByteLevel"}}},
                     {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", json::array()}}}};
  auto tokenizer = tokenizer_from_json(file.dump(), R"({"bos_token": "<s>", "eos_token": "</s>"})");
  require(tokenizer.ok());
  return *std::move(tokenizer);
}

class Engine final : public EngineClient {
 public:
  const EngineHealth& health() const override { return health_; }
  const EngineFacts& facts() const override { return facts_; }
  const EngineStats& stats() const override { return stats_; }

  uint64_t submit(GenerationRequest request, OnEvent on_event) override {
    require(request.validate(facts_.limits()).ok());
    const uint64_t id = next_++;
    open_.emplace(id, Open{std::move(request), std::move(on_event)});
    return id;
  }
  void cancel(uint64_t id) override { require(open_.erase(id) == 1); }

  // Ends every request.
  void run() {
    for (int32_t step = 0; !open_.empty(); ++step) {
      for (uint64_t id = 0; id < next_; ++id) {
        const auto found = open_.find(id);
        if (found == open_.end()) continue;
        EngineEvent event;
        event.token = (step * 37 + static_cast<int32_t>(id) * 5) % static_cast<int32_t>(facts_.vocab);
        event.logprob = -1;
        for (int k = 0; k < found->second.request.top_logprobs; ++k) event.top_logprobs.push_back({k, -2});
        if (step + 1 == std::min<int64_t>(found->second.request.max_tokens, 20)) event.finish = FinishReason::kLength;
        const OnEvent on_event = found->second.on_event;
        if (event.is_last()) open_.erase(found);
        on_event(event);
      }
    }
    next_ = 0;
  }

 private:
  struct Open {
    GenerationRequest request;
    OnEvent on_event;
  };

  EngineHealth health_{.state = EngineState::kReady, .what = "", .fraction = 1};
  EngineFacts facts_{
      .vocab = 258, .max_position = 512, .block_size = 16, .num_blocks = 64, .max_seqs = 8, .max_waiting = 56};
  EngineStats stats_;
  std::map<uint64_t, Open> open_;
  uint64_t next_ = 0;
};

class Exchange final : public HttpExchange {
 public:
  Exchange(HttpRequest request, bool is_kserve) : request_(std::move(request)), is_kserve_(is_kserve) {}
  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override {
    require(status_ == 0);
    status_ = response.status;
    body_ = std::move(response.body);
    for (const auto& [name, value] : response.headers) {
      if (name == "Inference-Header-Content-Length") num_json_bytes_ = std::stoul(value);
    }
  }
  void begin_stream(std::string) override {
    require(status_ == 0);
    status_ = 200;
    is_stream_ = true;
  }
  void write(std::string data) override {
    require(is_stream_ && !has_ended_);
    body_ += data;
  }
  void end_stream() override {
    require(is_stream_ && !has_ended_);
    has_ended_ = true;
  }
  void on_gone(std::function<void()>) override {}
  bool is_gone() const override { return false; }

  void check() const {
    require(status_ == 200 || status_ == 400 || status_ == 404 || (is_kserve_ && status_ == 501));
    if (!is_stream_) {
      const json body = json::parse(body_.substr(0, num_json_bytes_));
      require(status_ == 200 || (is_kserve_ ? body["error"].is_string() : body["error"]["code"] == status_));
      return;
    }
    require(has_ended_);
    bool is_done = false;
    for (size_t at = 0; at < body_.size();) {
      const size_t end = body_.find("\n\n", at);
      require(!is_done && end != std::string::npos && body_.compare(at, 6, "data: ") == 0);
      const std::string event = body_.substr(at + 6, end - at - 6);
      is_done = event == "[DONE]";
      require(is_done || json::accept(event));
      at = end + 2;
    }
    require(is_done != is_kserve_);
  }

 private:
  HttpRequest request_;
  const bool is_kserve_;
  int status_ = 0;
  bool is_stream_ = false;
  bool has_ended_ = false;
  std::string body_;
  size_t num_json_bytes_ = std::string::npos;
};

struct Server {
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer();
  Engine engine;
  InlineExecutor executor;
  std::unique_ptr<GenerationService> service;
  std::unique_ptr<OpenAiApi> openai;
  std::unique_ptr<KserveApi> kserve;
  std::map<std::string, HttpHandler> posts;

  Server() {
    spdlog::set_level(spdlog::level::off);
    OpenAiOptions options;
    options.model_name = "m";
    options.generation.eos_ids = {1};
    options.chat.chat_template = *ChatTemplate::parse(
        "{{ bos_token }}{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}{{ m.tool_calls }}</s>"
        "{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}{{ name }}");
    options.chat.request_templates = true;
    GenerationService::Options service_options{.model_name = "m",
                                               .call_later = [](auto, auto) { return std::shared_ptr<void>(); }};
    service = std::make_unique<GenerationService>(engine, *tokenizer, executor, std::move(service_options));
    const auto model = std::make_shared<const OpenAiModel>(*tokenizer, std::move(options));
    openai = std::make_unique<OpenAiApi>(*service, model);
    kserve = std::make_unique<KserveApi>(*service, model);
    for (HttpRoute& route : openai->routes()) {
      if (route.method == "POST") posts[route.path] = std::move(route.handler);
    }
    for (HttpRoute& route : kserve->routes()) {
      if (route.method == "POST") posts[route.path] = std::move(route.handler);
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Server server;
  constexpr std::array<const char*, 8> kPaths = {
      "/v1/completions",       "/v1/chat/completions",        "/tokenize",
      "/detokenize",           "/v2/models/m/infer",          "/v2/models/m/infer",
      "/v2/models/m/generate", "/v2/models/m/generate_stream"};
  constexpr size_t kFirstOfKserve = 4;
  constexpr size_t kBinary = 5;
  if (size == 0) return 0;
  const size_t which = data[0] % kPaths.size();
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  HttpRequest request;
  request.method = "POST";
  request.path = kPaths[which];
  if (which == kBinary) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    request.headers.emplace_back("inference-header-content-length", rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  request.body = rest;
  request.id = "r";
  const bool is_kserve = which >= kFirstOfKserve;
  const HttpHandler& handler = server.posts.at(is_kserve ? "/v2/models/*" : request.path);
  const auto exchange = std::make_shared<Exchange>(std::move(request), is_kserve);
  handler(exchange);
  server.engine.run();
  require(server.service->num_active() == 0);
  exchange->check();
  return 0;
}
