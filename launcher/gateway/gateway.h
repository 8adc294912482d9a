// Gateway: what clients talk to: the HTTP server, the protocols that it speaks, and the engine behind them.
//
// Everything happens on one thread of the gateway's own, but for what protocols leave to a few more; the engine is
// reached over the engine link, and may be in this process or another.
//
// Its life: it answers from open() on, with 503 while the engine loads. SIGTERM, SIGINT and SIGUSR2 (mpirun passes that
// one on) begin a drain: new requests get 503, those under way go on, for config.server.drain_timeout_s at most, are
// then ended with an error, and has_ended(). A second signal ends the process at once. When the engine breaks, every
// request under way gets an error, health is red, and a second later on_failure is called.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/core/status.h"
#include "runtime/config/config.h"
#include "runtime/models/family.h"

namespace cohort {

class Gateway {
 public:
  struct Options {
    Config config;
    GenerationDefaults generation;                              // of the model at config.model.path
    ModelSpec spec;                                             // likewise
    std::string version;                                        // of Cohort
    std::string link_path;                                      // where the engine listens
    std::function<void(const std::string& reason)> on_failure;  // called on the gateway's thread
    // How long after SIGTERM somebody ends the process, if that is known: requests are told before.
    std::optional<std::chrono::milliseconds> patience_after_sigterm;
  };

  // Reads tokenizer, templates and keys, opens the port and serves. An error names the file, key or address.
  static Result<std::unique_ptr<Gateway>> open(Options options);
  // Only reads them.
  static Status check(const Config& config);
  ~Gateway();  // closes what is open

  // Whether it has drained. Any thread.
  bool has_ended() const;

  // The engine has failed: ends every request with an error and returns when clients have it, after a second at most.
  // Any thread.
  void fail(const std::string& reason);

 private:
  class Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cohort
