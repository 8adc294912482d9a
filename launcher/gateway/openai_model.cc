#include "launcher/gateway/openai_model.h"

#include <algorithm>
#include <limits>

namespace cohort {
namespace {

using nlohmann::json;

constexpr int64_t kCompletionTokens = 16;  // of completions that do not say

// Output tokens that the cache holds behind a prompt of so many.
int64_t cache_room(const EngineFacts& facts, int64_t num_prompt_tokens) {
  const int64_t num_positions = facts.block_size * facts.num_blocks;
  if (!facts.has_source) return num_positions - num_prompt_tokens + 1;
  const int64_t num_source_blocks = (num_prompt_tokens + facts.block_size - 1) / facts.block_size;
  return num_positions - num_source_blocks * facts.block_size;  // behind the token that outputs begin with
}

std::string prompt_name(const PreparedRequest& request, size_t index) {
  if (request.kind == ApiKind::kChat) return "messages";
  const std::string name(request.prompt_field);
  return request.prompts.size() == 1 ? name : name + "[" + std::to_string(index) + "]";
}

}  // namespace

OpenAiModel::OpenAiModel(const Tokenizer& tokenizer, OpenAiOptions options)
    : tokenizer_(tokenizer), options_(std::move(options)), prompter_(tokenizer, options_.chat) {}

RequestLimits OpenAiModel::limits(const EngineFacts& facts) const {
  return {.vocab = facts.vocab, .max_position = facts.max_position, .defaults = options_.generation};
}

Status OpenAiModel::check_model(const std::optional<std::string>& name) const {
  if (!name || *name == options_.model_name) return ok_status();
  return not_found("model: \"" + *name + "\" does not exist, \"" + options_.model_name + "\" does");
}

Result<PreparedRequest> OpenAiModel::prepare(ApiKind kind, std::string_view body, const EngineFacts& facts) const {
  COHORT_ASSIGN_OR_RETURN(const json object, parse_body(body));
  if (kind == ApiKind::kChat) return prepare_chat(object, facts);
  COHORT_ASSIGN_OR_RETURN(CompletionFields fields, parse_completion(object, limits(facts)));
  COHORT_RETURN_IF_ERROR(check_model(fields.model));
  return prepare(std::move(fields), facts);
}

Result<PreparedRequest> OpenAiModel::prepare(CompletionFields fields, const EngineFacts& facts) const {
  PreparedRequest request;
  for (CompletionPrompt& prompt : fields.prompts) {
    PreparedPrompt& prepared = request.prompts.emplace_back();
    if (auto* text = std::get_if<std::string>(&prompt)) {
      // The prompt is all that the model sees, and the client's own: control tokens in it are meant.
      prepared.ids = tokenizer_.encode(
          *text, {.add_special_tokens = fields.add_special_tokens.value_or(true), .parse_special = true});
      drop_doubled_bos(tokenizer_, prepared.ids);
      if (fields.echo) prepared.echo = *std::move(text);
    } else {
      prepared.ids = std::get<std::vector<int32_t>>(std::move(prompt));
      if (fields.echo) prepared.echo = tokenizer_.decode(prepared.ids, fields.skip_special_tokens);
    }
  }
  request.fields = std::move(fields);
  COHORT_RETURN_IF_ERROR(finish(request, facts));
  return request;
}

Result<PreparedRequest> OpenAiModel::prepare_chat(const json& body, const EngineFacts& facts) const {
  COHORT_ASSIGN_OR_RETURN(ChatFields fields, parse_chat(body, limits(facts)));
  COHORT_RETURN_IF_ERROR(check_model(fields.model));
  PreparedRequest request;
  request.kind = ApiKind::kChat;
  COHORT_ASSIGN_OR_RETURN(request.prompts.emplace_back().ids, prompter_.tokens(fields));
  request.fields = std::move(fields);
  COHORT_RETURN_IF_ERROR(finish(request, facts));
  return request;
}

// What is the same for both endpoints.
Status OpenAiModel::finish(PreparedRequest& request, const EngineFacts& facts) const {
  GenerationFields& fields = request.fields;
  if (request.kind == ApiKind::kCompletion && !fields.max_tokens && fields.min_tokens > kCompletionTokens) {
    return field_error("min_tokens", "at most max_tokens, which are 16 where they are not given", fields.min_tokens);
  }
  if (fields.truncate_prompt_tokens) {
    const int64_t room = facts.limits().room_for_prompt(fields.max_tokens.value_or(1));
    const auto limit = static_cast<size_t>(*fields.truncate_prompt_tokens < 0 ? std::max<int64_t>(room, 1)
                                                                              : *fields.truncate_prompt_tokens);
    for (PreparedPrompt& prompt : request.prompts) {
      if (prompt.ids.size() <= limit) continue;
      prompt.ids.erase(prompt.ids.begin(), prompt.ids.end() - static_cast<std::ptrdiff_t>(limit));
      if (!prompt.echo.empty()) prompt.echo = tokenizer_.decode(prompt.ids, fields.skip_special_tokens);
    }
  }
  COHORT_ASSIGN_OR_RETURN(const std::vector<int32_t> banned, banned_tokens(fields.bad_words));
  COHORT_ASSIGN_OR_RETURN(fields.sampling.logit_bias, merged_biases(fields, banned));
  return ok_status();
}

Result<std::vector<int32_t>> OpenAiModel::banned_tokens(const std::vector<std::string>& words) const {
  std::vector<int32_t> banned;
  for (const std::string& word : words) {
    const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    const std::vector<int32_t> ids = tokenizer_.encode(bare, {.add_special_tokens = false});
    if (ids.size() != 1) {
      return unimplemented("bad_words: \"" + word.substr(0, 64) + "\" is " + std::to_string(ids.size()) +
                           " tokens, only words of one are supported");
    }
    banned.push_back(ids[0]);
    // As a word within a text.
    const std::vector<int32_t> spaced = tokenizer_.encode(" " + bare, {.add_special_tokens = false});
    if (spaced.size() == 1) banned.push_back(spaced[0]);
  }
  return banned;
}

std::optional<ApiError> OpenAiModel::check_size(const PreparedRequest& request, const EngineFacts& facts) const {
  const GenerationFields& fields = request.fields;
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const auto num_tokens = static_cast<int64_t>(request.prompts[i].ids.size());
    const std::string name = prompt_name(request, i);
    if (num_tokens == 0) return api_error(invalid_argument(name + ": expected at least one token"));
    const std::string limit = "this model's maximum context length is " + std::to_string(facts.max_position) +
                              " tokens, and the prompt has " + std::to_string(num_tokens);
    const int64_t room = facts.limits().room_for_output(num_tokens);
    if (room < 1 || num_tokens > facts.max_position) {
      return context_length_error(name + ": " + limit + (facts.has_source ? "" : ", which leaves no room for output"),
                                  name);
    }
    if (fields.max_tokens.value_or(0) > room) {
      return context_length_error("max_tokens: " + limit + ", so at most " + std::to_string(room) +
                                      " can follow, not " + std::to_string(*fields.max_tokens),
                                  "max_tokens");
    }
  }
  const int64_t num_sequences = static_cast<int64_t>(request.prompts.size()) * fields.best_of;
  const int64_t room = facts.max_seqs + facts.max_waiting;
  if (num_sequences > room) {
    const std::string field = fields.best_of == 1         ? std::string(request.prompt_field)
                              : fields.best_of > fields.n ? "best_of"
                                                          : "n";
    return api_error(invalid_argument(field + ": " + std::to_string(num_sequences) +
                                      " sequences are more than this server holds, which is " + std::to_string(room)));
  }
  return std::nullopt;
}

