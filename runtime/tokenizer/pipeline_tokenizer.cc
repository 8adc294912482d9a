#include "runtime/tokenizer/pipeline_tokenizer.h"

#include <algorithm>

#include "runtime/tokenizer/unicode.h"

namespace cohort {

class PipelineTokenizer::ScratchLease {
 public:
  explicit ScratchLease(const PipelineTokenizer& owner) : owner_(owner) {
    {
      const std::lock_guard lock(owner_.mutex_);
      if (!owner_.free_scratch_.empty()) {
        scratch_ = std::move(owner_.free_scratch_.back());
        owner_.free_scratch_.pop_back();
      }
    }
    if (scratch_ != nullptr) return;
    scratch_ = std::make_unique<Scratch>();
    scratch_->model = owner_.spec_.model->make_scratch();
  }
  ~ScratchLease() {
    const std::lock_guard lock(owner_.mutex_);
    owner_.free_scratch_.push_back(std::move(scratch_));
  }
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;

  Scratch& operator*() { return *scratch_; }

 private:
  const PipelineTokenizer& owner_;
  std::unique_ptr<Scratch> scratch_;
};

PipelineTokenizer::PipelineTokenizer(PipelineSpec spec)
    : spec_(std::move(spec)),
      added_texts_(normalize_added_tokens()),
      vocab_size_(spec_.vocab->size()),
      raw_matcher_(make_matcher(false)),
      normalized_matcher_(make_matcher(true)) {
  for (size_t i = 0; i < spec_.added_tokens.size(); ++i) {
    const AddedToken& token = spec_.added_tokens[i];
    added_by_id_[token.id] = i;
    added_by_content_[token.content] = token.id;
    vocab_size_ = std::max(vocab_size_, token.id + 1);
  }
}

std::vector<std::string> PipelineTokenizer::normalize_added_tokens() const {
  std::vector<std::string> texts;
  RegexScratch scratch;
  for (const AddedToken& token : spec_.added_tokens) {
    texts.push_back(token.content);
    if (token.normalized && spec_.normalizer) spec_.normalizer->normalize(texts.back(), scratch);
  }
  return texts;
}

AddedTokenMatcher PipelineTokenizer::make_matcher(bool normalized) const {
  std::vector<AddedToken> tokens;
  std::vector<std::string> patterns;
  // Special tokens first: of tokens that look the same, the first counts.
  for (const bool is_special : {true, false}) {
    for (size_t i = 0; i < spec_.added_tokens.size(); ++i) {
      const AddedToken& token = spec_.added_tokens[i];
      if (token.normalized != normalized || token.is_special != is_special) continue;
      tokens.push_back(token);
      patterns.push_back(added_texts_[i]);
    }
  }
  return AddedTokenMatcher(std::move(tokens), patterns);
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    append_valid_utf8(text, repaired);
    text = repaired;
  }
  ScratchLease lease(*this);
  Scratch& scratch = *lease;
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  const std::vector<PostProcessor::Part>& around = spec_.post_processor.single;
  auto part_of_text = around.begin();
  for (; part_of_text->kind == PostProcessor::Part::kToken; ++part_of_text) {
    if (options.add_special_tokens) ids.push_back(part_of_text->id);
  }
  scratch.raw_parts.clear();
  raw_matcher_.split(text, options.parse_special, options.plain, scratch.raw_parts);
  for (const TextPart& part : scratch.raw_parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      const bool parse_special = options.parse_special && plain_text_has_no_part(text, part, options.plain, scratch);
      encode_raw(text.substr(part.begin, part.end - part.begin), part.begin == 0, parse_special, scratch, ids);
    }
  }
  for (auto part = part_of_text + 1; options.add_special_tokens && part != around.end(); ++part)
    ids.push_back(part->id);
  return ids;
}

Tokenizer::Encoding PipelineTokenizer::add_special_tokens(std::span<const int32_t> first,
                                                          const std::span<const int32_t>* second) const {
  Encoding encoding;
  for (const auto& part : second == nullptr ? spec_.post_processor.single : spec_.post_processor.pair) {
    const std::span<const int32_t> ids = part.kind == PostProcessor::Part::kToken   ? std::span(&part.id, 1)
                                         : part.kind == PostProcessor::Part::kFirst ? first
                                                                                    : *second;
    encoding.ids.insert(encoding.ids.end(), ids.begin(), ids.end());
    encoding.type_ids.resize(encoding.ids.size(), part.type_id);
  }
  return encoding;
}

