#include "launcher/cli/encode_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "launcher/cli/command.h"
#include "launcher/cli/generate_requests.h"
#include "runtime/engine/engine.h"

namespace cohort {
namespace {

std::vector<int32_t> parse_ids(const std::string& flag, const std::string& text) {
  auto ids = parse_token_ids(text);
  if (!ids.ok()) throw UsageError(flag + ": " + ids.status().message());
  return *std::move(ids);
}

// The lines of a file, a text each.
Result<std::vector<std::string>> read_texts(const std::string& path) {
  std::vector<std::string> texts;
  if (path.empty()) return texts;
  COHORT_ASSIGN_OR_RETURN(const std::string file, read_input(path));
  for (size_t begin = 0; begin < file.size();) {
    const size_t end = std::min(file.find('\n', begin), file.size());
    texts.push_back(file.substr(begin, end - begin));
    if (!texts.back().empty() && texts.back().back() == '\r') texts.back().pop_back();
    begin = end + 1;
  }
  return texts;
}

}  // namespace

void add_encode_flags(CLI::App& command, EncodeInputs& o) {
  // TAKE_ALL would split "1,2,3" or swallow positionals: each flag takes one text and may be repeated.
  const auto add = [&](const char* name, std::vector<std::string>& values, const char* help) {
    command.add_option(name, values, help)->expected(1)->take_all()->allow_extra_args(false);
  };
  add("--text", o.texts, "A text; repeat it for several");
  add("--text-pair", o.text_pairs, "The second text of a pair whose first is --text; as often as that");
  command.add_option("--texts-file", o.texts_file, "A text a line; - is standard input")->type_name("FILE");
  add("--input-ids", o.input_ids,
      "Token ids, with special tokens if the model wants them: 1,2,3; repeat it for several");
  add("--token-type-ids", o.token_type_ids, "Of the --input-ids, as often as those; 0 where it is not given");
}

Result<EncodeRequests> make_encode_requests(const EncodeInputs& inputs, const EncodingParts& parts,
                                            const std::string& model_dir, const ModelConfig& config) {
  if (inputs.empty()) throw UsageError("--text, --texts-file or --input-ids: expected at least one");
  if (!inputs.text_pairs.empty() && inputs.text_pairs.size() != inputs.texts.size()) {
    throw UsageError(
        fmt::format("--text-pair: expected none or {}, got {}", inputs.texts.size(), inputs.text_pairs.size()));
  }
  if (!inputs.token_type_ids.empty() && inputs.token_type_ids.size() != inputs.input_ids.size()) {
    throw UsageError(fmt::format("--token-type-ids: expected none or {}, got {}", inputs.input_ids.size(),
                                 inputs.token_type_ids.size()));
  }
  EncodeRequests result;
  COHORT_ASSIGN_OR_RETURN(const std::vector<std::string> lines, read_texts(inputs.texts_file));
  COHORT_ASSIGN_OR_RETURN(result.tokenizer, load_tokenizer(model_dir, !inputs.texts.empty() || !lines.empty()));
  const auto add = [&](Tokenizer::Encoding encoding) {
    GenerationRequest& request = result.requests.emplace_back();
    request.prompt = std::move(encoding.ids);
    if (config.spec.num_token_types > 1) request.token_types = std::move(encoding.type_ids);
    request.encoding = parts;
    // Before any weights are read: a bad flag should not cost a load.
    const Status status = request.validate(sequence_limits(config.spec));
    if (!status.ok()) throw UsageError(fmt::format("input {}: {}", result.requests.size(), status.message()));
  };
  // Control tokens in a text are meant: "[MASK]".
  const Tokenizer* const tokenizer = result.tokenizer.get();
  const auto tokens = [&](const std::string& text) {
    return tokenizer->encode(text, {.add_special_tokens = false, .parse_special = true});
  };
  for (size_t i = 0; i < inputs.texts.size(); ++i) {
    add(inputs.text_pairs.empty() ? tokenizer->assemble(tokens(inputs.texts[i]))
                                  : tokenizer->assemble(tokens(inputs.texts[i]), tokens(inputs.text_pairs[i])));
  }
  for (const std::string& line : lines) add(tokenizer->assemble(tokens(line)));
  for (size_t i = 0; i < inputs.input_ids.size(); ++i) {
    Tokenizer::Encoding encoding{.ids = parse_ids("--input-ids", inputs.input_ids[i]), .type_ids = {}};
    if (!inputs.token_type_ids.empty()) encoding.type_ids = parse_ids("--token-type-ids", inputs.token_type_ids[i]);
    add(std::move(encoding));
  }
  return result;
}

}  // namespace cohort
