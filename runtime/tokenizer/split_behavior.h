// What becomes of the delimiters when a text is split at them, as SplitDelimiterBehavior of Hugging
// Face.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/tokenizer/json_node.h"
#include "runtime/tokenizer/pre_tokenizer.h"

namespace cohort {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Reads the member "behavior".
Result<SplitBehavior> parse_split_behavior(const JsonNode& node);

// Takes the delimiters of one piece after another, from left to right, and collects the pieces that
// remain.
class Splitter {
 public:
  Splitter(SplitBehavior behavior, bool invert, std::vector<Piece>& out)
      : behavior_(behavior), invert_(invert), out_(out) {}

  void begin(const Piece& piece);
  void delimiter(size_t begin, size_t end);
  void finish();

 private:
  struct Part {
    size_t begin;
    size_t end;
    bool is_delimiter;
  };

  void add(size_t begin, size_t end, bool is_delimiter);
  void emit(size_t begin, size_t end);
  void emit_removed();
  void emit_contiguous();
  void emit_merged_with_previous();
  void emit_merged_with_next();

  SplitBehavior behavior_;
  bool invert_;
  std::vector<Piece>& out_;
  Piece piece_{};
  size_t pos_ = 0;
  std::vector<Part> parts_;
};

}  // namespace cohort
