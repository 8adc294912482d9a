// The requests of `cohort generate`: from flags and files to tokens. Only the ranks that lead a replica make them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/decoding/request.h"
#include "runtime/models/family.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// What the flags say of prompts and sampling.
struct RequestOptions {
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
  int top_logprobs = 0;

  bool has_prompts() const { return !prompts.empty() || !prompts_file.empty() || !prompt_ids.empty(); }
};

// Must stay where it is until the command line is parsed: CLI11 keeps references into it.
void add_request_flags(CLI::App& command, RequestOptions& options);

struct PromptRequests {
  std::unique_ptr<Tokenizer> tokenizer;  // null where there are only token ids and no tokenizer files
  std::vector<GenerationRequest> requests;
};

// The tokenizer of a model directory; null where it has none and `is_needed` is false: token ids alone do without.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const std::string& model_dir, bool is_needed);

// Reads prompts and tokenizer and checks every request. Throws UsageError for a flag that cannot be.
Result<PromptRequests> make_requests(const RequestOptions& options, const std::string& model_dir,
                                     const ModelConfig& config);

}  // namespace cohort
