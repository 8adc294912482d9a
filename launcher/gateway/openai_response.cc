#include "launcher/gateway/openai_response.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <set>
#include <utility>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr float kLeastLogprob = -9999;  // JSON has no infinity

void append_integer(std::string& out, int64_t value) {
  std::array<char, 24> digits;
  out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

void append_logprob(std::string& out, float value) {
  if (!std::isfinite(value) || value < kLeastLogprob) value = kLeastLogprob;
  std::array<char, 48> digits;
  out.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

void append_ids(std::string& out, std::span<const int32_t> ids) {
  out += '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ',';
    append_integer(out, ids[i]);
  }
  out += ']';
}

void append_stop_reason(std::string& out, const StopReason& reason) {
  if (const auto* id = std::get_if<int32_t>(&reason)) {
    append_integer(out, *id);
  } else if (const auto* text = std::get_if<std::string>(&reason)) {
    append_json_string(out, *text);
  } else {
    out += "null";
  }
}

// A token's name in the legacy format, where it is a key: one that is no whole character shows its bytes.
std::string legacy_token(const TokenText& token) {
  if (token.text == token.bytes) return token.text;
  std::string text = "bytes:";
  for (const char byte : token.bytes) {
    std::array<char, 8> hex;
    std::snprintf(hex.data(), hex.size(), "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    text += hex.data();
  }
  return text;
}

std::string_view object_name(ApiKind kind, bool is_chunk) {
  if (kind == ApiKind::kCompletion) return "text_completion";
  return is_chunk ? "chat.completion.chunk" : "chat.completion";
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t copied = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') [[likely]]
      continue;
    out.append(text.substr(copied, i - copied));
    copied = i + 1;
    switch (byte) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        std::array<char, 8> escape;
        std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(byte));
        out += escape.data();
      }
    }
  }
  out.append(text.substr(copied));
  out += '"';
}

void append_usage(std::string& out, const TokenUsage& usage) {
  out += R"({"prompt_tokens":)";
  append_integer(out, usage.num_prompt_tokens);
  out += R"(,"completion_tokens":)";
  append_integer(out, usage.num_output_tokens);
  out += R"(,"total_tokens":)";
  append_integer(out, usage.num_prompt_tokens + usage.num_output_tokens);
  out += R"(,"prompt_tokens_details":{"cached_tokens":)";
  append_integer(out, usage.num_cached_tokens);
  out += "}}";
}

ResponseWriter::ResponseWriter(Options options, TokenTexts& texts) : options_(std::move(options)), texts_(texts) {
  head_ = R"(,"created":)";
  append_integer(head_, options_.created);
  head_ += R"(,"model":)";
  append_json_string(head_, options_.model);
  head_ += R"(,"system_fingerprint":)";
  if (options_.fingerprint.empty()) {
    head_ += "null";
  } else {
    append_json_string(head_, options_.fingerprint);
  }
}

void ResponseWriter::append_head(std::string& out, bool is_chunk) const {
  out += R"({"id":)";
  append_json_string(out, options_.id);
  out += R"(,"object":")";
  out += object_name(options_.kind, is_chunk);
  out += '"';
  out += head_;
}

void ResponseWriter::append_chat_token(std::string& out, int32_t id, float logprob) const {
  const TokenText& token = texts_.of(id);
  out += R"({"token":)";
  append_json_string(out, token.text);
  out += R"(,"logprob":)";
  append_logprob(out, logprob);
  out += R"(,"bytes":[)";
  for (size_t i = 0; i < token.bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_integer(out, static_cast<unsigned char>(token.bytes[i]));
  }
  out += ']';
}

