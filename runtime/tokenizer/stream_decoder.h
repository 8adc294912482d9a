// Incremental detokenization: the text of a stream of tokens, as soon as it is certain.
//
// Each call costs time in proportion to the token, however long the stream. Not thread-safe; one
// per stream. What has come out by the end is what Tokenizer::decode() yields for all ids at once,
// with one exception: where a run of byte tokens ("<0xE2>") is not valid UTF-8, decode() does as
// Hugging Face, which turns the whole run into U+FFFD, whereas a stream has passed on the complete
// characters of the run already.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

class StreamDecoder {
 public:
  // `tokenizer` is borrowed and must outlive the stream.
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  // The text that `id` completes, perhaps none; never a part of a character.
  std::string append(int32_t id);

  // The text still held back: U+FFFD for a character that never became complete. Ends the stream;
  // append() may not be called after it.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::unique_ptr<DecodeChain> chain_;
};

}  // namespace cohort
