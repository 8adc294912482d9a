#include "runtime/tokenizer/stream_decoder.h"

#include "runtime/tokenizer/decoder.h"

namespace cohort {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens), chain_(tokenizer.open_stream()) {}

StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::append(int32_t id) {
  const std::optional<std::string_view> token = tokenizer_->decodable_token(id, skip_special_tokens_);
  if (!token) return {};
  chain_->push(*token);
  return chain_->take();
}

std::string StreamDecoder::finish() {
  chain_->finish();
  return chain_->take();
}

}  // namespace cohort
