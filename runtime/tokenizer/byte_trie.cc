#include "runtime/tokenizer/byte_trie.h"

#include <algorithm>

namespace cohort {

ByteTrie::ByteTrie(std::vector<Entry> entries) {
  std::erase_if(entries, [](const Entry& entry) { return entry.key.empty(); });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  // The entries, in order, that begin with the bytes on the way to a node.
  struct Range {
    size_t begin;
    size_t end;
    size_t depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  nodes_.push_back({0, 0, kNone});
  labels_.push_back(0);
  for (size_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    for (; begin < end && entries[begin].key.size() == depth; ++begin) nodes_[node].value = entries[begin].value;
    nodes_[node].first_child = static_cast<int32_t>(nodes_.size());
    while (begin < end) {
      const char label = entries[begin].key[depth];
      size_t next = begin;
      while (next < end && entries[next].key[depth] == label) ++next;
      ranges.push_back({begin, next, depth + 1});
      nodes_.push_back({0, 0, kNone});
      labels_.push_back(label);
      ++nodes_[node].num_children;
      begin = next;
    }
  }
  root_children_.fill(kNone);
  for (int32_t i = 0; i < nodes_[0].num_children; ++i) {
    const int32_t child = nodes_[0].first_child + i;
    root_children_[static_cast<unsigned char>(labels_[static_cast<size_t>(child)])] = child;
  }
}

int32_t ByteTrie::find(std::string_view key) const {
  int32_t node = kRoot;
  for (const char byte : key) {
    node = step(node, byte);
    if (node == kNone) return kNone;
  }
  return value(node);
}

}  // namespace cohort
