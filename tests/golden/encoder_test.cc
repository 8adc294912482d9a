// Every encoder of tests/data/golden_encoders against what Hugging Face transformers makes of the same ids.
#include "tests/golden/encoder_testing.h"

namespace cohort {
namespace {

using test::all_values;
using test::encode;
using test::encoder_dir;
using test::encoder_names;
using test::encoder_request;
using test::expect_encoding;
using test::Expected;
using test::kNumEncoderPrompts;
using test::kTolerance;

struct EncoderCase {
  std::string name;
  Device device;
  DType dtype;
};

std::vector<EncoderCase> encoder_cases() {
  std::vector<EncoderCase> cases;
  const Device cuda{DeviceKind::kCuda, 0};
  for (const std::string& name : encoder_names()) {
    cases.push_back({name, kCpuDevice, DType::kF32});
    cases.push_back({name, cuda, DType::kF32});
    cases.push_back({name, cuda, DType::kBF16});
  }
  return cases;
}

class EncoderTest : public testing::TestWithParam<EncoderCase> {
 protected:
  EncoderTest() : expected_(encoder_dir() / GetParam().name) {}
  void SetUp() override {
    if (GetParam().device != kCpuDevice && num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream_ = std::make_unique<Stream>(GetParam().device, 2);
    auto open = open_model(encoder_dir() / GetParam().name, {.dtype = GetParam().dtype});
    ASSERT_TRUE(open.ok()) << open.status().message();
    const ModelShard whole = whole_model(open->config.spec);
    auto model = load_model(*std::move(open), whole, nullptr, *stream_);
    ASSERT_TRUE(model.ok()) << model.status().message();
    model_ = *std::move(model);
  }

  const ModelSpec& spec() const { return model_.decoder->spec(); }
  double tolerance() const { return GetParam().dtype == DType::kF32 ? kTolerance : test::kBfloat16Tolerance; }

  std::vector<Encoding> run(const EngineOptions& options, const std::vector<GenerationRequest>& requests) {
    ModelRunner runner(*model_.decoder, comms_, options, *stream_);
    runner.prepare({});
    Engine engine(runner, comms_);
    return encode(engine, requests);
  }

  std::vector<GenerationRequest> all_requests() const {
    std::vector<GenerationRequest> requests;
    for (int prompt = 0; prompt < kNumEncoderPrompts; ++prompt) {
      requests.push_back(encoder_request(expected_, spec(), prompt));
    }
    return requests;
  }

  std::unique_ptr<Stream> stream_;
  const RankComms comms_ = RankComms::solo();
  Expected expected_;
  LoadedModel model_;
};

TEST_P(EncoderTest, AnswersAreThoseOfTransformers) {
  const std::vector<Encoding> together =
      run({.block_size = 16, .num_blocks = 32, .max_tokens_per_step = 128, .max_seqs = 8}, all_requests());
  for (int prompt = 0; prompt < kNumEncoderPrompts; ++prompt) {
    expect_encoding(together[static_cast<size_t>(prompt)], expected_, spec(), prompt, tolerance());
  }
}

TEST_P(EncoderTest, AnswersHaveTheBitsOfEachPromptAlone) {
  const std::vector<GenerationRequest> requests = all_requests();
  const std::vector<Encoding> together = run(
      {.block_size = 16, .num_blocks = 32, .max_tokens_per_step = 128, .max_seqs = 8, .overlap_steps = true}, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<Encoding> alone =
        run({.block_size = 5, .num_blocks = 15, .max_tokens_per_step = 70, .max_seqs = 1}, {requests[i]});
    const std::vector<float> a = all_values(alone[0]);
    const std::vector<float> b = all_values(together[i]);
    if (GetParam().device == kCpuDevice) {
      EXPECT_EQ(a, b) << "prompt " << i;
    } else {
      EXPECT_LT(test::relative_error(a, b), tolerance()) << "prompt " << i;
    }
  }
}

TEST_P(EncoderTest, LogitsOfChosenTokens) {
  if (!has_logits_of_tokens(spec())) GTEST_SKIP() << "the head reads one token";
  std::vector<GenerationRequest> requests = {encoder_request(expected_, spec(), 2),
                                             encoder_request(expected_, spec(), 2)};
  requests[1].encoding.logits_of = {30, 0, 7};
  const std::vector<Encoding> encodings =
      run({.block_size = 16, .num_blocks = 32, .max_tokens_per_step = 128, .max_seqs = 8}, requests);
  std::vector<float> chosen;
  for (const int64_t token : {30, 0, 7}) {
    const auto row = encodings[0].logits.begin() + token * num_logits(spec());
    chosen.insert(chosen.end(), row, row + num_logits(spec()));
  }
  EXPECT_EQ(encodings[1].logits, chosen);
}

TEST_P(EncoderTest, RefusesWhatItCannotEncode) {
  ModelRunner runner(*model_.decoder, comms_,
                     {.block_size = 16, .num_blocks = 32, .max_tokens_per_step = 128, .max_seqs = 8}, *stream_);
  Engine engine(runner, comms_);
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  EXPECT_EQ(engine.submit(request).status().message(), "the model encodes; it does not generate");
  request.encoding.embedding = true;
  request.token_types = {0, 0, 3};
  EXPECT_EQ(engine.submit(request).status().code(), StatusCode::kInvalidArgument);
  request.token_types = {0, 0};
  EXPECT_EQ(engine.submit(request).status().code(), StatusCode::kInvalidArgument);
  request.token_types = {};
  request.encoding.logits = true;
  request.encoding.logits_of = {3};
  EXPECT_EQ(engine.submit(request).status().code(), StatusCode::kInvalidArgument);
  request.encoding.logits = false;
  request.encoding.logits_of = {};
  request.prompt.assign(71, 5);
  EXPECT_EQ(engine.submit(request).status().message(), "prompt: 71 tokens; the model's longest sequence is 70");
  request.prompt.assign(70, 5);
  request.encoding.pooler_output = !spec().has_pooler;
  EXPECT_EQ(engine.submit(request).ok(), spec().has_pooler);
  request.encoding.pooler_output = false;
  request.encoding.logits = num_logits(spec()) == 0;
  EXPECT_EQ(engine.submit(request).ok(), num_logits(spec()) > 0);
}

INSTANTIATE_TEST_SUITE_P(, EncoderTest, testing::ValuesIn(encoder_cases()), [](const auto& param) {
  std::string name = param.param.name + "_" + std::string(dtype_name(param.param.dtype)) +
                     (param.param.device == kCpuDevice ? "" : "_cuda");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace cohort
