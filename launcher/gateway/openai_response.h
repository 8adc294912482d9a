// The JSON of answers to completions and chat completions, whole and as chunks of a stream.
//
// Written straight into strings: a chunk is made for every token of every stream.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/gateway/completion_stream.h"
#include "launcher/gateway/token_texts.h"

namespace cohort {

enum class ApiKind { kCompletion, kChat };

struct TokenUsage {
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
  int64_t num_cached_tokens = 0;  // of the prompt
};

// A JSON string; `text` is valid UTF-8.
void append_json_string(std::string& out, std::string_view text);

// {"prompt_tokens": ...}
void append_usage(std::string& out, const TokenUsage& usage);

// One choice's state while it is written.
struct ChoiceWriter {
  int64_t index = 0;
  int64_t text_offset = 0;                           // characters of the text before the next token (legacy logprobs)
  const std::vector<int32_t>* prompt_ids = nullptr;  // to be shown with the first part; null: not wanted, or shown
};

class ResponseWriter {
 public:
  struct Options {
    ApiKind kind = ApiKind::kCompletion;
    std::string id;       // "cmpl-..."
    int64_t created = 0;  // seconds since 1970
    std::string model;
    std::string fingerprint;  // empty: null
    bool show_logprobs = false;
    bool show_token_ids = false;
  };

  // `texts` is borrowed.
  ResponseWriter(Options options, TokenTexts& texts);

  // Events of a stream, "data: {...}\n\n".
  std::string first_chunk(ChoiceWriter& choice) const;  // of a chat: the role
  std::string chunk(ChoiceWriter& choice, const OutputPart& part, const TokenUsage* usage) const;
  std::string usage_chunk(const TokenUsage& usage) const;

  // The whole answer; `parts` beside `choices`.
  std::string whole(std::span<ChoiceWriter> choices, std::span<const OutputPart> parts, const TokenUsage& usage) const;

 private:
  void append_head(std::string& out, bool is_chunk) const;
  void append_logprobs(std::string& out, ChoiceWriter& choice, const std::vector<OutputToken>& tokens) const;
  void append_chat_logprobs(std::string& out, const std::vector<OutputToken>& tokens) const;
  void append_legacy_logprobs(std::string& out, ChoiceWriter& choice, const std::vector<OutputToken>& tokens) const;
  void append_chat_token(std::string& out, int32_t id, float logprob) const;
  void append_end(std::string& out, const OutputPart& part) const;
  void append_token_ids(std::string& out, ChoiceWriter& choice, const std::vector<OutputToken>& tokens) const;

  Options options_;
  TokenTexts& texts_;
  std::string head_;  // of every answer, from "created" to "system_fingerprint"
};

inline constexpr std::string_view kStreamEnd = "data: [DONE]\n\n";

}  // namespace cohort
