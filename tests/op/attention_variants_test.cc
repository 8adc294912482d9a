// Attention that is more than plain: windows, caps, biases, queries that see all of a context. Both backends against
// double precision.
#include <cmath>
#include <optional>

#include "tests/op/attention_cuda_testing.h"

namespace cohort {
namespace {

using namespace test;

// Queries of a sequence: the last of its positions, unless its context is shorter.
struct Sequence {
  uint32_t id;
  int64_t num_queries;
  int64_t context;

  int64_t position(int64_t query) const { return context - num_queries + query; }
};

struct Kind {
  bool is_causal = true;
  int64_t window = 0;
  float soft_cap = 0;
  bool has_slopes = false;
  int64_t max_distance = -1;  // of position biases; -1: there are none

  bool sees(const Sequence& s, int64_t query, int64_t key) const {
    if (!is_causal) return true;
    return key <= s.position(query) && (window == 0 || key > s.position(query) - window);
  }
};

std::string name_of(const Kind& kind) {
  return std::string(kind.is_causal ? "causal" : "not causal") + ", window " + std::to_string(kind.window) + ", cap " +
         std::to_string(kind.soft_cap) + (kind.has_slopes ? ", slopes" : "") + ", biases up to " +
         std::to_string(kind.max_distance);
}

constexpr Kind kKinds[] = {
    {.window = 1},
    {.window = 5},
    {.window = 64},
    {.window = 200},
    {.soft_cap = 5},
    {.has_slopes = true},
    {.max_distance = 7},
    {.max_distance = 128},
    {.window = 70, .soft_cap = 3},
    {.window = 33, .soft_cap = 4, .has_slopes = true, .max_distance = 20},
    {.is_causal = false},
    {.is_causal = false, .soft_cap = 5},
    {.is_causal = false, .has_slopes = true},
    {.is_causal = false, .max_distance = 40},
};

// A batch whose cache has NaN, and whose tables no blocks, where no query sees anything of a block; or, if contexts may
// be set, only behind their ends.
class VariantBatch {
 public:
  VariantBatch(DType dtype, Heads heads, const std::vector<Sequence>& seqs, const Kind& kind, const Options& options,
               bool may_set_contexts = false)
      : dtype_(dtype), heads_(heads), seqs_(seqs), kind_(kind), options_(options), has_all_(may_set_contexts) {
    std::vector<int32_t> starts = {0};
    int64_t num_blocks = 3;
    for (const Sequence& s : seqs) {
      num_tokens_ += s.num_queries;
      starts.push_back(static_cast<int32_t>(num_tokens_));
      num_blocks += num_blocks_of(s.context);
      max_queries_ = std::max(max_queries_, s.num_queries);
      max_context_ = std::max(max_context_, s.context);
    }
    starts_ = int32_tensor(starts);
    keys_ = poisoned({num_blocks, heads.num_kv_heads, options.block_size, heads.head_dim});
    values_ = poisoned(keys_->shape());
    q_ = poisoned({num_tokens_, heads.num_heads, heads.head_dim});
    slopes_ = Tensor(DType::kF32, {kind.has_slopes ? heads.num_heads : 0});
    for (int64_t h = 0; h < slopes_->num_elements(); ++h) slopes_->data<float>()[h] = std::exp2(-1.0f - h % 8);
    bias_ = Tensor(DType::kF32, {heads.num_heads, kind.max_distance < 0 ? 0 : 2 * kind.max_distance + 1});
    for (int64_t i = 0; i < bias_->num_elements(); ++i) {
      bias_->data<float>()[i] = static_cast<float>(2 * value_of(1, 3, 0, i));
    }
    fill(num_blocks);
  }

  // [num_tokens, num_heads, head_dim] on the CPU
  Tensor run(Device device) const { return std::move(run_with(device, {contexts()})[0]); }

  // What one recorded call gives with each of these contexts, none longer than the batch's.
  std::vector<Tensor> replay(const std::vector<std::vector<int32_t>>& contexts) const {
    return run_with(kCuda, contexts);
  }

  // Bytes of the rows of each sequence.
  std::vector<std::string> bytes(Device device) const {
    const Tensor out = run(device);
    const char* data = static_cast<const char*>(out->data());
    std::vector<std::string> bytes;
    for (const Sequence& s : seqs_) {
      const int64_t num_bytes = dtype_bytes(dtype_, s.num_queries * heads_.num_heads * heads_.head_dim);
      bytes.emplace_back(data, static_cast<size_t>(num_bytes));
      data += num_bytes;
    }
    return bytes;
  }

