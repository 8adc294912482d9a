#include "runtime/tokenizer/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "kernels/core/check.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/byte_token.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/sentencepiece_bpe.h"
#include "runtime/tokenizer/sentencepiece_model.h"
#include "runtime/tokenizer/sentencepiece_unigram.h"
#include "runtime/tokenizer/tokenizer_json.h"
#include "runtime/tokenizer/unicode.h"
#include "runtime/tokenizer/vocab.h"

namespace cohort {
namespace {

constexpr int64_t kNumT5ExtraIds = 100;               // where the config does not say
constexpr std::string_view kMarker = "\xE2\x96\x81";  // "▁", which stands for a space

// What SentencePiece takes off the front of a decoded text.
struct LeadingSpace {
  bool is_dropped = false;
  bool is_dropped_again = false;  // from each piece until there is text
};

// As SentencePieceProcessor::Decode() of libsentencepiece, piece by piece.
class SentencePieceStage final : public DecodeStage {
 public:
  explicit SentencePieceStage(LeadingSpace leading) : leading_(leading) {}
  void push(std::string_view piece, bool) override {
    out_.clear();
    if (const std::optional<char> byte = parse_byte_token(piece)) {
      assembler_.append(std::string_view(&*byte, 1), out_);
    } else {
      assembler_.finish(out_);
      append_piece(piece);
    }
    pass_on();
  }
  void finish() override {
    out_.clear();
    assembler_.finish(out_);
    pass_on();
    DecodeStage::finish();
  }

 private:
  void append_piece(std::string_view piece) {
    if (!out_.empty()) is_at_front_ = false;
    if (is_at_front_ && leading_.is_dropped && piece.starts_with(kMarker)) {
      piece.remove_prefix(kMarker.size());
      is_at_front_ = leading_.is_dropped_again;
    }
    size_t copied = 0;
    for (size_t at; (at = piece.find(kMarker, copied)) != piece.npos; copied = at + kMarker.size()) {
      out_.append(piece.substr(copied, at - copied)).append(" ");
    }
    out_.append(piece.substr(copied));
  }
  void pass_on() {
    if (out_.empty()) return;
    is_at_front_ = false;
    emit(out_, false);
  }

  LeadingSpace leading_;
  bool is_at_front_ = true;
  Utf8Assembler assembler_{Utf8Assembler::OnInvalid::kReplaceByte};
  std::string out_;
};

bool is_t5_class(std::string_view name) { return name == "T5Tokenizer" || name == "MT5Tokenizer"; }

using Processor = sentencepiece::SentencePieceProcessor;

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(std::unique_ptr<Processor> processor, std::vector<AddedToken> added,
                         const SentencePieceModel& model, const TokenizerConfig& config)
      : processor_(std::move(processor)),
        bpe_(SentencePieceBpe::create(model)),
        unigram_(SentencePieceUnigram::create(model)),
        leading_{.is_dropped = model.add_dummy_prefix || model.remove_extra_whitespaces,
                 .is_dropped_again = model.remove_extra_whitespaces},
        vocab_size_(processor_->GetPieceSize()),
        matcher_(added, contents_of(added)) {
    if (processor_->unk_id() >= 0) unk_text_ = processor_->DecodeIds({processor_->unk_id()});
    for (AddedToken& token : added) {
      vocab_size_ = std::max(vocab_size_, token.id + 1);
      id_of_added_[token.content] = token.id;
      added_.emplace(token.id, std::move(token));
    }
    const auto find = [this](const std::optional<std::string>& token, int otherwise) {
      if (token) return token_to_id(*token);
      return otherwise >= 0 ? std::optional<int32_t>(otherwise) : std::nullopt;
    };
    bos_id_ = find(config.bos_token, processor_->bos_id());
    eos_id_ = find(config.eos_token, processor_->eos_id());
    if (config.mask_token) mask_id_ = token_to_id(*config.mask_token);
    const bool is_t5 = is_t5_class(config.tokenizer_class);
    if (config.add_bos_token.value_or(!is_t5)) prefix_id_ = bos_id_;
    if (config.add_eos_token.value_or(is_t5)) suffix_id_ = eos_id_;
  }

