// GenerationService: what the protocols of the gateway have in common: which requests are taken and when, where they
// are prepared, those under way, and what is counted of them.
//
// Of the gateway's io thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "launcher/gateway/generation.h"
#include "launcher/gateway/serving_metrics.h"
#include "launcher/gateway/task_executor.h"

namespace cohort {

class GenerationService {
 public:
  using Exchange = std::shared_ptr<HttpExchange>;
  // Calls a function from the event loop after a time, unless the pointer that it returns goes before.
  using CallLater =
      std::function<std::shared_ptr<void>(std::chrono::microseconds delay, std::function<void()> function)>;

  struct Options {
    std::string model_name;          // a label of metrics
    bool vllm_metric_names = false;  // beside Cohort's own
    CallLater call_later;
  };

  // All are borrowed but the options. What is prepared on the executor uses the tokenizer: the executor ends before it.
  GenerationService(EngineClient& engine, const Tokenizer& tokenizer, TaskExecutor& executor, Options options);
  ~GenerationService();
  GenerationService(const GenerationService&) = delete;
  GenerationService& operator=(const GenerationService&) = delete;

  const EngineHealth& health() const { return engine_.health(); }
  const EngineFacts& facts() const { return engine_.facts(); }
  const EngineStats& stats() const { return engine_.stats(); }

  // kUnavailable, and why, while the engine cannot run anything, and for good after fail_all().
  Status readiness() const;
  // The same, and while a drain keeps new requests out.
  Status admission() const;

  // New requests are not admitted from now on; those under way go on.
  void begin_drain() { is_draining_ = true; }
  bool is_draining() const { return is_draining_; }

  // Ends all that is under way, for good.
  void fail_all(const std::string& reason);

  // Requests under way.
  int64_t num_active() const { return num_preparing_ + static_cast<int64_t>(active_.size()); }

  // Has `make` make something of the body of `exchange`, and then `done` called with it, here: for a long body on
  // another thread, and for every one if it `may_take_long`. A `make` that throws makes a kInternal. `done` is not
  // called when the client has gone meanwhile.
  template <typename T>
  void prepare(const Exchange& exchange, bool may_take_long, std::function<Result<T>()> make,
               std::function<void(Result<T>)> done) {
    auto made = std::make_shared<Result<T>>(Status());
    run(
        exchange, may_take_long,
        [made, make = std::move(make)] {
          if (const Status status = guarded([&] { *made = make(); }); !status.ok()) *made = status;
        },
        [made, done = std::move(done)] { done(*std::move(made)); });
  }

  // Runs what `answer` is the answer to. Requires readiness(). `arrival` is when the request came; it fails when it has
  // not ended so long after.
  void begin(const Exchange& exchange, std::unique_ptr<GenerationAnswer> answer, std::vector<SequencePlan> plans,
             SteadyTime arrival, std::optional<std::chrono::microseconds> timeout = std::nullopt);

  // For a request that brings none.
  uint64_t draw_seed() { return seeds_(); }

  const InferenceStatistics& statistics() const { return metrics_.statistics(); }
  std::string metrics_text() { return metrics_.text(engine_.stats()); }

 private:
  static Status guarded(const std::function<void()>& function);
  void run(const Exchange& exchange, bool may_take_long, std::function<void()> task, std::function<void()> done);
  void on_end(uint64_t number, const std::string& request_id, const GenerationRecord& record);

  EngineClient& engine_;
  const Tokenizer& tokenizer_;
  TaskExecutor& executor_;
  const Options options_;
  ServingMetrics metrics_;
  bool is_draining_ = false;
  std::string failure_;  // of fail_all(): nothing begins any more
  uint64_t num_generations_ = 0;
  int64_t num_preparing_ = 0;
  struct Active {
    std::shared_ptr<Generation> generation;
    std::shared_ptr<void> timer;  // of its timeout
  };
  std::unordered_map<uint64_t, Active> active_;  // by number
  std::mt19937_64 seeds_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what the executor calls back late
};

}  // namespace cohort
