#include "launcher/gateway/openai_encoding_request.h"

#include <algorithm>
#include <limits>
#include <span>

#include "launcher/gateway/json_fields.h"

namespace cohort {
namespace {

using nlohmann::json;

bool has_sequence_labels(const ModelSpec& spec) { return spec.head == HeadKind::kSequenceLabels; }

// A cross-encoder reads both texts at once.
bool is_cross_encoder(const ModelSpec& spec) { return has_sequence_labels(spec) && spec.labels.size() == 1; }

std::string indexed(std::string_view name, size_t index, bool is_list) {
  return is_list ? std::string(name) + "[" + std::to_string(index) + "]" : std::string(name);
}

// Makes inputs of what a body says.
class InputReader {
 public:
  InputReader(const OpenAiModel& model, const EngineFacts& facts, FieldReader& reader, PreparedEncoding& request)
      : model_(model), facts_(facts), reader_(reader), request_(request) {
    add_special_ = reader.flag("add_special_tokens").value_or(true);
    const auto limit = reader.integer("truncate_prompt_tokens", -1, std::numeric_limits<int32_t>::max());
    if (limit) limit_ = *limit < 0 ? facts.max_position : std::min(*limit, facts.max_position);
  }

  // `input`: a string, token ids, or an array of either.
  void add_inputs() {
    constexpr std::string_view kExpected = "a string, an array of strings, of token ids, or of arrays of token ids";
    const json* const input = reader_.find("input");
    if (input == nullptr)
      return reader_.fail(invalid_argument("input: expected " + std::string(kExpected) + ", got none"));
    if (input->is_string()) return add_item(*input, "input");
    if (!input->is_array() || input->empty()) return reader_.fail("input", kExpected, *input);
    if ((*input)[0].is_number()) return add_item(*input, "input");
    if (input->size() > kMaxInputs) {
      return reader_.fail("input", "at most " + std::to_string(kMaxInputs) + " inputs", *input);
    }
    for (size_t i = 0; i < input->size(); ++i) add_item((*input)[i], indexed("input", i, true));
  }

  // Each of `firsts` with the one of `seconds` beside it, or one of either with all of the other.
  void add_pairs(std::string_view first_name, const std::vector<std::string>& firsts, std::string_view second_name,
                 const std::vector<std::string>& seconds) {
    const size_t count = std::max(firsts.size(), seconds.size());
    if ((firsts.size() != 1 && firsts.size() != count) || (seconds.size() != 1 && seconds.size() != count)) {
      reader_.fail(invalid_argument(std::string(second_name) + ": expected one text or as many as " +
                                    std::string(first_name) + ", which are " + std::to_string(firsts.size())));
      return;
    }
    const auto at = [](const std::vector<std::string>& texts, size_t i) { return texts.size() == 1 ? 0 : i; };
    if (is_cross_encoder(model_.options().spec)) {
      // Each text is tokenized once. A pair that is too long ends the request, whatever the others are: a long text
      // that all have would be there as often as they are many.
      const std::vector<std::vector<int32_t>> first_tokens = tokens_of_pairs(firsts);
      const std::vector<std::vector<int32_t>> second_tokens = tokens_of_pairs(seconds);
      for (size_t i = 0; i < count && !has_too_long_; ++i) {
        const size_t second = at(seconds, i);
        add_tokens(first_tokens[at(firsts, i)], second_tokens[second],
                   indexed(second_name, second, seconds.size() > 1));
      }
      return;
    }
    for (size_t i = 0; i < firsts.size(); ++i) add_text(firsts[i], indexed(first_name, i, firsts.size() > 1));
    for (size_t i = 0; i < seconds.size(); ++i) add_text(seconds[i], indexed(second_name, i, seconds.size() > 1));
    for (size_t i = 0; i < count; ++i) request_.pairs.emplace_back(at(firsts, i), firsts.size() + at(seconds, i));
  }

