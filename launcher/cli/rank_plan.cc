#include "launcher/cli/rank_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/core/device_memory.h"
#include "launcher/cli/command.h"
#include "launcher/cli/host_memory.h"
#include "runtime/engine/engine.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

double gigabytes(int64_t num_bytes) { return static_cast<double>(num_bytes) / 1e9; }

// Bytes that a rank may take of the device's memory: a GPU is its own, a host is shared with the host's other ranks.
int64_t available_bytes(const Job& job, Device device) {
  return device == kCpuDevice ? available_host_bytes() / job.local_size() : num_free_cuda_bytes(device);
}

int64_t blocks_for(int64_t num_positions, int64_t block_size) { return (num_positions + block_size - 1) / block_size; }

// Blocks of the cache that the requests fill when all run at once, and that the largest of them fills.
struct CacheNeed {
  int64_t num_requests = 0;
  int64_t all = 0;
  int64_t largest = 0;
};

CacheNeed cache_need(const std::vector<GenerationRequest>& requests, const ModelSpec& spec, int64_t block_size) {
  CacheNeed need;
  for (const GenerationRequest& request : requests) {
    const int64_t num_outputs = std::max<int64_t>(request.output_limit(sequence_limits(spec)), 1);
    const auto length = static_cast<int64_t>(request.prompt.size());
    const int64_t num_blocks = spec.has_source()
                                   ? blocks_for(length, block_size) + blocks_for(1 + num_outputs, block_size)
                                   : blocks_for(length + num_outputs, block_size);
    ++need.num_requests;
    need.all += num_blocks;
    need.largest = std::max(need.largest, num_blocks);
  }
  return need;
}

// The largest need of any leader, on every rank.
CacheNeed gather_need(Job& job, const CacheNeed& mine) {
  CacheNeed need;
  for (const std::string& text :
       all_gather(job.world(), nlohmann::json{mine.num_requests, mine.all, mine.largest}.dump())) {
    const auto of_rank = nlohmann::json::parse(text).get<std::vector<int64_t>>();
    need.num_requests = std::max(need.num_requests, of_rank[0]);
    need.all = std::max(need.all, of_rank[1]);
    need.largest = std::max(need.largest, of_rank[2]);
  }
  return need;
}

// The least of any rank, on every rank.
int64_t gather_least(Job& job, int64_t mine) {
  int64_t least = mine;
  for (const std::string& text : all_gather(job.world(), std::to_string(mine))) {
    least = std::min<int64_t>(least, std::stoll(text));
  }
  return least;
}

// A sequence that is encoded is in one step, whole; and of what has logits of every token a step need not have more.
int64_t max_tokens_per_step(const ModelSpec& spec, int64_t wished, int64_t max_seqs) {
  if (!spec.is_encoder()) return std::max({wished, max_seqs, spec.has_source() ? spec.max_position : 0});
  return std::max({spec.head == HeadKind::kMaskedToken ? 0 : wished, spec.max_position, max_seqs});
}

EngineOptions engine_options(const Config& config, const ParallelLayout& layout, const ModelSpec& spec, Device device,
                             int64_t num_requests) {
  EngineOptions engine;
  engine.block_size = config.cache.block_size;
  engine.num_blocks = config.cache.num_blocks;
  engine.max_seqs = num_requests > 0 ? std::min(num_requests, config.scheduler.max_seqs) : config.scheduler.max_seqs;
  engine.max_tokens_per_step = max_tokens_per_step(spec, config.scheduler.max_tokens_per_step, engine.max_seqs);
  engine.overlap_steps = device != kCpuDevice && layout.sizes().pipeline == 1;
  engine.use_graphs = device != kCpuDevice && !spec.is_encoder();
  engine.step_timeout = std::chrono::seconds(config.health.step_timeout_s);
  return engine;
}

// What requests that are not known yet may need at most of a host's memory, which others want too: sequences of full
// length, as many as run. A GPU's memory is all the rank's, and more of it holds more prefixes.
int64_t useful_blocks(const EngineOptions& engine, const ModelSpec& spec, Device device) {
  if (device != kCpuDevice) return std::numeric_limits<int64_t>::max();
  const int64_t num_sequences = engine.max_seqs * (spec.has_source() ? 2 : 1);  // a source is one too
  return num_sequences * blocks_for(spec.max_position, engine.block_size);
}

// Of an encoder, whose sequences keep nothing behind their step: those of the steps under way, each sequence's last
// block not full, and one more each that admission leaves.
int64_t blocks_under_way(const EngineOptions& engine, const ParallelLayout& layout) {
  const int64_t per_step = engine.max_tokens_per_step / engine.block_size + 2 * engine.max_seqs + 1;
  return per_step * std::max(layout.sizes().pipeline, 2);
}

