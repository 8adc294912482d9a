// Every encoder of tests/data/golden_encoders on GPUs, split into shards and into stages. Started by mpirun; every rank
// runs every case.
#include "tests/golden/encoder_testing.h"
#include "tests/parallel/gpu_ranks.h"

namespace cohort {
namespace {

using test::device;
using test::encode;
using test::encoder_dir;
using test::encoder_names;
using test::encoder_request;
using test::Expected;
using test::world;

struct Case {
  std::string name;
  DType dtype;
  int tensor;
  int pipeline;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string& name : encoder_names()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      all.push_back({name, dtype, 2, 1});
      all.push_back({name, dtype, 1, 2});
    }
  }
  return all;
}

class EncoderRanks : public testing::TestWithParam<Case> {};

TEST_P(EncoderRanks, AnswersAreThoseOfTransformers) {
  const Case& c = GetParam();
  if (c.tensor * c.pipeline > world->size()) GTEST_SKIP() << world->size() << " ranks";
  const RankComms comms = RankComms::create(*world, {.tensor = c.tensor, .pipeline = c.pipeline}, device);
  auto open = open_model(encoder_dir() / c.name, {.dtype = c.dtype});
  ASSERT_TRUE(open.ok()) << open.status().message();
  const auto shard = shard_model(open->config.spec, comms.layout);
  if (!shard.ok()) GTEST_SKIP() << shard.status().message();
  Stream stream(device);
  const auto model = load_model(*std::move(open), *shard, nullptr, stream);
  ASSERT_TRUE(model.ok()) << model.status().message();
  ModelRunner runner(*model->decoder, comms,
                     {.num_blocks = 64, .max_tokens_per_step = 80, .max_seqs = 4, .overlap_steps = c.pipeline == 1},
                     stream);
  runner.prepare({});
  if (!comms.layout.is_leader()) return follow(runner, comms);
  const Expected expected(encoder_dir() / c.name);
  const ModelSpec& spec = model->decoder->spec();
  Engine engine(runner, comms);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < 2 * test::kNumEncoderPrompts; ++i) {
    requests.push_back(encoder_request(expected, spec, i % test::kNumEncoderPrompts));
  }
  const std::vector<Encoding> encodings = encode(engine, requests);
  for (size_t i = 0; i < encodings.size(); ++i) {
    test::expect_encoding(encodings[i], expected, spec, static_cast<int>(i) % test::kNumEncoderPrompts,
                          c.dtype == DType::kF32 ? test::kTolerance : test::kBfloat16Tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(, EncoderRanks, testing::ValuesIn(cases()), [](const auto& param) {
  std::string name = param.param.name + "_" + std::string(dtype_name(param.param.dtype)) + "_tp" +
                     std::to_string(param.param.tensor) + "_pp" + std::to_string(param.param.pipeline);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace cohort
