// OpenAiModel: what the OpenAI API knows of the model that it serves, and how it makes requests to the engine of what
// clients send.
//
// Immutable; thread-safe: long prompts are prepared on other threads than the io thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/generation.h"
#include "launcher/gateway/openai_chat.h"
#include "launcher/gateway/openai_error.h"
#include "launcher/gateway/openai_request.h"
#include "launcher/gateway/openai_response.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

struct OpenAiOptions {
  std::string model_name;
  GenerationDefaults generation;  // what requests do not say
  ModelSpec spec;                 // of an encoder: what it answers with
  std::string version;            // of Cohort
  std::string fingerprint;        // system_fingerprint of answers; empty: null
  ChatOptions chat;
};

struct PreparedPrompt {
  std::vector<int32_t> ids;
  std::string echo;  // its text, where the answer begins with it
};

struct PreparedRequest {
  ApiKind kind = ApiKind::kCompletion;
  GenerationFields fields;
  std::vector<PreparedPrompt> prompts;
  std::string_view prompt_field = "prompt";  // what errors call the prompt of a completion
};

class OpenAiModel {
 public:
  // `tokenizer` is borrowed.
  OpenAiModel(const Tokenizer& tokenizer, OpenAiOptions options);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const OpenAiOptions& options() const { return options_; }

  // From a body to tokens. `facts` are those of a ready engine.
  Result<PreparedRequest> prepare(ApiKind kind, std::string_view body, const EngineFacts& facts) const;
  // The same of a completion whose fields are read.
  Result<PreparedRequest> prepare(CompletionFields fields, const EngineFacts& facts) const;

  // What stands against running it, if anything: prompts or outputs that are too long, more sequences than there is
  // room for.
  std::optional<ApiError> check_size(const PreparedRequest& request, const EngineFacts& facts) const;

  // Sequence number `choice` of a prompt, with `seed` unless the client has one.
  SequencePlan plan(const PreparedRequest& request, size_t prompt, int64_t choice, uint64_t seed,
                    const EngineFacts& facts) const;

  // The answers to POST /tokenize and /detokenize.
  Result<std::string> tokenize(std::string_view body, const EngineFacts& facts) const;
  Result<std::string> detokenize(std::string_view body, const EngineFacts& facts) const;

  // kNotFound unless the client names no model, or this one.
  Status check_model(const std::optional<std::string>& name) const;

  RequestLimits limits(const EngineFacts& facts) const;

 private:
  Result<PreparedRequest> prepare_chat(const nlohmann::json& body, const EngineFacts& facts) const;
  Status finish(PreparedRequest& request, const EngineFacts& facts) const;
  Result<std::vector<int32_t>> banned_tokens(const std::vector<std::string>& words) const;

  const Tokenizer& tokenizer_;
  OpenAiOptions options_;
  ChatPrompter prompter_;
};

}  // namespace cohort
