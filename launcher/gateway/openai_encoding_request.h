// What clients ask of an encoder at POST /v1/embeddings, /v1/classify, /v1/score, /v1/rerank and /v1/fill-mask: JSON
// in, checked inputs of tokens out. OpenAI has the first of them; the next three are as vLLM's server has them, and the
// last answers as Hugging Face's pipeline of that name.
//
// Free functions; thread-safe. Errors are as in openai_request.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "launcher/gateway/engine_client.h"
#include "launcher/gateway/openai_error.h"
#include "launcher/gateway/openai_model.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// Of one request.
inline constexpr size_t kMaxInputs = 2048;
inline constexpr int64_t kMaxMasks = 128;
inline constexpr int64_t kMaxScores = 4'000'000;  // of masks: each has one for every token that there is
inline constexpr int64_t kMaxPredictions = 2048;  // of masks: each is shown with the text that it makes
// Of all requests: scores that the engine link carries at once, below what it takes for a gateway that does not read.
inline constexpr int64_t kMaxScoresUnderWay = 32'000'000;

enum class EncodingKind { kEmbeddings, kClassify, kScore, kRerank, kFillMask };

// "/v1/embeddings", ...
const char* path_of(EncodingKind kind);

struct PreparedEncoding {
  EncodingKind kind = EncodingKind::kEmbeddings;
  EncodingParts parts;                           // that are wanted of each input
  std::vector<Tokenizer::Encoding> inputs;       // at least one
  std::vector<std::string> names;                // of the inputs, in errors
  bool is_base64 = false;                        // embeddings are little-endian float32 in base64
  std::vector<std::pair<size_t, size_t>> pairs;  // of inputs, whose cosines are the scores; none where inputs are pairs
  std::vector<std::string> documents;            // of kRerank, where the answer shows them
  std::optional<int64_t> top_n;                  // of kRerank: show so many only
  std::vector<std::vector<int32_t>> masks;  // of kFillMask, for each input: the positions of its masks, at least one
  int64_t top_k = 5;                        // of kFillMask: so many tokens for each mask, or all that there are
  int64_t num_scores = 0;                   // of kFillMask: that the engine is asked for
  int32_t priority = 0;
  std::vector<std::string> ignored;  // names of fields that are not known
};

// kUnimplemented where the model does not do `kind`.
Status check_kind(EncodingKind kind, const OpenAiModel& model);

// From a body to tokens, for a model that does `kind`. `facts` are those of a ready engine.
Result<PreparedEncoding> prepare_encoding(EncodingKind kind, std::string_view body, const OpenAiModel& model,
                                          const EngineFacts& facts);

// What stands against running it, if anything: inputs that are too long, more of them than there is room for.
std::optional<ApiError> check_size(const PreparedEncoding& request, const EngineFacts& facts);

// What the engine is to run, one of each input.
std::vector<SequencePlan> encoding_plans(PreparedEncoding& request);

}  // namespace cohort