  std::vector<double> reference() const { return reference(contexts()); }
  std::vector<double> reference(const std::vector<int32_t>& contexts) const {
    std::vector<double> out;
    for (size_t i = 0; i < seqs_.size(); ++i) {
      Sequence s = seqs_[i];
      const std::vector<double> q = tokens(s.id, 0, s.position(0), s.num_queries, heads_.num_heads);
      s.context = contexts[i];
      const std::vector<double> keys = tokens(s.id, 1, 0, s.context, heads_.num_kv_heads);
      const std::vector<double> values = tokens(s.id, 2, 0, s.context, heads_.num_kv_heads);
      for (int64_t query = 0; query < s.num_queries; ++query) {
        for (int64_t head = 0; head < heads_.num_heads; ++head) {
          attend(out, s, query, head, q.data() + (query * heads_.num_heads + head) * heads_.head_dim, keys, values);
        }
      }
    }
    return out;
  }

 private:
  std::vector<int32_t> contexts() const {
    std::vector<int32_t> contexts;
    for (const Sequence& s : seqs_) contexts.push_back(static_cast<int32_t>(s.context));
    return contexts;
  }
  float scale() const { return 1 / std::sqrt(static_cast<float>(heads_.head_dim)); }
  int64_t num_blocks_of(int64_t context) const { return (context + options_.block_size - 1) / options_.block_size; }

  Tensor poisoned(const Shape& shape) const {
    Tensor x(dtype_, shape);
    if (!x->empty()) std::memset(x->data(), 0xff, static_cast<size_t>(x->num_bytes()));
    return x;
  }

