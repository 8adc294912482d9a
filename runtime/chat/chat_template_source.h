// Where a checkpoint keeps its chat template.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "kernels/core/status.h"

namespace cohort {

struct ChatTemplateSource {
  std::string source;                      // the template for conversations
  std::optional<std::string> tool_source;  // another for conversations with tools, where there is one
  nlohmann::ordered_json special_tokens;   // bos_token, eos_token, unk_token, pad_token: those that are named
  std::filesystem::path file;              // that the template is from
};

// Reads chat_template.jinja and additional_chat_templates/tool_use.jinja, or else the key chat_template of
// tokenizer_config.json: a template, or a list of templates with names, of which "default" and "tool_use" count.
// Errors: kNotFound when there is no template, kInvalidArgument for files that are not what they should be.
Result<ChatTemplateSource> find_chat_template(const std::filesystem::path& model_dir);

}  // namespace cohort
