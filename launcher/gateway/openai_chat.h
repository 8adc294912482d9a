// ChatPrompter: the messages of a chat become the tokens of a prompt, by the chat template of the model.
//
// What users write never reads as a control token. The template's interpreter keeps track of which characters of the
// prompt come from the request (ChatSegment::is_data), through whatever the template does to them, and the tokenizer
// makes no special token that has one of these (EncodeOptions::plain): only what the template itself spells, or is
// given by the model (bos_token), is one. It is all tokenized as one text, so that everything else has the ids that the
// template's author meant. Roles come from a closed list and stand for the template's own text, since templates
// compose control tokens with them ("<|" + role + "|>").
//
// Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/openai_request.h"
#include "runtime/chat/chat_template.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

struct ChatOptions {
  std::optional<ChatTemplate> chat_template;                                 // none: chats are refused
  std::optional<ChatTemplate> tool_template;                                 // of requests with tools; none: the same
  nlohmann::ordered_json special_tokens = nlohmann::ordered_json::object();  // bos_token, ...: variables of templates
  bool request_templates = false;                                            // whether a request may bring its own
};

// The template of a model, if it has one, or that of `template_file` unless that is empty.
Result<ChatOptions> read_chat_options(const std::filesystem::path& model_dir,
                                      const std::filesystem::path& template_file);

class ChatPrompter {
 public:
  // `tokenizer` is borrowed.
  ChatPrompter(const Tokenizer& tokenizer, ChatOptions options);

  // The prompt of a chat. The template's beginning-of-text token is the only one. Errors name the field.
  Result<std::vector<int32_t>> tokens(const ChatFields& fields) const;

 private:
  Result<ChatTemplate> chat_template(const ChatFields& fields) const;
  Status check_arguments(const ChatFields& fields, const ChatTemplate& chat_template) const;

  const Tokenizer& tokenizer_;
  ChatOptions options_;
};

// Leaves one of two beginning-of-text tokens in front.
void drop_doubled_bos(const Tokenizer& tokenizer, std::vector<int32_t>& ids);

}  // namespace cohort
