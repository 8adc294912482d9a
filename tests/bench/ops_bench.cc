// Speed of the CPU ops but the matrix product, at the sizes of a 7B model (hidden 4096, 32 heads of
// 128) and of a small one (hidden 576, 9 heads of 64 over 3 KV heads). GB/s counts each element
// read or written once. The last argument is the number of threads.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/activation/activation.h"
#include "kernels/attention/attention.h"
#include "kernels/norm/norm.h"
#include "kernels/position/rotary.h"
#include "kernels/sampling/sampling.h"

namespace cohort {
namespace {

void fill_normal(const TensorView& x, float spread = 1) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(9973);  // a prime number of them over and over: drawing a cache's worth takes long
  for (float& v : values) v = normal(rng);
  dispatch_float(x.dtype(), [&]<typename T>() {
    T* const data = x.data<T>();
    const int64_t n = x.num_elements();
    for (int64_t i = 0; i < n; ++i) data[i] = T(values[static_cast<size_t>(i) % values.size()]);
  });
}

Tensor normal_tensor(DType dtype, const Shape& shape) {
  Tensor x(dtype, shape);
  fill_normal(x);
  return x;
}

Tensor iota_tensor(int64_t n, int32_t first) {
  Tensor x(DType::kI32, {n});
  for (int64_t i = 0; i < n; ++i) x->data<int32_t>()[i] = first + static_cast<int32_t>(i);
  return x;
}

void set_gigabytes(benchmark::State& state, int64_t num_bytes) {
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(num_bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void set_gigaflops(benchmark::State& state, double num_flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(num_flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

// (rows, hidden, threads)
void add_rms_norm_bench(benchmark::State& state, DType dtype) {
  const int64_t rows = state.range(0);
  const int64_t hidden = state.range(1);
  Stream stream(kCpuDevice, static_cast<int>(state.range(2)));
  const Tensor x = normal_tensor(dtype, {rows, hidden});
  const Tensor residual = normal_tensor(dtype, {rows, hidden});
  const Tensor out(dtype, {rows, hidden});
  const Tensor weight = normal_tensor(DType::kF32, {hidden});
  for (auto _ : state) add_rms_norm(out, residual, x, weight, 1e-5f, stream);
  set_gigabytes(state, 4 * x->num_bytes());
}
BENCHMARK_CAPTURE(add_rms_norm_bench, f32, DType::kF32)->Args({1, 576, 1})->Args({512, 4096, 1});
BENCHMARK_CAPTURE(add_rms_norm_bench, bf16, DType::kBF16)
    ->Args({1, 576, 1})
    ->Args({1, 4096, 1})
    ->Args({512, 4096, 1})
    ->Args({512, 4096, 2});
BENCHMARK_CAPTURE(add_rms_norm_bench, f16, DType::kF16)->Args({512, 4096, 1});

void layer_norm_bench(benchmark::State& state, DType dtype) {
  const int64_t rows = state.range(0);
  const int64_t hidden = state.range(1);
  Stream stream(kCpuDevice, static_cast<int>(state.range(2)));
  const Tensor x = normal_tensor(dtype, {rows, hidden});
  const Tensor out(dtype, {rows, hidden});
  const Tensor weight = normal_tensor(DType::kF32, {hidden});
  for (auto _ : state) layer_norm(out, x, weight, weight, 1e-5f, stream);
  set_gigabytes(state, 2 * x->num_bytes());
}
BENCHMARK_CAPTURE(layer_norm_bench, bf16, DType::kBF16)->Args({1, 576, 1})->Args({512, 4096, 1});

// (rows, ffn, threads)
void activate_gated_bench(benchmark::State& state, DType dtype, Activation activation) {
  const int64_t rows = state.range(0);
  const int64_t ffn = state.range(1);
  Stream stream(kCpuDevice, static_cast<int>(state.range(2)));
  const Tensor x = normal_tensor(dtype, {rows, 2 * ffn});
  const Tensor out(dtype, {rows, ffn});
  for (auto _ : state) activate_gated(out, x, activation, stream);
  set_gigabytes(state, 3 * out->num_bytes());
}
BENCHMARK_CAPTURE(activate_gated_bench, silu_bf16, DType::kBF16, Activation::kSilu)
    ->Args({1, 1536, 1})
    ->Args({512, 11008, 1});
BENCHMARK_CAPTURE(activate_gated_bench, gelu_bf16, DType::kBF16, Activation::kGelu)->Args({512, 11008, 1});

// (tokens, heads, KV heads, head_dim, threads)
void rotary_bench(benchmark::State& state, DType dtype) {
  const int64_t tokens = state.range(0);
  RotaryConfig config;
  config.head_dim = config.rotary_dim = state.range(3);
  config.max_position = 4096;
  const RotaryEmbedding rotary = *RotaryEmbedding::create(config);
  Stream stream(kCpuDevice, static_cast<int>(state.range(4)));
  const Tensor q = normal_tensor(dtype, {tokens, state.range(1), config.head_dim});
  const Tensor k = normal_tensor(dtype, {tokens, state.range(2), config.head_dim});
  const Tensor positions = iota_tensor(tokens, 1000);
  const Tensor lengths = iota_tensor(tokens, 1001);
  for (auto _ : state) rotary.apply(q, k, positions, lengths, stream);
  set_gigabytes(state, 2 * (q->num_bytes() + k->num_bytes()));
}
BENCHMARK_CAPTURE(rotary_bench, bf16, DType::kBF16)
    ->Args({1, 9, 3, 64, 1})
    ->Args({1, 32, 32, 128, 1})
    ->Args({512, 32, 8, 128, 1})
    ->Args({512, 32, 32, 128, 1});

// A cache of sequences of one length, in blocks of 16.
struct Sequences {
  Sequences(DType dtype, int64_t num_seqs, int64_t num_queries, int64_t length, int64_t heads, int64_t kv_heads,
            int64_t head_dim)
      : num_blocks((length + 15) / 16),
        q(normal_tensor(dtype, {num_seqs * num_queries, heads, head_dim})),
        out(dtype, {num_seqs * num_queries, heads, head_dim}),
        keys(normal_tensor(dtype, {num_seqs * num_blocks, kv_heads, 16, head_dim})),
        values(normal_tensor(dtype, {num_seqs * num_blocks, kv_heads, 16, head_dim})),
        starts(DType::kI32, {num_seqs + 1}),
        lengths(DType::kI32, {num_seqs}),
        tables(iota_tensor(num_seqs * num_blocks, 0)) {
    for (int64_t i = 0; i <= num_seqs; ++i) {
      starts->data<int32_t>()[i] = static_cast<int32_t>(i * num_queries);
    }
    std::fill_n(lengths->data<int32_t>(), num_seqs, static_cast<int32_t>(length));
    params.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  }
  void run(Stream& stream) const {
    const AttentionBatch batch{starts, lengths, tables.view().reshape({lengths->dim(0), num_blocks})};
    paged_attention(out, q, {keys, values}, batch, params, {}, stream);
  }
  int64_t num_blocks;
  Tensor q, out, keys, values, starts, lengths, tables;
  AttentionParams params;
};

// (sequences, length, heads, KV heads, head_dim, threads)
void attention_decode_bench(benchmark::State& state, DType dtype) {
  const Sequences s(dtype, state.range(0), 1, state.range(1), state.range(2), state.range(3), state.range(4));
  Stream stream(kCpuDevice, static_cast<int>(state.range(5)));
  for (auto _ : state) s.run(stream);
  set_gigabytes(state, s.keys->num_bytes() + s.values->num_bytes());
  set_gigaflops(state, 4.0 * static_cast<double>(state.range(1)) * static_cast<double>(s.q->num_elements()));
}
BENCHMARK_CAPTURE(attention_decode_bench, bf16, DType::kBF16)
    ->Args({1, 128, 9, 3, 64, 1})
    ->Args({1, 1024, 9, 3, 64, 1})
    ->Args({1, 2048, 32, 32, 128, 1})
    ->Args({8, 2048, 32, 32, 128, 1})
    ->Args({8, 2048, 32, 8, 128, 1})
    ->Args({8, 2048, 32, 8, 128, 2});
BENCHMARK_CAPTURE(attention_decode_bench, f16, DType::kF16)->Args({8, 2048, 32, 8, 128, 1});
BENCHMARK_CAPTURE(attention_decode_bench, f32, DType::kF32)->Args({8, 2048, 32, 8, 128, 1});

// (prompt, heads, KV heads, head_dim, threads)
void attention_prefill_bench(benchmark::State& state, DType dtype) {
  const int64_t length = state.range(0);
  const Sequences s(dtype, 1, length, length, state.range(1), state.range(2), state.range(3));
  Stream stream(kCpuDevice, static_cast<int>(state.range(4)));
  for (auto _ : state) s.run(stream);
  const auto num_pairs = static_cast<double>(length * (length + 1) / 2);
  set_gigaflops(state, 4.0 * num_pairs * static_cast<double>(state.range(1) * state.range(3)));
}
BENCHMARK_CAPTURE(attention_prefill_bench, bf16, DType::kBF16)
    ->Args({128, 9, 3, 64, 1})
    ->Args({1024, 9, 3, 64, 1})
    ->Args({1024, 32, 32, 128, 1})
    ->Args({1024, 32, 8, 128, 1})
    ->Args({1024, 32, 8, 128, 2})
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(attention_prefill_bench, f32, DType::kF32)
    ->Args({1024, 32, 8, 128, 1})
    ->Unit(benchmark::kMillisecond);

// (vocab), one row: the logits are written anew each time, which is counted.
void sampling_bench(benchmark::State& state, const SamplingParams& params) {
  Stream stream(kCpuDevice, 1);
  const int64_t vocab = state.range(0);
  const Tensor source(DType::kF32, {1, vocab});
  fill_normal(source, 3);
  const Tensor logits(DType::kF32, {1, vocab});
  const Tensor token(DType::kI32, {1});
  const std::vector<int32_t> history(500, 7);
  const SamplingRequest request{&params, history, history};
  for (auto _ : state) {
    copy_bytes(logits->data(), kCpuDevice, source->data(), kCpuDevice, source->num_bytes());
    sample(token, logits, std::span(&request, 1), stream);
  }
  set_gigabytes(state, logits->num_bytes());
}
const SamplingParams kGreedy{.temperature = 0};
const SamplingParams kPlain{};
const SamplingParams kTopK{.temperature = 0.8f, .top_k = 50};
const SamplingParams kTopP{.temperature = 0.8f, .top_p = 0.95f};
const SamplingParams kAll{.temperature = 0.8f, .top_k = 50, .top_p = 0.95f, .min_p = 0.01f, .repetition_penalty = 1.1f};
BENCHMARK_CAPTURE(sampling_bench, greedy, kGreedy)->Arg(32000)->Arg(128256);
BENCHMARK_CAPTURE(sampling_bench, plain, kPlain)->Arg(32000)->Arg(128256);
BENCHMARK_CAPTURE(sampling_bench, top_k, kTopK)->Arg(32000)->Arg(128256);
BENCHMARK_CAPTURE(sampling_bench, top_p, kTopP)->Arg(32000)->Arg(128256);
BENCHMARK_CAPTURE(sampling_bench, all, kAll)->Arg(32000)->Arg(128256);

}  // namespace
}  // namespace cohort
