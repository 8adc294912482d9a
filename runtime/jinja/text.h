// Text that knows, character by character, whether it came from the template or from the data given to it.
//
// A chat template mixes control tokens, which it spells itself, with what users wrote. Every operation here carries
// the origin of its characters along, so that the tokenizer can be told exactly which of them may spell a control
// token.
//
// Values; as thread-safe as std::string. Bytes are valid UTF-8; offsets and sizes are in bytes unless a name says
// chars.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::jinja {

class Text {
 public:
  struct Run {
    size_t end;  // offset of the first byte after it
    bool is_data;
  };

  Text() = default;
  explicit Text(std::string bytes, bool is_data = false);

  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // Runs from left to right, none empty, neighbours of different origin.
  const std::vector<Run>& runs() const { return runs_; }

  // Whether it is marked as safe HTML: joined with text that is not, that text is escaped.
  bool is_markup() const { return is_markup_; }
  void set_markup(bool is_markup) { is_markup_ = is_markup; }

  void append(std::string_view bytes, bool is_data);
  void append(const Text& other) { append(other, 0, other.size()); }
  void append(const Text& other, size_t begin, size_t end);

  // The bytes [begin, end). Requires begin <= end <= size().
  Text slice(size_t begin, size_t end) const;

  // Calls visit(bytes, is_data) for each run within [begin, end).
  template <typename Visit>
  void visit_runs(size_t begin, size_t end, Visit visit) const {
    for (size_t i = first_run(begin); begin < end; ++i) {
      const size_t stop = runs_[i].end < end ? runs_[i].end : end;
      visit(view().substr(begin, stop - begin), runs_[i].is_data);
      begin = stop;
    }
  }

 private:
  size_t first_run(size_t offset) const;  // index of the run with the byte at `offset`

  std::string bytes_;
  std::vector<Run> runs_;
  bool is_markup_ = false;
};

using TextPtr = std::shared_ptr<const Text>;

}  // namespace cohort::jinja
