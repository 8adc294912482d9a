#include "launcher/gateway/openai_chat.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "runtime/chat/chat_template_source.h"

namespace cohort {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxTemplateBytes = 65536;  // of one that a request brings
// What the template is given that is no argument of it.
constexpr std::array<std::string_view, 4> kOwnVariables = {"messages", "tools", "documents", "add_generation_prompt"};

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

Result<std::string> read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();  // fails with what has no characters, as a directory
  if (!file || !text) return not_found(path.string() + ": cannot be read, or is empty");
  return text.str();
}

}  // namespace

Result<ChatOptions> read_chat_options(const std::filesystem::path& model_dir,
                                      const std::filesystem::path& template_file) {
  ChatOptions options;
  auto found = find_chat_template(model_dir);
  if (!found.ok() && found.status().code() != StatusCode::kNotFound) return found.status();
  std::string source;
  std::filesystem::path path = template_file;
  if (found.ok()) {
    options.special_tokens = std::move(found->special_tokens);
    source = std::move(found->source);
    if (path.empty()) path = found->file;
  }
  if (!template_file.empty()) {
    COHORT_ASSIGN_OR_RETURN(source, read_text(template_file));
  } else if (!found.ok()) {
    return options;
  }
  auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return Status(parsed.status()).annotate(path.string());
  options.chat_template = *std::move(parsed);
  if (template_file.empty() && found->tool_source) {
    auto tool_template = ChatTemplate::parse(*found->tool_source);
    if (!tool_template.ok()) return Status(tool_template.status()).annotate(path.string() + ": tool_use");
    options.tool_template = *std::move(tool_template);
  }
  return options;
}

ChatPrompter::ChatPrompter(const Tokenizer& tokenizer, ChatOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  const auto add = [this](const char* name, std::optional<int32_t> id) {
    if (id && !options_.special_tokens.contains(name)) options_.special_tokens[name] = tokenizer_.id_to_token(*id);
  };
  add("bos_token", tokenizer_.bos_id());
  add("eos_token", tokenizer_.eos_id());
}

Result<ChatTemplate> ChatPrompter::chat_template(const ChatFields& fields) const {
  if (fields.chat_template) {
    if (!options_.request_templates) {
      return invalid_argument("chat_template: this server takes no chat templates from requests");
    }
    if (fields.chat_template->size() > kMaxTemplateBytes) {
      return invalid_argument("chat_template: expected at most " + std::to_string(kMaxTemplateBytes) + " bytes, got " +
                              std::to_string(fields.chat_template->size()));
    }
    auto parsed = ChatTemplate::parse(*fields.chat_template);
    if (!parsed.ok()) return invalid_argument("chat_template: " + parsed.status().message());
    return parsed;
  }
  if (!options_.chat_template) {
    return invalid_argument("messages: this model has no chat template; server.chat_template gives it one");
  }
  return !fields.tools.is_null() && options_.tool_template ? *options_.tool_template : *options_.chat_template;
}

Status ChatPrompter::check_arguments(const ChatFields& fields, const ChatTemplate& chat_template) const {
  for (const auto& argument : fields.template_arguments.items()) {
    const std::string& name = argument.key();
    const bool is_own = std::find(kOwnVariables.begin(), kOwnVariables.end(), name) != kOwnVariables.end() ||
                        options_.special_tokens.contains(name);
    if (is_own || !chat_template.uses(name)) {
      return field_error("chat_template_kwargs", "arguments that the chat template has", name);
    }
  }
  return ok_status();
}

Result<std::vector<int32_t>> ChatPrompter::tokens(const ChatFields& fields) const {
  COHORT_ASSIGN_OR_RETURN(const ChatTemplate applied, chat_template(fields));
  COHORT_RETURN_IF_ERROR(check_arguments(fields, applied));
  ordered_json data = fields.template_arguments;
  data["messages"] = fields.messages;
  ordered_json trusted = options_.special_tokens;
  trusted["add_generation_prompt"] = fields.add_generation_prompt;
  if (fields.needs_tools && !applied.uses("tools")) {
    return unimplemented("tools: the chat template of this model knows no tools");
  }
  // Templates ask whether there are any.
  if (fields.tools.is_null()) {
    trusted["tools"] = nullptr;
  } else {
    data["tools"] = fields.tools;
  }
  trusted["documents"] = nullptr;
  const auto segments = applied.render_segments(data, trusted);
  // Whatever it is, other messages or another template would do.
  if (!segments.ok()) return invalid_argument("messages: the chat template: " + segments.status().message());

  std::string prompt;
  std::vector<TextRange> plain;
  for (const ChatSegment& segment : *segments) {
    const size_t begin = prompt.size();
    prompt += segment.text;
    if (segment.is_data && !is_chat_role(segment.text)) plain.push_back({begin, prompt.size()});
  }
  if (fields.continue_final_message) {
    COHORT_RETURN_IF_ERROR(cut_behind(fields.messages.back()["content"].get_ref<const std::string&>(), prompt));
  }
  std::vector<int32_t> ids = tokenizer_.encode(
      prompt, {.add_special_tokens = fields.add_special_tokens.value_or(false), .parse_special = true, .plain = plain});
  drop_doubled_bos(tokenizer_, ids);
  return ids;
}

void drop_doubled_bos(const Tokenizer& tokenizer, std::vector<int32_t>& ids) {
  const std::optional<int32_t> bos = tokenizer.bos_id();
  if (bos && ids.size() >= 2 && ids[0] == *bos && ids[1] == *bos) ids.erase(ids.begin());
}

}  // namespace cohort
