#include "runtime/tokenizer/vocab_files.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/json/json.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

using Json = nlohmann::json;

// Calls visit(line, number from 0) for each line, without its end.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  for (size_t number = 0; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(line, number);
  }
}

Result<Json> parse_config(std::string_view config_json) {
  if (config_json.empty()) return Json(Json::object());
  COHORT_ASSIGN_OR_RETURN(Json config, parse_json(config_json, "tokenizer_config.json"));
  if (!config.is_object()) return invalid_argument("tokenizer_config.json: expected an object");
  return config;
}

// "tokenizer_class" without the "Fast" of the classes that wrap `tokenizers`.
Result<std::string> parse_class(const JsonNode& config, std::string_view otherwise) {
  COHORT_ASSIGN_OR_RETURN(std::string name, config.string_or("tokenizer_class", otherwise));
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name;
}

Status unknown_class(const std::string& name, const char* known) {
  return unimplemented("tokenizer_class \"" + name + "\" is not known for these files; known: " + known);
}

// The special tokens of a tokenizer: the members of the config that name them, with what `transformers` takes where
// there is none.
class SpecialTokens {
 public:
  SpecialTokens(const JsonNode& config, const Json& vocab) : config_(config), vocab_(vocab) {}

  // A token that need not be there. Those that are in the vocabulary become added tokens.
  Status add(std::string_view key, std::string_view otherwise, bool lstrip = false) {
    COHORT_ASSIGN_OR_RETURN(const std::optional<std::string> named, parse_token_member(config_, key));
    const std::string token = named.value_or(std::string(otherwise));
    const auto id = vocab_.find(token);
    if (id == vocab_.end()) return ok_status();
    bool takes_space = lstrip;
    if (const std::optional<JsonNode> node = config_.find(key); node && node->is_object()) {
      COHORT_ASSIGN_OR_RETURN(takes_space, node->bool_or("lstrip", false));
    }
    for (const Json& other : added_) {
      if (other["id"] == *id) return ok_status();
    }
    added_.push_back(
        {{"id", *id}, {"content", token}, {"special", true}, {"lstrip", takes_space}, {"normalized", false}});
    return ok_status();
  }

  // One that post-processing needs: its spelling and its id.
  Result<std::pair<std::string, Json>> require(std::string_view key, std::string_view otherwise) {
    COHORT_RETURN_IF_ERROR(add(key, otherwise));
    COHORT_ASSIGN_OR_RETURN(const std::optional<std::string> named, parse_token_member(config_, key));
    std::string token = named.value_or(std::string(otherwise));
    const auto id = vocab_.find(token);
    if (id == vocab_.end()) return config_.error(std::string(key) + " \"" + token + "\" is not in the vocabulary");
    return std::pair<std::string, Json>(std::move(token), *id);
  }

  Json take() { return std::move(added_); }

 private:
  const JsonNode& config_;
  const Json& vocab_;
  Json added_ = Json::array();
};

Json special_part(const std::string& token, int type_id) {
  return {{"SpecialToken", {{"id", token}, {"type_id", type_id}}}};
}

Json text_part(const char* name, int type_id) { return {{"Sequence", {{"id", name}, {"type_id", type_id}}}}; }

Result<Json> parse_vocab_txt(std::string_view text) {
  if (!is_valid_utf8(text)) return data_loss("vocab.txt: not valid UTF-8");
  Json vocab = Json::object();
  for_each_line(text, [&](std::string_view line, size_t number) {
    if (!line.empty()) vocab[std::string(line)] = number;
  });
  return vocab;
}

