// EngineLinkClient: the engine as the gateway reaches it, over the engine link (launcher/link/engine_link.proto).
//
// While nobody listens at the path, or the leader still loads, the engine is "loading". It is broken once the link has
// ended or the leader has said nothing for longer than a step may take: its word comes from the loop of the steps, so
// that an engine which makes no progress cannot look well.
//
// One thread: the one that runs `io`.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "launcher/gateway/engine_client.h"

namespace boost::asio {
class io_context;
}

namespace cohort {

class EngineLinkClient : public EngineClient {
 public:
  // Connects to `path`, again and again until somebody listens; throws std::runtime_error that names it if it cannot be
  // that of a socket. `max_silence`: after which a leader that is ready is taken for broken. `on_broken` is called at
  // most once, after every request has had its last event.
  EngineLinkClient(boost::asio::io_context& io, const std::string& path, std::chrono::milliseconds max_silence,
                   std::function<void(const std::string& reason)> on_broken);
  ~EngineLinkClient() override;

  const EngineHealth& health() const override;
  const EngineFacts& facts() const override;
  const EngineStats& stats() const override;
  uint64_t submit(GenerationRequest request, OnEvent on_event) override;
  void cancel(uint64_t id) override;

  // As if the leader had said so: for who knows better.
  void set_broken(const std::string& reason);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace cohort
