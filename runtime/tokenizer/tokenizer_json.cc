#include "runtime/tokenizer/tokenizer_json.h"

#include "runtime/json/json.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/model_json.h"
#include "runtime/tokenizer/pipeline_tokenizer.h"

namespace cohort {
namespace {

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

// Which ids of the vocabulary are special tokens.
std::vector<bool> find_control_tokens(const PipelineSpec& spec) {
  std::vector<bool> is_control(static_cast<size_t>(spec.vocab->size()), false);
  for (const AddedToken& token : spec.added_tokens) {
    if (token.is_special && spec.vocab->contains(token.id)) is_control[static_cast<size_t>(token.id)] = true;
  }
  return is_control;
}

Result<PipelineSpec> parse_pipeline(const JsonNode& root) {
  if (!root.is_object()) return root.error("expected an object");
  PipelineSpec spec;
  COHORT_ASSIGN_OR_RETURN(const JsonNode model, root.at("model"));
  COHORT_ASSIGN_OR_RETURN(const ModelType type, parse_model_type(model));
  COHORT_ASSIGN_OR_RETURN(spec.vocab, parse_vocab(model, type));
  COHORT_RETURN_IF_ERROR(parse_added_tokens(root, spec));
  if (const std::optional<JsonNode> node = root.find("normalizer")) {
    COHORT_ASSIGN_OR_RETURN(spec.normalizer, parse_normalizer(*node));
  }
  if (const std::optional<JsonNode> node = root.find("pre_tokenizer")) {
    COHORT_ASSIGN_OR_RETURN(const bool takes_bytes, may_take_bytes(model, type));
    COHORT_ASSIGN_OR_RETURN(spec.pre_tokenizer, parse_pre_tokenizer(*node, takes_bytes));
  }
  COHORT_ASSIGN_OR_RETURN(
      spec.model, parse_model(model, type, *spec.vocab, find_control_tokens(spec), spec.pre_tokenizer.yields_bytes));
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
  return tokenizer_from_document(document, "tokenizer.json", config_json);
}

Result<std::unique_ptr<Tokenizer>> tokenizer_from_document(const nlohmann::json& document, std::string_view file,
                                                           std::string_view config_json) {
  Result<PipelineSpec> spec = parse_pipeline(JsonNode(document, ""));
  if (!spec.ok()) return Status(spec.status()).annotate(std::string(file));
  COHORT_ASSIGN_OR_RETURN(const TokenizerConfig config, parse_tokenizer_config(config_json));
  auto tokenizer = std::make_unique<PipelineTokenizer>(*std::move(spec));
  if (config.bos_token) tokenizer->set_bos_id(tokenizer->token_to_id(*config.bos_token));
  if (config.eos_token) tokenizer->set_eos_id(tokenizer->token_to_id(*config.eos_token));
  if (config.mask_token) tokenizer->set_mask_id(tokenizer->token_to_id(*config.mask_token));
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace cohort
