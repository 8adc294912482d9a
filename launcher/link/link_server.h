// LinkServer: the leader's end of the engine link (engine_link.proto): a local socket that gateways connect to.
//
// Only processes of the same user may: the socket is theirs to open, and who connects is asked of the system. What does
// not speak the protocol is disconnected, and harms nobody else.
//
// Thread-safe: a thread of its own moves the bytes, so that the loop of the steps never waits for a socket.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/link/engine_link.pb.h"

namespace cohort {

class LinkServer {
 public:
  // Listens at `path`, or for an empty one in a new directory that only this user may enter, for one gateway: once it
  // has said hello, nobody else can connect, and the directory is gone. Throws std::runtime_error that names the path
  // and what is wrong with it.
  explicit LinkServer(const std::string& path);
  // Sends what is left to send, for a short while, and disconnects everybody.
  ~LinkServer();
  LinkServer(const LinkServer&) = delete;
  LinkServer& operator=(const LinkServer&) = delete;

  const std::string& path() const;

  struct Received {
    int64_t connection = 0;
    std::optional<wire::ToEngine> message;  // nothing: the connection has ended
  };
  // What has come since the last call; waits until there is something, at most so long.
  std::vector<Received> receive(std::chrono::milliseconds patience);

  // Nothing happens if the connection has ended.
  void send(int64_t connection, const wire::FromEngine& message);
  // To everybody who has said hello.
  void broadcast(const wire::FromEngine& message);
  // The same, and from now on the answer to hello: how far loading is, and then what there is to know.
  void announce(const wire::FromEngine& message);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
