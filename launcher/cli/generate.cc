// cohort generate: prompts in, text out, on this one process.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>

#include "kernels/core/thread_pool.h"
#include "launcher/cli/command.h"
#include "launcher/cli/generate_output.h"
#include "launcher/cli/host_memory.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct GenerateOptions {
  std::string model;
  std::vector<std::string> prompts;
  std::string prompts_file;
  std::vector<std::string> prompt_ids;
  int64_t max_tokens = 128;
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  float min_p = 0;
  std::optional<float> repetition_penalty;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  bool ignore_eos = false;
  std::string dtype = "auto";
  std::string device = "auto";
  std::string weights = "checkpoint";
  int top_logprobs = 0;
  bool json = false;
  bool quiet = false;
  int num_threads = 0;
  int64_t block_size = 16;
  int64_t max_seqs = 64;
  int64_t max_tokens_per_step = 2048;
};

Device choose_device(const std::string& name) {
  // No op has a CUDA implementation yet, so `auto` is the CPU on every machine.
  if (name == "cuda") {
    throw UsageError("--device: cuda cannot run models yet; expected cpu or auto");
  }
  return kCpuDevice;
}

// Flags over what generation_config.json says, which counts only where the model asks to be sampled.
SamplingParams sampling_params(const GenerateOptions& options, const GenerationDefaults& defaults) {
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
Result<std::vector<std::string>> prompt_texts(const GenerateOptions& options) {
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

Result<std::vector<std::vector<int32_t>>> tokenized_prompts(const GenerateOptions& options,
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

// A tokenizer, which a run with random weights and token ids does not need.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const GenerateOptions& options, bool has_texts) {
  const std::filesystem::path dir = options.model;
  const bool has_files =
      std::filesystem::exists(dir / "tokenizer.json") || std::filesystem::exists(dir / "tokenizer.model");
  if (!has_files && !has_texts) return std::unique_ptr<Tokenizer>();
  return Tokenizer::load(dir);
}

int64_t num_cache_blocks(const GenerateOptions& options, const ModelSpec& spec, DType dtype,
                         const std::vector<GenerationRequest>& requests) {
  int64_t wanted = 0;
  int64_t largest = 0;
  for (const GenerationRequest& request : requests) {
    const int64_t length =
        static_cast<int64_t>(request.prompt.size()) + std::max<int64_t>(request.output_limit(spec.max_position), 1);
    const int64_t blocks = (length + options.block_size - 1) / options.block_size;
    wanted += blocks;
    largest = std::max(largest, blocks);
  }
  const int64_t bytes_per_block = kv_bytes_per_token(spec, dtype) * options.block_size;
  const int64_t affordable = available_host_bytes() * 8 / 10 / std::max<int64_t>(bytes_per_block, 1);
  return std::max(std::min(wanted, affordable), largest);
}

// "top_p: ..." as "top-p: ...": a request's field and its flag differ in that only.
std::string flag_of(std::string message) {
  const size_t end = std::min(message.find(':'), message.size());
  std::replace(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  return message;
}

std::vector<GenerationRequest> make_requests(const GenerateOptions& options, const ModelConfig& config,
                                             const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<GenerationRequest> requests;
  for (const std::vector<int32_t>& prompt : prompts) {
    GenerationRequest request;
    request.prompt = prompt;
    request.max_tokens = options.max_tokens;
    request.sampling = sampling_params(options, config.generation);
    request.stop_ids = config.generation.eos_ids;
    request.ignore_stop_ids = options.ignore_eos;
    request.top_logprobs = options.top_logprobs;
    // Before any weights are read: a bad flag should not cost a load.
    if (const Status status = request.validate(config.spec.vocab, config.spec.max_position); !status.ok()) {
      throw UsageError("--" + flag_of(status.message()));
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

// Weights that do not fit would end in swapping or in the kernel's killer, long after the command was given.
Status check_memory(const ModelConfig& config, DType dtype) {
  const WeightMap map = config.family->weight_map(config.spec);
  int64_t num_elements = 0;
  for (const TensorRef& tensor : all_tensors(map)) num_elements += tensor.shape.num_elements();
  if (!map.head) num_elements += map.embedding.shape.num_elements();  // packed once more for the logits
  const int64_t num_bytes = dtype_bytes(dtype, num_elements);
  const int64_t available = available_host_bytes();
  if (num_bytes <= available) return ok_status();
  return resource_exhausted(
      fmt::format("weights of {:.1f} GB in {} do not fit the {:.1f} GB of memory that this host has left",
                  static_cast<double>(num_bytes) / 1e9, dtype_name(dtype), static_cast<double>(available) / 1e9));
}

struct Timings {
  double load_seconds = 0;
  double first_token_seconds = 0;  // from submission
  double last_token_seconds = 0;
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
};

void print_timings(const Timings& t) {
  const double decode_seconds = t.last_token_seconds - t.first_token_seconds;
  fmt::print(stderr, "load {:.3f} s, TTFT {:.1f} ms, {} prompt + {} output tokens in {:.3f} s, {:.1f} tokens/s",
             t.load_seconds, t.first_token_seconds * 1e3, t.num_prompt_tokens, t.num_output_tokens,
             t.last_token_seconds, static_cast<double>(t.num_output_tokens) / t.last_token_seconds);
  if (decode_seconds > 0) {
    fmt::print(stderr, " ({:.1f} after the first)", static_cast<double>(t.num_output_tokens - 1) / decode_seconds);
  }
  fmt::print(stderr, "\n");
}

Status run_engine(Engine& engine, std::vector<GenerationRequest> requests, GenerateOutput& output, Timings& timings) {
  const Clock::time_point start = Clock::now();
  for (GenerationRequest& request : requests) {
    timings.num_prompt_tokens += static_cast<int64_t>(request.prompt.size());
    COHORT_ASSIGN_OR_RETURN([[maybe_unused]] const int64_t id, engine.submit(std::move(request)));
  }
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) {
      if (timings.num_output_tokens++ == 0) timings.first_token_seconds = seconds_since(start);
      COHORT_RETURN_IF_ERROR(output.add(event));
    }
  }
  timings.last_token_seconds = seconds_since(start);
  return output.finish();
}

Status run_generate(const GenerateOptions& options) {
  Stream stream(choose_device(options.device), options.num_threads);
  COHORT_ASSIGN_OR_RETURN(const ModelConfig config, read_model_config(options.model));
  COHORT_ASSIGN_OR_RETURN(const std::vector<std::string> texts, prompt_texts(options));
  COHORT_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, load_tokenizer(options, !texts.empty()));
  COHORT_ASSIGN_OR_RETURN(const auto prompts, tokenized_prompts(options, texts, tokenizer.get()));
  if (prompts.empty()) throw UsageError("--prompt, --prompts-file or --prompt-ids: expected at least one");
  std::vector<GenerationRequest> requests = make_requests(options, config, prompts);

  Timings timings;
  const Clock::time_point load_start = Clock::now();
  LoadOptions load;
  load.dtype = dtype_from_name(options.dtype);  // nothing for "auto"
  load.random_weights = options.weights == "random";
  load.random_seed = options.seed;
  load.progress = stderr_progress_options("loading weights", options.quiet);
  COHORT_RETURN_IF_ERROR(check_memory(config, load.dtype.value_or(config.spec.checkpoint_dtype)));
  COHORT_ASSIGN_OR_RETURN(const LoadedModel model, load_model(options.model, load, stream));
  timings.load_seconds = seconds_since(load_start);

  EngineOptions engine_options;
  engine_options.block_size = options.block_size;
  engine_options.max_seqs = std::min<int64_t>(options.max_seqs, static_cast<int64_t>(requests.size()));
  engine_options.max_tokens_per_step = std::max(options.max_tokens_per_step, engine_options.max_seqs);
  engine_options.num_blocks = num_cache_blocks(options, config.spec, model.decoder->dtype(), requests);
  Engine engine(*model.decoder, engine_options, stream);

  GenerateOutput output(prompts, tokenizer.get(), options.json);
  COHORT_RETURN_IF_ERROR(run_engine(engine, std::move(requests), output, timings));
  if (!options.quiet) print_timings(timings);
  return ok_status();
}

void add_sampling_flags(CLI::App& command, GenerateOptions& o) {
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
  command.add_option("--seed", o.seed, "Of the draws, and of random weights")->capture_default_str();
  command.add_flag("--ignore-eos", o.ignore_eos, "Go on to --max-tokens when the model ends its text");
  command.add_option("--top-logprobs", o.top_logprobs, "Report the K most probable tokens of each step (with --json)")
      ->capture_default_str();
}

}  // namespace

void add_generate(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("generate", "Continue prompts with a model");
  auto options = std::make_shared<GenerateOptions>();
  GenerateOptions& o = *options;
  command.add_option("--model", o.model, "Hugging Face model directory")->required()->type_name("DIR");
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
  add_sampling_flags(command, o);
  command.add_option("--dtype", o.dtype, "Of weights and activations; auto is the checkpoint's")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  command.add_option("--device", o.device)->check(CLI::IsMember({"auto", "cpu", "cuda"}))->capture_default_str();
  command.add_option("--weights", o.weights, "random makes them from config.json alone")
      ->check(CLI::IsMember({"checkpoint", "random"}))
      ->capture_default_str();
  command.add_flag("--json", o.json, "One JSON object a prompt and line, instead of text");
  command.add_flag("--quiet", o.quiet, "No progress and no timings on standard error");
  command.add_option("--threads", o.num_threads, "CPU threads; 0 takes all that the process may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command.add_option("--block-size", o.block_size, "Positions a block of the cache")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_option("--max-seqs", o.max_seqs, "Sequences that run at once")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command.add_option("--max-tokens-per-step", o.max_tokens_per_step, "Tokens of one pass of the model")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.callback([options, &run] { run = [options] { return run_generate(*options); }; });
}

}  // namespace cohort
