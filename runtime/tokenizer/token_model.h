// The model of a tokenizer.json: it turns the pieces that the pre-tokenizer leaves into ids, each by itself.
//
// Immutable; thread-safe with a Scratch per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace cohort {

class TokenModel {
 public:
  // The memory that encode() works in, and keeps from call to call.
  class Scratch {
   public:
    virtual ~Scratch() = default;
  };

  virtual ~TokenModel() = default;

  virtual std::unique_ptr<Scratch> make_scratch() const = 0;

  // Appends the ids of `piece`, which is valid UTF-8 (or bytes, see BpeOptions) and not empty. `scratch` is of this
  // model's make_scratch().
  virtual void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const = 0;
};

}  // namespace cohort