  // [count, num_heads, head_dim] of positions from `begin` on, rounded to the dtype. Positions before 0 are those of
  // queries that are more than their context.
  std::vector<double> tokens(uint32_t id, uint32_t what, int64_t begin, int64_t count, int64_t num_heads) const {
    std::vector<double> x;
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t position = begin; position < begin + count; ++position) {
        for (int64_t i = 0; i < num_heads * heads_.head_dim; ++i) {
          const double value = value_of(id, what, position + 100000, i) * (what == 0 ? 4 : 1);
          x.push_back(static_cast<float>(T(static_cast<float>(value))));
        }
      }
    });
    return x;
  }

  void fill(int64_t num_blocks) {
    std::vector<int32_t> order(static_cast<size_t>(num_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(options_.shuffle));
    tables_ = Tensor(DType::kI32, {static_cast<int64_t>(seqs_.size()), num_blocks_of(max_context_) + 1});
    std::fill_n(tables_->data<int32_t>(), tables_->num_elements(), -1);
    int64_t row = 0;
    for (size_t i = 0; i < seqs_.size(); ++i) {
      const Sequence& s = seqs_[i];
      int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(i));
      const bool is_whole = kind_.window == 0 || has_all_;
      const int64_t first_visible = is_whole ? 0 : std::max<int64_t>(0, s.position(0) - kind_.window + 1);
      for (int64_t block = first_visible / options_.block_size; block < num_blocks_of(s.context); ++block) {
        table[block] = order.back();
        order.pop_back();
        store_block(s, block, table[block]);
      }
      const std::vector<double> q = tokens(s.id, 0, s.position(0), s.num_queries, heads_.num_heads);
      store(q_, row * heads_.num_heads * heads_.head_dim, q.data(), static_cast<int64_t>(q.size()));
      row += s.num_queries;
    }
  }

  // Positions of a sequence's block to the cache's.
  void store_block(const Sequence& s, int64_t index, int64_t block) {
    const int64_t begin = index * options_.block_size;
    const int64_t count = std::min(options_.block_size, s.context - begin);
    for (const uint32_t what : {1, 2}) {
      const std::vector<double> x = tokens(s.id, what, begin, count, heads_.num_kv_heads);
      for (int64_t i = 0; i < count * heads_.num_kv_heads; ++i) {
        const int64_t to = (block * heads_.num_kv_heads + i % heads_.num_kv_heads) * options_.block_size;
        store(what == 1 ? keys_ : values_, (to + i / heads_.num_kv_heads) * heads_.head_dim,
              x.data() + i * heads_.head_dim, heads_.head_dim);
      }
    }
  }

  void store(const Tensor& to, int64_t first, const double* values, int64_t count) const {
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t i = 0; i < count; ++i) to->data<T>()[first + i] = T(static_cast<float>(values[i]));
    });
  }

  // One query of one head.
  void attend(std::vector<double>& out, const Sequence& s, int64_t query, int64_t head, const double* q,
              const std::vector<double>& keys, const std::vector<double>& values) const {
    const int64_t kv_head = head / (heads_.num_heads / heads_.num_kv_heads);
    const auto at = [&](int64_t position) { return (position * heads_.num_kv_heads + kv_head) * heads_.head_dim; };
    std::vector<double> p(static_cast<size_t>(s.context));
    double sum = 0;
    double max = -INFINITY;
    for (int64_t key = 0; key < s.context; ++key) {
      double& score = p[static_cast<size_t>(key)];
      score = -INFINITY;
      if (!kind_.sees(s, query, key)) continue;
      score = changed(std::inner_product(q, q + heads_.head_dim, keys.data() + at(key), 0.0) * scale(), head,
                      key - s.position(query));
      max = std::max(max, score);
    }
    for (double& x : p) sum += x = x == -INFINITY ? 0 : std::exp(x - max);
    const size_t first = out.size();
    out.resize(first + static_cast<size_t>(heads_.head_dim), 0.0);
    for (int64_t key = 0; key < s.context; ++key) {
      const double weight = p[static_cast<size_t>(key)] / sum;
      if (weight == 0) continue;
      for (int64_t d = 0; d < heads_.head_dim; ++d) {
        out[first + static_cast<size_t>(d)] += weight * values[static_cast<size_t>(at(key) + d)];
      }
    }
  }

  double changed(double score, int64_t head, int64_t distance) const {
    if (kind_.soft_cap > 0) score = kind_.soft_cap * std::tanh(score / kind_.soft_cap);
    if (kind_.has_slopes) score += slopes_->data<float>()[head] * static_cast<double>(distance);
    if (kind_.max_distance >= 0) {
      score +=
          bias_->row<float>(head)[std::clamp(distance, -kind_.max_distance, kind_.max_distance) + kind_.max_distance];
    }
    return score;
  }

  std::vector<Tensor> run_with(Device device, const std::vector<std::vector<int32_t>>& all_contexts) const {
    Stream stream(device);
    const Tensor q = copy_to(q_, device);
    const Tensor keys = copy_to(keys_, device);
    const Tensor values = copy_to(values_, device);
    const Tensor starts = copy_to(starts_, device);
    const Tensor lengths(DType::kI32, {static_cast<int64_t>(seqs_.size())}, device);
    const Tensor tables = copy_to(tables_, device);
    const Tensor slopes = copy_to(slopes_, device);
    const Tensor bias = copy_to(bias_, device);
    const Tensor poison = poisoned(q_->shape());
    const Tensor out = copy_to(poison, device);
    const int64_t num_bytes = attention_workspace_bytes(static_cast<int64_t>(seqs_.size()) * 16, max_context_,
                                                        heads_.num_heads, heads_.head_dim);
    const Tensor workspace(DType::kU8, {device == kCuda && options_.has_workspace ? num_bytes : 0}, device);
    const AttentionParams params{.scale = scale(),
                                 .deterministic = options_.deterministic,
                                 .is_causal = kind_.is_causal,
                                 .window = kind_.window,
                                 .soft_cap = kind_.soft_cap,
                                 .alibi_slopes = slopes,
                                 .position_bias = bias};
    const auto call = [&] {
      paged_attention(out, q, {keys, values}, {starts, lengths, tables, max_queries_, max_context_}, params, workspace,
                      stream);
    };
    std::optional<DeviceGraph> graph;
    if (all_contexts.size() > 1) graph.emplace(DeviceGraph::capture(stream, call));
    std::vector<Tensor> outs;
    for (const std::vector<int32_t>& contexts : all_contexts) {
      copy_bytes(lengths->data(), device, contexts.data(), kCpuDevice, lengths->num_bytes());
      if (!out->empty()) copy_bytes(out->data(), device, poison->data(), kCpuDevice, out->num_bytes());
      if (graph) {
        graph->launch(stream);
      } else {
        call();
      }
      stream.synchronize();
      outs.emplace_back(dtype_, out->shape());
      copy_bytes(outs.back()->data(), kCpuDevice, out->data(), device, out->num_bytes());
    }
    return outs;
  }

  DType dtype_;
  Heads heads_;
  std::vector<Sequence> seqs_;
  Kind kind_;
  Options options_;
  bool has_all_;
  int64_t num_tokens_ = 0;
  int64_t max_queries_ = 0;
  int64_t max_context_ = 1;
  Tensor q_, keys_, values_, starts_, tables_, slopes_, bias_;
};

