// Reads the key "model" of a tokenizer.json: the vocabulary, then the model over it.
#pragma once

#include <memory>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/token_model.h"
#include "runtime/tokenizer/vocab.h"

namespace cohort {

enum class ModelType { kBpe, kWordPiece, kUnigram };

// "type", or where a file from before 2022 leaves it out the type that has such keys.
Result<ModelType> parse_model_type(const JsonNode& model);

Result<std::unique_ptr<Vocab>> parse_vocab(const JsonNode& model, ModelType type);

// Whether pieces may be raw bytes for this model, which is then to be made with `takes_bytes`. False unless it is BPE
// of the plain kind.
Result<bool> may_take_bytes(const JsonNode& model, ModelType type);

// The model; it borrows `vocab`. `is_control` ([vocab.size()]) names the special tokens: WordPiece and Unigram never
// make them of text, however it is spelled. (Nor does BPE, unless merges lead to them.)
Result<std::unique_ptr<TokenModel>> parse_model(const JsonNode& model, ModelType type, const Vocab& vocab,
                                                const std::vector<bool>& is_control, bool takes_bytes);

}  // namespace cohort
