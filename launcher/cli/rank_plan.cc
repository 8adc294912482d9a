#include "launcher/cli/rank_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/core/device_memory.h"
#include "launcher/cli/command.h"
#include "launcher/cli/host_memory.h"
#include "runtime/models/shard_size.h"

namespace cohort {
namespace {

double gigabytes(int64_t num_bytes) { return static_cast<double>(num_bytes) / 1e9; }

// Bytes that a rank may take of the device's memory: a GPU is its own, a host is shared with the host's other ranks.
int64_t available_bytes(const Job& job, Device device) {
  return device == kCpuDevice ? available_host_bytes() / job.local_size() : num_free_cuda_bytes(device);
}

// Weights that do not fit would end in swapping or in the kernel's killer, long after the command was given.
Status check_memory(const Job& job, Device device, int64_t num_weight_bytes, DType dtype) {
  const int64_t available = available_bytes(job, device);
  if (num_weight_bytes <= available) return ok_status();
  const std::string place = device == kCpuDevice
                                ? fmt::format("this host has left for each of its {} ranks", job.local_size())
                                : to_string(device) + " has left";
  return resource_exhausted(fmt::format("weights of {:.1f} GB in {} do not fit the {:.1f} GB of memory that {}",
                                        gigabytes(num_weight_bytes), dtype_name(dtype), gigabytes(available), place));
}

// Blocks of the cache that the requests fill when all run at once, and that the largest of them fills.
struct CacheNeed {
  int64_t num_requests = 0;
  int64_t all = 0;
  int64_t largest = 0;
};

CacheNeed cache_need(const std::vector<GenerationRequest>& requests, const ModelSpec& spec, int64_t block_size) {
  CacheNeed need;
  for (const GenerationRequest& request : requests) {
    const int64_t length =
        static_cast<int64_t>(request.prompt.size()) + std::max<int64_t>(request.output_limit(spec.max_position), 1);
    const int64_t num_blocks = (length + block_size - 1) / block_size;
    ++need.num_requests;
    need.all += num_blocks;
    need.largest = std::max(need.largest, num_blocks);
  }
  return need;
}

// The largest need of any leader and the least that any rank can afford, on every rank.
struct CacheFacts {
  CacheNeed need;
  int64_t affordable = 0;
};

CacheFacts gather_facts(Job& job, const CacheNeed& need, int64_t affordable) {
  const nlohmann::json mine = {need.num_requests, need.all, need.largest, affordable};
  CacheFacts facts{.need = {}, .affordable = affordable};
  for (const std::string& text : all_gather(job.world(), mine.dump())) {
    const auto of_rank = nlohmann::json::parse(text).get<std::vector<int64_t>>();
    facts.need.num_requests = std::max(facts.need.num_requests, of_rank[0]);
    facts.need.all = std::max(facts.need.all, of_rank[1]);
    facts.need.largest = std::max(facts.need.largest, of_rank[2]);
    facts.affordable = std::min(facts.affordable, of_rank[3]);
  }
  return facts;
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
  RankPlan plan;
  plan.layout = layout;
  job.agree([&]() -> Status {
    auto shard = shard_model(spec, layout);
    if (!shard.ok()) throw UsageError(shard.status().message());
    plan.shard = *shard;
    plan.num_weight_bytes = shard_weight_bytes(spec, model.map, plan.shard, model.dtype);
    return check_memory(job, device, plan.num_weight_bytes, model.dtype);
  });
  const int64_t block_size = config.cache.block_size;
  const int64_t bytes_per_block = shard_kv_bytes_per_token(spec, plan.shard, model.dtype) * block_size;
  const auto left = static_cast<double>(available_bytes(job, device) - plan.num_weight_bytes);
  const auto affordable = static_cast<int64_t>(left * config.cache.memory_fraction) / bytes_per_block;
  const CacheFacts facts = gather_facts(job, cache_need(requests, spec, block_size), affordable);

  EngineOptions& engine = plan.engine;
  engine.block_size = block_size;
  engine.num_blocks = config.cache.num_blocks;
  if (engine.num_blocks == 0) {
    const int64_t wanted = facts.need.num_requests > 0 ? facts.need.all : facts.affordable;
    engine.num_blocks = std::max(std::min(wanted, facts.affordable), facts.need.largest);
  }
  engine.max_seqs = std::clamp<int64_t>(facts.need.num_requests, 1, config.scheduler.max_seqs);
  engine.max_tokens_per_step = std::max(config.scheduler.max_tokens_per_step, engine.max_seqs);
  engine.overlap_steps = device != kCpuDevice && layout.sizes().pipeline == 1;
  engine.use_graphs = device != kCpuDevice;
  engine.step_timeout = std::chrono::seconds(config.health.step_timeout_s);
  plan.num_cache_bytes = bytes_per_block * engine.num_blocks;
  return plan;
}

std::string rank_table(Job& job, const RankPlan& plan) {
  const ModelShard& shard = plan.shard;
  const auto range = [](Slice s) { return fmt::format("{}-{}", s.begin, s.end - 1); };
  const std::string row =
      fmt::format("{:>4}  {:<16} {:>7} {:>5} {:>5}  {:<9} {:<9} {:<9} {:<15} {:>10.3f} {:>10.3f}\n", job.rank(),
                  job.host(), plan.layout.replica(), plan.layout.stage(), plan.layout.shard(), range(shard.layers),
                  range(shard.heads), range(shard.kv_heads), shard.vocab.size() > 0 ? range(shard.vocab) : "none",
                  gigabytes(plan.num_weight_bytes), gigabytes(plan.num_cache_bytes));
  std::string table =
      fmt::format("{:>4}  {:<16} {:>7} {:>5} {:>5}  {:<9} {:<9} {:<9} {:<15} {:>10} {:>10}\n", "rank", "host",
                  "replica", "stage", "shard", "layers", "heads", "KV heads", "vocabulary", "weights GB", "cache GB");
  for (const std::string& other : all_gather(job.world(), row)) table += other;
  return table;
}

}  // namespace cohort
