#include "launcher/cli/generate_requests.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/cli/command.h"
#include "runtime/engine/engine.h"

namespace cohort {
namespace {

// Flags over what generation_config.json says, which counts only where the model asks to be sampled.
SamplingParams sampling_params(const RequestOptions& options, const GenerationDefaults& defaults) {
  SamplingParams params;
  params.temperature = options.temperature.value_or(defaults.do_sample ? defaults.temperature : 0);
  params.top_k = options.top_k.value_or(defaults.do_sample ? defaults.top_k : 0);
  params.top_p = options.top_p.value_or(defaults.do_sample ? defaults.top_p : 1);
  params.min_p = options.min_p;
  params.repetition_penalty = options.repetition_penalty.value_or(defaults.repetition_penalty);
  params.presence_penalty = options.presence_penalty;
  params.frequency_penalty = options.frequency_penalty;
  params.seed = options.seed;
  return params;
}

// The texts of --prompt and --prompts-file, in that order.
Result<std::vector<std::string>> prompt_texts(const RequestOptions& options) {
  std::vector<std::string> texts = options.prompts;
  if (options.prompts_file.empty()) return texts;
  COHORT_ASSIGN_OR_RETURN(const std::string file, read_input(options.prompts_file));
  int line_number = 0;
  for (size_t begin = 0; begin < file.size();) {
    const size_t end = std::min(file.find('\n', begin), file.size());
    std::string line = file.substr(begin, end - begin);
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) {
      return invalid_argument(
          fmt::format("{}:{}: empty; expected a prompt on each line", options.prompts_file, line_number));
    }
    texts.push_back(std::move(line));
    begin = end + 1;
  }
  return texts;
}

Result<std::vector<std::vector<int32_t>>> tokenized_prompts(const RequestOptions& options,
                                                            const std::vector<std::string>& texts,
                                                            const Tokenizer* tokenizer) {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : texts) prompts.push_back(tokenizer->encode(text, {}));
  for (const std::string& ids : options.prompt_ids) {
    auto parsed = parse_token_ids(ids);
    if (!parsed.ok()) throw UsageError("--prompt-ids: " + parsed.status().message());
    prompts.push_back(*std::move(parsed));
  }
  return prompts;
}

// "top_p: ..." as "top-p: ...": a request's field and its flag differ in that only.
std::string flag_of(std::string message) {
  const size_t end = std::min(message.find(':'), message.size());
  std::replace(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  return message;
}

}  // namespace

void add_request_flags(CLI::App& command, RequestOptions& o) {
  // TAKE_ALL would split "1,2,3" or swallow positionals: each flag takes one text and may be repeated.
  command.add_option("--prompt", o.prompts, "A prompt; repeat it for several")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--prompts-file", o.prompts_file, "A prompt a line; - is standard input")->type_name("FILE");
  command.add_option("--prompt-ids", o.prompt_ids, "A prompt as token ids: 1,2,3; repeat it for several")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  command.add_option("--max-tokens", o.max_tokens, "Output tokens at most")->capture_default_str();
  command.add_option("--temperature", o.temperature, "0 takes the most probable token; default 0, or the model's own");
  command.add_option("--top-k", o.top_k, "Sample from the K most probable tokens; 0 for all");
  command.add_option("--top-p", o.top_p, "Sample from the fewest tokens that reach this probability together");
  command.add_option("--min-p", o.min_p, "Sample from tokens at least this share as probable as the first")
      ->capture_default_str();
  command.add_option("--repetition-penalty", o.repetition_penalty, "Above 1 discourages tokens of prompt and output");
  command.add_option("--presence-penalty", o.presence_penalty, "Subtracted from logits of tokens in the output")
      ->capture_default_str();
  command.add_option("--frequency-penalty", o.frequency_penalty, "Subtracted once per occurrence in the output")
      ->capture_default_str();
  command.add_option("--seed", o.seed, "Of the draws")->capture_default_str();
  command.add_flag("--ignore-eos", o.ignore_eos, "Go on to --max-tokens when the model ends its text");
  command
      .add_option("--top-logprobs", o.top_logprobs,
                  "Report the K (up to 20) most probable tokens of each step (with --json)")
      ->capture_default_str();
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::string& model_dir, bool is_needed) {
  auto tokenizer = Tokenizer::load(model_dir);
  const bool has_none = !tokenizer.ok() && tokenizer.status().code() == StatusCode::kNotFound;
  if (has_none && !is_needed) return std::unique_ptr<Tokenizer>();
  return tokenizer;
}

Result<PromptRequests> make_requests(const RequestOptions& options, const std::string& model_dir,
                                     const ModelConfig& config) {
  PromptRequests result;
  COHORT_ASSIGN_OR_RETURN(const std::vector<std::string> texts, prompt_texts(options));
  COHORT_ASSIGN_OR_RETURN(result.tokenizer, load_tokenizer(model_dir, !texts.empty()));
  COHORT_ASSIGN_OR_RETURN(const auto prompts, tokenized_prompts(options, texts, result.tokenizer.get()));
  if (prompts.empty()) throw UsageError("--prompt, --prompts-file or --prompt-ids: expected at least one");
  for (const std::vector<int32_t>& prompt : prompts) {
    GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = options.max_tokens;
    request.sampling = sampling_params(options, config.generation);
    request.stop_ids = config.generation.eos_ids;
    request.ignore_stop_ids = options.ignore_eos;
    request.top_logprobs = options.top_logprobs;
    // Before any weights are read: a bad flag should not cost a load.
    if (const Status status = request.validate(sequence_limits(config.spec)); !status.ok()) {
      throw UsageError("--" + flag_of(status.message()));
    }
    result.requests.push_back(std::move(request));
  }
  return result;
}

}  // namespace cohort