  using Tokenizer::encode;
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::string repaired;
    if (!is_valid_utf8(text)) {
      append_valid_utf8(text, repaired);
      text = repaired;
    }
    std::vector<TextPart> parts;
    matcher_.split(text, options.parse_special, options.plain, parts);
    std::vector<int32_t> ids;
    if (options.add_special_tokens && prefix_id_) ids.push_back(*prefix_id_);
    for (const TextPart& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      encode_part(text.substr(part.begin, part.end - part.begin), ids);
    }
    if (options.add_special_tokens && suffix_id_) ids.push_back(*suffix_id_);
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    const std::unique_ptr<DecodeChain> chain = open_stream();
    for (const int32_t id : ids) {
      if (const auto token = decodable_token(id, skip_special_tokens)) chain->push(*token);
    }
    chain->finish();
    return chain->take();
  }

  int32_t vocab_size() const override { return vocab_size_; }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    if (const auto added = id_of_added_.find(std::string(token)); added != id_of_added_.end()) return added->second;
    const int id = processor_->PieceToId(token);
    if (id < 0 || processor_->IdToPiece(id) != token) return std::nullopt;
    return id;
  }

  std::string id_to_token(int32_t id) const override { return std::string(spelling(id)); }

  bool is_special(int32_t id) const override {
    const auto added = added_.find(id);
    return added != added_.end() && added->second.is_special;
  }

 private:
  static std::vector<std::string> contents_of(const std::vector<AddedToken>& tokens) {
    std::vector<std::string> contents;
    for (const AddedToken& token : tokens) contents.push_back(token.content);
    return contents;
  }

  void encode_part(std::string_view text, std::vector<int32_t>& ids) const {
    if (bpe_ != nullptr) {
      bpe_->encode(text, ids);
      return;
    }
    if (unigram_ != nullptr) {
      unigram_->encode(text, ids);
      return;
    }
    std::vector<int> part_ids;
    const auto status = processor_->Encode(absl::string_view(text.data(), text.size()), &part_ids);
    COHORT_CHECK(status.ok(), status.ToString());
    ids.insert(ids.end(), part_ids.begin(), part_ids.end());
  }

  std::string_view spelling(int32_t id) const {
    if (const auto added = added_.find(id); added != added_.end()) return added->second.content;
    return id >= 0 && id < processor_->GetPieceSize() ? std::string_view(processor_->IdToPiece(id)) : "";
  }

  // As T5: A </s> B </s>, all of one segment; with <s> in front where there is one.
  Encoding add_special_tokens(std::span<const int32_t> first, const std::span<const int32_t>* second) const override {
    Encoding encoding;
    const auto append = [&](std::span<const int32_t> text) {
      encoding.ids.insert(encoding.ids.end(), text.begin(), text.end());
      if (suffix_id_) encoding.ids.push_back(*suffix_id_);
    };
    if (prefix_id_) encoding.ids.push_back(*prefix_id_);
    append(first);
    if (second != nullptr) append(*second);
    encoding.type_ids.resize(encoding.ids.size(), 0);
    return encoding;
  }

  std::unique_ptr<DecodeChain> open_stream() const override {
    std::vector<std::unique_ptr<DecodeStage>> stages;
    stages.push_back(std::make_unique<SentencePieceStage>(leading_));
    return std::make_unique<DecodeChain>(std::move(stages));
  }

  std::optional<std::string_view> decodable_token(int32_t id, bool skip_special_tokens) const override {
    if (skip_special_tokens && is_special(id)) return std::nullopt;
    if (id == processor_->unk_id()) return unk_text_;
    const std::string_view token = spelling(id);
    if (token.empty()) return std::nullopt;
    return token;
  }

  std::unique_ptr<Processor> processor_;
  std::unique_ptr<SentencePieceBpe> bpe_;          // of the two at most one;
  std::unique_ptr<SentencePieceUnigram> unigram_;  // where both are null, libsentencepiece encodes
  LeadingSpace leading_;
  std::string unk_text_;  // what an unknown piece reads as
  int32_t vocab_size_;
  AddedTokenMatcher matcher_;
  std::unordered_map<int32_t, AddedToken> added_;
  std::unordered_map<std::string, int32_t> id_of_added_;
  std::optional<int32_t> prefix_id_;
  std::optional<int32_t> suffix_id_;
};

