#include "runtime/tokenizer/tokenizer_json.h"

#include <unordered_map>

#include "runtime/json/json.h"
#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/pipeline_tokenizer.h"

namespace cohort {
namespace {

Result<std::unique_ptr<Vocab>> parse_vocab(const JsonNode& node) {
  if (!node.is_object()) return node.error("expected an object of tokens and ids");
  auto vocab = std::make_unique<Vocab>();
  for (const auto& member : node.value().items()) {
    const auto entry = [&] { return JsonNode(member.value(), node.path() + "[\"" + member.key() + "\"]"); };
    if (!member.value().is_number_integer()) return entry().error("expected an id");
    COHORT_ASSIGN_OR_RETURN(const int64_t id, entry().as_int());
    if (const std::optional<std::string> problem = vocab->add(member.key(), id)) {
      return entry().error(*problem);
    }
  }
  return vocab;
}

// The two sides of a merge: "a b", or ["a", "b"] as files since 2024 have it.
std::optional<std::pair<std::string_view, std::string_view>> merge_sides(const nlohmann::json& value) {
  using Text = const std::string&;
  if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    return std::pair<std::string_view, std::string_view>(value[0].get_ref<Text>(), value[1].get_ref<Text>());
  }
  if (!value.is_string()) return std::nullopt;
  const std::string_view text = value.get_ref<Text>();
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

Result<std::vector<Bpe::MergeRule>> parse_merges(const JsonNode& node, const Vocab& vocab, const std::string& prefix) {
  if (!node.value().is_array()) return node.error("expected an array");
  std::vector<Bpe::MergeRule> merges;
  merges.reserve(node.value().size());
  for (const nlohmann::json& value : node.value()) {
    const auto error = [&](const std::string& what) {
      return JsonNode(value, node.path() + "[" + std::to_string(merges.size()) + "]").error(what);
    };
    const auto sides = merge_sides(value);
    if (!sides) return error("expected \"left right\" or [\"left\", \"right\"]");
    const auto [left, right] = *sides;
    if (right.size() < prefix.size()) return error("the right side is shorter than continuing_subword_prefix");
    const std::string joined = std::string(left) + std::string(right.substr(prefix.size()));
    int32_t ids[3];
    size_t count = 0;
    for (const std::string_view token : {left, right, std::string_view(joined)}) {
      const std::optional<int32_t> id = vocab.find(token);
      if (!id) return error("token \"" + std::string(token) + "\" is not in model.vocab");
      ids[count++] = *id;
    }
    merges.push_back({ids[0], ids[1], ids[2], static_cast<uint32_t>(merges.size())});
  }
  return merges;
}

Status check_dropout(const JsonNode& model) {
  const std::optional<JsonNode> dropout = model.find("dropout");
  if (!dropout) return ok_status();
  if (!dropout->value().is_number()) return dropout->error("expected a number");
  if (dropout->value().get<double>() == 0) return ok_status();
  return unimplemented(dropout->path() + ": encoding at random is not supported; expected null or 0");
}

Result<BpeOptions> parse_bpe_options(const JsonNode& model, const Vocab& vocab) {
  BpeOptions options;
  COHORT_RETURN_IF_ERROR(check_dropout(model));
  COHORT_ASSIGN_OR_RETURN(options.continuing_subword_prefix, model.string_or("continuing_subword_prefix", ""));
  COHORT_ASSIGN_OR_RETURN(options.end_of_word_suffix, model.string_or("end_of_word_suffix", ""));
  COHORT_ASSIGN_OR_RETURN(options.fuse_unk, model.bool_or("fuse_unk", false));
  COHORT_ASSIGN_OR_RETURN(options.byte_fallback, model.bool_or("byte_fallback", false));
  COHORT_ASSIGN_OR_RETURN(options.ignore_merges, model.bool_or("ignore_merges", false));
  if (const std::optional<JsonNode> unk_node = model.find("unk_token")) {
    COHORT_ASSIGN_OR_RETURN(const std::string unk, unk_node->as_string());
    options.unk_id = vocab.find(unk);
    if (!options.unk_id) return unk_node->error("\"" + unk + "\" is not in model.vocab");
  }
  return options;
}

// Files from before 2022 leave the type out; only BPE has merges.
Status check_model_type(const JsonNode& model) {
  if (!model.is_object()) return model.error("expected an object");
  COHORT_ASSIGN_OR_RETURN(const std::string type, model.string_or("type", model.find("merges") ? "BPE" : ""));
  return type == "BPE" ? ok_status() : model.unknown_type(type, {"BPE"});
}

// Reads the model, and the pre-tokenizer with it, as they settle between them whether pieces are
// bytes.
Status parse_model(const JsonNode& root, PipelineSpec& spec) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode model, root.at("model"));
  COHORT_RETURN_IF_ERROR(check_model_type(model));
  COHORT_ASSIGN_OR_RETURN(const JsonNode vocab_node, model.at("vocab"));
  COHORT_ASSIGN_OR_RETURN(spec.vocab, parse_vocab(vocab_node));
  COHORT_ASSIGN_OR_RETURN(BpeOptions options, parse_bpe_options(model, *spec.vocab));
  COHORT_ASSIGN_OR_RETURN(const JsonNode merges_node, model.at("merges"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<Bpe::MergeRule> merges,
                          parse_merges(merges_node, *spec.vocab, options.continuing_subword_prefix));
  const bool may_take_bytes =
      options.continuing_subword_prefix.empty() && options.end_of_word_suffix.empty() && !options.byte_fallback;
  if (const std::optional<JsonNode> node = root.find("pre_tokenizer")) {
    COHORT_ASSIGN_OR_RETURN(spec.pre_tokenizer, parse_pre_tokenizer(*node, may_take_bytes));
    options.takes_bytes = spec.pre_tokenizer.yields_bytes;
  }
  spec.model = std::make_unique<Bpe>(*spec.vocab, merges, std::move(options));
  return ok_status();
}

Result<AddedToken> parse_added_token(const JsonNode& node, const Vocab& vocab) {
  AddedToken token;
  COHORT_ASSIGN_OR_RETURN(const JsonNode id_node, node.at("id"));
  COHORT_ASSIGN_OR_RETURN(const int64_t id, id_node.as_int());
  COHORT_ASSIGN_OR_RETURN(const JsonNode content_node, node.at("content"));
  COHORT_ASSIGN_OR_RETURN(token.content, content_node.as_string());
  if (token.content.empty()) return content_node.error("is empty");
  if (id < 0 || id > Vocab::kMaxId) return id_node.error("id " + std::to_string(id) + " is out of range");
  token.id = static_cast<int32_t>(id);
  const std::optional<int32_t> vocab_id = vocab.find(token.content);
  if (vocab_id && *vocab_id != token.id) {
    return id_node.error("\"" + token.content + "\" has the id " + std::to_string(*vocab_id) + " in model.vocab");
  }
  if (!vocab_id && vocab.contains(token.id)) {
    return id_node.error("id " + std::to_string(id) + " is that of \"" + std::string(vocab.spelling(token.id)) +
                         "\" in model.vocab");
  }
  COHORT_ASSIGN_OR_RETURN(token.single_word, node.bool_or("single_word", false));
  COHORT_ASSIGN_OR_RETURN(token.lstrip, node.bool_or("lstrip", false));
  COHORT_ASSIGN_OR_RETURN(token.rstrip, node.bool_or("rstrip", false));
  COHORT_ASSIGN_OR_RETURN(token.is_special, node.bool_or("special", false));
  COHORT_ASSIGN_OR_RETURN(token.normalized, node.bool_or("normalized", !token.is_special));
  return token;
}

Status parse_added_tokens(const JsonNode& root, PipelineSpec& spec) {
  const std::optional<JsonNode> list = root.find("added_tokens");
  if (!list) return ok_status();
  COHORT_ASSIGN_OR_RETURN(const std::vector<JsonNode> elements, list->elements());
  Vocab seen;
  for (const JsonNode& element : elements) {
    COHORT_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(element, *spec.vocab));
    if (const std::optional<std::string> problem = seen.add(token.content, token.id)) {
      return element.error("added token \"" + token.content + "\": " + *problem);
    }
    spec.added_tokens.push_back(std::move(token));
  }
  return ok_status();
}

