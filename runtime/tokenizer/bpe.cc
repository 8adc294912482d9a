#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/tokenizer/byte_token.h"
#include "runtime/tokenizer/unicode.h"

namespace cohort {
namespace {

constexpr uint32_t kNoMerge = std::numeric_limits<uint32_t>::max();
constexpr size_t kMaxShortSymbols = 48;  // up to here a scan for the best pair beats a queue
constexpr size_t kJointBits = 18;
constexpr char32_t kFirstRareChar = 0x10000;

size_t joint_index(int32_t left, int32_t right) {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  return key * 0x9E3779B97F4A7C15u >> (64 - kJointBits);
}

// The character that is the whole of `text`, if it is one.
std::optional<char32_t> single_char(std::string_view text) {
  if (text.empty() || utf8_length(text[0]) != text.size()) return std::nullopt;
  size_t pos = 0;
  return next_char(text, pos);
}

}  // namespace

Bpe::Bpe(const Vocab& vocab, const std::vector<MergeRule>& merges, BpeOptions options)
    : vocab_(vocab), options_(std::move(options)), merges_(merges.size()) {
  for (const MergeRule& merge : merges) {
    merges_.insert(merge.left, merge.right, {merge.rank, merge.joined});
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    std::string token;
    if (options_.takes_bytes) {
      append_utf8(byte_to_char(static_cast<unsigned char>(byte)), token);
    } else {
      token = spell_byte_token(static_cast<unsigned char>(byte));
    }
    byte_symbols_[byte] = vocab_.find(token).value_or(-1);
  }
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    const std::optional<char32_t> c = single_char(vocab_.spelling(id));
    if (!c) continue;
    if (*c >= kFirstRareChar) {
      rare_char_symbols_[*c] = id;
      continue;
    }
    if (char_symbols_.size() <= *c) char_symbols_.resize(*c + 1, -1);
    char_symbols_[*c] = id;
  }
  find_joints(merges);
}

int32_t Bpe::char_symbol(char32_t c) const {
  if (c < char_symbols_.size()) return char_symbols_[c];
  if (c < kFirstRareChar) return -1;
  const auto entry = rare_char_symbols_.find(c);
  return entry == rare_char_symbols_.end() ? -1 : entry->second;
}

int32_t Bpe::next_symbol(std::string_view piece, size_t& pos) const {
  if (options_.takes_bytes) return byte_symbols_[static_cast<unsigned char>(piece[pos++])];
  return char_symbol(next_char(piece, pos));
}

// Notes every pair of symbols that some merge puts next to each other inside a token. Between two
// symbols that are no such pair nothing can ever merge, so a long piece may be cut there and its
// parts encoded (and cached) separately: SentencePiece vocabularies have no pre-tokenizer, and yet
// a text falls apart before each "▁". The pairs are kept in a table of bits by hash; a collision
// only costs a cut.
void Bpe::find_joints(const std::vector<MergeRule>& merges) {
  const bool spells_differ = !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  // ignore_merges asks for the whole piece, of which a part knows nothing.
  if (spells_differ || options_.ignore_merges) return;
  std::vector<bool> joints(size_t{1} << kJointBits, false);
  for (const MergeRule& merge : merges) {
    for (const int32_t id : {merge.left, merge.right}) {
      const bool is_byte =
          !options_.takes_bytes && std::find(byte_symbols_.begin(), byte_symbols_.end(), id) != byte_symbols_.end();
      // Such a symbol stands for text that its spelling does not show.
      if (is_byte || id == options_.unk_id) return;
    }
    const std::string_view left = vocab_.spelling(merge.left);
    const std::string_view right = vocab_.spelling(merge.right);
    if (left.empty() || right.empty()) return;
    const auto symbol_of = [this](char32_t c) {
      if (!options_.takes_bytes) return char_symbol(c);
      const int byte = char_to_byte(c);
      return byte < 0 ? -1 : byte_symbols_[static_cast<size_t>(byte)];
    };
    size_t pos = 0;
    joints[joint_index(symbol_of(char_before(left, left.size())), symbol_of(next_char(right, pos)))] = true;
  }
  joints_ = std::move(joints);
}