void ResponseWriter::append_chat_logprobs(std::string& out, const std::vector<OutputToken>& tokens) const {
  out += R"({"content":[)";
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    append_chat_token(out, tokens[i].id, tokens[i].logprob);
    out += R"(,"top_logprobs":[)";
    for (size_t k = 0; k < tokens[i].top_logprobs.size(); ++k) {
      if (k > 0) out += ',';
      append_chat_token(out, tokens[i].top_logprobs[k].id, tokens[i].top_logprobs[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

void ResponseWriter::append_legacy_logprobs(std::string& out, ChoiceWriter& choice,
                                            const std::vector<OutputToken>& tokens) const {
  std::string names;
  std::string offsets;
  std::string logprobs;
  std::string tops;
  for (const OutputToken& token : tokens) {
    const char* separator = names.empty() ? "" : ",";
    const std::string name = legacy_token(texts_.of(token.id));
    append_json_string(names += separator, name);
    append_integer(offsets += separator, choice.text_offset);
    choice.text_offset += num_chars(texts_.of(token.id).text);
    append_logprob(logprobs += separator, token.logprob);
    // The token itself is among them, most probable or not.
    tops += separator;
    tops += '{';
    std::set<std::string> seen;
    const auto add = [&](int32_t id, float logprob) {
      std::string top = legacy_token(texts_.of(id));
      if (!seen.insert(top).second) return;
      if (seen.size() > 1) tops += ',';
      append_json_string(tops, top);
      append_logprob(tops += ':', logprob);
    };
    for (const TokenLogprob& top : token.top_logprobs) add(top.id, top.logprob);
    add(token.id, token.logprob);
    tops += '}';
  }
  out += R"({"text_offset":[)" + offsets + R"(],"token_logprobs":[)" + logprobs + R"(],"tokens":[)" + names +
         R"(],"top_logprobs":[)" + tops + "]}";
}

void ResponseWriter::append_logprobs(std::string& out, ChoiceWriter& choice,
                                     const std::vector<OutputToken>& tokens) const {
  out += R"(,"logprobs":)";
  if (!options_.show_logprobs) {
    out += "null";
  } else if (options_.kind == ApiKind::kChat) {
    append_chat_logprobs(out, tokens);
  } else {
    append_legacy_logprobs(out, choice, tokens);
  }
}

void ResponseWriter::append_end(std::string& out, const OutputPart& part) const {
  out += R"(,"finish_reason":)";
  if (part.finish_reason.empty()) {
    out += "null";
    return;
  }
  append_json_string(out, part.finish_reason);
  out += R"(,"stop_reason":)";
  append_stop_reason(out, part.stop_reason);
}

void ResponseWriter::append_token_ids(std::string& out, ChoiceWriter& choice,
                                      const std::vector<OutputToken>& tokens) const {
  if (!options_.show_token_ids) return;
  if (options_.kind == ApiKind::kCompletion && choice.prompt_ids != nullptr) {
    out += R"(,"prompt_token_ids":)";
    append_ids(out, *std::exchange(choice.prompt_ids, nullptr));
  }
  std::vector<int32_t> ids;
  for (const OutputToken& token : tokens) ids.push_back(token.id);
  out += R"(,"token_ids":)";
  append_ids(out, ids);
}

std::string ResponseWriter::first_chunk(ChoiceWriter& choice) const {
  std::string out = "data: ";
  append_head(out, true);
  out += R"(,"choices":[{"index":)";
  append_integer(out, choice.index);
  out += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}])";
  if (options_.show_token_ids && choice.prompt_ids != nullptr) {
    out += R"(,"prompt_token_ids":)";
    append_ids(out, *std::exchange(choice.prompt_ids, nullptr));
  }
  out += "}\n\n";
  return out;
}

std::string ResponseWriter::chunk(ChoiceWriter& choice, const OutputPart& part, const TokenUsage* usage) const {
  std::string out = "data: ";
  append_head(out, true);
  out += R"(,"choices":[{"index":)";
  append_integer(out, choice.index);
  if (options_.kind == ApiKind::kChat) {
    out += R"(,"delta":{"content":)";
    append_json_string(out, part.text);
    out += '}';
  } else {
    out += R"(,"text":)";
    append_json_string(out, part.text);
  }
  append_logprobs(out, choice, part.tokens);
  append_end(out, part);
  append_token_ids(out, choice, part.tokens);
  out += "}]";
  if (usage != nullptr) append_usage(out += R"(,"usage":)", *usage);
  out += "}\n\n";
  return out;
}

std::string ResponseWriter::usage_chunk(const TokenUsage& usage) const {
  std::string out = "data: ";
  append_head(out, true);
  append_usage(out += R"(,"choices":[],"usage":)", usage);
  out += "}\n\n";
  return out;
}

std::string ResponseWriter::whole(std::span<ChoiceWriter> choices, std::span<const OutputPart> parts,
                                  const TokenUsage& usage) const {
  std::string out;
  append_head(out, false);
  out += R"(,"choices":[)";
  for (size_t i = 0; i < choices.size(); ++i) {
    out += i == 0 ? R"({"index":)" : R"(,{"index":)";
    append_integer(out, choices[i].index);
    if (options_.kind == ApiKind::kChat) {
      out += R"(,"message":{"role":"assistant","content":)";
      append_json_string(out, parts[i].text);
      out += R"(,"refusal":null})";
    } else {
      out += R"(,"text":)";
      append_json_string(out, parts[i].text);
    }
    append_logprobs(out, choices[i], parts[i].tokens);
    append_end(out, parts[i]);
    append_token_ids(out, choices[i], parts[i].tokens);
    out += '}';
  }
  append_usage(out += R"(],"usage":)", usage);
  if (options_.kind == ApiKind::kChat && options_.show_token_ids && !choices.empty() &&
      choices[0].prompt_ids != nullptr) {
    out += R"(,"prompt_token_ids":)";
    append_ids(out, *choices[0].prompt_ids);
  }
  out += '}';
  return out;
}

}  // namespace cohort
