// cohort encode: what an encoder makes of texts, on the ranks that the launcher started or on this one process.
#include <fmt/format.h>

#include <chrono>

#include "launcher/bootstrap/job.h"
#include "launcher/cli/command.h"
#include "launcher/cli/config_flags.h"
#include "launcher/cli/encode_output.h"
#include "launcher/cli/encode_requests.h"
#include "launcher/cli/rank_engine.h"
#include "runtime/engine/engine.h"

namespace cohort {
namespace {

using Clock = std::chrono::steady_clock;

struct EncodeFlags {
  EncodeInputs inputs;
  bool json = false;
  bool quiet = false;
};

// All that there is for JSON, what people are told without.
EncodingParts wanted_parts(const ModelSpec& spec, bool json) {
  if (num_logits(spec) > 0) return {.logits = true};
  return {.hidden_states = json, .pooler_output = json && spec.has_pooler, .embedding = true};
}

// Writes a line an input, in their order, as soon as those before are there.
Status run_engine(Engine& engine, const std::vector<GenerationRequest>& requests, const ModelSpec& spec, bool json) {
  for (const GenerationRequest& request : requests) {
    COHORT_ASSIGN_OR_RETURN([[maybe_unused]] const int64_t id, engine.submit(request));
  }
  std::vector<std::shared_ptr<const Encoding>> encodings(requests.size());
  size_t num_written = 0;
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) {
      if (!event.encoding) {
        return Status(StatusCode::kInternal,
                      fmt::format("input {}: what the model computes are no finite numbers", event.request_id + 1));
      }
      encodings[static_cast<size_t>(event.request_id)] = event.encoding;
    }
    for (; num_written < requests.size() && encodings[num_written]; ++num_written) {
      const auto encoding = std::move(encodings[num_written]);
      fmt::print("{}\n", json ? encoding_json(requests[num_written], *encoding, spec) : encoding_text(*encoding, spec));
    }
    COHORT_RETURN_IF_ERROR(flush_output());
  }
  return ok_status();
}

// One rank's part of the command.
Status encode(Job& job, const Config& config, const EncodeFlags& flags, bool dry_run) {
  RankModel model = open_rank_model(job, config);
  const ModelSpec spec = model.model.config.spec;
  EncodeRequests inputs;
  job.agree([&]() -> Status {
    if (!spec.is_encoder()) {
      return invalid_argument(config.model.path + ": a model that generates; `cohort encode` needs an encoder");
    }
    if (!model.layout.is_leader() || (dry_run && flags.inputs.empty())) return ok_status();
    COHORT_ASSIGN_OR_RETURN(inputs, make_encode_requests(flags.inputs, wanted_parts(spec, flags.json),
                                                         config.model.path, model.model.config));
    return ok_status();
  });
  const RankPlan plan = make_rank_plan(job, config, model.model, model.layout, model.device, inputs.requests);
  if (dry_run) return print_rank_table(job, plan);

  RankEngine rank(job, std::move(model), plan, static_cast<int>(config.device.threads), flags.quiet);
  if (!rank.is_leader()) {
    follow(rank.runner(), rank.comms());
    return ok_status();
  }
  Engine engine(rank.runner(), rank.comms());
  const Clock::time_point start = Clock::now();
  COHORT_RETURN_IF_ERROR(run_engine(engine, inputs.requests, spec, flags.json));
  if (flags.quiet) return ok_status();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  size_t num_tokens = 0;
  for (const GenerationRequest& request : inputs.requests) num_tokens += request.prompt.size();
  fmt::print(stderr, "load {:.3f} s, {} inputs of {} tokens in {:.3f} s, {:.1f} inputs/s\n", rank.load_seconds(),
             inputs.requests.size(), num_tokens, seconds, static_cast<double>(inputs.requests.size()) / seconds);
  return ok_status();
}

}  // namespace

void add_encode(CLI::App& app, Run& run) {
  CLI::App& command = *app.add_subcommand("encode", "Embed or classify texts with an encoder");
  auto encode_flags = std::make_shared<EncodeFlags>();
  add_encode_flags(command, encode_flags->inputs);
  command.add_flag("--json", encode_flags->json,
                   "One JSON object an input and line: logits, or hidden states and more");
  command.add_flag("--quiet", encode_flags->quiet, "No progress and no timings on standard error");
  auto flags = std::make_shared<ConfigFlags>(command);
  command.callback([flags, encode_flags, &run] {
    run = [flags, encode_flags] {
      return run_model_job(*flags, "encode", [&](Job& job, const Config& config) {
        return encode(job, config, *encode_flags, flags->dry_run());
      });
    };
  });
}

}  // namespace cohort
