#include "parallel/comm/host_comm.h"

#include <cstdint>
#include <cstring>

#include "kernels/core/check.h"

namespace cohort {
namespace {

// Messages one after the other, each behind its length.
std::string join(const std::vector<std::string>& messages) {
  std::string joined;
  for (const std::string& message : messages) {
    const auto length = static_cast<uint64_t>(message.size());
    joined.append(reinterpret_cast<const char*>(&length), sizeof(length));
    joined += message;
  }
  return joined;
}

std::vector<std::string> split_joined(std::string_view joined) {
  std::vector<std::string> messages;
  while (!joined.empty()) {
    uint64_t length = 0;
    COHORT_CHECK(joined.size() >= sizeof(length), "torn message");
    std::memcpy(&length, joined.data(), sizeof(length));
    joined.remove_prefix(sizeof(length));
    COHORT_CHECK(joined.size() >= length, "torn message");
    messages.emplace_back(joined.substr(0, length));
    joined.remove_prefix(length);
  }
  return messages;
}

}  // namespace

std::vector<std::string> all_gather(HostComm& comm, std::string_view message) {
  if (comm.rank() != 0) {
    comm.send(0, message);
    return split_joined(comm.receive(0));
  }
  std::vector<std::string> messages{std::string(message)};
  for (int peer = 1; peer < comm.size(); ++peer) messages.push_back(comm.receive(peer));
  const std::string joined = join(messages);
  for (int peer = 1; peer < comm.size(); ++peer) comm.send(peer, joined);
  return messages;
}

std::string broadcast(HostComm& comm, std::string message, int root) {
  if (comm.rank() != root) return comm.receive(root);
  for (int peer = 0; peer < comm.size(); ++peer) {
    if (peer != root) comm.send(peer, message);
  }
  return message;
}

void barrier(HostComm& comm) { all_gather(comm, ""); }

}  // namespace cohort
