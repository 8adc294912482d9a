#include "runtime/tokenizer/word_piece.h"

namespace cohort {
namespace {

// The tokens that begin with `prefix`, without it.
ByteTrie make_trie(const Vocab& vocab, const std::vector<bool>& is_control, std::string_view prefix) {
  std::vector<ByteTrie::Entry> entries;
  for (int32_t id = 0; id < vocab.size(); ++id) {
    const std::string_view token = vocab.spelling(id);
    if (is_control[static_cast<size_t>(id)] || !token.starts_with(prefix)) continue;
    entries.push_back({token.substr(prefix.size()), id});
  }
  return ByteTrie(std::move(entries));
}

}  // namespace

WordPiece::WordPiece(const Vocab& vocab, const std::vector<bool>& is_control, const WordPieceOptions& options)
    : unk_id_(options.unk_id),
      max_chars_(options.max_input_chars_per_word),
      first_(make_trie(vocab, is_control, "")),
      continuing_(make_trie(vocab, is_control, options.continuing_subword_prefix)) {}

bool WordPiece::is_too_long(std::string_view word) const {
  int64_t num_chars = 0;
  for (const char byte : word) num_chars += (static_cast<unsigned char>(byte) & 0xC0) != 0x80 ? 1 : 0;
  return num_chars > max_chars_;
}

void WordPiece::encode(std::string_view piece, TokenModel::Scratch& scratch, std::vector<int32_t>& ids) const {
  if (piece.size() > WordCache::kMaxBytes) {
    encode_word(piece, ids);
    return;
  }
  WordCache& cache = static_cast<Scratch&>(scratch).cache;
  const uint64_t hash = hash_bytes(piece);
  if (cache.lookup(piece, hash, ids)) return;
  const size_t num_before = ids.size();
  encode_word(piece, ids);
  cache.insert(piece, hash, std::span(ids).subspan(num_before));
}

void WordPiece::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t num_before = ids.size();
  const ByteTrie* trie = &first_;
  for (size_t pos = is_too_long(word) ? std::string_view::npos : 0; pos != word.size();) {
    int32_t longest = ByteTrie::kNone;
    size_t longest_end = pos;
    int32_t node = ByteTrie::kRoot;
    for (size_t end = pos; end < word.size();) {
      node = trie->step(node, word[end++]);
      if (node == ByteTrie::kNone) break;
      if (trie->value(node) == ByteTrie::kNone) continue;
      longest = trie->value(node);
      longest_end = end;
    }
    if (longest == ByteTrie::kNone) {
      ids.resize(num_before);
      ids.push_back(unk_id_);
      return;
    }
    ids.push_back(longest);
    pos = longest_end;
    trie = &continuing_;
  }
}

}  // namespace cohort