class AttentionVariants : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (device() == kCuda && num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
  static Device device() { return GetParam(); }
  static bool is_cuda() { return device() == kCuda; }

  // A GPU's tensor cores take probabilities of 16 bits, each rounded by itself.
  static void expect_near_reference(const Tensor& out, DType dtype, const std::vector<double>& expected) {
    if (dtype == DType::kF32) return expect_near(out, expected, 1e-5, 1e-5);
    if (is_cuda()) return expect_near(out, expected, 2.1 * rounding_of(dtype), 2 * rounding_of(dtype));
    expect_near(out, expected, 1.01 * rounding_of(dtype) + 5e-6, 1e-5);
  }

  static void expect_right(DType dtype, const Heads& heads, const std::vector<Sequence>& seqs, const Kind& kind,
                           Options options = {}) {
    const std::vector<double> expected = VariantBatch(dtype, heads, seqs, kind, options).reference();
    for (const bool deterministic : {false, true}) {
      if (deterministic && !is_cuda()) continue;
      options.deterministic = deterministic;
      SCOPED_TRACE(name_of(dtype, heads, options) + ", " + name_of(kind));
      expect_near_reference(VariantBatch(dtype, heads, seqs, kind, options).run(device()), dtype, expected);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, AttentionVariants, testing::Values(kCpuDevice));
INSTANTIATE_TEST_SUITE_P(Cuda, AttentionVariants, testing::Values(kCuda));

const std::vector<Sequence> kRagged = {{1, 7, 7}, {2, 1, 65},    {3, 129, 129}, {4, 0, 50},   {5, 8, 68},
                                       {6, 1, 1}, {7, 165, 275}, {8, 1, 600},   {9, 30, 400}, {10, 300, 300}};
const std::vector<Sequence> kSteps = {{1, 1, 1}, {2, 1, 100}, {3, 1, 64}, {4, 1, 257}, {5, 1, 1300}, {6, 1, 65}};
const std::vector<Sequence> kDrafts = {{1, 5, 1000}, {2, 3, 103}, {3, 1, 513}, {4, 4, 4}, {5, 0, 500}};
// Sequences whose queries are not of their context.
const std::vector<Sequence> kCrossed = {{1, 7, 7},    {2, 1, 65}, {3, 129, 40}, {4, 0, 50}, {5, 300, 64},
                                        {6, 40, 400}, {7, 3, 1},  {8, 1, 0},    {9, 40, 0}};

TEST_P(AttentionVariants, EveryKind) {
  for (const Kind& kind : kKinds) {
    expect_right(DType::kBF16, {4, 2, 64}, kRagged, kind);
    expect_right(DType::kF32, {4, 2, 16}, kRagged, kind);
    for (const DType dtype : kFloatDTypes) {
      expect_right(dtype, {4, 2, 64}, kSteps, kind);
      expect_right(dtype, {4, 1, 64}, kDrafts, kind, {.has_workspace = false});
    }
  }
}

TEST_P(AttentionVariants, EveryHeadDim) {
  const std::vector<Sequence> seqs = {{1, 150, 150}, {2, 1, 200}, {3, 17, 90}, {4, 3, 70}, {5, 1, 1}};
  for (const Kind& kind : {Kind{.window = 20}, Kind{.window = 70, .soft_cap = 3}, Kind{.has_slopes = true},
                           Kind{.is_causal = false, .max_distance = 30}}) {
    for (const int64_t dim : {8, 12, 16, 20, 64, 80, 96, 112, 128, 256}) {
      expect_right(DType::kF16, {2, 1, dim}, seqs, kind);
    }
  }
}

TEST_P(AttentionVariants, EveryBlockSize) {
  for (const Kind& kind : {Kind{.window = 20}, Kind{.window = 150}, Kind{.is_causal = false}}) {
    for (const int64_t block_size : {1, 5, 8, 32, 64, 100}) {
      expect_right(DType::kBF16, {4, 2, 64}, kRagged, kind, {.block_size = block_size});
      expect_right(DType::kBF16, {4, 2, 64}, kSteps, kind, {.block_size = block_size});
    }
  }
}

TEST_P(AttentionVariants, EveryGroupSize) {
  const std::vector<Sequence> seqs = {{1, 60, 60}, {2, 1, 150}, {3, 19, 130}};
  for (const Kind& kind : {Kind{.window = 30, .has_slopes = true}, Kind{.is_causal = false, .max_distance = 9}}) {
    for (const Heads heads : {Heads{3, 3, 64}, Heads{12, 2, 64}, Heads{16, 1, 64}, Heads{71, 1, 64}}) {
      expect_right(DType::kBF16, heads, seqs, kind);
      expect_right(DType::kBF16, heads, kSteps, kind);
    }
  }
}

TEST_P(AttentionVariants, QueriesOfAnotherSequenceThanTheContext) {
  const Kind kind{.is_causal = false};
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : {Heads{4, 4, 64}, Heads{4, 2, 128}, Heads{6, 1, 16}}) {
      expect_right(dtype, heads, kCrossed, kind);
      expect_right(dtype, heads, kCrossed, {.is_causal = false, .soft_cap = 4});
      expect_right(dtype, heads, {{1, 1, 30}, {2, 1, 1}, {3, 1, 0}, {4, 1, 700}}, kind);
      expect_right(dtype, heads, {{1, 5, 3}, {2, 5, 70}}, kind);
    }
  }
}