bool Bpe::may_join(int32_t left, int32_t right) const {
  // A symbol that is not in the vocabulary may be fused with its neighbour.
  return left < 0 || right < 0 || joints_[joint_index(left, right)];
}

void Bpe::encode(std::string_view piece, TokenModel::Scratch& memory, std::vector<int32_t>& ids) const {
  auto& scratch = static_cast<Scratch&>(memory);
  if (piece.size() <= WordCache::kMaxBytes) {
    encode_cached(piece, scratch, ids);
  } else if (joints_.empty()) {
    encode_whole(piece, scratch, ids);
  } else {
    encode_in_parts(piece, scratch, ids);
  }
}

void Bpe::encode_cached(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  const uint64_t hash = hash_bytes(piece);
  if (scratch.cache.lookup(piece, hash, ids)) return;
  const size_t num_before = ids.size();
  encode_whole(piece, scratch, ids);
  scratch.cache.insert(piece, hash, std::span(ids).subspan(num_before));
}

void Bpe::encode_in_parts(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  size_t begin = 0;
  size_t num_symbols = 0;
  int32_t last = -1;
  for (size_t pos = 0; begin < piece.size();) {
    const size_t at = pos;
    const bool is_end = pos == piece.size();
    const int32_t symbol = is_end ? -1 : next_symbol(piece, pos);
    if (at > begin && (is_end || !may_join(last, symbol))) {
      const std::string_view part = piece.substr(begin, at - begin);
      if (num_symbols == 1 && last >= 0) {
        ids.push_back(last);
      } else if (part.size() <= WordCache::kMaxBytes) {
        encode_cached(part, scratch, ids);
      } else {
        encode_whole(part, scratch, ids);
      }
      begin = at;
      num_symbols = 0;
    }
    ++num_symbols;
    last = symbol;
  }
}

void Bpe::encode_whole(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const std::optional<int32_t> id = find_whole(piece, scratch)) {
      ids.push_back(*id);
      return;
    }
  }
  scratch.symbols.clear();
  load_symbols(piece, scratch);
  COHORT_CHECK(scratch.symbols.size() < static_cast<size_t>(std::numeric_limits<int32_t>::max()),
               "a piece of text has more than 2^31 symbols");
  if (scratch.symbols.size() <= kMaxShortSymbols) {
    merge_short(scratch, ids);
  } else {
    merge_long(scratch, ids);
  }
}

std::optional<int32_t> Bpe::find_whole(std::string_view piece, Scratch& scratch) const {
  if (!options_.takes_bytes) return vocab_.find(piece);
  scratch.spelling.clear();
  for (const char c : piece) append_utf8(byte_to_char(static_cast<unsigned char>(c)), scratch.spelling);
  return vocab_.find(scratch.spelling);
}

bool Bpe::append_byte_fallback(std::string_view text, std::vector<int32_t>& symbols) const {
  const size_t num_before = symbols.size();
  for (const char c : text) {
    const int32_t id = byte_symbols_[static_cast<unsigned char>(c)];
    if (id < 0) {
      symbols.resize(num_before);
      return false;
    }
    symbols.push_back(id);
  }
  return true;
}

// One symbol a character, as BPE::merge_word of Hugging Face `tokenizers`, whose order of unknown
// and byte symbols this keeps: an unknown one is only written when a known one follows.
void Bpe::load_symbols(std::string_view piece, Scratch& scratch) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  const bool has_affixes = !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  bool unk_pending = false;
  for (size_t pos = 0; pos < piece.size();) {
    const size_t begin = pos;
    int32_t id = next_symbol(piece, pos);
    std::string_view spelling = piece.substr(begin, pos - begin);
    if (has_affixes) {
      scratch.spelling.clear();
      if (begin > 0) scratch.spelling += options_.continuing_subword_prefix;
      scratch.spelling += spelling;
      if (pos == piece.size()) scratch.spelling += options_.end_of_word_suffix;
      spelling = scratch.spelling;
      id = vocab_.find(spelling).value_or(-1);
    }
    if (id >= 0) {
      if (unk_pending) symbols.push_back(*options_.unk_id);
      unk_pending = false;
      symbols.push_back(id);
      continue;
    }
    if (options_.byte_fallback && append_byte_fallback(spelling, symbols)) continue;
    if (!options_.unk_id) continue;  // without a token for it, unknown text is dropped
    if (unk_pending && !options_.fuse_unk) symbols.push_back(*options_.unk_id);
    unk_pending = true;
  }
  if (unk_pending) symbols.push_back(*options_.unk_id);
}

