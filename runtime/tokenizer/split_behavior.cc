#include "runtime/tokenizer/split_behavior.h"

#include <algorithm>

namespace cohort {

Result<SplitBehavior> parse_split_behavior(const JsonNode& node) {
  COHORT_ASSIGN_OR_RETURN(const JsonNode name_node, node.at("behavior"));
  COHORT_ASSIGN_OR_RETURN(const std::string name, name_node.as_string());
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return name_node.error("\"" + name +
                         "\" is not known; known: Removed, Isolated, MergedWithPrevious, "
                         "MergedWithNext, Contiguous");
}

void Splitter::begin(const Piece& piece) {
  piece_ = piece;
  pos_ = piece.begin;
  parts_.clear();
}

void Splitter::delimiter(size_t begin, size_t end) {
  if (pos_ != begin) add(pos_, begin, false);
  add(begin, end, true);
  pos_ = end;
}

void Splitter::add(size_t begin, size_t end, bool is_delimiter) {
  if (behavior_ == SplitBehavior::kIsolated) {
    emit(begin, end);  // needs no look at its neighbours
  } else {
    parts_.push_back({begin, end, is_delimiter != invert_});
  }
}

void Splitter::emit(size_t begin, size_t end) {
  if (begin < end) out_.push_back({begin, end, piece_.is_first && begin == piece_.begin});
}

void Splitter::finish() {
  if (pos_ != piece_.end) add(pos_, piece_.end, false);
  switch (behavior_) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      return emit_removed();
    case SplitBehavior::kContiguous:
      return emit_contiguous();
    case SplitBehavior::kMergedWithPrevious:
      return emit_merged_with_previous();
    case SplitBehavior::kMergedWithNext:
      return emit_merged_with_next();
  }
}

void Splitter::emit_removed() {
  for (const Part& part : parts_) {
    if (!part.is_delimiter) emit(part.begin, part.end);
  }
}

void Splitter::emit_contiguous() {
  for (size_t i = 0; i < parts_.size();) {
    size_t last = i;
    while (last + 1 < parts_.size() && parts_[last + 1].is_delimiter == parts_[i].is_delimiter) ++last;
    emit(parts_[i].begin, parts_[last].end);
    i = last + 1;
  }
}

// A delimiter joins what precedes it, unless that is a delimiter too.
void Splitter::emit_merged_with_previous() {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool takes_next = i + 1 < parts_.size() && !parts_[i].is_delimiter && parts_[i + 1].is_delimiter;
    emit(parts_[i].begin, parts_[takes_next ? i + 1 : i].end);
    if (takes_next) ++i;
  }
}

void Splitter::emit_merged_with_next() {
  for (size_t i = 0; i < parts_.size(); ++i) {
    const bool joins_next = i + 1 < parts_.size() && parts_[i].is_delimiter && !parts_[i + 1].is_delimiter;
    emit(parts_[i].begin, parts_[joins_next ? i + 1 : i].end);
    if (joins_next) ++i;
  }
}

}  // namespace cohort