// The windows of a tile's or a warp's rows begin in other tiles, runs and splits than those of its first.
TEST_P(AttentionVariants, WindowsAroundTheEdgesOfTiles) {
  for (const int64_t window : {1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 400}) {
    expect_right(DType::kBF16, {2, 2, 64}, {{1, 140, 700}, {2, 1, 700}, {3, 300, 300}}, {.window = window});
    expect_right(DType::kBF16, {8, 1, 64}, {{1, 1, 640}, {2, 1, 641}, {3, 1, 703}, {4, 2, 513}}, {.window = window});
  }
}

TEST_P(AttentionVariants, SequencesThatFillUpABatch) {
  if (!is_cuda()) GTEST_SKIP() << "the CPU has no use for them";
  for (const Kind& kind : kKinds) {
    expect_right(DType::kBF16, {4, 2, 64}, {{1, 1, 100}, {2, 1, 0}, {3, 1, 0}, {4, 1, 300}, {5, 1, 0}}, kind);
    expect_right(DType::kBF16, {4, 2, 64}, {{1, 1, 0}, {2, 100, 100}, {3, 1, 0}}, kind);
    expect_right(DType::kF32, {4, 2, 16}, {{1, 1, 0}, {2, 1, 30}}, kind);
  }
}

TEST_P(AttentionVariants, OneRecordedCallServesEveryContext) {
  if (!is_cuda()) GTEST_SKIP() << "calls of the CPU are not recorded";
  const std::vector<Sequence> longest = {{1, 1, 900}, {2, 1, 900}, {3, 1, 900}};
  const std::vector<std::vector<int32_t>> contexts = {{900, 900, 900}, {1, 64, 65}, {0, 899, 130}, {700, 0, 2}};
  for (const Kind& kind : kKinds) {
    const VariantBatch batch(DType::kBF16, {4, 2, 64}, longest, kind, {}, true);
    const std::vector<Tensor> outs = batch.replay(contexts);
    for (size_t i = 0; i < outs.size(); ++i) {
      SCOPED_TRACE(name_of(kind) + ", contexts " + std::to_string(i));
      expect_near_reference(outs[i], DType::kBF16, batch.reference(contexts[i]));
    }
  }
}

