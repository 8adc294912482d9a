#include "runtime/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "kernels/core/check.h"

namespace cohort {
namespace {

constexpr int kLeader = 0;  // in RankComms::control

// Whether the keys of a position are the same whatever else there is than what comes before it.
bool has_lasting_keys(const ModelSpec& spec) {
  if (!spec.is_causal || spec.has_source()) return false;
  return spec.position != PositionKind::kRotary || !varies_with_length(spec.rotary.scaling.kind);
}

SchedulerOptions scheduler_options(const ModelRunner& runner, const RankComms& comms) {
  const ModelSpec& spec = runner.decoder().spec();
  const EngineOptions& options = runner.options();
  return {.vocab = spec.vocab,
          .max_position = spec.max_position,
          .block_size = options.block_size,
          .num_blocks = options.num_blocks,
          .max_tokens_per_step = options.max_tokens_per_step,
          .max_seqs = options.max_seqs,
          .max_waiting = options.max_waiting,
          .num_micro_batches = comms.layout.sizes().pipeline,
          .overlap_steps = options.overlap_steps,
          .shares_prefixes = options.shares_prefixes && has_lasting_keys(spec),
          .encodes = spec.is_encoder(),
          .decoder_start_token = spec.has_source() ? std::optional(spec.decoder_start_token) : std::nullopt};
}

// INVALID_ARGUMENT unless the model has what is wanted of it.
Status check_encoding(const GenerationRequest& request, const ModelSpec& spec) {
  if (request.encoding.pooler_output && !spec.has_pooler) return invalid_argument("the model has no pooler");
  if (request.encoding.logits && num_logits(spec) == 0) return invalid_argument("the model has no logits");
  for (const int32_t token : request.encoding.logits_of) {
    if (!has_logits_of_tokens(spec)) return invalid_argument("logits_of: the model has no logits of tokens");
    if (token < 0 || token >= std::ssize(request.prompt)) {
      return invalid_argument("logits_of: " + std::to_string(token) + " is no token of the prompt");
    }
  }
  for (const int32_t type : request.token_types) {
    if (type < 0 || type >= std::max<int64_t>(spec.num_token_types, 1)) {
      return invalid_argument("token_types: " + std::to_string(type) + " is not in [0, " +
                              std::to_string(spec.num_token_types) + ")");
    }
  }
  return ok_status();
}

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The rank that samples, in RankComms::control.
int sampler(const RankComms& comms) {
  const ParallelSizes& sizes = comms.layout.sizes();
  return (sizes.pipeline - 1) * sizes.tensor;
}

void send_to_followers(const wire::StepPlan& plan, const RankComms& comms) {
  if (comms.control == nullptr) return;
  const std::string message = plan.SerializeAsString();
  for (int peer = 1; peer < comms.control->size(); ++peer) comms.control->send(peer, message);
}

// The plan that comes before the oldest step under way is done and while another may be started; nothing if none does.
std::optional<std::string> receive_before_result(const ModelRunner& runner, const RankComms& comms) {
  const Deadline deadline(runner.monitor(), "a step", runner.options().step_timeout);
  while (!runner.is_done()) {
    if (runner.num_under_way() < ModelRunner::kMaxUnderWay) {
      if (auto plan = comms.control->try_receive(kLeader)) return plan;
    }
    std::this_thread::yield();
  }
  return std::nullopt;
}

// The leader's next plan. The rank that samples answers steps meanwhile, as they are done, so that a plan that is there
// is on the device before the step before it ends.
std::string receive_plan(ModelRunner& runner, const RankComms& comms) {
  while (comms.layout.is_sampler() && runner.num_under_way() > 0) {
    if (auto plan = receive_before_result(runner, comms)) return *std::move(plan);
    comms.control->send(kLeader, runner.finish().SerializeAsString());
  }
  return comms.control->receive(kLeader);
}

}  // namespace

SequenceLimits sequence_limits(const ModelSpec& spec) {
  return {.vocab = spec.vocab, .max_position = spec.max_position, .has_source = spec.has_source()};
}

Engine::Engine(ModelRunner& runner, const RankComms& comms)
    : runner_(runner), comms_(comms), scheduler_(scheduler_options(runner, comms)) {
  COHORT_CHECK(comms.layout.is_leader(), "rank " + std::to_string(comms.layout.rank()));
}

Result<int64_t> Engine::submit(GenerationRequest request) {
  COHORT_RETURN_IF_ERROR(check_encoding(request, runner_.decoder().spec()));
  return scheduler_.submit(std::move(request), now_s());
}

Engine::~Engine() {
  try {
    if (!is_stopped_) stop();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stopping the ranks: %s\n", error.what());
  }
}

void Engine::stop() {
  wire::StepPlan plan;
  plan.set_stop(true);
  send_to_followers(plan, comms_);
  is_stopped_ = true;
}

void Engine::start(const wire::StepPlan& plan) {
  send_to_followers(plan, comms_);
  runner_.start(plan);
}

wire::StepResult Engine::receive_result() {
  if (comms_.layout.is_sampler()) return runner_.finish();
  wire::StepResult result;
  const Deadline deadline(runner_.monitor(), "a step", runner_.options().step_timeout);
  const FlightRecord record(comms_.recorder.get(), "result", "control", 0, sampler(comms_));
  COHORT_CHECK(result.ParseFromString(comms_.control->receive(sampler(comms_))), "torn result");
  return result;
}

std::vector<TokenEvent> Engine::step() {
  COHORT_CHECK(has_work(), "step() without work");
  while (scheduler_.num_under_way() < scheduler_.max_under_way()) {
    auto plan = scheduler_.next_plan(now_s());
    if (!plan) break;
    start(*plan);
    scheduler_.recycle(*std::move(plan));
  }
  return scheduler_.complete(receive_result());
}

void follow(ModelRunner& runner, const RankComms& comms) {
  for (;;) {
    wire::StepPlan plan;
    COHORT_CHECK(plan.ParseFromString(receive_plan(runner, comms)), "torn plan");
    if (plan.stop()) return;
    runner.start(plan);
  }
}

}  // namespace cohort
