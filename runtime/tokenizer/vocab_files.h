// The tokenizers of checkpoints that have no tokenizer.json: the older files become one, as `transformers` converts
// them (convert_slow_tokenizer.py).
//
// "tokenizer_class" of tokenizer_config.json says which tokenizer it is. Errors name the file; kUnimplemented for a
// class that is not known.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// BERT, DistilBERT: a token a line in vocab.txt, and do_lower_case, strip_accents and tokenize_chinese_chars in the
// config.
Result<std::unique_ptr<Tokenizer>> tokenizer_from_vocab_txt(std::string_view vocab, std::string_view config_json);

// GPT-2, OPT, RoBERTa, BART: vocab.json and merges.txt, with add_prefix_space and add_bos_token in the config.
Result<std::unique_ptr<Tokenizer>> tokenizer_from_merges_txt(std::string_view vocab_json, std::string_view merges,
                                                             std::string_view config_json);

}  // namespace cohort
