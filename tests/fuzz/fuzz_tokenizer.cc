// Any bytes as the files of a tokenizer: a Status or a tokenizer that encodes and decodes, never a crash.
//
// Input: the text of tokenizer.json, which is read as vocab.txt and vocab.json too; after a zero byte, the text of
// tokenizer_config.json; after another, the text to encode, which is merges.txt too.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/tokenizer/stream_decoder.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/vocab_files.h"

namespace {

std::string_view take_part(std::string_view& rest) {
  const size_t end = rest.find('\0');
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
  return part;
}

void require(bool condition) {
  if (!condition) std::abort();
}

void exercise(const cohort::Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {false, true}) {
    const std::vector<int32_t> ids =
        tokenizer.encode(text, {.add_special_tokens = true, .parse_special = parse_special});
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
    require(cohort::is_valid_utf8(tokenizer.decode(ids, parse_special)));
    cohort::StreamDecoder stream(tokenizer, parse_special);
    for (const int32_t id : ids) require(cohort::is_valid_utf8(stream.append(id)));
    require(cohort::is_valid_utf8(stream.finish()));
  }
  const std::vector<int32_t> bare = tokenizer.encode(text, {.add_special_tokens = false});
  require(tokenizer.assemble(bare).ids == tokenizer.encode(text));
  const auto [ids, type_ids] = tokenizer.encode_pair(text, "b");
  require(ids.size() == type_ids.size());
  for (const int32_t id : ids) require(id >= 0 && id < tokenizer.vocab_size());
}

void exercise(const cohort::Result<std::unique_ptr<cohort::Tokenizer>>& tokenizer, std::string_view text) {
  if (!tokenizer.ok()) {
    require(!tokenizer.status().message().empty());
    return;
  }
  exercise(**tokenizer, "Hello, w\xC3\xB6rld 42!\n\xF0\x9F\x99\x82 <s>a</s>\xFF  x");
  exercise(**tokenizer, text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const std::string_view json = take_part(rest);
  const std::string_view config = take_part(rest);
  const std::string_view text = rest.substr(0, 4096);
  exercise(cohort::tokenizer_from_json(json, config), text);
  exercise(cohort::tokenizer_from_vocab_txt(json, config), text);
  exercise(cohort::tokenizer_from_merges_txt(json, rest, config), text);
  return 0;
}
