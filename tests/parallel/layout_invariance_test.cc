// The answer does not depend on the layout: logits have equal bits for every number of shards and stages, for a prompt
// alone or among others, whole or in chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "runtime/cache/kv_cache.h"
#include "tests/files.h"
#include "tests/parallel/rank_test.h"
#include "tests/parallel/tiny_model.h"
#include "tests/parallel/tiny_requests.h"

namespace cohort {
namespace {

using test::generate;
using test::has_ranks;
using test::load_tiny;
using test::Output;
using test::prompt_of;
using test::run_ranks;
using test::some_requests;

struct Case {
  std::string name;
  std::string config;  // config.json
  DType dtype;
};

// The configuration of a checkpoint of tests/data/golden, of which two stages and four shards can each hold a part.
std::string golden_config(const std::string& name) {
  return test::read_file(test::data_dir() / "golden" / name / "config.json");
}

// One of every family, with weights of their own, in all dtypes for those whose shapes hurt most.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    all.push_back({"llama", test::kLlamaConfig, dtype});
    all.push_back({"gpt2", test::kGpt2Config, dtype});
    all.push_back({"one_kv_head", test::kOneKvHeadConfig, dtype});
    all.push_back({"t5", test::kT5Config, dtype});
  }
  for (const char* name :
       {"bloom", "falcon-7b", "falcon-40b", "falcon-rw", "gemma2", "gpt-neox", "gpt-neox-sequential", "gptj", "mistral",
        "mixtral", "opt", "opt-post-norm", "phi3", "phi3-longrope", "qwen2", "qwen3"}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      all.push_back({std::string("family_") + name, golden_config(name), dtype});
    }
  }
  return all;
}

class LayoutTest : public testing::TestWithParam<Case> {
 protected:
  const std::string& config() const { return GetParam().config; }
  DType dtype() const { return GetParam().dtype; }

  // Calls check(sizes) for every layout of at most 12 ranks that the model can have and there are ranks for.
  template <typename F>
  void for_each_layout(const ModelSpec& spec, F&& check) const {
    for (const int tensor : {1, 2, 4, 8}) {
      for (const int pipeline : {1, 2, 3, 4}) {
        const ParallelSizes sizes{.tensor = tensor, .pipeline = pipeline};
        if (sizes.num_ranks() > 12 || !has_ranks(static_cast<int>(sizes.num_ranks()))) continue;
        if (pipeline > spec.num_encoder_layers + spec.num_layers) continue;
        // All can be split by four, the larger ones by eight.
        if (tensor > 4 && !shard_model(spec, ParallelLayout(sizes, 0)).ok()) continue;
        SCOPED_TRACE("tp " + std::to_string(tensor) + " pp " + std::to_string(pipeline));
        check(sizes);
      }
    }
  }
};

// Runs prompts through a rank's part of the model, `chunk` tokens of each at a time, and returns the logits of every
// position of the first prompt on the rank that samples.
class PromptRun {
 public:
  PromptRun(const Decoder& decoder, const RankComms& comms, Stream& stream)
      : decoder_(decoder), comms_(comms), stream_(stream) {}

  std::vector<float> logits(const std::vector<std::vector<int32_t>>& prompts, int64_t chunk) {
    const ModelSpec& spec = decoder_.spec();
    constexpr int64_t kBlockSize = 4;
    constexpr int32_t kBlocksPerSeq = 12;
    const auto num_seqs = static_cast<int64_t>(prompts.size());
    KvCache cache({.num_layers = num_layer_caches(spec, decoder_.shard().layers.size()),
                   .num_kv_heads = decoder_.shard().kv_heads.size(),
                   .head_dim = spec.head_dim,
                   .block_size = kBlockSize,
                   .num_blocks = 2 * kBlocksPerSeq * num_seqs,
                   .dtype = decoder_.dtype()},
                  kCpuDevice);
    const int64_t max_source_tokens = kBlockSize * kBlocksPerSeq * num_seqs;
    const int64_t max_tokens = std::max(chunk * num_seqs, spec.has_source() ? max_source_tokens : 0);
    Workspace workspace(spec, decoder_.shard(), decoder_.dtype(), max_tokens, max_tokens, kCpuDevice);
    StepBatch batch(max_tokens, num_seqs, kBlocksPerSeq, kBlockSize, kCpuDevice, LogitRows::kLast, spec.has_source());
    StepBatch sources(max_tokens, num_seqs, kBlocksPerSeq, kBlockSize, kCpuDevice);
    std::vector<Sequence> sequences(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      sequences[i].prompt = prompts[i];
      for (int32_t block = 0; block < kBlocksPerSeq; ++block) {  // of all sequences in turn, and backwards
        sequences[i].block_table.push_back((kBlocksPerSeq - 1 - block) * static_cast<int32_t>(num_seqs) +
                                           static_cast<int32_t>(i));
      }
      if (!spec.has_source()) continue;
      Sequence source;  // another one for each prompt, in blocks behind those
      source.prompt.assign(prompts[i].rbegin(), prompts[i].rend());
      for (const int32_t block : sequences[i].block_table) {
        source.block_table.push_back(block + kBlocksPerSeq * static_cast<int32_t>(num_seqs));
      }
      sources.add(source, source.length());
      sequences[i].source = source.prompt;
      sequences[i].source_table = source.block_table;
    }
    if (spec.has_source()) decoder_.encode(sources.view(), cache.layers(), workspace, comms_, nullptr, stream_);
    std::vector<float> all;
    while (sequences[0].num_pending() > 0) {
      batch.clear();
      int64_t first_count = 0;
      for (size_t i = sequences.size(); i-- > 0;) {  // the first prompt comes last in the batch
        const int64_t count = std::min(chunk, sequences[i].num_pending());
        if (count == 0) continue;
        batch.add(sequences[i], count);
        sequences[i].num_computed += count;
        first_count = count;
      }
      batch.upload(stream_);
      BatchView view = batch.view();
      std::vector<int32_t> rows;
      for (int64_t i = 0; i < first_count; ++i)
        rows.push_back(static_cast<int32_t>(view.num_tokens() - first_count + i));
      view.logit_rows = ConstTensorView(rows.data(), DType::kI32, Shape{first_count});
      const TensorView logits = decoder_.forward(view, cache.layers(), workspace, comms_, nullptr, stream_);
      if (!comms_.layout.is_sampler()) continue;
      all.insert(all.end(), logits.data<float>(), logits.data<float>() + logits.num_elements());
    }
    return all;
  }

