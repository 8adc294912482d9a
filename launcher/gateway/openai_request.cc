#include "launcher/gateway/openai_request.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <utility>

namespace cohort {
namespace {

using nlohmann::json;

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
// Over any difference between logits, and small enough that a logit with it keeps its order: a float of this size is
// exact to 6e-5.
constexpr float kAllowBias = 1000;
constexpr float kBanBias = -10000;

Status unsupported(std::string_view name, std::string_view why) {
  return unimplemented(std::string(name) + ": " + std::string(why));
}

void read_logit_bias(FieldReader& reader, int64_t vocab, GenerationFields& fields) {
  const json* biases = reader.object("logit_bias");
  if (biases == nullptr) return;
  if (biases->size() > static_cast<size_t>(kMaxLogitBiases)) {
    reader.fail("logit_bias", "at most " + std::to_string(kMaxLogitBiases) + " tokens", biases->size());
    return;
  }
  for (const auto& [key, value] : biases->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= vocab) {
      reader.fail("logit_bias", "token ids from 0 to " + std::to_string(vocab - 1), key);
      return;
    }
    const double bias = value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    if (!(bias >= -100 && bias <= 100)) {
      reader.fail("logit_bias", "numbers from -100 to 100", value);
      return;
    }
    fields.logit_bias.emplace_back(id, static_cast<float>(bias));
  }
}

void read_tokens_and_stops(FieldReader& reader, const RequestLimits& limits, GenerationFields& fields) {
  fields.min_tokens = reader.integer("min_tokens", 0, kMaxInt64).value_or(0);
  fields.stop = reader.texts("stop", kMaxStopStrings, kMaxStopBytes, true).value_or(fields.stop);
  fields.stop_token_ids = reader.ids("stop_token_ids", limits.vocab, kMaxStopTokenIds).value_or(fields.stop_token_ids);
  fields.include_stop = reader.flag("include_stop_str_in_output").value_or(false);
  fields.ignore_eos = reader.flag("ignore_eos").value_or(false);
  fields.skip_special_tokens = reader.flag("skip_special_tokens").value_or(true);
  fields.truncate_prompt_tokens = reader.integer("truncate_prompt_tokens", -1, limits.max_position);
  if (fields.truncate_prompt_tokens == 0) {
    reader.fail("truncate_prompt_tokens", "-1 or a positive number", *fields.truncate_prompt_tokens);
  }
  read_logit_bias(reader, limits.vocab, fields);
  fields.allowed_token_ids = reader.ids("allowed_token_ids", limits.vocab, static_cast<size_t>(kMaxLogitBiases));
  if (fields.allowed_token_ids && fields.allowed_token_ids->empty()) {
    reader.fail("allowed_token_ids", "at least one token id", json::array());
  }
  if (fields.allowed_token_ids && fields.sampling.repetition_penalty != 1) {
    reader.fail(unsupported("allowed_token_ids", "does not go with repetition_penalty"));
  }
  fields.bad_words = reader.texts("bad_words", kMaxBadWords, kMaxStopBytes).value_or(fields.bad_words);
}

void read_stream(FieldReader& reader, GenerationFields& fields) {
  fields.is_stream = reader.flag("stream").value_or(false);
  const json* options = reader.object("stream_options");
  if (options == nullptr) return;
  if (!fields.is_stream) {
    reader.fail(invalid_argument("stream_options: expected only together with stream: true"));
    return;
  }
  FieldReader inner(*options, "stream_options.");
  fields.include_usage = inner.flag("include_usage").value_or(false);
  fields.continuous_usage = inner.flag("continuous_usage_stats").value_or(false) && fields.include_usage;
  if (!inner.ok()) reader.fail(inner.status());
}

// What is understood and not done.
void refuse_unsupported(FieldReader& reader) {
  if (const json* format = reader.object("response_format")) {
    FieldReader inner(*format, "response_format.");
    const std::string type = inner.text("type", kMaxNameBytes).value_or("");
    if (!inner.ok()) {
      reader.fail(inner.status());
    } else if (type == "json_object" || type == "json_schema") {
      reader.fail(unsupported("response_format", type + " is not supported, only text is"));
    } else if (type != "text") {
      reader.fail("response_format.type", "text, json_object or json_schema", type);
    }
  }
  if (reader.find("structured_outputs") != nullptr) reader.fail(unsupported("structured_outputs", "is not supported"));
  if (reader.find("prompt_logprobs") != nullptr) reader.fail(unsupported("prompt_logprobs", "is not supported"));
}

void read_common(FieldReader& reader, const RequestLimits& limits, GenerationFields& fields) {
  fields.model = reader.text("model", kMaxNameBytes);
  fields.n = reader.integer("n", 1, kMaxChoices).value_or(1);
  fields.best_of = fields.n;
  read_stream(reader, fields);
  read_sampling(reader, limits, fields);
  read_tokens_and_stops(reader, limits, fields);
  refuse_unsupported(reader);
  fields.add_special_tokens = reader.flag("add_special_tokens");
  fields.priority = static_cast<int32_t>(
      reader.integer("priority", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()).value_or(0));
  fields.cache_salt = reader.text("cache_salt", kMaxNameBytes).value_or("");
  fields.return_token_ids = reader.flag("return_token_ids").value_or(false);
  reader.text("user", kMaxNameBytes);
}

Result<std::vector<CompletionPrompt>> parse_prompts(const json* prompt, int64_t vocab) {
  constexpr std::string_view kExpected = "a string, an array of strings, of token ids, or of arrays of token ids";
  if (prompt == nullptr) return invalid_argument("prompt: expected " + std::string(kExpected) + ", got none");
  if (prompt->is_string()) {
    if (prompt->get_ref<const std::string&>().empty()) return field_error("prompt", "text", *prompt);
    return std::vector<CompletionPrompt>{prompt->get<std::string>()};
  }
  if (!prompt->is_array() || prompt->empty()) return field_error("prompt", kExpected, *prompt);
  if (prompt->front().is_number()) {
    COHORT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, parse_ids(*prompt, "prompt", vocab));
    return std::vector<CompletionPrompt>{std::move(ids)};
  }
  if (prompt->size() > kMaxPrompts) {
    return field_error("prompt", "at most " + std::to_string(kMaxPrompts) + " prompts", *prompt);
  }
  std::vector<CompletionPrompt> prompts;
  for (const json& item : *prompt) {
    const std::string name = "prompt[" + std::to_string(prompts.size()) + "]";
    if (item.is_string() && prompt->front().is_string() && !item.get_ref<const std::string&>().empty()) {
      prompts.emplace_back(item.get<std::string>());
    } else if (item.is_array() && prompt->front().is_array() && !item.empty()) {
      COHORT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, parse_ids(item, name, vocab));
      prompts.emplace_back(std::move(ids));
    } else {
      return field_error(name, prompt->front().is_string() ? "text" : "token ids", item);
    }
  }
  return prompts;
}