Status check_post_processor(const JsonNode& node, const PipelineSpec& spec) {
  for (const auto* parts : {&spec.post_processor.single, &spec.post_processor.pair}) {
    for (const auto& [kind, id, type_id] : *parts) {
      if (kind != PostProcessor::Part::kToken) continue;
      bool is_known = spec.vocab->contains(id);
      for (const AddedToken& token : spec.added_tokens) is_known |= token.id == id;
      if (!is_known) return node.error("id " + std::to_string(id) + " names no token");
    }
  }
  return ok_status();
}

Result<PipelineSpec> parse_pipeline(const JsonNode& root) {
  if (!root.is_object()) return root.error("expected an object");
  PipelineSpec spec;
  COHORT_RETURN_IF_ERROR(parse_model(root, spec));
  COHORT_RETURN_IF_ERROR(parse_added_tokens(root, spec));
  if (const std::optional<JsonNode> node = root.find("normalizer")) {
    COHORT_ASSIGN_OR_RETURN(spec.normalizer, parse_normalizer(*node));
  }
  if (const std::optional<JsonNode> node = root.find("post_processor")) {
    COHORT_ASSIGN_OR_RETURN(spec.post_processor, parse_post_processor(*node));
    COHORT_RETURN_IF_ERROR(check_post_processor(*node, spec));
  }
  if (const std::optional<JsonNode> node = root.find("decoder")) {
    COHORT_ASSIGN_OR_RETURN(spec.decoder, parse_decoder(*node));
  }
  return spec;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> tokenizer_from_json(std::string_view json, std::string_view config_json) {
  COHORT_ASSIGN_OR_RETURN(const nlohmann::json document, parse_json(json, "tokenizer.json"));
  Result<PipelineSpec> spec = parse_pipeline(JsonNode(document, ""));
  if (!spec.ok()) return Status(spec.status()).annotate("tokenizer.json");
  COHORT_ASSIGN_OR_RETURN(const TokenizerConfig config, parse_tokenizer_config(config_json));
  auto tokenizer = std::make_unique<PipelineTokenizer>(*std::move(spec));
  if (config.bos_token) tokenizer->set_bos_id(tokenizer->token_to_id(*config.bos_token));
  if (config.eos_token) tokenizer->set_eos_id(tokenizer->token_to_id(*config.eos_token));
  if (config.mask_token) tokenizer->set_mask_id(tokenizer->token_to_id(*config.mask_token));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace cohort