// convert_slow_tokenizer.py, BertConverter.
Result<Json> bert_document(Json vocab, const JsonNode& config) {
  COHORT_ASSIGN_OR_RETURN(const std::string name, parse_class(config, "BertTokenizer"));
  if (name != "BertTokenizer" && name != "DistilBertTokenizer") {
    return unknown_class(name, "BertTokenizer, DistilBertTokenizer");
  }
  SpecialTokens specials(config, vocab);
  COHORT_ASSIGN_OR_RETURN(const auto unk, specials.require("unk_token", "[UNK]"));
  COHORT_ASSIGN_OR_RETURN(const auto sep, specials.require("sep_token", "[SEP]"));
  COHORT_RETURN_IF_ERROR(specials.add("pad_token", "[PAD]"));
  COHORT_ASSIGN_OR_RETURN(const auto cls, specials.require("cls_token", "[CLS]"));
  COHORT_RETURN_IF_ERROR(specials.add("mask_token", "[MASK]"));
  const auto& values = config.value();
  const auto definition = [](const auto& token) {
    return Json{{"id", token.first}, {"ids", {token.second}}, {"tokens", {token.first}}};
  };
  Json document;
  document["added_tokens"] = specials.take();
  document["normalizer"] = {{"type", "BertNormalizer"},
                            {"lowercase", values.value("do_lower_case", Json(true))},
                            {"strip_accents", values.value("strip_accents", Json())},
                            {"handle_chinese_chars", values.value("tokenize_chinese_chars", Json(true))}};
  document["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  document["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", {special_part(cls.first, 0), text_part("A", 0), special_part(sep.first, 0)}},
                                {"pair",
                                 {special_part(cls.first, 0), text_part("A", 0), special_part(sep.first, 0),
                                  text_part("B", 1), special_part(sep.first, 1)}},
                                {"special_tokens", {{cls.first, definition(cls)}, {sep.first, definition(sep)}}}};
  document["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  document["model"] = {{"type", "WordPiece"}, {"unk_token", unk.first}};
  document["model"]["vocab"] = std::move(vocab);
  return document;
}

// GPT2Converter and RobertaConverter.
Result<Json> byte_level_post_processor(const std::string& name, const JsonNode& config, SpecialTokens& specials) {
  if (name == "GPT2Tokenizer") {
    COHORT_RETURN_IF_ERROR(specials.add("unk_token", "<|endoftext|>"));
    COHORT_RETURN_IF_ERROR(specials.add("eos_token", "<|endoftext|>"));
    COHORT_RETURN_IF_ERROR(specials.add("pad_token", ""));
    COHORT_ASSIGN_OR_RETURN(const bool adds_bos, config.bool_or("add_bos_token", false));
    if (!adds_bos) {
      COHORT_RETURN_IF_ERROR(specials.add("bos_token", "<|endoftext|>"));
      return Json();
    }
    COHORT_ASSIGN_OR_RETURN(const auto bos, specials.require("bos_token", "<|endoftext|>"));
    const Json token = special_part(bos.first, 0);
    return Json{{"type", "TemplateProcessing"},
                {"single", {token, text_part("A", 0)}},
                {"pair", {token, text_part("A", 0), special_part(bos.first, 1), text_part("B", 1)}},
                {"special_tokens", {{bos.first, {{"id", bos.first}, {"ids", {bos.second}}, {"tokens", {bos.first}}}}}}};
  }
  if (name == "RobertaTokenizer" || name == "BartTokenizer") {
    COHORT_RETURN_IF_ERROR(specials.add("bos_token", "<s>"));
    COHORT_RETURN_IF_ERROR(specials.add("pad_token", "<pad>"));
    COHORT_RETURN_IF_ERROR(specials.add("eos_token", "</s>"));
    COHORT_RETURN_IF_ERROR(specials.add("unk_token", "<unk>"));
    COHORT_RETURN_IF_ERROR(specials.add("mask_token", "<mask>", /*lstrip=*/true));
    COHORT_ASSIGN_OR_RETURN(const auto sep, specials.require("sep_token", "</s>"));
    COHORT_ASSIGN_OR_RETURN(const auto cls, specials.require("cls_token", "<s>"));
    return Json{{"type", "RobertaProcessing"}, {"sep", {sep.first, sep.second}}, {"cls", {cls.first, cls.second}}};
  }
  return unknown_class(name, "GPT2Tokenizer, RobertaTokenizer, BartTokenizer");
}

Result<Json> byte_level_document(Json vocab, std::string_view merges, const JsonNode& config) {
  COHORT_ASSIGN_OR_RETURN(const std::string name, parse_class(config, ""));
  COHORT_ASSIGN_OR_RETURN(const bool adds_space, config.bool_or("add_prefix_space", false));
  SpecialTokens specials(config, vocab);
  Json document;
  COHORT_ASSIGN_OR_RETURN(document["post_processor"], byte_level_post_processor(name, config, specials));
  document["added_tokens"] = specials.take();
  document["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", adds_space}};
  document["decoder"] = {{"type", "ByteLevel"}};
  Json& model = document["model"];
  model = {{"type", "BPE"}, {"merges", Json::array()}};
  for_each_line(merges, [&](std::string_view line, size_t number) {
    const bool is_version = number == 0 && line.starts_with("#version");
    if (!line.empty() && !is_version) model["merges"].push_back(std::string(line));
  });
  model["vocab"] = std::move(vocab);
  return document;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> tokenizer_from_vocab_txt(std::string_view vocab, std::string_view config_json) {
  COHORT_ASSIGN_OR_RETURN(const Json config, parse_config(config_json));
  COHORT_ASSIGN_OR_RETURN(Json tokens, parse_vocab_txt(vocab));
  Result<Json> document = bert_document(std::move(tokens), JsonNode(config, ""));
  if (!document.ok()) return Status(document.status()).annotate("tokenizer_config.json");
  return tokenizer_from_document(*document, "vocab.txt", config_json);
}

Result<std::unique_ptr<Tokenizer>> tokenizer_from_merges_txt(std::string_view vocab_json, std::string_view merges,
                                                             std::string_view config_json) {
  COHORT_ASSIGN_OR_RETURN(const Json config, parse_config(config_json));
  COHORT_ASSIGN_OR_RETURN(Json vocab, parse_json(vocab_json, "vocab.json"));
  if (!vocab.is_object()) return invalid_argument("vocab.json: expected an object of tokens and ids");
  if (!is_valid_utf8(merges)) return data_loss("merges.txt: not valid UTF-8");
  Result<Json> document = byte_level_document(std::move(vocab), merges, JsonNode(config, ""));
  if (!document.ok()) return Status(document.status()).annotate("tokenizer_config.json");
  return tokenizer_from_document(*document, "vocab.json", config_json);
}

}  // namespace cohort
