// A compiled regular expression with the meaning it has in a tokenizer.json, where Oniguruma (Ruby
// syntax) runs it; here PCRE2 does, compiled to machine code.
//
// Immutable; matching takes a RegexScratch, of which each thread uses its own.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

// The memory that a match needs; any Regex may use it.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Regex {
 public:
  // An error shows the pattern and the offset at which it stops making sense.
  static Result<Regex> compile(std::string_view pattern);

  // Matches exactly `text`.
  static Result<Regex> literal(std::string_view text);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t begin;
    size_t end;
  };

  // Finds matches from left to right, as Oniguruma's find_iter: an empty match right after the
  // match before it is passed over. Requires valid UTF-8. A pattern that exceeds PCRE2's match or
  // memory limit ends the search there, so that the rest of the text counts as not matched; no
  // pattern in use comes near them.
  class Iterator {
   public:
    Iterator(const Regex& regex, std::string_view text, RegexScratch& scratch)
        : regex_(regex), text_(text), scratch_(scratch) {}
    bool next(Match& match);

   private:
    const Regex& regex_;
    std::string_view text_;
    RegexScratch& scratch_;
    size_t pos_ = 0;
    size_t last_end_ = static_cast<size_t>(-1);
  };

 private:
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);

  bool search(std::string_view text, size_t from, RegexScratch& scratch, Match& match) const;

  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
