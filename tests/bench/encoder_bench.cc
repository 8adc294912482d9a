// Sentences a second that the engine embeds with a model of BERT-base's shape and random weights.
//
//   encoder_bench [cpu|cuda] [float32|bfloat16] [sentences] [tokens of each] [tokens a step]
//
// Prints a JSON object for each of three runs, after one that warms up.

#include <chrono>
#include <cstdio>
#include <string>

#include "kernels/core/device_facts.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "runtime/engine/step_timer.h"
#include "tests/files.h"

namespace cohort {
namespace {

constexpr const char* kBertBase = R"({
  "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 768,
  "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
  "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12})";

struct Options {
  Device device = kCpuDevice;
  DType dtype = DType::kF32;
  int64_t num_sentences = 64;
  int64_t length = 128;
  int64_t max_tokens_per_step = 8192;
};

OpenModel open_bert(DType dtype) {
  const test::TemporaryDirectory dir;
  test::write_file(dir / "config.json", kBertBase);
  auto model = open_model(dir.path(), {.dtype = dtype, .random_weights = true});
  COHORT_CHECK(model.ok(), model.status().message());
  return *std::move(model);
}

GenerationRequest sentence(int64_t length, int64_t seed) {
  GenerationRequest request;
  for (int64_t i = 0; i < length; ++i) {
    request.prompt.push_back(static_cast<int32_t>((i * 7919 + seed * 104729 + 11) % 30522));
  }
  request.encoding.embedding = true;
  return request;
}

// Seconds.
double run(Engine& engine, const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < options.num_sentences; ++i) {
    COHORT_CHECK(engine.submit(sentence(options.length, i)).ok(), std::to_string(i));
  }
  int64_t num_done = 0;
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) num_done += event.encoding ? 1 : 0;
  }
  COHORT_CHECK(num_done == options.num_sentences, std::to_string(num_done));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Multiplications and additions of the products with weights and of attention.
double flops_of_sentence(const ModelSpec& spec, int64_t length) {
  const auto hidden = static_cast<double>(spec.hidden);
  const auto n = static_cast<double>(length);
  const double of_layer = 2 * n * hidden * (4 * hidden + 2 * static_cast<double>(spec.ffn)) + 4 * n * n * hidden;
  return static_cast<double>(spec.num_layers) * of_layer;
}

void bench(const Options& options) {
  Stream stream(options.device, 0);
  OpenModel open = open_bert(options.dtype);
  const ModelShard whole = whole_model(open.config.spec);
  const auto model = load_model(std::move(open), whole, nullptr, stream);
  COHORT_CHECK(model.ok(), model.status().message());
  const RankComms comms = RankComms::solo();
  const int64_t max_seqs = 2 * options.max_tokens_per_step / options.length;  // of two steps
  ModelRunner runner(*model->decoder, comms,
                     {.num_blocks = 2 * (options.max_tokens_per_step / 16 + max_seqs) + 1,
                      .max_tokens_per_step = options.max_tokens_per_step,
                      .max_seqs = max_seqs,
                      .overlap_steps = options.device != kCpuDevice},
                     stream);
  runner.prepare({});
  Engine engine(runner, comms);
  run(engine, options);
  for (int i = 0; i < 3; ++i) {
    StepTimer timer(4096, options.device);
    runner.set_timer(&timer);
    const double seconds = run(engine, options);
    runner.set_timer(nullptr);
    double device_ms = 0;
    for (const double step_ms : timer.times().step_ms) device_ms += step_ms;
    const auto count = static_cast<double>(options.num_sentences);
    std::printf(
        "{\"model\": \"bert-base\", \"device\": \"%s\", \"dtype\": \"%s\", \"sentences\": %lld, \"tokens_each\": %lld, "
        "\"tokens_per_step\": %lld, \"seconds\": %.4f, \"sentences_per_s\": %.1f, \"device_share\": %.3f, "
        "\"tflops\": %.2f}\n",
        device_facts(options.device).name.c_str(), std::string(dtype_name(options.dtype)).c_str(),
        static_cast<long long>(options.num_sentences), static_cast<long long>(options.length),
        static_cast<long long>(options.max_tokens_per_step), seconds, count / seconds, device_ms / 1e3 / seconds,
        count * flops_of_sentence(model->decoder->spec(), options.length) / seconds / 1e12);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  cohort::Options options;
  if (argc > 1 && std::string(argv[1]) == "cuda") options.device = {cohort::DeviceKind::kCuda, 0};
  if (argc > 2) options.dtype = cohort::dtype_from_name(argv[2]).value();
  if (argc > 3) options.num_sentences = std::stoll(argv[3]);
  if (argc > 4) options.length = std::stoll(argv[4]);
  if (argc > 5) options.max_tokens_per_step = std::stoll(argv[5]);
  cohort::bench(options);
  return 0;
}
