#include "launcher/loadgen/completion_protocol.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

namespace cohort {
namespace {

using nlohmann::json;

// Bytes that are no UTF-8 become U+FFFD, as servers would read them.
std::string quoted(const std::string& text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

std::optional<int64_t> integer(const json& object, const char* name) {
  const auto value = object.find(name);
  if (value == object.end() || !value->is_number_integer()) return std::nullopt;
  return value->get<int64_t>();
}

bool has_text(const json& object, const char* name) {
  const auto value = object.find(name);
  return value != object.end() && value->is_string() && !value->get_ref<const std::string&>().empty();
}

// A token may have no text yet: an empty one counts, but not that of the chunk that only opens a chat's message.
bool has_output(const json& choice) {
  if (choice.contains("text")) return choice["text"].is_string();
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return false;
  for (const char* name : {"content", "reasoning_content", "reasoning"}) {
    if (has_text(*delta, name)) return true;
  }
  if (delta->contains("tool_calls")) return true;
  return delta->contains("content") && (*delta)["content"].is_string() && !delta->contains("role");
}

// Whether tokens are not what a chunk is about: servers end with one that has an empty text and the reason.
bool is_empty_end(const json& choice) {
  const auto delta = choice.find("delta");
  return !has_text(choice, "text") && (delta == choice.end() || !has_text(*delta, "content"));
}

std::string message_of(const json& error) {
  if (error.is_string()) return error.get<std::string>();
  if (error.is_object() && error.contains("message") && error["message"].is_string()) {
    return error["message"].get<std::string>();
  }
  return error.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string request_body(const RequestForm& form, const LoadPrompt& prompt) {
  std::string body = fmt::format(R"({{"model":{},"max_tokens":{},"temperature":{},"stream":true,)", quoted(form.model),
                                 prompt.output_length, form.temperature);
  body += R"("stream_options":{"include_usage":true})";
  if (form.ignore_eos) body += R"(,"ignore_eos":true)";
  if (!form.extra.empty()) body += "," + form.extra;
  if (form.is_chat) {
    body += R"(,"messages":[{"role":"user","content":)" + quoted(prompt.text) + "}]}";
  } else if (!prompt.ids.empty()) {
    fmt::format_to(std::back_inserter(body), R"(,"prompt":[{}]}})", fmt::join(prompt.ids, ","));
  } else {
    body += R"(,"prompt":)" + quoted(prompt.text) + "}";
  }
  return body;
}

Result<AnswerEvent> parse_answer_event(std::string_view data) {
  AnswerEvent event;
  if (data == "[DONE]") {
    event.is_done = true;
    return event;
  }
  const json parsed = json::parse(data, nullptr, false);
  if (!parsed.is_object()) return invalid_argument("expected a JSON object");
  if (const auto error = parsed.find("error"); error != parsed.end() && !error->is_null()) {
    event.error = message_of(*error);
    return event;
  }
  if (const auto usage = parsed.find("usage"); usage != parsed.end() && usage->is_object()) {
    event.num_prompt_tokens = integer(*usage, "prompt_tokens");
    event.num_output_tokens = integer(*usage, "completion_tokens");
  }
  const auto choices = parsed.find("choices");
  if (choices == parsed.end() || !choices->is_array()) return invalid_argument("choices: expected an array");
  for (const json& choice : *choices) {
    if (!choice.is_object()) return invalid_argument("choices: expected objects");
    const auto reason = choice.find("finish_reason");
    const bool has_finished = reason != choice.end() && !reason->is_null();
    event.has_finished |= has_finished;
    event.has_output |= has_output(choice) && !(has_finished && is_empty_end(choice));
  }
  return event;
}

std::string error_message(std::string_view body) {
  constexpr size_t kMaxBytes = 200;
  const json parsed = json::parse(body, nullptr, false);
  if (parsed.is_object() && parsed.contains("error")) return message_of(parsed["error"]).substr(0, kMaxBytes);
  return std::string(body.substr(0, kMaxBytes));
}

}  // namespace cohort