// The model is told of tools, by its template, and calls them in its text, which is not taken apart.
void read_tool_choice(FieldReader& reader, ChatFields& fields) {
  const json* choice = reader.find("tool_choice");
  reader.flag("parallel_tool_calls");
  const bool is_none = choice != nullptr && choice->is_string() && *choice == "none";
  const bool is_auto = choice == nullptr || (choice->is_string() && *choice == "auto");
  if (choice != nullptr && !choice->is_object() && !is_none && !is_auto && *choice != "required") {
    reader.fail("tool_choice", "none, auto, required or an object", *choice);
  }
  if (!is_none && !is_auto) reader.fail(unsupported("tool_choice", "is not supported except none and auto"));
  fields.needs_tools = !fields.tools.is_null() && !is_none;
}

}  // namespace

void read_sampling(FieldReader& reader, const RequestLimits& limits, GenerationFields& fields) {
  const GenerationDefaults& defaults = limits.defaults;
  SamplingParams& sampling = fields.sampling;
  sampling.temperature = reader.number("temperature", 0, 100).value_or(defaults.temperature);
  sampling.top_p = reader.number("top_p", 0, 1).value_or(defaults.top_p);
  if (sampling.top_p <= 0) reader.fail("top_p", "a number above 0, up to 1", 0);
  const int64_t top_k = reader.integer("top_k", -1, std::numeric_limits<int32_t>::max()).value_or(defaults.top_k);
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  sampling.min_p = reader.number("min_p", 0, 1).value_or(0);
  sampling.repetition_penalty = reader.number("repetition_penalty", 0.01F, 100).value_or(defaults.repetition_penalty);
  sampling.presence_penalty = reader.number("presence_penalty", -2, 2).value_or(0);
  sampling.frequency_penalty = reader.number("frequency_penalty", -2, 2).value_or(0);
  // A seed is a name for a draw: a negative one is as good.
  if (const auto seed = reader.integer("seed", std::numeric_limits<int64_t>::min(), kMaxInt64)) {
    fields.seed = static_cast<uint64_t>(*seed);
  }
}

