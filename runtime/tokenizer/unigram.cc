#include "runtime/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/tokenizer/byte_token.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

// How much less likely an unknown character is than the least likely token: kUnkPenalty of SentencePiece.
constexpr double kUnkPenalty = 10.0;

ByteTrie make_trie(const Vocab& vocab, const std::vector<bool>& is_control) {
  std::vector<ByteTrie::Entry> entries;
  for (int32_t id = 0; id < vocab.size(); ++id) {
    if (!is_control[static_cast<size_t>(id)]) entries.push_back({vocab.spelling(id), id});
  }
  return ByteTrie(std::move(entries));
}

// Of an unknown character.
double find_unk_score(const std::vector<double>& scores, const std::vector<bool>& is_control, bool counts_control) {
  double least = std::numeric_limits<double>::infinity();
  for (size_t id = 0; id < scores.size(); ++id) {
    if (counts_control || !is_control[id]) least = std::min(least, scores[id]);
  }
  return least - kUnkPenalty;
}

double to_single(double value) { return static_cast<double>(static_cast<float>(value)); }

// The tokens of all 256 bytes, -1 where there is none.
std::vector<int32_t> find_byte_tokens(const Vocab& vocab) {
  std::vector<int32_t> ids;
  for (unsigned byte = 0; byte < 256; ++byte) {
    ids.push_back(vocab.find(spell_byte_token(static_cast<unsigned char>(byte))).value_or(-1));
  }
  return ids;
}

}  // namespace

Unigram::Unigram(const Vocab& vocab, std::vector<double> scores, const std::vector<bool>& is_control,
                 const UnigramOptions& options)
    : scores_(std::move(scores)),
      trie_(make_trie(vocab, is_control)),
      unk_score_(find_unk_score(scores_, is_control, !options.is_sentencepiece)),
      unk_id_(options.unk_id.value_or(-1)),
      is_sentencepiece_(options.is_sentencepiece) {
  if (is_sentencepiece_) unk_score_ = to_single(unk_score_);
  if (options.byte_fallback) byte_ids_ = find_byte_tokens(vocab);
}

void Unigram::encode(std::string_view piece, TokenModel::Scratch& memory, std::vector<int32_t>& ids) const {
  auto& scratch = static_cast<Scratch&>(memory);
  if (piece.size() > WordCache::kMaxBytes) {
    encode_piece(piece, scratch, ids);
    return;
  }
  const uint64_t hash = hash_bytes(piece);
  if (scratch.cache.lookup(piece, hash, ids)) return;
  const size_t num_before = ids.size();
  encode_piece(piece, scratch, ids);
  scratch.cache.insert(piece, hash, std::span(ids).subspan(num_before));
}

// Of ways with equal scores the one found first stays, as in Unigram::encode_optimized of Hugging Face `tokenizers`:
// the one whose last token begins further left.
void Unigram::find_best_path(std::string_view piece, std::vector<PathNode>& path) const {
  path.assign(piece.size() + 1, {0, -1, -1});
  for (size_t begin = 0; begin < piece.size();) {
    const double score_before = path[begin].score;
    const auto offer = [&](size_t end, int32_t id, double score) {
      PathNode& node = path[end];
      if (is_sentencepiece_) score = to_single(score);
      if (node.begin < 0 || score > node.score) node = {score, id, static_cast<int64_t>(begin)};
    };
    const size_t char_end = begin + utf8_length(piece[begin]);
    bool has_char = false;
    int32_t node = ByteTrie::kRoot;
    for (size_t end = begin; end < piece.size();) {
      node = trie_.step(node, piece[end++]);
      if (node == ByteTrie::kNone) break;
      const int32_t id = trie_.value(node);
      if (id == ByteTrie::kNone) continue;
      offer(end, id, scores_[static_cast<size_t>(id)] + score_before);
      has_char |= end == char_end;
    }
    if (!has_char) offer(char_end, unk_id_, unk_score_ + score_before);
    begin = char_end;
  }
}

void Unigram::encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  find_best_path(piece, scratch.path);
  const auto num_before = static_cast<std::ptrdiff_t>(ids.size());
  // From the end: neighbouring unknown characters make one unknown text.
  size_t unknown_end = piece.size();
  for (size_t end = piece.size(); end > 0;) {
    const PathNode& node = scratch.path[end];
    const auto begin = static_cast<size_t>(node.begin);
    if (node.id != unk_id_) {
      append_unknown_reversed(piece.substr(end, unknown_end - end), ids);
      ids.push_back(node.id);
      unknown_end = begin;
    }
    end = begin;
  }
  append_unknown_reversed(piece.substr(0, unknown_end), ids);
  std::reverse(ids.begin() + num_before, ids.end());
}

void Unigram::append_unknown_reversed(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  const int32_t whole = is_sentencepiece_ ? ByteTrie::kNone : trie_.find(text);
  if (whole != ByteTrie::kNone) {
    ids.push_back(whole);
    return;
  }
  const size_t num_before = ids.size();
  if (!byte_ids_.empty()) {
    for (const char byte : text) ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    const auto bytes = std::span(ids).subspan(num_before);
    if (std::find(bytes.begin(), bytes.end(), -1) == bytes.end()) {
      std::reverse(bytes.begin(), bytes.end());
      return;
    }
    ids.resize(num_before);
  }
  if (unk_id_ >= 0) ids.push_back(unk_id_);
}

}  // namespace cohort
