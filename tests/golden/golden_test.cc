// Every checkpoint of tests/data/golden against what Hugging Face transformers computes with it (make_golden.py).
#include <gtest/gtest.h>

#include <map>

#include "tests/golden/golden_data.h"
#include "tests/golden/model_run.h"

namespace cohort {
namespace {

using test::case_name;
using test::checkpoint_cases;
using test::CheckpointCase;
using test::Expected;
using test::generate_all;
using test::golden_dir;
using test::kNumGreedy;
using test::kNumPrompts;
using test::kTolerance;
using test::relative_error;
using test::values_of;

constexpr int kProbePrompt = 1;

class GoldenTest : public testing::TestWithParam<CheckpointCase> {
 protected:
  GoldenTest() : expected_(golden_dir() / GetParam().name) {}
  void SetUp() override {
    if (GetParam().device != kCpuDevice && num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream_ = std::make_unique<Stream>(GetParam().device, 2);
    model_ = test::load_whole(golden_dir() / GetParam().name, *stream_);
    ASSERT_NE(model_.decoder, nullptr);
  }

  GenerationRequest greedy_request(int prompt) const {
    GenerationRequest request;
    request.prompt = expected_.ids("prompt" + std::to_string(prompt) + ".ids");
    request.max_tokens = kNumGreedy;
    request.sampling.temperature = 0;
    return request;
  }

  // All intermediates of one pass over a whole prompt, with logits of every token.
  std::map<std::string, std::vector<float>> run_whole_prompt(int prompt) {
    const ModelSpec& spec = model_.decoder->spec();
    Sequence sequence;
    sequence.prompt = greedy_request(prompt).prompt;
    const int64_t n = sequence.prompt_length();
    constexpr int64_t kBlockSize = 16;
    const int64_t num_blocks = (n + kBlockSize - 1) / kBlockSize;
    for (int64_t i = num_blocks; i-- > 0;) sequence.block_table.push_back(static_cast<int32_t>(i));
    KvCache cache({.num_layers = spec.num_layers,
                   .num_kv_heads = spec.num_kv_heads,
                   .head_dim = spec.head_dim,
                   .block_size = kBlockSize,
                   .num_blocks = num_blocks,
                   .dtype = DType::kF32},
                  GetParam().device);
    Workspace workspace(spec, whole_model(spec), DType::kF32, n, n, GetParam().device);
    StepBatch batch(n, 1, num_blocks, kBlockSize, GetParam().device);
    batch.add(sequence, n);
    batch.upload(*stream_);
    BatchView view = batch.view();
    const Tensor rows = test::all_rows(n, GetParam().device);
    view.logit_rows = rows;

    std::map<std::string, std::vector<float>> probes;
    const ProbeFunction probe = [&](std::string_view name, ConstTensorView x) {
      stream_->synchronize();
      EXPECT_TRUE(probes.emplace(name, values_of(x)).second) << name << " probed twice";
    };
    model_.decoder->forward(view, cache.layers(), workspace, comms_, &probe, *stream_);
    return probes;
  }

  void expect_greedy(const EngineOptions& options, const std::vector<int>& prompts) {
    std::vector<GenerationRequest> requests;
    for (const int prompt : prompts) requests.push_back(greedy_request(prompt));
    const auto outputs = generate_all(*model_.decoder, options, requests, *stream_);
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(outputs[i], expected_.ids("prompt" + std::to_string(prompts[i]) + ".greedy_ids"))
          << "prompt " << prompts[i];
    }
  }

  std::unique_ptr<Stream> stream_;
  const RankComms comms_ = RankComms::solo();
  Expected expected_;
  LoadedModel model_;
};

TEST_P(GoldenTest, EveryIntermediateIsThatOfTransformers) {
  auto probes = run_whole_prompt(kProbePrompt);
  const std::vector<std::string> names = expected_.probe_names();
  EXPECT_GE(names.size(), static_cast<size_t>(model_.decoder->spec().num_layers + 2));  // embed, each layer, logits
  for (const std::string& name : names) {
    ASSERT_EQ(probes.count(name), 1u) << name;
    EXPECT_LT(relative_error(probes[name], expected_.floats("probe." + name)), kTolerance) << name;
  }
}

TEST_P(GoldenTest, LogitsAreThoseOfTransformers) {
  const auto vocab = static_cast<std::ptrdiff_t>(model_.decoder->spec().vocab);
  for (int prompt = 0; prompt < kNumPrompts; ++prompt) {
    const std::string prefix = "prompt" + std::to_string(prompt);
    const std::vector<float> logits = run_whole_prompt(prompt)["logits"];
    const std::vector<float> last(logits.end() - vocab, logits.end());
    EXPECT_LT(relative_error(last, expected_.floats(prefix + ".last_logits")), kTolerance) << prefix;
    if (expected_.has(prefix + ".logits")) {
      EXPECT_LT(relative_error(logits, expected_.floats(prefix + ".logits")), kTolerance) << prefix;
    }
  }
}

// Every rank of every layout finds what it needs, and misses nothing that others load.
TEST_P(GoldenTest, EveryShardLoads) {
  for (const ParallelSizes sizes : {ParallelSizes{.tensor = 2}, ParallelSizes{.pipeline = 2}}) {
    for (int rank = 0; rank < 2; ++rank) {
      auto open = open_model(golden_dir() / GetParam().name, {.dtype = DType::kF32});
      ASSERT_TRUE(open.ok());
      const auto shard = shard_model(open->config.spec, ParallelLayout(sizes, rank));
      if (!shard.ok()) continue;  // an odd size, for which the error is tested elsewhere
      const auto model = load_model(*std::move(open), *shard, nullptr, *stream_);
      EXPECT_TRUE(model.ok()) << "rank " << rank << ": " << model.status().message();
    }
  }
}

TEST_P(GoldenTest, GreedyContinuationsOfEachPromptAlone) {
  for (int prompt = 0; prompt < kNumPrompts; ++prompt) {
    expect_greedy({.block_size = 16, .num_blocks = 8, .max_tokens_per_step = 512, .max_seqs = 4}, {prompt});
  }
}

TEST_P(GoldenTest, GreedyContinuationsOfAllPromptsTogether) {
  expect_greedy({.block_size = 16, .num_blocks = 64, .max_tokens_per_step = 512, .max_seqs = 8}, {0, 1, 2, 3, 4, 5});
}

TEST_P(GoldenTest, GreedyContinuationsInChunksWithFewBlocks) {
  expect_greedy({.block_size = 5, .num_blocks = 30, .max_tokens_per_step = 9, .max_seqs = 3}, {5, 0, 4, 1, 3, 2, 5});
}

INSTANTIATE_TEST_SUITE_P(, GoldenTest, testing::ValuesIn(checkpoint_cases(golden_dir())), case_name);

}  // namespace
}  // namespace cohort
