// What clients ask for at POST /v1/completions and /v1/chat/completions: JSON in, checked fields out.
//
// A field that is not known is ignored and named in `ignored`. A known one with a bad value, or that asks for what
// Cohort does not do, is an error that begins with its name: kInvalidArgument or kUnimplemented. Free functions;
// thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/sampling/sampling.h"
#include "launcher/gateway/json_fields.h"
#include "runtime/models/model_spec.h"

namespace cohort {

inline constexpr int64_t kMaxChoices = 128;      // n, best_of
inline constexpr int64_t kMaxTopLogprobs = 20;   // logprobs, top_logprobs
inline constexpr size_t kMaxStopStrings = 16;    // stop
inline constexpr size_t kMaxStopBytes = 1024;    // of one of them
inline constexpr size_t kMaxStopTokenIds = 128;  // stop_token_ids: with the model's own they are below kMaxStopIds
inline constexpr size_t kMaxBadWords = 256;      // bad_words
inline constexpr size_t kMaxMessages = 16384;    // messages
inline constexpr size_t kMaxTools = 128;         // tools
inline constexpr size_t kMaxPrompts = 1024;      // of one request
inline constexpr size_t kMaxNameBytes = 1024;    // of model, user, cache_salt

// Of the model that is served.
struct RequestLimits {
  int64_t vocab = 0;
  int64_t max_position = 0;  // the longest sequence
  GenerationDefaults defaults;
};

// What both endpoints take.
struct GenerationFields {
  std::optional<std::string> model;
  std::optional<int64_t> max_tokens;
  int64_t min_tokens = 0;
  int64_t n = 1;
  int64_t best_of = 1;  // at least n
  bool is_stream = false;
  bool include_usage = false;     // in a last chunk
  bool continuous_usage = false;  // in every chunk
  SamplingParams sampling;        // without seed and biases
  std::optional<uint64_t> seed;
  std::vector<std::pair<int32_t, float>> logit_bias;
  std::optional<std::vector<int32_t>> allowed_token_ids;
  std::vector<std::string> bad_words;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool include_stop = false;  // in the text
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  std::optional<int64_t> truncate_prompt_tokens;  // keep so many at the end; -1: as many as fit
  std::optional<int> top_logprobs;                // set: log-probabilities are wanted, and of so many others
  std::optional<bool> add_special_tokens;
  int32_t priority = 0;
  std::string cache_salt;
  bool return_token_ids = false;
  std::vector<std::string> ignored;  // names of fields that are not known
};

using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionFields : GenerationFields {
  std::vector<CompletionPrompt> prompts;  // at least one, none of them empty
  bool echo = false;
};

// What the chat template is given.
struct ChatFields : GenerationFields {
  nlohmann::ordered_json messages;  // [{"role", "content": a string, ...}], at least one
  nlohmann::ordered_json tools;     // [{"type": "function", "function": {"name", ...}}], at least one; or null
  bool needs_tools = false;         // not tool_choice none: a template that knows no tools will not do
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  std::optional<std::string> chat_template;
  nlohmann::ordered_json template_arguments = nlohmann::ordered_json::object();
};

Result<CompletionFields> parse_completion(const nlohmann::json& body, const RequestLimits& limits);
Result<ChatFields> parse_chat(const nlohmann::json& body, const RequestLimits& limits);

// Sampling parameters by OpenAI's and vLLM's names, and the seed.
void read_sampling(FieldReader& reader, const RequestLimits& limits, GenerationFields& fields);

// kInvalidArgument if min_tokens are more than max_tokens.
Status check_min_tokens(const GenerationFields& fields);

// The part of a chat request that POST /tokenize takes too: messages, tools and how the template is to treat them.
void read_chat_prompt(FieldReader& reader, ChatFields& fields);

// Whether messages may have this role.
bool is_chat_role(std::string_view role);

// The messages as templates want them: text parts joined to one string, arguments of tool calls as objects. Errors name
// the message. Nothing is fetched: a part that is not text is an error.
Result<nlohmann::ordered_json> parse_messages(const nlohmann::json& messages);

// The tools as templates want them, each with what is known of its members. Errors name the tool.
Result<nlohmann::ordered_json> parse_tools(const nlohmann::json& tools);

// SamplingParams::logit_bias: the biases of `fields`, those that leave only its allowed tokens, and those that rule out
// `banned`.
Result<std::vector<std::pair<int32_t, float>>> merged_biases(const GenerationFields& fields,
                                                             const std::vector<int32_t>& banned);

}  // namespace cohort
