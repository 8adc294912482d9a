// Decoders: from the spellings of tokens back to text, one token at a time.
//
// A TokenDecoder is what a tokenizer.json says, immutable and thread-safe. A DecodeChain is one stream
// of tokens under way through it: a chain of stages, each of which passes on what it is sure of and
// holds back the rest. Whole texts and streams go through the same chain, so that they cannot come
// to differ.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"

namespace cohort {

// One step of a chain.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;

  // Takes a token, or when `continues` is set more text of the token before, as happens after a
  // stage has fused all tokens into one.
  virtual void push(std::string_view text, bool continues) = 0;

  // No more tokens follow: passes on all that was held back. Called once.
  virtual void finish() { next_->finish(); }

  void set_next(DecodeStage* next) { next_ = next; }

 protected:
  void emit(std::string_view text, bool continues) { next_->push(text, continues); }

 private:
  DecodeStage* next_ = nullptr;
};

enum class DecodeMode {
  kWhole,   // push() may hold back text to decide as Hugging Face does on sight of all tokens
  kStream,  // text is passed on as soon as its characters are complete
};

class DecodeChain {
 public:
  explicit DecodeChain(std::vector<std::unique_ptr<DecodeStage>> stages);
  ~DecodeChain();
  DecodeChain(const DecodeChain&) = delete;
  DecodeChain& operator=(const DecodeChain&) = delete;

  void push(std::string_view token) { stages_.front()->push(token, false); }
  void finish() { stages_.front()->finish(); }

  // What has come out since the last call; whole characters only.
  std::string take();

 private:
  class Sink;
  std::unique_ptr<Sink> sink_;
  std::vector<std::unique_ptr<DecodeStage>> stages_;
};

class TokenDecoder {
 public:
  TokenDecoder();  // joins tokens by spaces, as Hugging Face does without a decoder

  std::unique_ptr<DecodeChain> open(DecodeMode mode) const;

 private:
  friend Result<TokenDecoder> parse_decoder(const JsonNode& node);

  using StageFactory = std::function<std::unique_ptr<DecodeStage>(DecodeMode)>;
  struct Step {
    StageFactory make;
    bool needs_whole_tokens;  // cannot take a token in parts
    bool fuses;               // yields a single token
  };
  struct Parser;

  std::vector<Step> steps_;
};

// Reads the value of the key "decoder".
Result<TokenDecoder> parse_decoder(const JsonNode& node);

// Holds back the bytes of a character until they are complete. Shared by the stages that deal in
// bytes.
class Utf8Assembler {
 public:
  enum class OnInvalid { kReplaceSubpart, kReplaceByte };
  explicit Utf8Assembler(OnInvalid on_invalid) : on_invalid_(on_invalid) {}

  // Appends to `out` the characters that `bytes` complete, and U+FFFD for each maximal ill-formed
  // subpart or for each of its bytes.
  void append(std::string_view bytes, std::string& out);

  // Appends what stands for an unfinished character.
  void finish(std::string& out);

 private:
  void replace(size_t num_bytes, std::string& out) const;

  OnInvalid on_invalid_;
  std::string pending_;
};

}  // namespace cohort
