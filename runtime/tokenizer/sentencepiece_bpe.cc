#include "runtime/tokenizer/sentencepiece_bpe.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

using Piece = SentencePieceModel::Piece;

constexpr std::string_view kMarker = "\xE2\x96\x81";  // "▁"

bool is_plain_bpe(const SentencePieceModel& model) {
  if (model.model_type != SentencePieceModel::kBpe || !model.charsmap.empty() || model.remove_extra_whitespaces ||
      !model.escape_whitespaces || model.treat_whitespace_as_suffix) {
    return false;
  }
  return std::all_of(model.pieces.begin(), model.pieces.end(), [](const Piece& piece) {
    // User-defined pieces come before merges, unused ones are taken apart again.
    const bool is_handled = piece.type == SentencePieceModel::kNormal || piece.type == SentencePieceModel::kUnknown ||
                            piece.type == SentencePieceModel::kControl || piece.type == SentencePieceModel::kByte;
    return is_handled && is_valid_utf8(piece.text) && !std::isnan(piece.score);
  });
}

// The pieces that text can become. Null when two have the same spelling.
std::unique_ptr<Vocab> make_vocab(const SentencePieceModel& model) {
  auto vocab = std::make_unique<Vocab>();
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const Piece& piece = model.pieces[id];
    if (piece.type != SentencePieceModel::kNormal && piece.type != SentencePieceModel::kByte) continue;
    if (vocab->add(piece.text, static_cast<int64_t>(id))) return nullptr;
  }
  return vocab;
}

// Ranks by score, the best first; pieces of equal score share a rank, as the leftmost of them is
// merged first.
std::vector<uint32_t> rank_pieces(const SentencePieceModel& model) {
  std::vector<float> scores;
  for (const Piece& piece : model.pieces) scores.push_back(piece.score);
  std::sort(scores.begin(), scores.end(), std::greater<>());
  std::vector<uint32_t> ranks;
  for (const Piece& piece : model.pieces) {
    const auto first = std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>());
    ranks.push_back(static_cast<uint32_t>(first - scores.begin()));
  }
  return ranks;
}

// Appends the ways to halve a piece; false when a character of it is no piece, so that ids cannot
// stand for it.
bool append_merges(std::string_view piece, int32_t id, uint32_t rank, const Vocab& vocab,
                   std::vector<Bpe::MergeRule>& merges) {
  for (size_t pos = 0; pos < piece.size();) {
    const size_t begin = pos;
    next_char(piece, pos);
    if (!vocab.find(piece.substr(begin, pos - begin))) return false;
    if (begin == 0) continue;
    const std::optional<int32_t> left = vocab.find(piece.substr(0, begin));
    const std::optional<int32_t> right = vocab.find(piece.substr(begin));
    if (left && right) merges.push_back({*left, *right, id, rank});
  }
  return true;
}

}  // namespace

SentencePieceBpe::SentencePieceBpe(std::unique_ptr<Vocab> vocab, const std::vector<Bpe::MergeRule>& merges,
                                   BpeOptions options, bool adds_prefix)
    : vocab_(std::move(vocab)), bpe_(*vocab_, merges, std::move(options)), adds_prefix_(adds_prefix) {}

std::unique_ptr<SentencePieceBpe> SentencePieceBpe::create(const SentencePieceModel& model) {
  if (!is_plain_bpe(model)) return nullptr;
  std::unique_ptr<Vocab> vocab = make_vocab(model);
  if (vocab == nullptr) return nullptr;
  const std::vector<uint32_t> ranks = rank_pieces(model);
  std::vector<Bpe::MergeRule> merges;
  BpeOptions options;
  options.fuse_unk = true;
  options.byte_fallback = model.byte_fallback;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    if (piece.type == SentencePieceModel::kUnknown) options.unk_id = id;
    if (piece.type != SentencePieceModel::kNormal) continue;
    if (!append_merges(piece.text, id, ranks[i], *vocab, merges)) return nullptr;
  }
  return std::unique_ptr<SentencePieceBpe>(
      new SentencePieceBpe(std::move(vocab), merges, std::move(options), model.add_dummy_prefix));
}

void SentencePieceBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  const ScratchPool<Scratch>::Lease scratch = pool_.lease();
  scratch->text = adds_prefix_ ? kMarker : std::string_view();
  size_t copied = 0;
  for (size_t at; (at = text.find(' ', copied)) != text.npos; copied = at + 1) {
    scratch->text.append(text.substr(copied, at - copied)).append(kMarker);
  }
  scratch->text.append(text.substr(copied));
  bpe_.encode(scratch->text, scratch->bpe, ids);
}

}  // namespace cohort
