#include "launcher/loadgen/prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

namespace cohort {
namespace {

using Random = std::mt19937_64;

int64_t draw_length(int64_t length, double range_ratio, Random& random) {
  const auto mean = static_cast<double>(length);
  const auto low = static_cast<int64_t>(std::floor(mean * (1 - range_ratio)));
  const auto high = static_cast<int64_t>(std::ceil(mean * (1 + range_ratio)));
  return std::uniform_int_distribution<int64_t>(std::max<int64_t>(1, low), std::max<int64_t>(1, high))(random);
}

// Appends ordinary tokens until there are `length`.
void extend(std::vector<int32_t>& ids, int64_t length, int64_t vocab, const Tokenizer* tokenizer, Random& random) {
  std::uniform_int_distribution<int32_t> draw(0, static_cast<int32_t>(vocab - 1));
  while (static_cast<int64_t>(ids.size()) < length) {
    const int32_t id = draw(random);
    if (tokenizer == nullptr || !tokenizer->is_special(id)) ids.push_back(id);
  }
}

// Spells the ids, and makes what is read back as long as they are, if some rounds do.
void spell(LoadPrompt& prompt, int64_t vocab, const Tokenizer& tokenizer, Random& random) {
  constexpr int kMaxRounds = 10;
  const auto length = static_cast<int64_t>(prompt.ids.size());
  for (int round = 0; round < kMaxRounds; ++round) {
    prompt.text = tokenizer.decode(prompt.ids, true);
    prompt.ids = tokenizer.encode(prompt.text, {.add_special_tokens = false});
    prompt.num_tokens = static_cast<int64_t>(prompt.ids.size());
    if (prompt.num_tokens == length) break;
    prompt.ids.resize(static_cast<size_t>(std::min(prompt.num_tokens, length)));
    extend(prompt.ids, length, vocab, &tokenizer, random);
  }
  prompt.ids.clear();
}

Result<LoadPrompt> parse_json_prompt(std::string_view line, int64_t output_length) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded()) return invalid_argument("expected a JSON object");
  LoadPrompt result{.output_length = output_length};
  const auto is_positive = [](const nlohmann::json& value) {
    return value.is_number_integer() && value >= 1 && value <= int64_t{1} << 31;
  };
  const auto is_id = [](const nlohmann::json& value) {
    return value.is_number_integer() && value >= 0 && value <= INT32_MAX;
  };
  const auto prompt = json.find("prompt");
  if (prompt == json.end()) return invalid_argument("prompt: expected one");
  if (prompt->is_string()) {
    result.text = prompt->get<std::string>();
  } else if (prompt->is_array() && !prompt->empty() && std::all_of(prompt->begin(), prompt->end(), is_id)) {
    result.ids = prompt->get<std::vector<int32_t>>();
    result.num_tokens = static_cast<int64_t>(result.ids.size());
  } else {
    return invalid_argument("prompt: expected a string or token ids");
  }
  if (const auto length = json.find("output_len"); length != json.end()) {
    if (!is_positive(*length)) return invalid_argument("output_len: expected a positive integer");
    result.output_length = length->get<int64_t>();
  }
  return result;
}

}  // namespace

std::vector<LoadPrompt> make_random_prompts(const RandomPrompts& options, const Tokenizer* tokenizer) {
  Random random(options.seed);
  const int64_t vocab = tokenizer != nullptr ? tokenizer->vocab_size() : options.vocab;
  std::vector<int32_t> prefix;
  extend(prefix, options.prefix_length, vocab, tokenizer, random);
  std::vector<LoadPrompt> prompts(static_cast<size_t>(options.count));
  for (LoadPrompt& prompt : prompts) {
    const int64_t input_length = draw_length(options.input_length, options.range_ratio, random);
    prompt.output_length = draw_length(options.output_length, options.range_ratio, random);
    prompt.num_tokens = options.prefix_length + input_length;
    prompt.ids = prefix;
    extend(prompt.ids, prompt.num_tokens, vocab, tokenizer, random);
    if (tokenizer != nullptr) spell(prompt, vocab, *tokenizer, random);
  }
  return prompts;
}

Result<std::vector<LoadPrompt>> parse_prompts(std::string_view text, int64_t count, int64_t output_length) {
  std::vector<LoadPrompt> found;
  for (size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    if (line.front() != '{') {
      found.push_back({.text = std::string(line), .output_length = output_length});
      continue;
    }
    auto prompt = parse_json_prompt(line, output_length);
    if (!prompt.ok()) return Status(prompt.status()).annotate(fmt::format("line {}", number));
    found.push_back(*std::move(prompt));
  }
  if (found.empty()) return invalid_argument("no prompts");
  std::vector<LoadPrompt> prompts;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) prompts.push_back(found[i % found.size()]);
  return prompts;
}

}  // namespace cohort
