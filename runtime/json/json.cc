#include "runtime/json/json.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cohort {
namespace {

using nlohmann::json;

// Reads a text and notes how far the parser has come, which nlohmann tells its handler for syntax
// errors only.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// Builds the value; stops at the first thing that is not allowed.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(std::string_view text, int max_depth) : text_(text), furthest_(text.data()), max_depth_(max_depth) {}

  const char** furthest() { return &furthest_; }
  json take() { return std::move(root_); }
  const std::string& error() const { return error_; }
  size_t error_offset() const { return error_offset_; }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return fail("binary value", offset()); }
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    json& object = *open_.back();
    if (object.contains(name)) return fail("duplicate key " + json(name).dump(), key_offset());
    member_ = &object[std::move(name)];
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": our own
    // position is put in front instead.
    std::string what = error.what();
    if (const size_t end = what.find(": "); end != std::string::npos && what.find("parse error at") < end)
      what.erase(0, end + 2);
    else if (const size_t bracket = what.find("] "); bracket != std::string::npos)
      what.erase(0, bracket + 2);
    return fail(std::move(what), position == 0 ? 0 : position - 1);
  }

 private:
  size_t offset() const { return static_cast<size_t>(furthest_ - text_.data()); }

  // Where the key that was just read begins: at the quote before its last one that no backslash
  // escapes.
  size_t key_offset() const {
    size_t at = std::min(offset(), text_.size());
    for (int quotes = 0; at > 0 && quotes < 2;) {
      --at;
      size_t escapes = 0;
      while (escapes < at && text_[at - 1 - escapes] == '\\') ++escapes;
      if (text_[at] == '"' && escapes % 2 == 0) ++quotes;
    }
    return at;
  }

  bool fail(std::string message, size_t offset) {
    error_ = std::move(message);
    error_offset_ = offset;
    return false;
  }

  json* place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    *member_ = std::move(value);
    return member_;
  }

  template <typename T>
  bool put(T&& value) {
    place(json(std::forward<T>(value)));
    return true;
  }

  bool open(json value) {
    if (static_cast<int>(open_.size()) >= max_depth_)
      return fail("nested deeper than " + std::to_string(max_depth_), offset() == 0 ? 0 : offset() - 1);
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const char* furthest_;
  int max_depth_;
  json root_;
  std::vector<json*> open_;  // the arrays and objects around the current value; the parents do not grow meanwhile
  json* member_ = nullptr;   // of the innermost object, the one whose key was read last
  std::string error_;
  size_t error_offset_ = 0;
};

// "where:line:column: message"
Status error_at(std::string_view text, size_t offset, std::string_view where, const std::string& message) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t last_newline = before.rfind('\n');
  const size_t column = before.size() - (last_newline == std::string_view::npos ? 0 : last_newline + 1) + 1;
  return invalid_argument(std::string(where) + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " +
                          message);
}

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view where, int max_depth) {
  Builder builder(text, max_depth);
  const CountingIterator begin(text.data(), builder.furthest());
  const CountingIterator end(text.data() + text.size(), builder.furthest());
  if (!json::sax_parse(begin, end, &builder)) return error_at(text, builder.error_offset(), where, builder.error());
  return builder.take();
}

Result<json> read_json_file(const std::filesystem::path& path, int64_t max_bytes) {
  std::error_code code;
  const auto type = std::filesystem::status(path, code).type();
  if (type == std::filesystem::file_type::not_found) return not_found(path.string() + ": no such file");
  if (type != std::filesystem::file_type::regular)
    return invalid_argument(path.string() + ": expected a regular file" + (code ? ", " + code.message() : ""));
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid_argument(path.string() + ": cannot be opened: " + std::strerror(errno));
  const auto num_bytes = static_cast<int64_t>(std::filesystem::file_size(path, code));
  if (code || num_bytes > max_bytes)
    return invalid_argument(path.string() + ": " + std::to_string(num_bytes) + " bytes, expected at most " +
                            std::to_string(max_bytes));
  std::string text(static_cast<size_t>(num_bytes), '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(num_bytes)))
    return data_loss(path.string() + ": cannot be read: " + std::strerror(errno));
  return parse_json(text, path.string());
}

}  // namespace cohort