 private:
  const Decoder& decoder_;
  const RankComms& comms_;
  Stream& stream_;
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(LayoutTest, LogitsHaveEqualBits) {
  Stream stream(kCpuDevice, 1);
  const RankComms solo = RankComms::solo();
  const std::unique_ptr<Decoder> whole = load_tiny(config(), dtype(), ParallelLayout(), stream);
  const int64_t vocab = whole->spec().vocab;
  const std::vector<int32_t> prompt = prompt_of(37, 1, vocab);
  const std::vector<std::vector<int32_t>> others = {prompt, prompt_of(5, 2, vocab), prompt_of(44, 3, vocab)};
  const std::vector<float> expected = PromptRun(*whole, solo, stream).logits({prompt}, 64);
  ASSERT_EQ(static_cast<int64_t>(expected.size()), 37 * vocab);

  for_each_layout(whole->spec(), [&](const ParallelSizes& sizes) {
    run_ranks(sizes.num_ranks(), [&](HostComm& world) {
      Stream rank_stream(kCpuDevice, 1);
      const RankComms comms = RankComms::create(world, sizes, kCpuDevice);
      const std::unique_ptr<Decoder> part = load_tiny(config(), dtype(), comms.layout, rank_stream);
      PromptRun run(*part, comms, rank_stream);
      const std::vector<float> alone = run.logits({prompt}, 64);
      const std::vector<float> in_chunks = run.logits({prompt}, 5);
      const std::vector<float> among_others = run.logits(others, 64);
      const std::vector<float> among_others_in_chunks = run.logits(others, 7);
      if (!comms.layout.is_sampler()) return;
      EXPECT_TRUE(same_bits(alone, expected));
      EXPECT_TRUE(same_bits(in_chunks, expected));
      EXPECT_TRUE(same_bits(among_others, expected));
      EXPECT_TRUE(same_bits(among_others_in_chunks, expected));
    });
  });
}

TEST_P(LayoutTest, RequestsGetTheSameTokensAndLogprobs) {
  Stream stream(kCpuDevice, 1);
  const RankComms solo = RankComms::solo();
  const std::unique_ptr<Decoder> whole = load_tiny(config(), dtype(), ParallelLayout(), stream);
  const std::vector<GenerationRequest> requests = some_requests(whole->spec().vocab);
  ModelRunner solo_runner(*whole, solo, {.num_blocks = 64, .max_tokens_per_step = 256, .max_seqs = 8}, stream);
  Engine solo_engine(solo_runner, solo);
  const std::vector<Output> expected = generate(solo_engine, requests);

  for_each_layout(whole->spec(), [&](const ParallelSizes& sizes) {
    run_ranks(sizes.num_ranks(), [&](HostComm& world) {
      Stream rank_stream(kCpuDevice, 1);
      const RankComms comms = RankComms::create(world, sizes, kCpuDevice);
      const std::unique_ptr<Decoder> part = load_tiny(config(), dtype(), comms.layout, rank_stream);
      // Chunked prompts, few blocks, more requests than run at once.
      ModelRunner runner(*part, comms,
                         {.block_size = 5,
                          .num_blocks = 40,
                          .max_tokens_per_step = whole->spec().has_source() ? whole->spec().max_position : 11,
                          .max_seqs = 4,
                          .overlap_steps = sizes.pipeline == 1},
                         rank_stream);
      if (!comms.layout.is_leader()) return follow(runner, comms);
      Engine engine(runner, comms);
      EXPECT_EQ(generate(engine, requests), expected);
    });
  });
}

INSTANTIATE_TEST_SUITE_P(, LayoutTest, testing::ValuesIn(cases()), [](const auto& param) {
  std::string name = param.param.name + "_" + std::string(dtype_name(param.param.dtype));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace cohort
