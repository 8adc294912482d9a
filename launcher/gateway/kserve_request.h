// What clients ask for at POST .../infer, .../generate and .../generate_stream of KServe's protocol, version 2: a body
// in, checked fields out.
//
// The names are those of Triton's backends for language models. Unknown members and parameters are ignored and named in
// `ignored`; an input or output that the model does not have is an error, as is a known one of another type or shape,
// or with a bad value: kInvalidArgument or kUnimplemented, beginning with its name. Free functions; thread-safe.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/kserve_tensor.h"
#include "launcher/gateway/openai_request.h"

namespace cohort {

// An input of the model. Of a batch of n requests it is [n, 1], or [n, k] if it holds several values for each; of one
// without a batch dimension [1], or [k].
struct KserveInput {
  std::string_view name;
  Datatype datatype;
  bool is_list = false;
  bool is_required = false;
};

inline constexpr std::array kKserveInputs = {
    KserveInput{.name = "text_input", .datatype = kBytes, .is_required = true},
    KserveInput{.name = "max_tokens", .datatype = kInt32},
    KserveInput{.name = "min_tokens", .datatype = kInt32},
    KserveInput{.name = "stream", .datatype = kBool},
    KserveInput{.name = "temperature", .datatype = kFp32},
    KserveInput{.name = "top_k", .datatype = kInt32},
    KserveInput{.name = "top_p", .datatype = kFp32},
    KserveInput{.name = "min_p", .datatype = kFp32},
    KserveInput{.name = "repetition_penalty", .datatype = kFp32},
    KserveInput{.name = "presence_penalty", .datatype = kFp32},
    KserveInput{.name = "frequency_penalty", .datatype = kFp32},
    KserveInput{.name = "random_seed", .datatype = kUint64},
    KserveInput{.name = "stop_words", .datatype = kBytes, .is_list = true},
    KserveInput{.name = "bad_words", .datatype = kBytes, .is_list = true},
    KserveInput{.name = "end_id", .datatype = kInt32},
    KserveInput{.name = "pad_id", .datatype = kInt32},
    KserveInput{.name = "return_log_probs", .datatype = kBool},
    KserveInput{.name = "exclude_input_in_output", .datatype = kBool},
};

enum class KserveOutputKind { kText, kFinishReason, kNumInputTokens, kNumOutputTokens, kCumLogProbs, kOutputLogProbs };

// An output of the model: [n, 1], or [n, k] with k the longest of the batch, the rest of the others being 0; without a
// batch dimension [1], or [k].
struct KserveOutput {
  KserveOutputKind kind;
  std::string_view name;
  Datatype datatype;
  bool is_list = false;
};

inline constexpr std::array kKserveOutputs = {
    KserveOutput{KserveOutputKind::kText, "text_output", kBytes},
    KserveOutput{KserveOutputKind::kFinishReason, "finish_reason", kBytes},
    KserveOutput{KserveOutputKind::kNumInputTokens, "num_input_tokens", kUint32},
    KserveOutput{KserveOutputKind::kNumOutputTokens, "num_output_tokens", kUint32},
    KserveOutput{KserveOutputKind::kCumLogProbs, "cum_log_probs", kFp32},  // their sum
    KserveOutput{KserveOutputKind::kOutputLogProbs, "output_log_probs", kFp32, true},
};

struct RequestedOutput {
  KserveOutput output;
  bool is_binary = false;
};

struct KserveRequest {
  std::optional<std::string> id;
  std::optional<std::chrono::microseconds> timeout;
  std::vector<CompletionFields> sequences;  // at least one, each with one prompt
  bool has_batch_dim = false;
  bool is_stream = false;                // of a generate request
  bool shows_logprobs = false;           // of a generate request
  std::vector<RequestedOutput> outputs;  // of an inference request
  std::vector<std::string> ignored;
};

// `header_length`: the value of Inference-Header-Content-Length, or empty.
Result<KserveRequest> parse_infer(std::string_view body, std::string_view header_length, const RequestLimits& limits);

// `may_stream`: at generate_stream, which streams unless it is told not to; generate cannot.
Result<KserveRequest> parse_generate(std::string_view body, bool may_stream, const RequestLimits& limits);

}  // namespace cohort