// Decides the number of blocks with the other ranks; then each knows whether it has room for them. `useful`: more are
// not taken where no requests are known.
void plan_cache(Job& job, const Config& config, const CacheNeed& need, int64_t useful, int64_t bytes_per_block,
                RankPlan& plan) {
  const auto wished = static_cast<double>(plan.memory.left_for_cache()) * config.cache.memory_fraction;
  const int64_t affordable = gather_least(job, static_cast<int64_t>(wished) / bytes_per_block);
  int64_t& num_blocks = plan.engine.num_blocks;
  std::string why = "--num-blocks: expected fewer than";
  if (num_blocks == 0) {
    why = "the longest request needs";
    num_blocks = std::max({std::min(need.num_requests > 0 ? need.all : useful, affordable), need.largest, int64_t{1}});
  }
  plan.memory.cache = bytes_per_block * num_blocks;
  job.agree([&] { return check_cache_fits(plan.memory, num_blocks, bytes_per_block, why); });
}

}  // namespace

ParallelLayout make_layout(const Job& job, const Config& config) {
  const ParallelSizes sizes{.tensor = static_cast<int>(config.parallel.tensor_parallel_size),
                            .pipeline = static_cast<int>(config.parallel.pipeline_parallel_size),
                            .replicas = static_cast<int>(config.parallel.replicas)};
  if (const Status status = check_num_ranks(sizes, job.size()); !status.ok()) throw UsageError(status.message());
  return ParallelLayout(sizes, job.rank());
}

RankPlan make_rank_plan(Job& job, const Config& config, const OpenModel& model, const ParallelLayout& layout,
                        Device device, const std::vector<GenerationRequest>& requests) {
  const ModelSpec& spec = model.config.spec;
  CacheNeed need = gather_need(job, cache_need(requests, spec, config.cache.block_size));
  RankPlan plan;
  plan.layout = layout;
  plan.engine = engine_options(config, layout, spec, device, need.num_requests);
  job.agree([&]() -> Status {
    auto shard = shard_model(spec, layout);
    if (!shard.ok()) throw UsageError(shard.status().message());
    plan.shard = *shard;
    const MemoryOwner owner{device, layout, plan.shard, job.local_size()};
    plan.memory = plan_memory(model, owner, plan.engine, available_bytes(job, device));
    return check_model_fits(plan.memory, model, owner, plan.engine);
  });
  const int64_t bytes_per_block = shard_kv_bytes_per_token(spec, plan.shard, model.dtype) * plan.engine.block_size;
  const int64_t useful =
      spec.is_encoder() ? blocks_under_way(plan.engine, layout) : useful_blocks(plan.engine, spec, device);
  if (spec.is_encoder()) need.all = useful;
  plan_cache(job, config, need, useful, bytes_per_block, plan);
  return plan;
}

std::string rank_table(Job& job, const RankPlan& plan) {
  const ModelShard& shard = plan.shard;
  const MemoryPlan& memory = plan.memory;
  const auto range = [](Slice s) { return s.size() > 0 ? fmt::format("{}-{}", s.begin, s.end - 1) : "none"; };
  std::string layers = range(shard.layers);
  if (const Slice read = shard.encoder_layers; read.size() > 0) {  // "e": of those that read sources
    layers = "e" + range(read) + (shard.layers.size() > 0 ? " " + layers : "");
  }
  const std::string row = fmt::format(
      "{:>4}  {:<16} {:>7} {:>5} {:>5}  {:<9} {:<9} {:<9} {:<15} {:>10.3f} {:>10.3f} {:>14.3f} {:>12.3f} {:>10.3f}\n",
      job.rank(), job.host(), plan.layout.replica(), plan.layout.stage(), plan.layout.shard(), layers,
      range(shard.heads), range(shard.kv_heads), range(shard.vocab), gigabytes(memory.available),
      gigabytes(memory.weights), gigabytes(memory.workspace), gigabytes(memory.reserve), gigabytes(memory.cache));
  std::string table =
      fmt::format("{:>4}  {:<16} {:>7} {:>5} {:>5}  {:<9} {:<9} {:<9} {:<15} {:>10} {:>10} {:>14} {:>12} {:>10}\n",
                  "rank", "host", "replica", "stage", "shard", "layers", "heads", "KV heads", "vocabulary", "free GB",
                  "weights GB", "activations GB", "libraries GB", "cache GB");
  for (const std::string& other : all_gather(job.world(), row)) table += other;
  return table;
}

}  // namespace cohort
