// Every checkpoint of tests/data/golden and tests/data/golden_encoder_decoders on GPUs, as the program runs them:
// alone, split into shards, split into stages, with CUDA graphs. Started by mpirun; every rank runs every case.
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/golden/golden_data.h"
#include "tests/parallel/gpu_ranks.h"

namespace cohort {
namespace {

using test::device;
using test::Expected;
using test::golden_dir;
using test::kNumGreedy;
using test::relative_error;
using test::world;

struct Layout {
  const char* name;
  int tensor;
  int pipeline;
};
constexpr Layout kLayouts[] = {{"solo", 1, 1}, {"tp2", 2, 1}, {"pp2", 1, 2}};

struct Case {
  std::filesystem::path dir;
  DType dtype;
  Layout layout;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::filesystem::path& dir : {golden_dir(), test::encoder_decoder_dir()}) {
    for (const std::string& name : test::names_in(dir)) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const Layout& layout : kLayouts) all.push_back({dir / name, dtype, layout});
      }
    }
  }
  return all;
}

// Of log-probabilities. bfloat16 has 8 bits: every weight and every activation is rounded by up to 2^-9 of itself, and
// by that a token may go to another expert.
double tolerance(DType dtype, const ModelSpec& spec) {
  if (dtype == DType::kF32) return test::kTolerance;
  return spec.num_experts > 0 ? 8e-2 : 2e-2;
}

int num_prompts(const Expected& expected) {
  int n = 0;
  while (expected.has("prompt" + std::to_string(n) + ".ids")) ++n;
  return n;
}

// What the first token of the answer is drawn from.
std::vector<float> first_logits(const Expected& expected, const std::string& prompt, int64_t vocab) {
  if (expected.has(prompt + ".last_logits")) return expected.floats(prompt + ".last_logits");
  std::vector<float> logits = expected.floats(prompt + ".logits");  // behind each token that a decoder was given
  logits.resize(static_cast<size_t>(vocab));
  return logits;
}

// log softmax
std::vector<float> log_probabilities(std::vector<float> logits) {
  double sum = 0;
  const float largest = *std::max_element(logits.begin(), logits.end());
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  for (float& logit : logits) logit = static_cast<float>(logit - largest - std::log(sum));
  return logits;
}

class GoldenRanks : public testing::TestWithParam<Case> {
 protected:
  // What the engine answers to all prompts at once: of each its tokens, and the most probable ones of its first step.
  struct Answers {
    std::vector<std::vector<int32_t>> tokens;
    std::vector<std::vector<TokenLogprob>> top_logprobs;
  };

  // On the leader; empty on other ranks.
  Answers generate(OpenModel open, const ModelShard& shard, const RankComms& comms, const Expected& expected) {
    const int64_t max_position = open.config.spec.max_position;
    const bool has_source = open.config.spec.has_source();  // which a step takes whole
    Stream stream(device);
    const auto model = load_model(std::move(open), shard, nullptr, stream);
    EXPECT_TRUE(model.ok()) << model.status().message();
    ModelRunner runner(*model->decoder, comms,
                       {.num_blocks = 64,
                        .max_tokens_per_step = has_source ? max_position : 64,
                        .max_seqs = 4,
                        .overlap_steps = GetParam().layout.pipeline == 1,
                        .use_graphs = true},
                       stream);
    runner.prepare({});
    Answers answers;
    if (!comms.layout.is_leader()) {
      follow(runner, comms);
      return answers;
    }
    Engine engine(runner, comms);
    for (int prompt = 0; prompt < num_prompts(expected); ++prompt) {
      GenerationRequest request;
      request.prompt = expected.ids("prompt" + std::to_string(prompt) + ".ids");
      request.max_tokens = kNumGreedy;
      request.sampling.temperature = 0;
      request.top_logprobs = kMaxTopLogprobs;
      EXPECT_TRUE(engine.submit(request).ok());
    }
    answers.tokens.resize(static_cast<size_t>(num_prompts(expected)));
    answers.top_logprobs.resize(answers.tokens.size());
    while (engine.has_work()) {
      for (const TokenEvent& event : engine.step()) {
        const auto prompt = static_cast<size_t>(event.request_id);
        if (answers.tokens[prompt].empty()) answers.top_logprobs[prompt] = event.top_logprobs;
        answers.tokens[prompt].push_back(event.token);
      }
    }
    return answers;
  }
};

TEST_P(GoldenRanks, AnswersAreThoseOfTransformers) {
  const Layout& layout = GetParam().layout;
  if (layout.tensor * layout.pipeline > world->size()) GTEST_SKIP() << world->size() << " ranks";
  const bool is_solo = layout.tensor * layout.pipeline == 1;  // then every rank is one by itself
  const RankComms comms =
      is_solo ? RankComms::solo()
              : RankComms::create(*world, {.tensor = layout.tensor, .pipeline = layout.pipeline}, device);
  auto open = open_model(GetParam().dir, {.dtype = GetParam().dtype});
  ASSERT_TRUE(open.ok()) << open.status().message();
  const auto shard = shard_model(open->config.spec, comms.layout);
  if (!shard.ok()) GTEST_SKIP() << shard.status().message();
  const Expected expected(GetParam().dir);
  const ModelSpec spec = open->config.spec;
  const Answers answers = generate(*std::move(open), *shard, comms, expected);
  if (!comms.layout.is_leader()) return;
  for (int i = 0; i < num_prompts(expected); ++i) {
    const std::string prompt = "prompt" + std::to_string(i);
    const auto place = static_cast<size_t>(i);
    const std::vector<float> all = log_probabilities(first_logits(expected, prompt, spec.vocab));
    std::vector<float> ours;
    std::vector<float> theirs;
    for (const TokenLogprob& top : answers.top_logprobs[place]) {
      ours.push_back(top.logprob);
      theirs.push_back(all[static_cast<size_t>(top.id)]);
    }
    EXPECT_EQ(ours.size(), static_cast<size_t>(kMaxTopLogprobs)) << prompt;
    EXPECT_LT(relative_error(ours, theirs), tolerance(GetParam().dtype, spec)) << prompt;
    if (GetParam().dtype == DType::kF32) {
      EXPECT_EQ(answers.tokens[place], expected.ids(prompt + ".greedy_ids")) << prompt;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, GoldenRanks, testing::ValuesIn(cases()), [](const auto& param) {
  std::string name = param.param.dir.filename().string() + "_" + std::string(dtype_name(param.param.dtype)) + "_" +
                     param.param.layout.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace cohort