SequencePlan OpenAiModel::plan(const PreparedRequest& request, size_t prompt, int64_t choice, uint64_t seed,
                               const EngineFacts& facts) const {
  const GenerationFields& fields = request.fields;
  SequencePlan plan;
  plan.output = {.stop = fields.stop,
                 .stop_token_ids = fields.stop_token_ids,
                 .include_stop = fields.include_stop,
                 .skip_special_tokens = fields.skip_special_tokens,
                 .min_tokens = fields.min_tokens,
                 .keep_tokens = fields.top_logprobs.has_value() || fields.return_token_ids};
  GenerationRequest& out = plan.request;
  out.prompt = request.prompts[prompt].ids;
  const auto num_prompt_tokens = static_cast<int64_t>(out.prompt.size());
  const int64_t room = facts.limits().room_for_output(num_prompt_tokens);
  // What the cache holds too: the last token is never fed back. Who asks for more is told so by the engine.
  const int64_t as_much_as_fits = std::min(room, std::max<int64_t>(cache_room(facts, num_prompt_tokens), 1));
  out.max_tokens =
      std::min(room, fields.max_tokens.value_or(request.kind == ApiKind::kChat ? as_much_as_fits : kCompletionTokens));
  out.min_tokens = std::min(fields.min_tokens, out.max_tokens);
  out.sampling = fields.sampling;
  out.sampling.seed = fields.seed.value_or(seed) + static_cast<uint64_t>(choice);
  out.stop_ids = fields.stop_token_ids;
  if (!fields.ignore_eos) {
    out.stop_ids.insert(out.stop_ids.end(), options_.generation.eos_ids.begin(), options_.generation.eos_ids.end());
  }
  out.logprob = fields.top_logprobs.has_value() || fields.best_of > fields.n;
  out.top_logprobs = fields.top_logprobs.value_or(0);
  out.priority = fields.priority;
  out.cache_salt = fields.cache_salt;
  return plan;
}

