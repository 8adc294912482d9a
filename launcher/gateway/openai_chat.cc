#include "launcher/gateway/openai_chat.h"

#include <array>
#include <optional>
#include <utility>

namespace cohort {
namespace {

using nlohmann::ordered_json;

// U+FDD0 to U+FDEF, 32 noncharacters, "EF B7 90" to "EF B7 AF".
constexpr std::string_view kNoncharacterLead = "\xEF\xB7";
constexpr unsigned char kFirstNoncharacter = 0x90;
constexpr size_t kNumNoncharacters = 32;

using UsedMarks = std::array<bool, kNumNoncharacters>;

void find_used(std::string_view text, UsedMarks& used) {
  for (size_t at = 0; (at = text.find(kNoncharacterLead, at)) != std::string_view::npos; at += 3) {
    const size_t index = static_cast<size_t>(static_cast<unsigned char>(text[at + 2])) - kFirstNoncharacter;
    if (index < used.size()) used[index] = true;
  }
}

void find_used(const ordered_json& value, UsedMarks& used) {
  if (value.is_string()) return find_used(std::string_view(value.get_ref<const std::string&>()), used);
  if (!value.is_structured()) return;
  for (const auto& member : value.items()) {
    if (value.is_object()) find_used(std::string_view(member.key()), used);
    find_used(member.value(), used);
  }
}

// A noncharacter that is in none of the values.
std::optional<std::string> unused_mark(const ordered_json& first, const ordered_json& second) {
  UsedMarks used{};
  find_used(first, used);
  find_used(second, used);
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i]) return std::string(kNoncharacterLead) + static_cast<char>(kFirstNoncharacter + i);
  }
  return std::nullopt;
}

class Marker {
 public:
  Marker(const SpecialTextGuard& guard, std::string_view mark) : guard_(guard), mark_(mark) {}

  std::string marked(const std::string& text) const {
    const std::vector<size_t> breaks = guard_.breaks_in(text);
    if (breaks.empty()) return text;
    std::string out;
    size_t copied = 0;
    for (const size_t at : breaks) {
      out.append(text, copied, at - copied).append(mark_);
      copied = at;
    }
    return out.append(text, copied);
  }

  // All texts within, and the names of members.
  ordered_json marked(const ordered_json& value) const {
    if (value.is_string()) return marked(value.get_ref<const std::string&>());
    if (value.is_array()) {
      ordered_json out = ordered_json::array();
      for (const ordered_json& item : value) out.push_back(marked(item));
      return out;
    }
    if (!value.is_object()) return value;
    ordered_json out = ordered_json::object();
    for (const auto& member : value.items()) out[marked(member.key())] = marked(member.value());
    return out;
  }

  // The members of an object but those that come from closed lists, which templates compare.
  ordered_json marked_message(const ordered_json& message) const {
    ordered_json out = ordered_json::object();
    for (const auto& member : message.items()) {
      if (member.key() == "role") {
        out["role"] = member.value();
      } else if (member.key() == "tool_calls") {
        out["tool_calls"] = ordered_json::array();
        for (const ordered_json& call : member.value()) out["tool_calls"].push_back(marked_call(call));
      } else {
        out[member.key()] = marked(member.value());
      }
    }
    return out;
  }

 private:
  ordered_json marked_call(const ordered_json& call) const {
    ordered_json out = ordered_json::object();
    for (const auto& member : call.items()) {
      if (member.key() == "function") {
        ordered_json& function = out["function"] = ordered_json::object();
        for (const auto& inner : member.value().items()) function[inner.key()] = marked(inner.value());
      } else {
        out[member.key()] = member.key() == "type" ? member.value() : marked(member.value());
      }
    }
    return out;
  }

  const SpecialTextGuard& guard_;
  std::string_view mark_;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) + 1 - first);
}

// Cuts off what the template puts behind the last message, so that the model goes on with it.
Status cut_behind(std::string_view final_text, std::string& prompt) {
  const std::string_view core = trimmed(final_text);
  const size_t at = prompt.rfind(core);
  if (core.empty() || at == std::string::npos) {
    return invalid_argument("continue_final_message: the text of the last message is not in the prompt");
  }
  // With the space behind the text, if the template has left it there.
  const std::string_view tail = final_text.substr(final_text.find(core));
  prompt.resize(at + (std::string_view(prompt).substr(at).starts_with(tail) ? tail.size() : core.size()));
  return ok_status();
}

// Takes the marks out; returns where they were.
std::vector<size_t> take_marks(std::string_view mark, std::string& text) {
  std::vector<size_t> breaks;
  if (text.find(mark) == std::string::npos) return breaks;
  std::string out;
  size_t copied = 0;
  for (size_t at; (at = text.find(mark, copied)) != std::string::npos; copied = at + mark.size()) {
    out.append(text, copied, at - copied);
    breaks.push_back(out.size());
  }
  text = out.append(text, copied);
  return breaks;
}

}  // namespace

ChatPrompter::ChatPrompter(const Tokenizer& tokenizer, std::string bos_token, std::string eos_token)
    : tokenizer_(tokenizer), guard_(tokenizer), bos_token_(std::move(bos_token)), eos_token_(std::move(eos_token)) {}

Result<std::vector<int32_t>> ChatPrompter::tokens(const ChatFields& fields, const Render& render) const {
  const std::optional<std::string> mark = unused_mark(fields.messages, fields.template_arguments);
  if (!mark) return invalid_argument("messages: expected text, got all of the noncharacters U+FDD0 to U+FDEF");
  const Marker marker(guard_, *mark);

  ordered_json variables = marker.marked(fields.template_arguments);
  variables["messages"] = ordered_json::array();
  for (const ordered_json& message : fields.messages) variables["messages"].push_back(marker.marked_message(message));
  variables["bos_token"] = bos_token_;
  variables["eos_token"] = eos_token_;
  variables["add_generation_prompt"] = fields.add_generation_prompt;
  auto rendered = render(variables);
  if (!rendered.ok()) return Status(rendered.status()).annotate("messages: the chat template");
  std::string prompt = *std::move(rendered);
  if (fields.continue_final_message) {
    COHORT_RETURN_IF_ERROR(cut_behind(variables["messages"].back()["content"].get_ref<const std::string&>(), prompt));
  }
  const std::vector<size_t> breaks = take_marks(*mark, prompt);
  std::vector<int32_t> ids = tokenizer_.encode(
      prompt,
      {.add_special_tokens = fields.add_special_tokens.value_or(false), .parse_special = true, .breaks = breaks});
  drop_doubled_bos(tokenizer_, ids);
  return ids;
}

void drop_doubled_bos(const Tokenizer& tokenizer, std::vector<int32_t>& ids) {
  const std::optional<int32_t> bos = tokenizer.bos_id();
  if (bos && ids.size() >= 2 && ids[0] == *bos && ids[1] == *bos) ids.erase(ids.begin());
}

}  // namespace cohort