// For a few symbols: keeps the rank of every neighbouring pair and looks through all for the
// lowest.
void Bpe::merge_short(Scratch& scratch, std::vector<int32_t>& ids) const {
  std::vector<int32_t>& symbols = scratch.symbols;
  std::vector<uint32_t>& ranks = scratch.ranks;  // [symbols - 1] of the pair that begins at each
  const auto rank_at = [&](size_t i) {
    const Merge* merge = merges_.find(symbols[i], symbols[i + 1]);
    return merge == nullptr ? kNoMerge : merge->rank;
  };
  ranks.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) ranks.push_back(rank_at(i));
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNoMerge) break;
    const auto i = static_cast<size_t>(best - ranks.begin());
    symbols[i] = merges_.find(symbols[i], symbols[i + 1])->new_id;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    ranks.erase(best);
    if (i < ranks.size()) ranks[i] = rank_at(i);
    if (i > 0) ranks[i - 1] = rank_at(i - 1);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

// For many: a linked list of symbols and a queue of pairs by rank, then position; O(n log n). An
// entry whose pair has changed since is passed over when it comes up.
void Bpe::merge_long(Scratch& scratch, std::vector<int32_t>& ids) const {
  std::vector<Symbol>& links = scratch.links;
  std::vector<uint64_t>& queue = scratch.queue;  // rank << 32 | index of the left symbol; the least is on top
  const auto num_symbols = static_cast<int32_t>(scratch.symbols.size());
  links.clear();
  queue.clear();
  for (int32_t i = 0; i < num_symbols; ++i) {
    links.push_back({scratch.symbols[static_cast<size_t>(i)], i - 1, i + 1 < num_symbols ? i + 1 : -1, 0});
  }
  const auto link = [&](int32_t i) -> Symbol& { return links[static_cast<size_t>(i)]; };
  const auto merge_at = [&](int32_t left) -> const Merge* {
    if (left < 0 || link(left).next < 0) return nullptr;
    return merges_.find(link(left).id, link(link(left).next).id);
  };
  const auto entry_at = [](const Merge& merge, int32_t left) {
    return uint64_t{merge.rank} << 32 | static_cast<uint32_t>(left);
  };
  for (int32_t i = 0; i + 1 < num_symbols; ++i) {
    if (const Merge* merge = merge_at(i)) queue.push_back(entry_at(*merge, i));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  const auto enqueue = [&](int32_t left) {
    if (const Merge* merge = merge_at(left)) {
      queue.push_back(entry_at(*merge, left));
      std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
  };
  while (!queue.empty()) {
    const uint64_t top = queue.front();
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    const auto i = static_cast<int32_t>(top & 0xFFFFFFFFu);
    if (link(i).is_merged != 0) continue;
    const Merge* merge = merge_at(i);
    if (merge == nullptr || merge->rank != static_cast<uint32_t>(top >> 32)) continue;
    Symbol& left = link(i);
    Symbol& right = link(left.next);
    right.is_merged = 1;
    left.id = merge->new_id;
    left.next = right.next;
    if (left.next >= 0) link(left.next).prev = i;
    enqueue(left.prev);
    enqueue(i);
  }
  for (int32_t i = num_symbols > 0 ? 0 : -1; i >= 0; i = link(i).next) ids.push_back(link(i).id);
}

}  // namespace cohort
