// The engine over a random model: what one sequence gets never depends on the others, nor on how the work is cut.
#include <gtest/gtest.h>

#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/files.h"
#include "tests/parallel/tiny_requests.h"

namespace cohort {
namespace {

constexpr int64_t kVocab = 61;
constexpr int64_t kMaxPosition = 96;

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 61, "hidden_size": 48,
  "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 80,
  "max_position_embeddings": 96, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false})";

using test::Output;

class EngineTest : public testing::TestWithParam<DType> {
 protected:
  EngineTest() : stream_(kCpuDevice, 2) {
    const test::TemporaryDirectory dir;
    test::write_file(dir / "config.json", kConfig);
    auto open = open_model(dir.path(), {.dtype = GetParam(), .random_weights = true, .random_seed = 7});
    EXPECT_TRUE(open.ok()) << open.status().message();
    const ModelShard whole = whole_model(open->config.spec);
    auto model = load_model(*std::move(open), whole, nullptr, stream_);
    EXPECT_TRUE(model.ok()) << model.status().message();
    model_ = *std::move(model);
  }

  static GenerationRequest request(int64_t prompt_length, int64_t max_tokens, uint64_t seed) {
    GenerationRequest request;
    for (int64_t i = 0; i < prompt_length; ++i) {
      request.prompt.push_back(static_cast<int32_t>((static_cast<uint64_t>(i) * 37 + seed * 11 + 5) % kVocab));
    }
    request.max_tokens = max_tokens;
    request.sampling.seed = seed;
    request.sampling.temperature = seed % 2 == 0 ? 0.0f : 0.9f;
    request.top_logprobs = kMaxTopLogprobs;
    return request;
  }

  // Lengths around the edges of blocks and chunks; half greedy, half drawn.
  static std::vector<GenerationRequest> requests() {
    std::vector<GenerationRequest> all;
    uint64_t seed = 0;
    for (const int64_t length : {1, 7, 15, 16, 17, 33, 64, 70}) all.push_back(request(length, 12, seed++));
    return all;
  }

  std::vector<Output> run(const std::vector<GenerationRequest>& all, const EngineOptions& options, Stream& stream) {
    ModelRunner runner(*model_.decoder, comms_, options, stream);
    Engine engine(runner, comms_);
    return test::generate(engine, all);
  }

  std::vector<Output> run_alone(const std::vector<GenerationRequest>& all) {
    std::vector<Output> outputs;
    for (const GenerationRequest& r : all) {
      outputs.push_back(run({r}, {.num_blocks = 8, .max_tokens_per_step = 256, .max_seqs = 1}, stream_)[0]);
    }
    return outputs;
  }

  Stream stream_;
  const RankComms comms_ = RankComms::solo();
  LoadedModel model_;
};

TEST_P(EngineTest, AloneAndTogetherGiveEqualBits) {
  const auto alone = run_alone(requests());
  EXPECT_EQ(run(requests(), {.num_blocks = 64, .max_tokens_per_step = 512, .max_seqs = 8}, stream_), alone);
  for (const Output& output : alone) {
    EXPECT_EQ(output.tokens.size(), 12u);
    EXPECT_EQ(output.finish, FinishReason::kLength);
  }
}

TEST_P(EngineTest, ChunksBlocksAndThreadsDoNotChangeBits) {
  const auto alone = run_alone(requests());
  for (const int num_threads : {1, 3}) {
    Stream stream(kCpuDevice, num_threads);
    for (const int64_t block_size : {1, 5, 16, 64}) {
      const int64_t num_blocks = 2 * ((kMaxPosition + block_size - 1) / block_size);
      EXPECT_EQ(
          run(requests(),
              {.block_size = block_size, .num_blocks = num_blocks, .max_tokens_per_step = 11, .max_seqs = 4}, stream),
          alone)
          << num_threads << " threads, blocks of " << block_size;
    }
  }
}

// Steps that begin before the host knows the tokens of the last one.
TEST_P(EngineTest, OverlappedStepsDoNotChangeBits) {
  auto all = requests();
  all[3].sampling.repetition_penalty = 1.3f;  // needs the tokens, and waits for them
  all[5].stop_ids = {0, 3, 7, 11, 19, 23, 42, 55, 60};
  const auto alone = run_alone(all);
  EXPECT_EQ(alone[5].finish, FinishReason::kStop);  // and what was begun after its last token is in vain
  for (const int64_t max_seqs : {1, 3, 8}) {
    const EngineOptions options{
        .num_blocks = 24, .max_tokens_per_step = 19, .max_seqs = max_seqs, .overlap_steps = true};
    EXPECT_EQ(run(all, options, stream_), alone) << max_seqs << " sequences at once";
  }
}