TEST_P(AttentionVariants, ChunksAndCompanyDoNotChangeBits) {
  constexpr int64_t kLength = 330;
  const Options options{.deterministic = true};
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    for (const Kind& kind : kKinds) {
      if (!kind.is_causal) continue;
      for (const Heads heads : {Heads{4, 2, 64}, Heads{2, 1, 20}}) {
        SCOPED_TRACE(name_of(dtype, heads, options) + ", " + name_of(kind));
        const auto run = [&](const std::vector<Sequence>& seqs) {
          return VariantBatch(dtype, heads, seqs, kind, options).bytes(device());
        };
        const std::string whole = run({{9, kLength, kLength}})[0];
        for (const int64_t size : {15, 64, 130}) {
          std::string chunked;
          for (int64_t begin = 0; begin < kLength; begin += size) {
            const int64_t end = std::min(begin + size, kLength);
            chunked += run({{1, 5, 700}, {9, end - begin, end}, {2, 1, 90}})[1];
          }
          ASSERT_TRUE(chunked == whole) << "chunks of " << size;
        }
        const size_t row_bytes = whole.size() / kLength;
        for (const int64_t end : {1, 64, 65, 256, 257, 330}) {
          const std::string step = run({{9, 1, end}, {3, 1, 1300}})[0];
          ASSERT_TRUE(step == whole.substr(static_cast<size_t>(end - 1) * row_bytes, row_bytes)) << "position " << end;
        }
      }
    }
  }
}

TEST_P(AttentionVariants, CompanyDoesNotChangeBitsOfWholeContexts) {
  const Kind kind{.is_causal = false, .max_distance = 20};
  for (const Heads heads : {Heads{4, 2, 64}, Heads{2, 1, 20}}) {
    const auto run = [&](const std::vector<Sequence>& seqs) {
      return VariantBatch(DType::kBF16, heads, seqs, kind, {.deterministic = true}).bytes(device());
    };
    const std::vector<Sequence> seqs = {{1, 60, 60}, {2, 300, 300}, {3, 1, 1}, {4, 700, 700}, {5, 10, 10}};
    const std::vector<std::string> together = run(seqs);
    for (size_t i = 0; i < seqs.size(); ++i) EXPECT_TRUE(run({seqs[i]})[0] == together[i]) << "sequence " << i;
  }
}

// Where no sequence fills the window it is none, bit for bit.
TEST_P(AttentionVariants, WindowsThatNoSequenceFillsChangeNoBits) {
  for (const bool deterministic : {false, true}) {
    const auto run = [&](int64_t window) {
      return VariantBatch(DType::kBF16, {4, 2, 64}, kRagged, {.window = window}, {.deterministic = deterministic})
          .bytes(device());
    };
    EXPECT_TRUE(run(600) == run(0));
  }
}

// Nor does it matter to a sequence that another one fills it.
TEST_P(AttentionVariants, LongCompanyUnderAWindowChangesNoBits) {
  const Options options{.deterministic = true};
  for (const Heads heads : {Heads{4, 2, 64}, Heads{2, 2, 256}, Heads{2, 1, 20}}) {
    std::vector<Sequence> seqs = kRagged;
    const auto alone = VariantBatch(DType::kBF16, heads, seqs, {}, options).bytes(device());
    seqs.push_back({11, 2, 1300});
    auto together = VariantBatch(DType::kBF16, heads, seqs, {.window = 600}, options).bytes(device());
    together.pop_back();
    EXPECT_TRUE(together == alone) << name_of(DType::kBF16, heads, options);
  }
}

TEST_P(AttentionVariants, RefusesWhatContradictsItself) {
  Stream stream(device());
  const Tensor q(DType::kF32, {1, 2, 8}, device());
  const Tensor cache(DType::kF32, {2, 2, 16, 8}, device());
  const Tensor ints(DType::kI32, {2}, device());
  const Tensor table(DType::kI32, {1, 1}, device());
  const AttentionBatch batch{ints, ints->slice(0, 0, 1), table, 1, 1};
  const Tensor three(DType::kF32, {3}, device());
  const Tensor even(DType::kF32, {2, 4}, device());
  const Tensor half(DType::kF16, {2}, device());
  for (const AttentionParams& params :
       {AttentionParams{.scale = 0}, AttentionParams{.window = -1}, AttentionParams{.is_causal = false, .window = 3},
        AttentionParams{.soft_cap = -1}, AttentionParams{.alibi_slopes = three}, AttentionParams{.alibi_slopes = half},
        AttentionParams{.position_bias = even}, AttentionParams{.position_bias = three}}) {
    EXPECT_THROW(paged_attention(q, q, {cache, cache}, batch, params, {}, stream), CheckError);
  }
}

}  // namespace
}  // namespace cohort