 private:
  void add_item(const json& item, const std::string& name) {
    if (item.is_string() && !item.get_ref<const std::string&>().empty()) {
      return add_text(item.get_ref<const std::string&>(), name);
    }
    if (!item.is_array() || item.empty()) return reader_.fail(name, "text or token ids", item);
    auto ids = parse_ids(item, name, facts_.vocab);
    if (!ids.ok()) return reader_.fail(ids.status());
    if (limit_ && static_cast<int64_t>(ids->size()) > *limit_) ids->resize(static_cast<size_t>(*limit_));
    const size_t count = ids->size();
    add({.ids = *std::move(ids), .type_ids = std::vector<int32_t>(count)}, name);
  }

  // Control tokens in a text are meant: "[MASK]".
  std::vector<int32_t> tokens(const std::string& text) const {
    return model_.tokenizer().encode(text, {.add_special_tokens = false, .parse_special = true});
  }

  // Of each text, no more than can be left of it in a pair.
  std::vector<std::vector<int32_t>> tokens_of_pairs(const std::vector<std::string>& texts) const {
    std::vector<std::vector<int32_t>> all;
    for (const std::string& text : texts) {
      std::vector<int32_t>& ids = all.emplace_back(tokens(text));
      if (limit_ && static_cast<int64_t>(ids.size()) > *limit_) ids.resize(static_cast<size_t>(*limit_));
    }
    return all;
  }

  void add_text(const std::string& text, const std::string& name) {
    std::vector<int32_t> ids = tokens(text);
    if (!add_special_) {
      if (limit_ && static_cast<int64_t>(ids.size()) > *limit_) ids.resize(static_cast<size_t>(*limit_));
      const size_t count = ids.size();
      return add({.ids = std::move(ids), .type_ids = std::vector<int32_t>(count)}, name);
    }
    if (limit_) ids.resize(std::min(ids.size(), room(model_.tokenizer().assemble({}).ids.size())));
    add(model_.tokenizer().assemble(ids), name);
  }

  // A pair loses tokens of the longer text first.
  void add_tokens(std::vector<int32_t> first, std::vector<int32_t> second, const std::string& name) {
    if (limit_) {
      const size_t limit = room(model_.tokenizer().assemble({}, {}).ids.size());
      while (first.size() + second.size() > limit) (first.size() > second.size() ? first : second).pop_back();
    }
    add(model_.tokenizer().assemble(first, second), name);
  }

  // Of the limit, for text.
  size_t room(size_t num_special) const {
    const auto limit = static_cast<size_t>(*limit_);
    return limit > num_special ? limit - num_special : 0;
  }

  void add(Tokenizer::Encoding input, const std::string& name) {
    if (model_.options().spec.num_token_types <= 1) input.type_ids.clear();
    has_too_long_ |= static_cast<int64_t>(input.ids.size()) > facts_.max_position;
    request_.inputs.push_back(std::move(input));
    request_.names.push_back(name);
  }

