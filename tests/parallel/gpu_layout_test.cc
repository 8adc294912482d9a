// On GPUs, in deterministic mode: tokens and log-probabilities have equal bits for one rank, shards and stages, with
// CUDA graphs and without.
#include <gtest/gtest.h>

#include "tests/parallel/gpu_ranks.h"
#include "tests/parallel/tiny_model.h"
#include "tests/parallel/tiny_requests.h"

namespace cohort {
namespace {

using test::device;
using test::generate;
using test::load_tiny;
using test::Output;
using test::some_requests;
using test::world;

struct Case {
  const char* name;
  const char* config;
  DType dtype;
  int64_t max_tokens_per_step = 11;  // prompts are cut in chunks
};

class GpuLayout : public testing::TestWithParam<Case> {
 protected:
  // What the leader among `comms` answers; nothing on other ranks.
  std::vector<Output> run(const RankComms& comms, const EngineOptions& options) {
    Stream stream(device);
    const std::unique_ptr<Decoder> part =
        load_tiny(GetParam().config, GetParam().dtype, comms.layout, stream, Numerics::kDeterministic);
    ModelRunner runner(*part, comms, options, stream);
    runner.prepare({});
    if (!comms.layout.is_leader()) {
      follow(runner, comms);
      return {};
    }
    Engine engine(runner, comms);
    return generate(engine, some_requests(part->spec().vocab));
  }
};

TEST_P(GpuLayout, RequestsGetTheSameTokensAndLogprobs) {
  // Each rank by itself: the same on all of them.
  const std::vector<Output> expected =
      run(RankComms::solo(), {.num_blocks = 64, .max_tokens_per_step = 256, .max_seqs = 8});
  for (const ParallelSizes& sizes :
       {ParallelSizes{.tensor = world->size()}, ParallelSizes{.pipeline = world->size()}}) {
    SCOPED_TRACE("tp " + std::to_string(sizes.tensor) + " pp " + std::to_string(sizes.pipeline));
    const RankComms comms = RankComms::create(*world, sizes, device, {.deterministic = true});
    // Few blocks, more requests than run at once.
    const std::vector<Output> outputs = run(comms, {.num_blocks = 16,
                                                    .max_tokens_per_step = GetParam().max_tokens_per_step,
                                                    .max_seqs = 4,
                                                    .overlap_steps = sizes.pipeline == 1,
                                                    .use_graphs = true});
    if (!comms.layout.is_leader()) continue;
    EXPECT_EQ(outputs, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(, GpuLayout,
                         testing::Values(Case{"llama_f32", test::kLlamaConfig, DType::kF32},
                                         Case{"llama_bf16", test::kLlamaConfig, DType::kBF16},
                                         Case{"gpt2_f32", test::kGpt2Config, DType::kF32},
                                         Case{"gpt2_f16", test::kGpt2Config, DType::kF16},
                                         Case{"one_kv_head_bf16", test::kOneKvHeadConfig, DType::kBF16},
                                         Case{"t5_f32", test::kT5Config, DType::kF32, 96},
                                         Case{"t5_bf16", test::kT5Config, DType::kBF16, 96}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace cohort
