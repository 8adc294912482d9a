// EngineServer: the leader's loop: requests of gateways in, steps, tokens out.
//
// One thread, the rank's main one; the link has its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>

#include "launcher/link/link_server.h"
#include "runtime/engine/engine.h"

namespace cohort {

class EngineServer {
 public:
  // All outlive the server. `facts` are what gateways are told.
  EngineServer(Engine& engine, LinkServer& link, wire::Facts facts);

  // Announces that the engine is ready, and serves until `should_end` says so between two steps; it is asked at least
  // ten times a second. What is under way then is dropped.
  void run(const std::function<bool()>& should_end);

  // From now on requests are refused; those under way go on.
  void refuse_new() { refuses_new_ = true; }

 private:
  using Clock = std::chrono::steady_clock;

  // A request as a gateway knows it.
  struct Origin {
    int64_t connection = 0;
    uint64_t id = 0;
    auto operator<=>(const Origin&) const = default;
  };

  void take(const LinkServer::Received& received);
  void submit(Origin origin, const wire::SubmitRequest& message);
  void refuse(Origin origin, const Status& status);
  void cancel(Origin origin);
  void cancel_all(int64_t connection);
  void drop_all();
  void send_tokens(const std::vector<TokenEvent>& events);
  // By itself: together with others it may be more than a message may have.
  void send_encoding(Origin origin, const TokenEvent& event);
  void send_stats();

  Engine& engine_;
  LinkServer& link_;
  const wire::Facts facts_;
  bool refuses_new_ = false;
  std::unordered_map<int64_t, Origin> origins_;  // by the engine's id
  std::map<Origin, int64_t> ids_;                // the other way
};

}  // namespace cohort
