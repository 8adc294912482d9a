// A set of strings with a number each, to be walked byte by byte: finds all entries that a text begins with in one go.
//
// Built once, then immutable and thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace cohort {

class ByteTrie {
 public:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kRoot = 0;

  struct Entry {
    std::string_view key;
    int32_t value;  // not negative
  };

  // Of entries with the same key the last counts; empty keys are left out.
  explicit ByteTrie(std::vector<Entry> entries);

  // The node that `byte` leads to from `node`, or kNone.
  int32_t step(int32_t node, char byte) const {
    if (node == kRoot) return root_children_[static_cast<unsigned char>(byte)];
    const Node& from = nodes_[static_cast<size_t>(node)];
    const char* labels = labels_.data() + from.first_child;
    const void* at = std::memchr(labels, byte, from.num_children);
    return at == nullptr ? kNone : from.first_child + static_cast<int32_t>(static_cast<const char*>(at) - labels);
  }

  // The value of the entry that ends at `node`, or kNone.
  int32_t value(int32_t node) const { return nodes_[static_cast<size_t>(node)].value; }

  // The value of the entry `key`, or kNone.
  int32_t find(std::string_view key) const;

 private:
  // The children of a node lie side by side.
  struct Node {
    int32_t first_child;
    int32_t num_children;
    int32_t value;
  };

  std::vector<Node> nodes_;
  std::vector<char> labels_;  // [nodes_] the byte that leads to each
  std::array<int32_t, 256> root_children_;
};

}  // namespace cohort