  const OpenAiModel& model_;
  const EngineFacts& facts_;
  FieldReader& reader_;
  PreparedEncoding& request_;
  bool add_special_ = true;
  bool has_too_long_ = false;     // check_size() will say so
  std::optional<int64_t> limit_;  // tokens of an input, those of the model counted
};

// What is to be filled in, and with how many of the likeliest tokens.
void read_masks(FieldReader& reader, const OpenAiModel& model, int64_t vocab, PreparedEncoding& request) {
  request.top_k = reader.integer("top_k", 1, std::numeric_limits<int64_t>::max()).value_or(request.top_k);
  const int32_t mask = model.tokenizer().mask_id().value();
  int64_t num_masks = 0;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const std::vector<int32_t>& ids = request.inputs[i].ids;
    std::vector<int32_t>& positions = request.masks.emplace_back();
    for (size_t j = 0; j < ids.size(); ++j) {
      if (ids[j] == mask) positions.push_back(static_cast<int32_t>(j));
    }
    if (positions.empty()) {
      return reader.fail(invalid_argument(request.names[i] + ": expected the token " +
                                          model.tokenizer().id_to_token(mask) + " in it, got none"));
    }
    num_masks += static_cast<int64_t>(positions.size());
  }
  request.num_scores = num_masks * vocab;
  const int64_t max_masks = std::clamp<int64_t>(kMaxScores / vocab, 1, kMaxMasks);
  if (num_masks > max_masks) {
    return reader.fail(invalid_argument("input: expected at most " + std::to_string(max_masks) + " masks in all, got " +
                                        std::to_string(num_masks)));
  }
  const int64_t max_top = kMaxPredictions / num_masks;
  if (std::min(request.top_k, vocab) > max_top) {
    reader.fail(invalid_argument("top_k: expected at most " + std::to_string(max_top) + " where there are " +
                                 std::to_string(num_masks) + " masks, got " + std::to_string(request.top_k)));
  }
}

void read_embeddings(FieldReader& reader, const OpenAiModel& model, PreparedEncoding& request) {
  const std::string format = reader.text("encoding_format", kMaxNameBytes).value_or("float");
  request.is_base64 = format == "base64";
  if (format != "float" && format != "base64") reader.fail("encoding_format", "float or base64", format);
  const auto dimensions = reader.integer("dimensions", 1, std::numeric_limits<int64_t>::max());
  if (dimensions && *dimensions != model.options().spec.hidden) {
    reader.fail(unimplemented("dimensions: only those of the model are supported, which are " +
                              std::to_string(model.options().spec.hidden)));
  }
}

std::vector<std::string> read_texts(FieldReader& reader, std::string_view name) {
  auto texts = reader.texts(name, kMaxInputs, std::numeric_limits<size_t>::max(), /*or_text=*/true);
  if (reader.ok() && (!texts || texts->empty())) {
    reader.fail(invalid_argument(std::string(name) + ": expected a text or an array of them, got none"));
  }
  return texts.value_or(std::vector<std::string>());
}

// Of a rerank: texts, or objects with a text each.
std::vector<std::string> read_documents(FieldReader& reader) {
  const json* const documents = reader.array("documents");
  std::vector<std::string> texts;
  if (documents == nullptr || documents->empty() || documents->size() > kMaxInputs) {
    reader.fail("documents", "an array of 1 to " + std::to_string(kMaxInputs) + " texts",
                documents == nullptr ? json() : *documents);
    return texts;
  }
  for (const json& item : *documents) {
    const json* const text = item.is_object() && item.contains("text") ? &item["text"] : &item;
    if (!text->is_string()) {
      reader.fail(indexed("documents", texts.size(), true), "a text", item);
      return texts;
    }
    texts.push_back(text->get<std::string>());
  }
  return texts;
}

}  // namespace

const char* path_of(EncodingKind kind) {
  switch (kind) {
    case EncodingKind::kEmbeddings:
      return "/v1/embeddings";
    case EncodingKind::kClassify:
      return "/v1/classify";
    case EncodingKind::kScore:
      return "/v1/score";
    case EncodingKind::kRerank:
      return "/v1/rerank";
    case EncodingKind::kFillMask:
      return "/v1/fill-mask";
  }
  return "";
}

Status check_kind(EncodingKind kind, const OpenAiModel& model) {
  const ModelSpec& spec = model.options().spec;
  const bool has_labels = !spec.labels.empty();
  const auto refuse = [&](const std::string& what) {
    return unimplemented("model: \"" + model.options().model_name + "\" " + what + " and does not support " +
                         path_of(kind));
  };
  if (!spec.is_encoder()) return refuse("generates text");
  if (kind == EncodingKind::kClassify && !has_labels) return refuse("has no labels");
  if (kind == EncodingKind::kFillMask) {
    if (spec.head != HeadKind::kMaskedToken) return refuse("has no head for masked tokens");
    if (!model.tokenizer().mask_id()) return refuse("has no mask token");
  }
  const bool is_score = kind == EncodingKind::kScore || kind == EncodingKind::kRerank;
  if (is_score && has_sequence_labels(spec) && !is_cross_encoder(spec)) return refuse("has more than one label");
  return ok_status();
}

