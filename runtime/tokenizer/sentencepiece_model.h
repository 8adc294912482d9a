// What a tokenizer.model says of itself, read from its bytes: the public interface of
// libsentencepiece does not tell. The fields are those of sentencepiece_model.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"

namespace cohort {

struct SentencePieceModel {
  enum PieceType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum ModelType { kUnigram = 1, kBpe = 2 };

  struct Piece {
    std::string text;
    float score = 0;
    uint64_t type = kNormal;
  };

  std::vector<Piece> pieces;  // by id
  uint64_t model_type = kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string charsmap;  // see charsmap.h; empty where the normalizer is the identity
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

// Reads the bytes of a tokenizer.model; kDataLoss when they are no protobuf message.
Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes);

}  // namespace cohort
