#include "runtime/chat/chat_template_source.h"

#include <fstream>
#include <sstream>
#include <system_error>

#include "runtime/json/json.h"

namespace cohort {
namespace {

constexpr uintmax_t kMaxTemplateBytes = 4 << 20;  // the longest in use have some 20 KB

Result<std::string> read_template(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size > kMaxTemplateBytes) {
    return invalid_argument(path.string() + ": expected a file of at most " + std::to_string(kMaxTemplateBytes) +
                            " bytes");
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return invalid_argument(path.string() + ": cannot be read");
  return text.str();
}

// A token is a string or an object with its "content".
const std::string* token_text(const nlohmann::json& token) {
  if (token.is_string()) return token.get_ptr<const std::string*>();
  if (!token.is_object() || !token.contains("content")) return nullptr;
  return token["content"].get_ptr<const std::string*>();
}

Status add_special_tokens(const nlohmann::json& config, ChatTemplateSource& found) {
  found.special_tokens = nlohmann::ordered_json::object();
  for (const char* name : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const auto token = config.find(name);
    if (token == config.end() || token->is_null()) continue;
    const std::string* text = token_text(*token);
    if (text == nullptr)
      return invalid_argument(std::string(name) + ": expected a string, or an object with \"content\"");
    found.special_tokens[name] = *text;
  }
  return ok_status();
}

// The templates of the list `named`, each an object of "name" and "template".
Status add_named_templates(const nlohmann::json& named, ChatTemplateSource& found) {
  for (const nlohmann::json& entry : named) {
    const bool is_entry = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                          entry.contains("template") && entry["template"].is_string();
    if (!is_entry) return invalid_argument("chat_template: expected objects with \"name\" and \"template\"");
    if (entry["name"] == "default") found.source = entry["template"].get<std::string>();
    if (entry["name"] == "tool_use") found.tool_source = entry["template"].get<std::string>();
  }
  return ok_status();
}

}  // namespace

Result<ChatTemplateSource> find_chat_template(const std::filesystem::path& model_dir) {
  ChatTemplateSource found;
  const std::filesystem::path config_path = model_dir / "tokenizer_config.json";
  const std::filesystem::path template_path = model_dir / "chat_template.jinja";
  const std::filesystem::path tool_path = model_dir / "additional_chat_templates" / "tool_use.jinja";
  nlohmann::json config = nlohmann::json::object();
  std::error_code error;
  if (std::filesystem::exists(config_path, error)) {
    COHORT_ASSIGN_OR_RETURN(config, read_json_file(config_path));
    if (!config.is_object()) return invalid_argument(config_path.string() + ": expected an object");
  }
  if (Status status = add_special_tokens(config, found); !status.ok()) {
    return std::move(status).annotate(config_path.string());
  }
  if (std::filesystem::exists(template_path, error)) {
    found.file = template_path;
    COHORT_ASSIGN_OR_RETURN(found.source, read_template(template_path));
    if (std::filesystem::exists(tool_path, error)) {
      COHORT_ASSIGN_OR_RETURN(found.tool_source, read_template(tool_path));
    }
    return found;
  }
  found.file = config_path;
  const auto entry = config.find("chat_template");
  if (entry != config.end() && entry->is_string()) {
    found.source = entry->get<std::string>();
  } else if (entry != config.end() && entry->is_array()) {
    if (Status status = add_named_templates(*entry, found); !status.ok()) {
      return std::move(status).annotate(config_path.string());
    }
  } else if (entry != config.end() && !entry->is_null()) {
    return invalid_argument(config_path.string() + ": chat_template: expected a string or a list");
  }
  if (found.source.empty()) return not_found(model_dir.string() + ": no chat template");
  return found;
}

}  // namespace cohort