Result<PreparedEncoding> prepare_encoding(EncodingKind kind, std::string_view body, const OpenAiModel& model,
                                          const EngineFacts& facts) {
  COHORT_ASSIGN_OR_RETURN(const json object, parse_body(body));
  FieldReader reader(object);
  COHORT_RETURN_IF_ERROR(model.check_model(reader.text("model", kMaxNameBytes)));
  PreparedEncoding request;
  request.kind = kind;
  InputReader inputs(model, facts, reader, request);
  request.priority = static_cast<int32_t>(
      reader.integer("priority", std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()).value_or(0));
  reader.text("user", kMaxNameBytes);
  const bool is_score = kind == EncodingKind::kScore || kind == EncodingKind::kRerank;
  const bool wants_logits = kind == EncodingKind::kClassify || kind == EncodingKind::kFillMask ||
                            (is_score && is_cross_encoder(model.options().spec));
  (wants_logits ? request.parts.logits : request.parts.embedding) = true;
  if (kind == EncodingKind::kEmbeddings) read_embeddings(reader, model, request);
  if (kind == EncodingKind::kScore) {
    const std::vector<std::string> firsts = read_texts(reader, "text_1");
    const std::vector<std::string> seconds = read_texts(reader, "text_2");
    if (reader.ok()) inputs.add_pairs("text_1", firsts, "text_2", seconds);
  } else if (kind == EncodingKind::kRerank) {
    const std::string query = reader.text("query", std::numeric_limits<size_t>::max()).value_or("");
    if (query.empty()) reader.fail(invalid_argument("query: expected a text, got none"));
    request.top_n = reader.integer("top_n", 0, std::numeric_limits<int64_t>::max());
    const bool shows = reader.flag("return_documents").value_or(true);
    std::vector<std::string> documents = read_documents(reader);
    if (reader.ok()) inputs.add_pairs("query", {query}, "documents", documents);
    if (shows) request.documents = std::move(documents);
  } else {
    inputs.add_inputs();
    if (kind == EncodingKind::kFillMask && reader.ok()) read_masks(reader, model, facts.vocab, request);
  }
  COHORT_RETURN_IF_ERROR(Status(reader.status()));
  request.ignored = reader.unread();
  return request;
}

std::optional<ApiError> check_size(const PreparedEncoding& request, const EngineFacts& facts) {
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const auto num_tokens = static_cast<int64_t>(request.inputs[i].ids.size());
    const std::string& name = request.names[i];
    if (num_tokens == 0) return api_error(invalid_argument(name + ": expected at least one token"));
    if (num_tokens > facts.max_position) {
      return context_length_error(name + ": this model's maximum context length is " +
                                      std::to_string(facts.max_position) + " tokens, and the input has " +
                                      std::to_string(num_tokens),
                                  name);
    }
  }
  const int64_t room = facts.max_seqs + facts.max_waiting;
  if (static_cast<int64_t>(request.inputs.size()) <= room) return std::nullopt;
  return api_error(invalid_argument("input: " + std::to_string(request.inputs.size()) +
                                    " sequences are more than this server holds, which is " + std::to_string(room)));
}

std::vector<SequencePlan> encoding_plans(PreparedEncoding& request) {
  std::vector<SequencePlan> plans;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    GenerationRequest& out = plans.emplace_back().request;
    out.prompt = std::move(request.inputs[i].ids);
    out.token_types = std::move(request.inputs[i].type_ids);
    out.encoding = request.parts;
    if (!request.masks.empty()) out.encoding.logits_of = request.masks[i];
    out.priority = request.priority;
  }
  return plans;
}

}  // namespace cohort
