// What memory there is, and what a rank takes of it.
#include "launcher/cli/memory_plan.h"

#include <gtest/gtest.h>

#include <limits>

#include "launcher/cli/host_memory.h"
#include "runtime/layers/workspace.h"
#include "tests/files.h"

namespace cohort {
namespace {

constexpr Device kCuda{DeviceKind::kCuda, 0};

// Llama 2 13B, of which config.json is all that there is.
OpenModel llama_13b() {
  auto model =
      open_model(test::source_dir() / "configs/models/llama-2-13b", {.dtype = DType::kBF16, .random_weights = true});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return *std::move(model);
}

MemoryOwner owner_of(const OpenModel& model, Device device, int tensor) {
  const ParallelLayout layout({.tensor = tensor}, 0);
  return {device, layout, *shard_model(model.config.spec, layout), 1};
}

constexpr EngineOptions kOptions{.max_tokens_per_step = 2048, .max_seqs = 64};
constexpr int64_t kGB = 1'000'000'000;

// A group's limit and what it uses, of which so much are pages of files that can be dropped.
void write_group(const std::filesystem::path& group, const std::string& limit, int64_t used, int64_t droppable) {
  std::filesystem::create_directories(group);
  test::write_file(group / "memory.max", limit + "\n");
  test::write_file(group / "memory.current", std::to_string(used) + "\n");
  test::write_file(group / "memory.stat", "anon 7\ninactive_file " + std::to_string(droppable) + "\nactive_file 9\n");
}

TEST(HostMemory, TheTightestControlGroupBoundsIt) {
  const test::TemporaryDirectory mount;
  constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(cgroup_available_bytes(mount.path(), "/"), kNoLimit);  // as the root of all groups, which has no such files
  write_group(mount.path() / "job", "1000", 900, 300);
  write_group(mount.path() / "job/step", "max", 200, 0);
  write_group(mount.path() / "job/step/task", "500", 200, 50);
  write_group(mount.path() / "job/idle", "600", 10, 20);
  EXPECT_EQ(cgroup_available_bytes(mount.path(), "/job"), 400);
  EXPECT_EQ(cgroup_available_bytes(mount.path(), "/job/step"), 400);
  EXPECT_EQ(cgroup_available_bytes(mount.path(), "/job/step/task"), 350);
  EXPECT_EQ(cgroup_available_bytes(mount.path() / "job", "/idle"), 400);  // a mount that shows part of the tree
  EXPECT_EQ(cgroup_available_bytes(mount.path() / "job/idle", "/"), 600);
  EXPECT_EQ(cgroup_available_bytes(mount.path(), "/job/gone"), 400);
}

TEST(MemoryPlan, CountsEveryPart) {
  const OpenModel model = llama_13b();
  const MemoryPlan whole = plan_memory(model, owner_of(model, kCuda, 1), kOptions, 140 * kGB);
  EXPECT_NEAR(static_cast<double>(whole.weights), 26.03e9, 0.01e9);
  EXPECT_GT(whole.reserve, 0);
  EXPECT_EQ(whole.left_for_cache(), whole.available - whole.weights - whole.workspace - whole.reserve);
  EXPECT_TRUE(check_model_fits(whole, model, owner_of(model, kCuda, 1), kOptions).ok());

  const MemoryPlan half = plan_memory(model, owner_of(model, kCuda, 2), kOptions, 140 * kGB);
  EXPECT_NEAR(static_cast<double>(half.weights), 13.01e9, 0.01e9);
  EXPECT_GT(half.reserve, whole.reserve);  // it talks
  EXPECT_EQ(plan_memory(model, owner_of(model, kCpuDevice, 1), kOptions, kGB).reserve, 0);
}

// The plan of a workspace is what making one takes.
TEST(MemoryPlan, CountsTheWorkspaceThatIsMade) {
  const OpenModel model = llama_13b();
  for (const int tensor : {1, 4}) {
    const ModelShard shard = owner_of(model, kCpuDevice, tensor).shard;
    const Workspace made(model.config.spec, shard, DType::kBF16, 32, 8, kCpuDevice);
    int64_t num_bytes = made.reduction.sums->num_bytes() + made.reduction.scratch->num_bytes();
    for (const Tensor* t :
         {&made.residual, &made.delta, &made.normed, &made.qkv, &made.context, &made.up, &made.activated,
          &made.logit_inputs, &made.local_logits, &made.logits, &made.logit_parts, &made.attention}) {
      num_bytes += (*t)->num_bytes();
    }
    EXPECT_EQ(Workspace::num_bytes_for(model.config.spec, shard, DType::kBF16, 32, 8, kCpuDevice), num_bytes);
  }
}

// The rank that samples keeps logits of a step.
TEST(MemoryPlan, CountsTheSampler) {
  const OpenModel model = llama_13b();
  MemoryOwner owner = owner_of(model, kCuda, 2);
  const MemoryPlan sampler = plan_memory(model, owner, kOptions, 140 * kGB);
  owner.layout = ParallelLayout({.tensor = 2}, 1);
  const MemoryPlan other = plan_memory(model, owner, kOptions, 140 * kGB);
  EXPECT_GT(sampler.workspace - other.workspace, kOptions.max_seqs * model.config.spec.vocab * 4);
}

std::string message(const OpenModel& model, Device device, int tensor, const EngineOptions& options,
                    int64_t available) {
  const MemoryOwner owner = owner_of(model, device, tensor);
  const Status status = check_model_fits(plan_memory(model, owner, options, available), model, owner, options);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  return status.message();
}

TEST(MemoryPlan, SaysWhichTensorParallelSizeWouldFit) {
  const OpenModel model = llama_13b();
  const std::string said = message(model, kCuda, 1, kOptions, 24 * kGB);
  EXPECT_NE(said.find("weights of 26.0 GB in bfloat16, "), std::string::npos) << said;
  EXPECT_NE(said.find("do not fit the 24.0 GB of memory that cuda:0 has left; --tensor-parallel-size 2 would fit"),
            std::string::npos)
      << said;
  EXPECT_NE(message(model, kCuda, 1, kOptions, 10 * kGB).find("--tensor-parallel-size 4 would fit"), std::string::npos);
  EXPECT_NE(message(model, kCuda, 2, kOptions, 10 * kGB).find("--tensor-parallel-size 4 would fit"), std::string::npos);
  EXPECT_EQ(message(model, kCuda, 1, kOptions, kGB / 2).find("would fit"), std::string::npos);
}

// Eight shards are the most that the model can have. Each of so many stages fits, and not each of one fewer.
TEST(MemoryPlan, SaysHowManyStagesWouldFit) {
  const OpenModel model = llama_13b();
  constexpr int64_t kAvailable = 5 * kGB;
  const std::string said = message(model, kCuda, 1, kOptions, kAvailable);
  const std::string flag = "--pipeline-parallel-size ";
  ASSERT_NE(said.find(flag), std::string::npos) << said;
  const int num_stages = std::stoi(said.substr(said.find(flag) + flag.size()));
  const auto all_fit = [&](int pipeline) {
    for (int stage = 0; stage < pipeline; ++stage) {
      const ParallelLayout layout({.pipeline = pipeline}, stage);
      const MemoryOwner owner{kCuda, layout, *shard_model(model.config.spec, layout), 1};
      if (plan_memory(model, owner, kOptions, kAvailable).left_for_cache() <= 0) return false;
    }
    return true;
  };
  EXPECT_TRUE(all_fit(num_stages));
  EXPECT_FALSE(all_fit(num_stages - 1));
}

// A step that is as large as is said fits, and one that is larger does not.
TEST(MemoryPlan, SaysWhichStepWouldFit) {
  const OpenModel model = llama_13b();
  const MemoryOwner owner = owner_of(model, kCuda, 1);
  EngineOptions options{.max_tokens_per_step = 1 << 18, .max_seqs = 64};
  const int64_t available = 34 * kGB;
  const std::string said = message(model, kCuda, 1, options, available);
  const std::string flag = "--max-tokens-per-step ";
  ASSERT_NE(said.find(flag), std::string::npos) << said;
  options.max_tokens_per_step = std::stoll(said.substr(said.find(flag) + flag.size()));
  EXPECT_GT(plan_memory(model, owner, options, available).left_for_cache(), 0);
  ++options.max_tokens_per_step;
  EXPECT_LE(plan_memory(model, owner, options, available).left_for_cache(), 0);

  options = {.max_tokens_per_step = 65536, .max_seqs = 65536};
  const std::string seqs = message(model, kCuda, 1, options, 28 * kGB);
  EXPECT_NE(seqs.find("--max-seqs "), std::string::npos) << seqs;
}

TEST(MemoryPlan, SaysHowManyBlocksWouldFit) {
  const MemoryPlan plan{.available = 100, .weights = 40, .workspace = 10, .reserve = 5, .cache = 0};
  EXPECT_TRUE(check_cache_fits(plan, 4, 11, "a").ok());
  const Status status = check_cache_fits(plan, 5, 11, "the longest request needs");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(
      status.message(),
      "the longest request needs 5 blocks of the cache, 0.0 GB; 4 fit the 0.0 GB that weights and activations leave");
}

}  // namespace
}  // namespace cohort
