// Every checkpoint of tests/data/golden_encoder_decoders against what Hugging Face transformers computes with it
// (make_golden_encoder_decoders.py), and the trained one of configs/restorer (make_trained.py).
#include <gtest/gtest.h>

#include <map>

#include "runtime/json/json.h"
#include "runtime/layers/position_bias.h"
#include "runtime/models/shard_size.h"
#include "tests/files.h"
#include "tests/golden/golden_data.h"
#include "tests/golden/model_run.h"

namespace cohort {
namespace {

using test::case_name;
using test::checkpoint_cases;
using test::CheckpointCase;
using test::encoder_decoder_dir;
using test::Expected;
using test::generate_all;
using test::kNumGreedy;
using test::kTolerance;
using test::load_whole;
using test::relative_error;
using test::values_of;

constexpr int kNumSources = 4;
constexpr int kProbeSource = 1;
constexpr int64_t kBlockSize = 16;

class EncoderDecoderTest : public testing::TestWithParam<CheckpointCase> {
 protected:
  EncoderDecoderTest() : expected_(encoder_decoder_dir() / GetParam().name) {}
  void SetUp() override {
    if (GetParam().device != kCpuDevice && num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream_ = std::make_unique<Stream>(GetParam().device, 2);
    model_ = load_whole(encoder_decoder_dir() / GetParam().name, *stream_);
    ASSERT_NE(model_.decoder, nullptr);
  }

  static std::string prefix(int source) { return "prompt" + std::to_string(source) + "."; }

  // All intermediates of one pass over a source and the tokens that the reference gave the decoder, with logits behind
  // every one of these. `chunk`: of those tokens in each step.
  std::map<std::string, std::vector<float>> run(int source, int64_t chunk) {
    const ModelSpec& spec = model_.decoder->spec();
    Sequence sequence;
    sequence.source = expected_.ids(prefix(source) + "ids");
    sequence.prompt = expected_.ids(prefix(source) + "decoder_ids");
    const int64_t num_blocks = 16;
    for (int32_t i = 8; i-- > 0;) {
      sequence.block_table.push_back(2 * i);
      sequence.source_table.push_back(2 * i + 1);
    }
    KvCache cache({.num_layers = num_layer_caches(spec, spec.num_layers),
                   .num_kv_heads = spec.num_kv_heads,
                   .head_dim = spec.head_dim,
                   .block_size = kBlockSize,
                   .num_blocks = num_blocks,
                   .dtype = DType::kF32},
                  GetParam().device);
    const int64_t max_tokens = std::max(sequence.source_length(), chunk);
    Workspace workspace(spec, whole_model(spec), DType::kF32, max_tokens, max_tokens, GetParam().device);
    std::map<std::string, std::vector<float>> probes;
    const ProbeFunction probe = [&](std::string_view name, ConstTensorView x) {
      stream_->synchronize();
      const std::vector<float> values = values_of(x);
      std::vector<float>& all = probes[std::string(name)];  // of all chunks, one after the other
      all.insert(all.end(), values.begin(), values.end());
    };

    Sequence whole_source;
    whole_source.prompt = sequence.source;
    whole_source.block_table = sequence.source_table;
    StepBatch sources(sequence.source_length(), 1, num_blocks, kBlockSize, GetParam().device);
    sources.add(whole_source, sequence.source_length());
    sources.upload(*stream_);
    model_.decoder->encode(sources.view(), cache.layers(), workspace, comms_, &probe, *stream_);

    StepBatch batch(chunk, 1, num_blocks, kBlockSize, GetParam().device, LogitRows::kLast, /*has_sources=*/true);
    while (sequence.num_pending() > 0) {
      const int64_t n = std::min(chunk, sequence.num_pending());
      batch.clear();
      batch.add(sequence, n);
      batch.upload(*stream_);
      sequence.num_computed += n;
      BatchView view = batch.view();
      const Tensor rows = test::all_rows(n, GetParam().device);
      view.logit_rows = rows;
      model_.decoder->forward(view, cache.layers(), workspace, comms_, &probe, *stream_);
      stream_->synchronize();
    }
    return probes;
  }

  void expect_greedy(const EngineOptions& options, const std::vector<int>& sources) {
    std::vector<GenerationRequest> requests;
    for (const int source : sources) {
      GenerationRequest& request = requests.emplace_back();
      request.prompt = expected_.ids(prefix(source) + "ids");
      request.max_tokens = kNumGreedy;
      request.sampling.temperature = 0;
    }
    const auto outputs = generate_all(*model_.decoder, options, requests, *stream_);
    for (size_t i = 0; i < sources.size(); ++i) {
      EXPECT_EQ(outputs[i], expected_.ids(prefix(sources[i]) + "greedy_ids")) << "source " << sources[i];
    }
  }

  std::unique_ptr<Stream> stream_;
  const RankComms comms_ = RankComms::solo();
  Expected expected_;
  LoadedModel model_;
};

TEST_P(EncoderDecoderTest, EveryIntermediateIsThatOfTransformers) {
  auto probes = run(kProbeSource, 64);
  const std::vector<std::string> names = expected_.probe_names();
  EXPECT_GE(names.size(), 30u);
  for (const std::string& name : names) {
    ASSERT_EQ(probes.count(name), 1u) << name;
    EXPECT_LT(relative_error(probes[name], expected_.floats("probe." + name)), kTolerance) << name;
  }
}

TEST_P(EncoderDecoderTest, HiddenStatesAndLogitsAreThoseOfTransformers) {
  for (int source = 0; source < kNumSources; ++source) {
    auto probes = run(source, 64);
    EXPECT_LT(relative_error(probes["encoder.final_norm"], expected_.floats(prefix(source) + "last_hidden_state")),
              kTolerance);
    EXPECT_LT(relative_error(probes["logits"], expected_.floats(prefix(source) + "logits")), kTolerance) << source;
  }
}

TEST_P(EncoderDecoderTest, CachedAndChunkedEqualWhole) {
  for (int source = 0; source < kNumSources; ++source) {
    const std::vector<float> whole = run(source, 64)["logits"];
    for (const int64_t chunk : {1, 5}) {
      const std::vector<float> in_chunks = run(source, chunk)["logits"];
      if (GetParam().device == kCpuDevice) {
        EXPECT_EQ(in_chunks, whole) << source << " in chunks of " << chunk;
      } else {
        EXPECT_LT(relative_error(in_chunks, whole), kTolerance) << source << " in chunks of " << chunk;
      }
    }
  }
}

TEST_P(EncoderDecoderTest, GreedyAnswersToEachSourceAlone) {
  for (int source = 0; source < kNumSources; ++source) {
    expect_greedy({.num_blocks = 8, .max_tokens_per_step = 512, .max_seqs = 4}, {source});
  }
}

TEST_P(EncoderDecoderTest, GreedyAnswersToAllSourcesTogether) {
  expect_greedy({.num_blocks = 64, .max_tokens_per_step = 512, .max_seqs = 8}, {0, 1, 2, 3});
}

// Sequences lose their blocks and are computed anew, sources and outputs, the outputs in chunks.
TEST_P(EncoderDecoderTest, GreedyAnswersWithFewBlocks) {
  expect_greedy({.block_size = 5, .num_blocks = 30, .max_tokens_per_step = 512, .max_seqs = 3}, {3, 0, 2, 1, 3, 2, 0});
}

TEST_P(EncoderDecoderTest, EveryShardLoads) {
  for (const ParallelSizes sizes : {ParallelSizes{.tensor = 2}, ParallelSizes{.tensor = 4},
                                    ParallelSizes{.pipeline = 2}, ParallelSizes{.pipeline = 4}}) {
    for (int rank = 0; rank < sizes.num_ranks(); ++rank) {
      auto open = open_model(encoder_decoder_dir() / GetParam().name, {.dtype = DType::kF32});
      ASSERT_TRUE(open.ok());
      const auto shard = shard_model(open->config.spec, ParallelLayout(sizes, rank));
      ASSERT_TRUE(shard.ok()) << shard.status().message();
      const int64_t expected_bytes = shard_weight_bytes(open->config.spec, open->map, *shard, DType::kF32);
      const auto model = load_model(*std::move(open), *shard, nullptr, *stream_);
      ASSERT_TRUE(model.ok()) << "rank " << rank << ": " << model.status().message();
      EXPECT_NEAR(static_cast<double>(model->decoder->num_weight_bytes()), static_cast<double>(expected_bytes),
                  0.2 * static_cast<double>(expected_bytes));
    }
  }
}

// What each distance adds to a score, by the bucket that it is in.
TEST_P(EncoderDecoderTest, DistancesAreInTheBucketsOfTransformers) {
  const ModelSpec& spec = model_.decoder->spec();
  const Expected weights(encoder_decoder_dir() / GetParam().name, "model.safetensors");
  for (const bool is_causal : {false, true}) {
    const std::string stack = is_causal ? "decoder" : "encoder";
    const std::vector<float> biases =
        weights.floats(stack + ".block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    const std::vector<float> expected = expected_.floats(stack + ".relative_bias");
    const auto num_distances = static_cast<int64_t>(expected.size()) / spec.num_heads;
    for (int64_t i = 0; i < num_distances; ++i) {
      const int64_t distance = is_causal ? -i : i - num_distances / 2;
      const int64_t bucket =
          position_bucket(distance, is_causal, spec.num_position_buckets, spec.max_position_distance);
      for (int64_t h = 0; h < spec.num_heads; ++h) {
        EXPECT_EQ(biases[static_cast<size_t>(bucket * spec.num_heads + h)],
                  expected[static_cast<size_t>(h * num_distances + i)])
            << stack << ", distance " << distance;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, EncoderDecoderTest, testing::ValuesIn(checkpoint_cases(encoder_decoder_dir())), case_name);

// The answers of the trained model, where no rounding decides between two tokens.
class RestorerTest : public testing::TestWithParam<Device> {};

TEST_P(RestorerTest, AnswersAreThoseOfTransformers) {
  if (GetParam() != kCpuDevice && num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  constexpr double kFirmMargin = 1e-3;
  Stream stream(GetParam(), 2);
  const LoadedModel model = load_whole(test::source_dir() / "configs/restorer", stream);
  ASSERT_NE(model.decoder, nullptr);
  const auto file = read_json_file(test::data_dir() / "restorer.json", 16 << 20);
  ASSERT_TRUE(file.ok()) << file.status().message();
  std::vector<GenerationRequest> requests;
  std::vector<std::vector<int32_t>> expected;
  for (const nlohmann::json& sentence : (*file)["sentences"]) {
    if (sentence["min_margin"].get<double>() < kFirmMargin) continue;
    GenerationRequest& request = requests.emplace_back();
    request.prompt = sentence["ids"].get<std::vector<int32_t>>();
    request.max_tokens = (*file)["max_new_tokens"].get<int64_t>();
    request.sampling.temperature = 0;
    request.stop_ids = {1};
    expected.push_back(sentence["greedy_ids"].get<std::vector<int32_t>>());
  }
  ASSERT_GE(requests.size(), 40u);
  EXPECT_EQ(
      generate_all(*model.decoder, {.num_blocks = 96, .max_tokens_per_step = 512, .max_seqs = 16}, requests, stream),
      expected);
}

INSTANTIATE_TEST_SUITE_P(, RestorerTest, testing::Values(kCpuDevice, Device{DeviceKind::kCuda, 0}),
                         [](const auto& param) { return param.param == kCpuDevice ? "cpu" : "cuda"; });

}  // namespace
}  // namespace cohort
