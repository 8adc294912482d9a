// Chat templates: how a model wants a conversation written, as a Jinja template that comes with its checkpoint.
//
// The language is a bounded subset of Jinja (runtime/jinja), with the settings, filters and functions of Hugging Face
// transformers. A template that loops or floods ends with an error.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/jinja/budget.h"

namespace cohort {

// A part of a rendered conversation. Text of special tokens means these tokens where the template spells them and is
// plain text where it comes from data.
struct ChatSegment {
  std::string text;  // not empty
  bool is_data = false;

  bool operator==(const ChatSegment&) const = default;
};

struct ChatRenderOptions {
  jinja::Limits limits;
  // What strftime_now() tells, in the local time zone.
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
};

// Immutable and cheap to copy; every method may be called from many threads at once.
class ChatTemplate {
 public:
  // Errors: kInvalidArgument for what is no template, kUnimplemented for what is left out of the language; each with
  // the line.
  static Result<ChatTemplate> parse(std::string_view source);

  // The conversation as text. `context` is an object with the variables of the template: messages,
  // add_generation_prompt, bos_token, eos_token, tools, ... Errors: kInvalidArgument with the template's own words
  // where it refuses the conversation by raise_exception(), and with the line where it cannot go on; kResourceExhausted
  // where it exceeds a limit.
  Result<std::string> render(const nlohmann::ordered_json& context, const ChatRenderOptions& options = {}) const;

  // The same in segments, neighbours of different origin. Data is every character that comes from `data`, an object
  // with what a client may choose: messages, tools, template arguments. `trusted` has the variables that come with the
  // model, such as bos_token; it goes before `data` where both have a name.
  Result<std::vector<ChatSegment>> render_segments(const nlohmann::ordered_json& data,
                                                   const nlohmann::ordered_json& trusted,
                                                   const ChatRenderOptions& options = {}) const;

  // Whether the template names `variable` anywhere, as one that knows tools names "tools".
  bool uses(std::string_view variable) const;

 private:
  struct Parsed;

  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace cohort
