#include "runtime/tokenizer/model_json.h"

#include <optional>
#include <string>
#include <utility>

#include "runtime/tokenizer/bpe.h"
#include "runtime/tokenizer/unigram.h"
#include "runtime/tokenizer/word_piece.h"

namespace cohort {
namespace {

// {"token": id, ...}
Result<std::unique_ptr<Vocab>> parse_vocab_object(const JsonNode& node) {
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

// [["token", score], ...], by id.
Result<std::unique_ptr<Vocab>> parse_vocab_list(const JsonNode& node) {
  if (!node.value().is_array()) return node.error("expected an array of tokens and scores");
  auto vocab = std::make_unique<Vocab>();
  for (int64_t id = 0; const nlohmann::json& pair : node.value()) {
    const auto entry = [&] { return JsonNode(pair, node.path() + "[" + std::to_string(id) + "]"); };
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      return entry().error("expected [\"token\", score]");
    }
    const std::optional<std::string> problem = vocab->add(pair[0].get_ref<const std::string&>(), id);
    if (problem) return entry().error(*problem);
    ++id;
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

using ModelResult = Result<std::unique_ptr<TokenModel>>;

ModelResult parse_bpe(const JsonNode& model, const Vocab& vocab, bool takes_bytes) {
  COHORT_ASSIGN_OR_RETURN(BpeOptions options, parse_bpe_options(model, vocab));
  options.takes_bytes = takes_bytes;
  COHORT_ASSIGN_OR_RETURN(const JsonNode merges_node, model.at("merges"));
  COHORT_ASSIGN_OR_RETURN(const std::vector<Bpe::MergeRule> merges,
                          parse_merges(merges_node, vocab, options.continuing_subword_prefix));
  return std::unique_ptr<TokenModel>(std::make_unique<Bpe>(vocab, merges, std::move(options)));
}

ModelResult parse_word_piece(const JsonNode& model, const Vocab& vocab, const std::vector<bool>& is_control) {
  WordPieceOptions options;
  COHORT_ASSIGN_OR_RETURN(const std::string unk, model.string_or("unk_token", "[UNK]"));
  const std::optional<int32_t> unk_id = vocab.find(unk);
  if (!unk_id) return model.error("unk_token: \"" + unk + "\" is not in model.vocab");
  options.unk_id = *unk_id;
  COHORT_ASSIGN_OR_RETURN(options.continuing_subword_prefix, model.string_or("continuing_subword_prefix", "##"));
  COHORT_ASSIGN_OR_RETURN(options.max_input_chars_per_word, model.int_or("max_input_chars_per_word", 100));
  return std::unique_ptr<TokenModel>(std::make_unique<WordPiece>(vocab, is_control, options));
}

ModelResult parse_unigram(const JsonNode& model, const Vocab& vocab, const std::vector<bool>& is_control) {
  UnigramOptions options;
  if (const std::optional<JsonNode> unk_node = model.find("unk_id")) {
    COHORT_ASSIGN_OR_RETURN(const int64_t unk_id, unk_node->as_int());
    if (unk_id < 0 || unk_id >= vocab.size()) return unk_node->error("names no token");
    options.unk_id = static_cast<int32_t>(unk_id);
  }
  COHORT_ASSIGN_OR_RETURN(options.byte_fallback, model.bool_or("byte_fallback", false));
  COHORT_ASSIGN_OR_RETURN(const JsonNode vocab_node, model.at("vocab"));
  std::vector<double> scores;
  for (const nlohmann::json& pair : vocab_node.value()) scores.push_back(pair[1].get<double>());
  return std::unique_ptr<TokenModel>(std::make_unique<Unigram>(vocab, std::move(scores), is_control, options));
}

}  // namespace

Result<ModelType> parse_model_type(const JsonNode& model) {
  if (!model.is_object()) return model.error("expected an object");
  const std::optional<JsonNode> type_node = model.find("type");
  if (!type_node) {
    if (model.find("merges")) return ModelType::kBpe;
    if (model.find("max_input_chars_per_word")) return ModelType::kWordPiece;
    if (model.find("unk_id")) return ModelType::kUnigram;
    return model.error("type is missing");
  }
  COHORT_ASSIGN_OR_RETURN(const std::string type, type_node->as_string());
  if (type == "BPE") return ModelType::kBpe;
  if (type == "WordPiece") return ModelType::kWordPiece;
  if (type == "Unigram") return ModelType::kUnigram;
  return model.unknown_type(type, {"BPE", "WordPiece", "Unigram"});
}

Result<std::unique_ptr<Vocab>> parse_vocab(const JsonNode& model, ModelType type) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode node, model.at("vocab"));
  return type == ModelType::kUnigram ? parse_vocab_list(node) : parse_vocab_object(node);
}

Result<bool> may_take_bytes(const JsonNode& model, ModelType type) {
  if (type != ModelType::kBpe) return false;
  COHORT_ASSIGN_OR_RETURN(const std::string prefix, model.string_or("continuing_subword_prefix", ""));
  COHORT_ASSIGN_OR_RETURN(const std::string suffix, model.string_or("end_of_word_suffix", ""));
  COHORT_ASSIGN_OR_RETURN(const bool byte_fallback, model.bool_or("byte_fallback", false));
  return prefix.empty() && suffix.empty() && !byte_fallback;
}

ModelResult parse_model(const JsonNode& model, ModelType type, const Vocab& vocab, const std::vector<bool>& is_control,
                        bool takes_bytes) {
  switch (type) {
    case ModelType::kBpe:
      return parse_bpe(model, vocab, takes_bytes);
    case ModelType::kWordPiece:
      return parse_word_piece(model, vocab, is_control);
    case ModelType::kUnigram:
      return parse_unigram(model, vocab, is_control);
  }
  return model.error("of an unknown type");
}

}  // namespace cohort
