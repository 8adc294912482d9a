// A tokenizer.model of SentencePiece (BPE or Unigram), run by libsentencepiece, or where it is of
// a common kind by the quicker SentencePieceBpe or SentencePieceUnigram.
//
// Text between special tokens is encoded as a text of its own, so the model's dummy prefix ("▁") appears at the front
// of each. Special tokens are the control pieces of the model and the special ones of tokenizer_config.json's
// added_tokens_decoder. With add_special_tokens the text begins with the model's <s> unless add_bos_token is false, and
// ends with </s> if add_eos_token is true: the defaults of LlamaTokenizer. With the tokenizer_class T5Tokenizer the
// defaults are those of T5: no <s>, and </s> behind each text; and its sentinels <extra_id_0>, ... follow the pieces.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/core/status.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// The tokenizer of the bytes of a tokenizer.model and the text of a tokenizer_config.json ("" for
// none).
Result<std::unique_ptr<Tokenizer>> tokenizer_from_sentencepiece(std::string_view model, std::string_view config_json);

}  // namespace cohort
