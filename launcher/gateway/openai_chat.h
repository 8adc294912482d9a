// ChatPrompter: the messages of a chat become the tokens of a prompt, by the chat template of the model.
//
// Immutable; thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/openai_request.h"
#include "launcher/gateway/special_text_guard.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

class ChatPrompter {
 public:
  // A template applied to its variables. Any thread.
  using Render = std::function<Result<std::string>(const nlohmann::ordered_json& variables)>;

  // `tokenizer` is borrowed. `bos_token` and `eos_token` are variables of templates.
  ChatPrompter(const Tokenizer& tokenizer, std::string bos_token, std::string eos_token);

  // The prompt that `render` makes of the messages. What users wrote never reads as a special token: see
  // SpecialTextGuard. Its breaks travel through the template as marks, noncharacters of Unicode that no text of the
  // request has, and are taken out again. The template's beginning-of-text token is the only one.
  Result<std::vector<int32_t>> tokens(const ChatFields& fields, const Render& render) const;

 private:
  const Tokenizer& tokenizer_;
  SpecialTextGuard guard_;
  std::string bos_token_;
  std::string eos_token_;
};

// Leaves one of two beginning-of-text tokens in front.
void drop_doubled_bos(const Tokenizer& tokenizer, std::vector<int32_t>& ids);

}  // namespace cohort