// The sentinels "<extra_id_0>" to "<extra_id_N-1>" of T5, which follow the pieces in descending order.
Status append_extra_ids(int32_t num_pieces, int64_t count, std::vector<AddedToken>& tokens) {
  if (count < 0 || count > Vocab::kMaxId - num_pieces) {
    return invalid_argument("tokenizer_config.json: extra_ids: " + std::to_string(count) + " is out of range");
  }
  std::unordered_set<int32_t> described_ids;
  std::unordered_set<std::string> described_contents;
  for (const AddedToken& token : tokens) {
    described_ids.insert(token.id);
    described_contents.insert(token.content);
  }
  for (int32_t i = 0; i < count; ++i) {
    AddedToken token;
    token.id = num_pieces + static_cast<int32_t>(count) - 1 - i;
    token.content = "<extra_id_" + std::to_string(i) + ">";
    token.is_special = true;
    const bool is_described = described_ids.contains(token.id) || described_contents.contains(token.content);
    if (!is_described) tokens.push_back(std::move(token));
  }
  return ok_status();
}

// The control pieces of the model and the tokens that the config adds or describes.
Result<std::vector<AddedToken>> collect_added_tokens(const Processor& processor, const TokenizerConfig& config) {
  std::vector<AddedToken> tokens;
  std::vector<bool> is_described(static_cast<size_t>(processor.GetPieceSize()), false);
  for (const AddedToken& token : config.added_tokens) {
    const bool is_piece = token.id < processor.GetPieceSize();
    if (is_piece && processor.IdToPiece(token.id) != token.content) {
      return invalid_argument("tokenizer_config.json: added_tokens_decoder[\"" + std::to_string(token.id) + "\"]: \"" +
                              token.content + "\" is \"" + processor.IdToPiece(token.id) + "\" in tokenizer.model");
    }
    if (token.content.empty()) continue;
    if (is_piece) is_described[static_cast<size_t>(token.id)] = true;
    tokens.push_back(token);
  }
  if (is_t5_class(config.tokenizer_class)) {
    COHORT_RETURN_IF_ERROR(
        append_extra_ids(processor.GetPieceSize(), config.extra_ids.value_or(kNumT5ExtraIds), tokens));
  }
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (!processor.IsControl(id) || is_described[static_cast<size_t>(id)]) continue;
    AddedToken token;
    token.id = id;
    token.content = processor.IdToPiece(id);
    token.is_special = true;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> tokenizer_from_sentencepiece(std::string_view model, std::string_view config_json) {
  COHORT_ASSIGN_OR_RETURN(const TokenizerConfig config, parse_tokenizer_config(config_json));
  auto processor = std::make_unique<Processor>();
  const auto status = processor->LoadFromSerializedProto(absl::string_view(model.data(), model.size()));
  if (!status.ok()) return data_loss("tokenizer.model: not a SentencePiece model: " + status.ToString());
  COHORT_ASSIGN_OR_RETURN(const SentencePieceModel facts, parse_sentencepiece_model(model));
  COHORT_ASSIGN_OR_RETURN(std::vector<AddedToken> added, collect_added_tokens(*processor, config));
  return std::unique_ptr<Tokenizer>(
      std::make_unique<SentencePieceTokenizer>(std::move(processor), std::move(added), facts, config));
}

}  // namespace cohort
