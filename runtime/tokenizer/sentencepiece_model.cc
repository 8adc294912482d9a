#include "runtime/tokenizer/sentencepiece_model.h"

#include <cstring>
#include <optional>

namespace cohort {
namespace {

// One field of a protobuf message.
struct Field {
  enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  uint64_t number;
  uint64_t wire_type;
  uint64_t value = 0;      // kVarint, kFixed32
  std::string_view bytes;  // kBytes

  // A known field of another type is an unknown one, to protobuf too.
  bool is(uint64_t wanted_number, WireType type) const { return number == wanted_number && wire_type == type; }
};

// Walks over the fields of a message.
class FieldReader {
 public:
  explicit FieldReader(std::string_view message) : rest_(message) {}

  // The next field, or nothing at the end or at an error; see failed().
  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const uint64_t key = varint();
    Field field{.number = key >> 3, .wire_type = key & 7, .value = 0, .bytes = {}};
    if (field.wire_type == Field::kVarint) {
      field.value = varint();
    } else if (field.wire_type == Field::kBytes) {
      field.bytes = take(varint());
    } else if (field.wire_type == Field::kFixed32) {
      uint32_t word = 0;
      const std::string_view bytes = take(sizeof(word));
      if (!failed_) std::memcpy(&word, bytes.data(), sizeof(word));
      field.value = word;
    } else if (field.wire_type == Field::kFixed64) {
      take(8);
    } else {
      failed_ = true;
    }
    if (failed_) return std::nullopt;
    return field;
  }

  bool failed() const { return failed_; }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;
    return 0;
  }
  std::string_view take(uint64_t num_bytes) {
    if (num_bytes > rest_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view bytes = rest_.substr(0, num_bytes);
    rest_.remove_prefix(num_bytes);
    return bytes;
  }

  std::string_view rest_;
  bool failed_ = false;
};

bool read_piece(std::string_view message, SentencePieceModel::Piece& piece) {
  FieldReader reader(message);
  while (const std::optional<Field> field = reader.next()) {
    if (field->is(1, Field::kBytes)) piece.text = field->bytes;
    if (field->is(2, Field::kFixed32)) {
      const auto bits = static_cast<uint32_t>(field->value);
      std::memcpy(&piece.score, &bits, sizeof(bits));
    }
    if (field->is(3, Field::kVarint)) piece.type = field->value;
  }
  return !reader.failed();
}

bool read_trainer_spec(std::string_view message, SentencePieceModel& model) {
  FieldReader reader(message);
  while (const std::optional<Field> field = reader.next()) {
    if (field->is(3, Field::kVarint)) model.model_type = field->value;
    if (field->is(24, Field::kVarint)) model.treat_whitespace_as_suffix = field->value != 0;
    if (field->is(35, Field::kVarint)) model.byte_fallback = field->value != 0;
  }
  return !reader.failed();
}

bool read_normalizer_spec(std::string_view message, SentencePieceModel& model) {
  FieldReader reader(message);
  while (const std::optional<Field> field = reader.next()) {
    if (field->is(2, Field::kBytes)) model.charsmap = field->bytes;
    if (field->is(3, Field::kVarint)) model.add_dummy_prefix = field->value != 0;
    if (field->is(4, Field::kVarint)) model.remove_extra_whitespaces = field->value != 0;
    if (field->is(5, Field::kVarint)) model.escape_whitespaces = field->value != 0;
  }
  return !reader.failed();
}

}  // namespace

Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes) {
  SentencePieceModel model;
  FieldReader reader(bytes);
  bool ok = true;
  while (const std::optional<Field> field = reader.next()) {
    if (field->is(1, Field::kBytes)) ok &= read_piece(field->bytes, model.pieces.emplace_back());
    if (field->is(2, Field::kBytes)) ok &= read_trainer_spec(field->bytes, model);
    if (field->is(3, Field::kBytes)) ok &= read_normalizer_spec(field->bytes, model);
  }
  if (!ok || reader.failed()) return data_loss("tokenizer.model: not a SentencePiece model");
  return model;
}

}  // namespace cohort