TEST_P(EngineTest, ASequenceEndsAtTheLongestOrAtAStopToken) {
  GenerationRequest longest = request(90, 100, 1);
  const auto outputs = run({longest}, {.num_blocks = 8, .max_tokens_per_step = 64, .max_seqs = 1}, stream_);
  EXPECT_EQ(outputs[0].tokens.size(), 6u);
  EXPECT_EQ(outputs[0].finish, FinishReason::kLength);

  GenerationRequest stopped = longest;
  stopped.stop_ids = {outputs[0].tokens[2]};
  const auto first = std::find(outputs[0].tokens.begin(), outputs[0].tokens.end(), stopped.stop_ids[0]);
  const auto stop = run({stopped}, {.num_blocks = 8, .max_tokens_per_step = 64, .max_seqs = 1}, stream_);
  EXPECT_EQ(stop[0].tokens, std::vector<int32_t>(outputs[0].tokens.begin(), first + 1));
  EXPECT_EQ(stop[0].finish, FinishReason::kStop);
  stopped.ignore_stop_ids = true;
  EXPECT_EQ(run({stopped}, {.num_blocks = 8, .max_tokens_per_step = 64, .max_seqs = 1}, stream_), outputs);
}

TEST_P(EngineTest, BadRequestsNameTheField) {
  ModelRunner runner(*model_.decoder, comms_, {.num_blocks = 4, .max_tokens_per_step = 64, .max_seqs = 2}, stream_);
  Engine engine(runner, comms_);
  const auto message = [&](auto change) {
    GenerationRequest r = request(5, 5, 0);
    change(r);
    const auto id = engine.submit(r);
    return id.ok() ? std::string("accepted") : id.status().message();
  };
  EXPECT_EQ(message([](auto& r) { r.prompt.clear(); }), "prompt: expected at least one token");
  EXPECT_EQ(message([](auto& r) { r.prompt[1] = 61; }), "prompt: token id 61 is not in [0, 61)");
  EXPECT_EQ(message([](auto& r) { r.prompt[1] = -1; }), "prompt: token id -1 is not in [0, 61)");
  EXPECT_EQ(message([](auto& r) { r.max_tokens = 0; }), "max_tokens: expected at least 1, got 0");
  EXPECT_EQ(message([](auto& r) { r.top_logprobs = 21; }), "top_logprobs: expected 0 to 20, got 21");
  EXPECT_EQ(message([](auto& r) { r.prompt.assign(96, 1); }),
            "prompt: 96 tokens leave no room for output: the model's longest sequence is 96");
  EXPECT_EQ(message([](auto& r) { r.max_tokens = 91; }), "prompt and output need 6 blocks of the cache, which has 4");
  EXPECT_NE(message([](auto& r) { r.sampling.temperature = NAN; }).find("temperature"), std::string::npos);
  EXPECT_FALSE(engine.has_work());
}

INSTANTIATE_TEST_SUITE_P(, EngineTest, testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                         [](const auto& param) { return std::string(dtype_name(param.param)); });

TEST(GraphBatchSizes, ReachTheLargestAndPadLittle) {
  EXPECT_EQ(graph_batch_sizes(1), std::vector<int64_t>{1});
  EXPECT_EQ(graph_batch_sizes(12), (std::vector<int64_t>{1, 2, 4, 8, 12}));
  for (const int64_t max_seqs : {2, 3, 8, 63, 64, 100, 256, 1000}) {
    const std::vector<int64_t> sizes = graph_batch_sizes(max_seqs);
    EXPECT_EQ(sizes.back(), max_seqs);
    EXPECT_LE(sizes.size(), 40u);
    for (size_t i = 1; i < sizes.size(); ++i) {
      EXPECT_GT(sizes[i], sizes[i - 1]);
      EXPECT_LE(sizes[i], 2 * sizes[i - 1]);
    }
  }
}

}  // namespace
}  // namespace cohort
