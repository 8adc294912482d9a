// cohort tokenize: text to token ids, and back.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/cli/command.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {
namespace {

struct TokenizeOptions {
  std::string model;
  std::string text;
  std::string file = "-";
  bool decode = false;
  bool json = false;
  bool no_special_tokens = false;
  bool parse_special = false;
};

std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Status write_ids(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool json) {
  if (json) {
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    for (const int32_t id : ids) tokens.push_back(tokenizer.id_to_token(id));
    fmt::print("{}\n", dump({{"ids", ids}, {"tokens", tokens}}));
  } else {
    fmt::print("{}\n", fmt::join(ids, " "));
  }
  return flush_output();
}

Status run_tokenize(const TokenizeOptions& options, bool has_text) {
  COHORT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::load(options.model));
  std::string input = options.text;
  if (!has_text) {
    COHORT_ASSIGN_OR_RETURN(input, read_input(options.file));
  }
  if (!options.decode) {
    const Tokenizer::EncodeOptions encode{.add_special_tokens = !options.no_special_tokens,
                                          .parse_special = options.parse_special};
    return write_ids(*tokenizer, tokenizer->encode(input, encode), options.json);
  }
  auto ids = parse_token_ids(input);
  if (!ids.ok()) throw UsageError((has_text ? "--text: " : "--file: ") + ids.status().message());
  for (const int32_t id : *ids) {
    if (id >= tokenizer->vocab_size()) {
      throw UsageError(fmt::format("--decode: token id {} is not in [0, {})", id, tokenizer->vocab_size()));
    }
  }
  const std::string text = tokenizer->decode(*ids, options.no_special_tokens);
  fmt::print("{}\n", options.json ? dump({{"text", text}}) : text);
  return flush_output();
}

}  // namespace

void add_tokenize(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  auto options = std::make_shared<TokenizeOptions>();
  TokenizeOptions& o = *options;
  command.add_option("--model", o.model, "Hugging Face model directory")->required()->type_name("DIR");
  CLI::Option* text = command.add_option("--text", o.text, "The text, or with --decode the ids");
  command.add_option("--file", o.file, "Where the text or the ids are; - is standard input")
      ->excludes(text)
      ->type_name("FILE")
      ->capture_default_str();
  command.add_flag("--decode", o.decode, "From ids to text");
  command.add_flag("--no-special-tokens", o.no_special_tokens, "Add none when encoding, leave them out when decoding");
  command.add_flag("--parse-special", o.parse_special, "The text of a special token becomes that token");
  command.add_flag("--json", o.json, R"(As {"ids", "tokens"} or {"text"})");
  command.callback([options, text, &run] {
    run = [options, has_text = text->count() > 0] { return run_tokenize(*options, has_text); };
  });
}

}  // namespace cohort