// Whether the special tokens that are found in the normalized text of `part` have nothing to do with its plain ranges.
// These have no place in a normalized text: the tokens are compared with those that there are when something else
// stands in the ranges.
bool PipelineTokenizer::plain_text_has_no_part(std::string_view text, const TextPart& part,
                                               std::span<const TextRange> plain, Scratch& scratch) const {
  if (!normalized_matcher_.has_special_tokens() || !touches(plain, part.begin, part.end)) return true;
  std::string changed(text.substr(part.begin, part.end - part.begin));
  const std::vector<int32_t> ids = normalized_special_ids(changed, scratch);
  for (const TextRange& range : plain) {
    const size_t begin = std::max(range.begin, part.begin);
    const size_t end = std::min(range.end, part.end);
    if (begin < end) std::fill_n(changed.begin() + static_cast<std::ptrdiff_t>(begin - part.begin), end - begin, 'x');
  }
  return ids.empty() || ids == normalized_special_ids(changed, scratch);
}

std::vector<int32_t> PipelineTokenizer::normalized_special_ids(std::string text, Scratch& scratch) const {
  if (spec_.normalizer) spec_.normalizer->normalize(text, scratch.regex);
  scratch.parts.clear();
  normalized_matcher_.split(text, true, {}, scratch.parts);
  std::vector<int32_t> ids;
  for (const TextPart& part : scratch.parts) {
    if (part.id >= 0 && is_special(part.id)) ids.push_back(part.id);
  }
  return ids;
}

void PipelineTokenizer::encode_raw(std::string_view text, bool is_first, bool parse_special, Scratch& scratch,
                                   std::vector<int32_t>& ids) const {
  std::string& normalized = scratch.list.text;
  normalized = text;
  if (spec_.normalizer && !spec_.normalizer->is_trivial(text)) {
    spec_.normalizer->normalize(normalized, scratch.regex);
  }
  scratch.parts.clear();
  normalized_matcher_.split(normalized, parse_special, {}, scratch.parts);
  if (scratch.parts.size() == 1 && scratch.parts[0].id < 0) {
    encode_normalized(is_first, scratch, ids);
    return;
  }
  const std::string whole = std::move(normalized);
  for (const TextPart& part : scratch.parts) {
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else {
      normalized = whole.substr(part.begin, part.end - part.begin);
      encode_normalized(is_first && part.begin == 0, scratch, ids);
    }
  }
}

// Encodes scratch.list.text, which is not empty.
void PipelineTokenizer::encode_normalized(bool is_first, Scratch& scratch, std::vector<int32_t>& ids) const {
  PieceList& list = scratch.list;
  list.pieces.assign(1, {0, list.text.size(), is_first});
  if (spec_.pre_tokenizer.pre_tokenizer) spec_.pre_tokenizer.pre_tokenizer->split(list, scratch.regex);
  for (const Piece& piece : list.pieces) spec_.model->encode(list.view(piece), *scratch.model, ids);
}

std::string PipelineTokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  const std::unique_ptr<DecodeChain> chain = spec_.decoder.open(DecodeMode::kWhole);
  for (const int32_t id : ids) {
    if (const auto token = decodable_token(id, skip_special_tokens)) chain->push(*token);
  }
  chain->finish();
  return chain->take();
}

std::unique_ptr<DecodeChain> PipelineTokenizer::open_stream() const { return spec_.decoder.open(DecodeMode::kStream); }

std::string_view PipelineTokenizer::spelling(int32_t id) const {
  const auto added = added_by_id_.find(id);
  return added != added_by_id_.end() ? std::string_view(spec_.added_tokens[added->second].content)
                                     : spec_.vocab->spelling(id);
}

std::optional<std::string_view> PipelineTokenizer::decodable_token(int32_t id, bool skip_special_tokens) const {
  if (skip_special_tokens && is_special(id)) return std::nullopt;
  const auto added = added_by_id_.find(id);
  if (added != added_by_id_.end()) return added_texts_[added->second];
  if (!spec_.vocab->contains(id)) return std::nullopt;
  return spec_.vocab->spelling(id);
}

std::optional<int32_t> PipelineTokenizer::token_to_id(std::string_view token) const {
  const auto added = added_by_content_.find(token);
  return added != added_by_content_.end() ? added->second : spec_.vocab->find(token);
}

bool PipelineTokenizer::is_special(int32_t id) const {
  const auto added = added_by_id_.find(id);
  return added != added_by_id_.end() && spec_.added_tokens[added->second].is_special;
}

}  // namespace cohort