Result<std::string> OpenAiModel::tokenize(std::string_view body, const EngineFacts& facts) const {
  COHORT_ASSIGN_OR_RETURN(const json object, parse_body(body));
  FieldReader reader(object);
  const auto model = reader.text("model", kMaxNameBytes);
  const auto add_special = reader.flag("add_special_tokens");
  const bool with_texts = reader.flag("return_token_strs").value_or(false);
  const auto prompt = reader.text("prompt", std::numeric_limits<size_t>::max());
  ChatFields chat;
  const bool is_chat = reader.find("messages") != nullptr;
  if (is_chat) read_chat_prompt(reader, chat);
  COHORT_RETURN_IF_ERROR(reader.status());
  COHORT_RETURN_IF_ERROR(check_model(model));
  if (is_chat == prompt.has_value()) return invalid_argument("prompt: expected either it or messages");

  std::vector<int32_t> ids;
  if (is_chat) {
    chat.add_special_tokens = add_special;
    COHORT_ASSIGN_OR_RETURN(ids, prompter_.tokens(chat));
  } else {
    ids = tokenizer_.encode(*prompt, {.add_special_tokens = add_special.value_or(true), .parse_special = true});
    drop_doubled_bos(tokenizer_, ids);
  }
  nlohmann::ordered_json answer = {{"count", ids.size()}, {"max_model_len", facts.max_position}, {"tokens", ids}};
  answer["token_strs"] = nullptr;
  if (with_texts) {
    nlohmann::ordered_json& texts = answer["token_strs"] = nlohmann::ordered_json::array();
    for (const int32_t id : ids) texts.push_back(tokenizer_.id_to_token(id));
  }
  return answer.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<std::string> OpenAiModel::detokenize(std::string_view body, const EngineFacts& facts) const {
  COHORT_ASSIGN_OR_RETURN(const json object, parse_body(body));
  FieldReader reader(object);
  const auto model = reader.text("model", kMaxNameBytes);
  const auto ids = reader.ids("tokens", facts.vocab, std::numeric_limits<size_t>::max());
  COHORT_RETURN_IF_ERROR(reader.status());
  COHORT_RETURN_IF_ERROR(check_model(model));
  if (!ids) return invalid_argument("tokens: expected an array of token ids, got none");
  const nlohmann::ordered_json answer = {{"prompt", tokenizer_.decode(*ids, false)}};
  return answer.dump();
}

}  // namespace cohort