Status check_min_tokens(const GenerationFields& fields) {
  if (!fields.max_tokens || fields.min_tokens <= *fields.max_tokens) return ok_status();
  return field_error("min_tokens", "at most max_tokens, which is " + std::to_string(*fields.max_tokens),
                     fields.min_tokens);
}

Result<CompletionFields> parse_completion(const json& body, const RequestLimits& limits) {
  CompletionFields fields;
  FieldReader reader(body);
  read_common(reader, limits, fields);
  fields.max_tokens = reader.integer("max_tokens", 1, kMaxInt64);
  fields.best_of = reader.integer("best_of", 1, kMaxChoices).value_or(fields.n);
  if (fields.best_of < fields.n)
    reader.fail("best_of", "at least n, which is " + std::to_string(fields.n), fields.best_of);
  if (fields.best_of > fields.n && fields.is_stream) {
    reader.fail(invalid_argument("best_of: more than n cannot be streamed"));
  }
  if (const auto top = reader.integer("logprobs", 0, kMaxTopLogprobs)) fields.top_logprobs = static_cast<int>(*top);
  fields.echo = reader.flag("echo").value_or(false);
  if (fields.echo && fields.top_logprobs) reader.fail(unsupported("echo", "is not supported together with logprobs"));
  auto prompts = parse_prompts(reader.find("prompt"), limits.vocab);
  if (!prompts.ok()) reader.fail(prompts.status());
  COHORT_RETURN_IF_ERROR(reader.status());
  fields.prompts = *std::move(prompts);
  fields.ignored = reader.unread();
  COHORT_RETURN_IF_ERROR(check_min_tokens(fields));
  return fields;
}

Result<ChatFields> parse_chat(const json& body, const RequestLimits& limits) {
  ChatFields fields;
  FieldReader reader(body);
  read_common(reader, limits, fields);
  fields.max_tokens = reader.integer("max_tokens", 1, kMaxInt64);
  if (const auto newer = reader.integer("max_completion_tokens", 1, kMaxInt64)) fields.max_tokens = newer;
  const bool logprobs = reader.flag("logprobs").value_or(false);
  const auto top = reader.integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top.value_or(0) > 0 && !logprobs) {
    reader.fail(invalid_argument("top_logprobs: expected only together with logprobs: true"));
  }
  if (logprobs) fields.top_logprobs = static_cast<int>(top.value_or(0));
  read_chat_prompt(reader, fields);
  read_tool_choice(reader, fields);
  COHORT_RETURN_IF_ERROR(reader.status());
  fields.ignored = reader.unread();
  COHORT_RETURN_IF_ERROR(check_min_tokens(fields));
  return fields;
}

