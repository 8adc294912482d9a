// What an encoder answers has equal bits for every number of shards and stages.
#include "tests/golden/encoder_testing.h"
#include "tests/parallel/rank_test.h"

namespace cohort {
namespace {

using test::all_values;
using test::encode;
using test::encoder_dir;
using test::encoder_request;
using test::Expected;
using test::has_ranks;
using test::run_ranks;

class EncoderLayoutTest : public testing::TestWithParam<const char*> {
 protected:
  static OpenModel open() {
    auto model = open_model(encoder_dir() / GetParam(), {.dtype = DType::kF32});
    EXPECT_TRUE(model.ok()) << model.status().message();
    return *std::move(model);
  }

  // On the leader; empty on other ranks.
  static std::vector<Encoding> run(const RankComms& comms, const EngineOptions& options) {
    Stream stream(kCpuDevice, 1);
    OpenModel model = open();
    const auto shard = shard_model(model.config.spec, comms.layout);
    EXPECT_TRUE(shard.ok()) << shard.status().message();
    const auto loaded = load_model(std::move(model), *shard, nullptr, stream);
    EXPECT_TRUE(loaded.ok()) << loaded.status().message();
    ModelRunner runner(*loaded->decoder, comms, options, stream);
    if (!comms.layout.is_leader()) {
      follow(runner, comms);
      return {};
    }
    const Expected expected(encoder_dir() / GetParam());
    Engine engine(runner, comms);
    std::vector<GenerationRequest> requests;
    for (int i = 0; i < 2 * test::kNumEncoderPrompts; ++i) {
      requests.push_back(encoder_request(expected, loaded->decoder->spec(), i % test::kNumEncoderPrompts));
    }
    return encode(engine, requests);
  }
};

TEST_P(EncoderLayoutTest, AnswersHaveEqualBits) {
  const std::vector<Encoding> expected =
      run(RankComms::solo(), {.num_blocks = 64, .max_tokens_per_step = 256, .max_seqs = 8});
  for (const int tensor : {1, 2, 4}) {
    for (const int pipeline : {1, 2}) {
      if (!has_ranks(tensor * pipeline)) continue;
      SCOPED_TRACE("tp " + std::to_string(tensor) + " pp " + std::to_string(pipeline));
      run_ranks(tensor * pipeline, [&](HostComm& world) {
        const RankComms comms = RankComms::create(world, {.tensor = tensor, .pipeline = pipeline}, kCpuDevice);
        const std::vector<Encoding> encodings =
            run(comms, {.block_size = 5, .num_blocks = 40, .max_tokens_per_step = 80, .max_seqs = 4});
        if (!comms.layout.is_leader()) return;
        ASSERT_EQ(encodings.size(), expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          EXPECT_EQ(all_values(encodings[i]), all_values(expected[i])) << "request " << i;
        }
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, EncoderLayoutTest,
                         testing::Values("bert-split", "bert-classifier-split", "bert-masked-split", "split-distilbert",
                                         "split-roberta", "split-xlm-roberta"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace cohort
