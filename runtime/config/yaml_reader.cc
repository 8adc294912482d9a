#include "runtime/config/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>
#include <utility>

namespace cohort {
namespace {

// Builds the tree from the parser's events, which unlike YAML::Node tell quotes, tags and repeated keys. What is not
// allowed is thrown as the parser's own exception, so that it ends the parsing as a syntax error does.
class TreeBuilder : public YAML::EventHandler {
 public:
  YamlNode take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (has_document_) fail(mark, "a second document, expected one");
    has_document_ = true;
  }
  void OnDocumentEnd() override {}
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { fail(mark, "anchors and aliases are not supported"); }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "?", anchor);
    if (expects_key()) fail(mark, "expected a name as a key, got nothing");
    put(node_at(mark, YamlNode::Kind::kNull));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (expects_key()) return begin_entry(mark, value);
    YamlNode node = node_at(mark, YamlNode::Kind::kScalar);
    node.text = value;
    node.is_quoted = tag == "!";
    put(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  // A map or sequence whose end has not come yet.
  struct Open {
    YamlNode node;
    bool has_key = false;  // the last entry of a map waits for its value
    std::unordered_map<std::string, int> line_of_key;
  };

  [[noreturn]] static void fail(const YAML::Mark& mark, const std::string& message) {
    throw YAML::ParserException(mark, message);
  }

  static YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }

  static void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) fail(mark, "anchors and aliases are not supported");
    // The parser says "?" for what is plain and "!" for what is quoted.
    if (tag != "?" && tag != "!" && !tag.empty()) fail(mark, "tags are not supported, got " + quote_for_message(tag));
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key;
  }

  void begin_entry(const YAML::Mark& mark, const std::string& key) {
    Open& map = open_.back();
    const int line = mark.line + 1;
    const auto [first, is_new] = map.line_of_key.emplace(key, line);
    map.node.entries.push_back({key, line, {}});
    if (!is_new) {
      fail(mark, path() + ": duplicate key, first on line " + std::to_string(first->second));
    }
    map.has_key = true;
  }

  // The keys that lead to the entry under way.
  std::string path() const {
    std::string path;
    for (const Open& open : open_) {
      if (open.node.entries.empty()) continue;
      path.append(path.empty() ? "" : ".").append(name_for_message(open.node.entries.back().key));
    }
    return path;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    check(mark, tag, anchor);
    if (expects_key()) fail(mark, "expected a name as a key, got a map or a list");
    open_.emplace_back().node = node_at(mark, kind);
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    put(std::move(node));
  }

  void put(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) return;
    parent.node.entries.back().value = std::move(node);
    parent.has_key = false;
  }

  bool has_document_ = false;
  YamlNode root_;
  std::vector<Open> open_;
};

}  // namespace

Result<YamlNode> read_yaml(std::string_view text, std::string_view where) {
  std::istringstream stream{std::string(text)};
  TreeBuilder builder;
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    std::string message(where);
    if (!error.mark.is_null()) message += ":" + std::to_string(error.mark.line + 1);
    return invalid_argument(message + ": " + on_one_line(error.msg));  // the message may quote the file
  }
  return builder.take();
}

std::string quote_for_message(std::string_view text) {
  constexpr size_t kMaxBytes = 60;
  const bool is_cut = text.size() > kMaxBytes;
  if (is_cut) text = text.substr(0, kMaxBytes - 3);
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + (is_cut ? "..." : "");
}

std::string name_for_message(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  };
  const bool is_word = !text.empty() && text.size() <= 60 && std::all_of(text.begin(), text.end(), is_plain);
  return is_word ? std::string(text) : quote_for_message(text);
}

std::string on_one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace cohort
