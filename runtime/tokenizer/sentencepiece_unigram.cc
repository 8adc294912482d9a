#include "runtime/tokenizer/sentencepiece_unigram.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/vocab.h"

namespace cohort {
namespace {

using Piece = SentencePieceModel::Piece;

constexpr std::string_view kMarker = "\xE2\x96\x81";  // "▁"

bool is_plain_unigram(const SentencePieceModel& model) {
  if (model.model_type != SentencePieceModel::kUnigram || model.treat_whitespace_as_suffix) return false;
  return std::all_of(model.pieces.begin(), model.pieces.end(), [](const Piece& piece) {
    const bool is_handled = piece.type == SentencePieceModel::kNormal || piece.type == SentencePieceModel::kUnknown ||
                            piece.type == SentencePieceModel::kControl || piece.type == SentencePieceModel::kByte;
    return is_handled && is_valid_utf8(piece.text) && std::isfinite(piece.score);
  });
}

}  // namespace

SentencePieceUnigram::SentencePieceUnigram(const SentencePieceModel& model, Unigram unigram,
                                           std::optional<Charsmap> charsmap)
    : unigram_(std::move(unigram)),
      charsmap_(std::move(charsmap)),
      adds_prefix_(model.add_dummy_prefix),
      removes_extra_spaces_(model.remove_extra_whitespaces),
      space_(model.escape_whitespaces ? kMarker : std::string_view(" ")) {}

std::unique_ptr<SentencePieceUnigram> SentencePieceUnigram::create(const SentencePieceModel& model) {
  if (!is_plain_unigram(model)) return nullptr;
  Vocab vocab;
  std::vector<double> scores;
  std::vector<bool> is_control;
  UnigramOptions options{.unk_id = {}, .byte_fallback = model.byte_fallback, .is_sentencepiece = true};
  for (const Piece& piece : model.pieces) {
    const auto id = static_cast<int32_t>(scores.size());
    if (vocab.add(piece.text, id)) return nullptr;
    if (piece.type == SentencePieceModel::kUnknown) options.unk_id = id;
    scores.push_back(static_cast<double>(piece.score));
    is_control.push_back(piece.type != SentencePieceModel::kNormal);
  }
  const bool has_normal = std::find(is_control.begin(), is_control.end(), false) != is_control.end();
  if (!options.unk_id || !has_normal) return nullptr;
  std::optional<Charsmap> charsmap;
  if (!model.charsmap.empty()) {
    Result<Charsmap> parsed = Charsmap::parse(model.charsmap);
    if (!parsed.ok()) return nullptr;
    charsmap = *std::move(parsed);
  }
  Unigram unigram(vocab, std::move(scores), is_control, options);
  return std::unique_ptr<SentencePieceUnigram>(
      new SentencePieceUnigram(model, std::move(unigram), std::move(charsmap)));
}

// The front of `text`, which is not empty, up to where normalization goes on.
Charsmap::Replacement SentencePieceUnigram::normalize_front(std::string_view text) const {
  if (charsmap_) {
    const Charsmap::Replacement replacement = charsmap_->longest(text);
    if (replacement.num_bytes > 0) return replacement;
  }
  const size_t num_bytes = utf8_length(text[0]);
  return {num_bytes, text.substr(0, num_bytes)};
}

// As Normalizer::Normalize() of libsentencepiece.
void SentencePieceUnigram::normalize(std::string_view text, std::string& out) const {
  out.clear();
  while (removes_extra_spaces_ && !text.empty()) {
    const Charsmap::Replacement front = normalize_front(text);
    if (front.text != " ") break;
    text.remove_prefix(front.num_bytes);
  }
  if (text.empty()) return;
  if (adds_prefix_) out += space_;
  bool drops_space = removes_extra_spaces_;
  while (!text.empty()) {
    auto [num_bytes, front] = normalize_front(text);
    text.remove_prefix(num_bytes);
    while (drops_space && front.starts_with(' ')) front.remove_prefix(1);
    if (front.empty()) continue;
    for (const char byte : front) {
      if (byte == ' ') {
        out += space_;
      } else {
        out += byte;
      }
    }
    drops_space = removes_extra_spaces_ && front.ends_with(' ');
  }
  while (removes_extra_spaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
}

void SentencePieceUnigram::encode(std::string_view text, std::vector<int32_t>& ids) const {
  const ScratchPool<Scratch>::Lease scratch = pool_.lease();
  normalize(text, scratch->text);
  if (!scratch->text.empty()) unigram_.encode(scratch->text, scratch->unigram, ids);
}

}  // namespace cohort