void read_chat_prompt(FieldReader& reader, ChatFields& fields) {
  const json* messages = reader.array("messages");
  if (messages == nullptr || messages->empty() || messages->size() > kMaxMessages) {
    reader.fail("messages", "an array of 1 to " + std::to_string(kMaxMessages) + " messages",
                messages == nullptr ? json() : *messages);
  } else if (auto parsed = parse_messages(*messages); parsed.ok()) {
    fields.messages = *std::move(parsed);
  } else {
    reader.fail(parsed.status());
  }
  if (const json* tools = reader.array("tools"); tools != nullptr && !tools->empty()) {
    auto parsed = parse_tools(*tools);
    if (parsed.ok()) {
      fields.tools = *std::move(parsed);
    } else {
      reader.fail(parsed.status());
    }
  }
  fields.needs_tools = !fields.tools.is_null();
  fields.continue_final_message = reader.flag("continue_final_message").value_or(false);
  const std::optional<bool> add_prompt = reader.flag("add_generation_prompt");
  fields.add_generation_prompt = add_prompt.value_or(!fields.continue_final_message);
  if (fields.continue_final_message && fields.add_generation_prompt) {
    reader.fail(invalid_argument("continue_final_message: expected only with add_generation_prompt: false"));
  }
  fields.chat_template = reader.text("chat_template", std::numeric_limits<size_t>::max());
  if (const json* arguments = reader.object("chat_template_kwargs")) {
    if (Status status = check_members("chat_template_kwargs", *arguments); !status.ok()) {
      return reader.fail(std::move(status));
    }
    for (const auto& [key, value] : arguments->items()) fields.template_arguments[key] = value;
  }
}

Result<nlohmann::ordered_json> parse_tools(const json& tools) {
  if (tools.size() > kMaxTools) return field_error("tools", "at most " + std::to_string(kMaxTools) + " tools", tools);
  COHORT_RETURN_IF_ERROR(check_members("tools", tools));
  nlohmann::ordered_json parsed = nlohmann::ordered_json::array();
  for (const json& tool : tools) {
    const std::string name = "tools[" + std::to_string(parsed.size()) + "]";
    if (!tool.is_object()) return field_error(name, "an object", tool);
    FieldReader reader(tool, name + ".");
    const std::string type = reader.text("type", kMaxNameBytes).value_or("");
    if (type != "function") reader.fail("type", "function", type);
    const json* function = reader.object("function");
    COHORT_RETURN_IF_ERROR(reader.status());
    if (function == nullptr) return invalid_argument(name + ".function: expected an object, got none");
    FieldReader inner(*function, name + ".function.");
    const std::string function_name = inner.text("name", kMaxNameBytes).value_or("");
    if (function_name.empty()) inner.fail("name", "a name", function_name);
    const auto description = inner.text("description", std::numeric_limits<size_t>::max());
    const json* parameters = inner.object("parameters");
    COHORT_RETURN_IF_ERROR(inner.status());
    nlohmann::ordered_json out = {{"name", function_name}};
    if (description) out["description"] = *description;
    if (parameters != nullptr) out["parameters"] = *parameters;
    parsed.push_back({{"type", type}, {"function", std::move(out)}});
  }
  return parsed;
}

Result<std::vector<std::pair<int32_t, float>>> merged_biases(const GenerationFields& fields,
                                                             const std::vector<int32_t>& banned) {
  std::map<int32_t, float> biases(fields.logit_bias.begin(), fields.logit_bias.end());
  if (fields.allowed_token_ids) {
    std::map<int32_t, float> allowed;
    for (const int32_t id : *fields.allowed_token_ids) {
      const auto bias = biases.find(id);
      allowed[id] = kAllowBias + (bias == biases.end() ? 0 : bias->second);
    }
    for (const int32_t id : banned) allowed.erase(id);
    if (allowed.empty()) return invalid_argument("allowed_token_ids: bad_words rule out all of them");
    biases = std::move(allowed);
  } else {
    for (const int32_t id : banned) biases[id] = kBanBias;
  }
  if (biases.size() > static_cast<size_t>(kMaxLogitBiases)) {
    return invalid_argument("logit_bias: expected at most " + std::to_string(kMaxLogitBiases) +
                            " tokens together with bad_words, got " + std::to_string(biases.size()));
  }
  return std::vector<std::pair<int32_t, float>>(biases.begin(), biases.end());
}

}  // namespace cohort
