#include "launcher/cli/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/engine/step_encoder.h"
#include "runtime/engine/step_sampler.h"
#include "runtime/layers/workspace.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

// On an H200 with CUDA 13.0, beyond the context, which is taken when free memory is asked for: 0.12 GB for a model of
// 13B and one graph (loaded kernels, cuBLASLt and its workspace of 64 MiB, batch); the rest is for more
// graphs.
constexpr int64_t kCudaReserveBytes = int64_t{512} << 20;
// With NCCL 2.28 between two of them: 1.07 GB for a communicator with its mailbox; more ranks and stages take more.
constexpr int64_t kNcclReserveBytes = int64_t{3} << 29;
constexpr int kMaxSize = 64;  // of shards or stages that is proposed

double gigabytes(int64_t num_bytes) { return static_cast<double>(num_bytes) / 1e9; }

std::string place_of(const MemoryOwner& owner) {
  return owner.device == kCpuDevice
             ? fmt::format("this host has left for each of its {} ranks", owner.num_ranks_of_host)
             : to_string(owner.device) + " has left";
}

int64_t workspace_bytes(const OpenModel& model, const MemoryOwner& owner, int64_t max_tokens, int64_t max_seqs) {
  const ModelSpec& spec = model.config.spec;
  const EngineOptions step{.max_tokens_per_step = max_tokens, .max_seqs = max_seqs};
  const int64_t result_bytes = !owner.layout.is_sampler() ? 0
                               : spec.is_encoder()
                                   ? StepEncoder::num_bytes_for(spec, step, owner.device)
                                   : StepSampler::num_bytes_for(max_seqs, spec.vocab, spec.max_position, owner.device);
  return result_bytes +
         Workspace::num_bytes_for(spec, owner.shard, model.dtype, max_tokens, max_logit_rows(spec, step), owner.device);
}

// The largest value of [1, limit] for which `fits`; 0 if none does. Requires that what is below a value that fits does.
template <typename Fits>
int64_t largest_that_fits(int64_t limit, const Fits& fits) {
  int64_t good = 0, bad = limit + 1;
  while (bad - good > 1) {
    const int64_t middle = good + (bad - good) / 2;
    (fits(middle) ? good : bad) = middle;
  }
  return good;
}

// Whether the rank of `layout` would have room for its part and its activations.
bool would_fit(const ParallelLayout& layout, const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
               const EngineOptions& options) {
  const auto shard = shard_model(model.config.spec, layout);
  if (!shard.ok()) return false;
  const MemoryOwner part{owner.device, layout, *shard, owner.num_ranks_of_host};
  return plan_memory(model, part, options, plan.available).left_for_cache() > 0;
}

// The smallest multiple of the tensor parallel size at which the rank would fit; 0 if none does.
int tensor_size_that_fits(const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
                          const EngineOptions& options) {
  const ParallelSizes& sizes = owner.layout.sizes();
  for (int tensor = 2 * sizes.tensor; tensor <= kMaxSize; tensor += sizes.tensor) {
    const ParallelLayout wider({.tensor = tensor, .pipeline = sizes.pipeline}, owner.layout.stage() * tensor);
    if (would_fit(wider, plan, model, owner, options)) return tensor;
  }
  return 0;
}

// The fewest stages at which a rank of each would fit; 0 if none do.
int num_stages_that_fit(const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
                        const EngineOptions& options) {
  const ParallelSizes& sizes = owner.layout.sizes();
  for (int pipeline = sizes.pipeline + 1; pipeline <= kMaxSize; ++pipeline) {
    int stage = 0;
    while (stage < pipeline &&
           would_fit(ParallelLayout({.tensor = sizes.tensor, .pipeline = pipeline}, stage * sizes.tensor), plan, model,
                     owner, options)) {
      ++stage;
    }
    if (stage == pipeline) return pipeline;
  }
  return 0;
}

// What to set smaller, or to more. Steps have room for the longest sequence that is encoded.
std::string remedy(const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
                   const EngineOptions& options) {
  const int64_t left = plan.left_for_cache() + plan.workspace;
  const bool encodes_whole = model.config.spec.is_encoder() || model.config.spec.has_source();
  if (const int64_t num_tokens = largest_that_fits(
          options.max_tokens_per_step,
          [&](int64_t tokens) { return workspace_bytes(model, owner, tokens, options.max_seqs) < left; });
      num_tokens >= std::max(options.max_seqs, encodes_whole ? model.config.spec.max_position : 0)) {
    return fmt::format("; --max-tokens-per-step {} would fit", num_tokens);
  }
  if (const int64_t num_seqs = largest_that_fits(
          options.max_seqs, [&](int64_t seqs) { return workspace_bytes(model, owner, seqs, seqs) < left; });
      num_seqs > 0) {
    return fmt::format("; --max-seqs {0} and --max-tokens-per-step {0} would fit", num_seqs);
  }
  const char* const where = owner.device == kCpuDevice ? " over more hosts" : "";
  if (const int tensor = tensor_size_that_fits(plan, model, owner, options); tensor > 0) {
    return fmt::format("; --tensor-parallel-size {}{} would fit", tensor, where);
  }
  if (const int pipeline = num_stages_that_fit(plan, model, owner, options); pipeline > 0) {
    return fmt::format("; --pipeline-parallel-size {}{} would fit", pipeline, where);
  }
  return "";
}

}  // namespace

int64_t library_reserve(const MemoryOwner& owner) {
  if (owner.device == kCpuDevice) return 0;
  return kCudaReserveBytes + (owner.layout.sizes().num_ranks() > 1 ? kNcclReserveBytes : 0);
}

MemoryPlan plan_memory(const OpenModel& model, const MemoryOwner& owner, const EngineOptions& options,
                       int64_t available) {
  return {.available = available,
          .weights = shard_weight_bytes(model.config.spec, model.map, owner.shard, model.dtype),
          .workspace = workspace_bytes(model, owner, options.max_tokens_per_step, options.max_seqs),
          .reserve = library_reserve(owner)};
}

Status check_model_fits(const MemoryPlan& plan, const OpenModel& model, const MemoryOwner& owner,
                        const EngineOptions& options) {
  if (plan.left_for_cache() > 0) return ok_status();
  const std::string activations = fmt::format("{:.1f} GB of activations", gigabytes(plan.workspace));
  const std::string rest = plan.reserve > 0
                               ? fmt::format(", {} and {:.1f} GB for libraries", activations, gigabytes(plan.reserve))
                               : " and " + activations;
  return resource_exhausted(fmt::format(
      "weights of {:.1f} GB in {}{} do not fit the {:.1f} GB of memory that {}{}", gigabytes(plan.weights),
      dtype_name(model.dtype), rest, gigabytes(plan.available), place_of(owner), remedy(plan, model, owner, options)));
}

Status check_cache_fits(const MemoryPlan& plan, int64_t num_blocks, int64_t bytes_per_block, const std::string& why) {
  const int64_t num_that_fit = plan.left_for_cache() / bytes_per_block;
  if (num_blocks <= num_that_fit) return ok_status();
  return resource_exhausted(
      fmt::format("{} {} blocks of the cache, {:.1f} GB; {} fit the {:.1f} GB that weights and activations leave", why,
                  num_blocks, gigabytes(num_blocks * bytes_per_block), num_that_fit, gigabytes(plan.left_for_cache())));
}

}  // namespace cohort
