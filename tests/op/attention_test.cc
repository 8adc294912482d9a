#include "kernels/attention/attention.h"

#include <algorithm>

#include "tests/op/attention_testing.h"

namespace cohort {
namespace {

using namespace test;

// How a batch is laid out and run: none of it may be seen in the result.
struct Layout {
  int64_t block_size = 16;
  uint32_t shuffle = 1;
  int num_threads = 2;
};

// q, k or v of a whole sequence, [length, heads, head_dim]. A token depends on the sequence and its
// position alone.
Tensor make_tokens(DType dtype, uint32_t id, uint32_t what, int64_t length, int64_t heads, int64_t head_dim) {
  Tensor x(dtype, {length, heads, head_dim});
  for (int64_t i = 0; i < length; ++i) {
    fill_random(x.view().slice(0, i, i + 1), (id * 8 + what) * 100003 + static_cast<uint32_t>(i), what == 0 ? 2 : 1);
  }
  return x;
}

void copy_rows(const TensorView& out, const ConstTensorView& x) {
  const auto num_bytes = static_cast<size_t>(dtype_bytes(x.dtype(), x.dim(1) * x.dim(2)));
  for (int64_t i = 0; i < x.dim(0); ++i) {
    std::memcpy(static_cast<char*>(out.data()) + dtype_bytes(out.dtype(), i * out.stride(0)),
                static_cast<const char*>(x.data()) + dtype_bytes(x.dtype(), i * x.stride(0)), num_bytes);
  }
}

// A batch over a cache whose unused positions are NaN, and whose unused table entries are no
// blocks.
class Batch {
 public:
  Batch(DType dtype, Heads heads, const std::vector<Chunk>& chunks, const Layout& layout)
      : heads_(heads), chunks_(chunks), layout_(layout) {
    int64_t num_blocks = 3;
    int64_t num_tokens = 0;
    int64_t max_blocks = 1;
    std::vector<int32_t> starts = {0};
    std::vector<int32_t> lengths;
    for (const Chunk& c : chunks) {
      num_tokens += c.end - c.begin;
      starts.push_back(static_cast<int32_t>(num_tokens));
      lengths.push_back(static_cast<int32_t>(c.end));
      const int64_t needed = (c.end + layout.block_size - 1) / layout.block_size;
      num_blocks += needed;
      max_blocks = std::max(max_blocks, needed + 1);
    }
    const Shape shape = {num_blocks, heads.num_kv_heads, layout.block_size, heads.head_dim};
    keys_ = Tensor(dtype, shape);
    values_ = Tensor(dtype, shape);
    std::memset(keys_->data(), 0xff, static_cast<size_t>(keys_->num_bytes()));
    std::memset(values_->data(), 0xff, static_cast<size_t>(values_->num_bytes()));
    starts_ = int32_tensor(starts);
    lengths_ = int32_tensor(lengths);
    q_ = std::make_unique<GuardedTensor>(dtype, num_tokens, heads.num_heads * heads.head_dim, heads.head_dim);
    out_ = std::make_unique<GuardedTensor>(dtype, num_tokens, heads.num_heads * heads.head_dim, heads.head_dim);
    tables_ = shuffled_tables(chunks, layout.block_size, num_blocks, max_blocks, layout.shuffle);
    fill_sequences(dtype);
  }

  // Bytes of the output rows of each chunk.
  std::vector<std::string> run() {
    Stream stream(kCpuDevice, layout_.num_threads);
    const AttentionBatch batch{starts_, lengths_, tables_};
    paged_attention(*out_, *q_, {keys_, values_}, batch, {scale()}, {}, stream);
    out_->expect_guards_untouched();
    std::vector<std::string> bytes;
    int64_t row = 0;
    for (const Chunk& c : chunks_) {
      std::string& chunk = bytes.emplace_back();
      for (int64_t i = c.begin; i < c.end; ++i) chunk += out_->bytes_of_row(row++);
    }
    return bytes;
  }

  ConstTensorView out() const { return *out_; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(heads_.head_dim)); }

 private:
  void fill_sequences(DType dtype) {
    Stream stream(kCpuDevice, 1);
    int64_t row = 0;
    for (size_t seq = 0; seq < chunks_.size(); ++seq) {
      const Chunk& c = chunks_[seq];
      const int64_t dim = heads_.head_dim;
      const Tensor q = make_tokens(dtype, c.id, 0, c.end, heads_.num_heads, dim);
      const Tensor k = make_tokens(dtype, c.id, 1, c.end, heads_.num_kv_heads, dim);
      const Tensor v = make_tokens(dtype, c.id, 2, c.end, heads_.num_kv_heads, dim);
      std::vector<int64_t> slots;
      const int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(seq));
      for (int64_t i = 0; i < c.end; ++i) {
        slots.push_back(table[i / layout_.block_size] * layout_.block_size + i % layout_.block_size);
      }
      write_kv({keys_, values_}, k, v, int64_tensor(slots), stream);
      copy_rows(q_->view().slice(0, row, row + c.end - c.begin), q.view().slice(0, c.begin, c.end));
      row += c.end - c.begin;
    }
  }

  Heads heads_;
  std::vector<Chunk> chunks_;
  Layout layout_;
  Tensor keys_, values_, starts_, lengths_, tables_;
  std::unique_ptr<GuardedTensor> q_, out_;
};

// One query of one head, in double precision.
void attend(std::vector<double>& out, const double* q, const std::vector<double>& k, const std::vector<double>& v,
            int64_t num_visible, int64_t kv_head, const Heads& heads, double scale) {
  const int64_t dim = heads.head_dim;
  const auto at = [&](int64_t i) { return static_cast<size_t>((i * heads.num_kv_heads + kv_head) * dim); };
  std::vector<double> p;
  for (int64_t i = 0; i < num_visible; ++i) {
    double score = 0;
    for (int64_t d = 0; d < dim; ++d) score += q[d] * k[at(i) + static_cast<size_t>(d)];
    p.push_back(score * scale);
  }
  const double max = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x - max);
  for (int64_t d = 0; d < dim; ++d) {
    double value = 0;
    for (int64_t i = 0; i < num_visible; ++i) {
      value += p[static_cast<size_t>(i)] / sum * v[at(i) + static_cast<size_t>(d)];
    }
    out.push_back(value);
  }
}

std::vector<double> reference(DType dtype, Heads heads, const std::vector<Chunk>& chunks, double scale) {
  std::vector<double> out;
  for (const Chunk& c : chunks) {
    const auto values = [&](uint32_t what, int64_t num_heads) {
      return values_of(make_tokens(dtype, c.id, what, c.end, num_heads, heads.head_dim));
    };
    const std::vector<double> q = values(0, heads.num_heads);
    const std::vector<double> k = values(1, heads.num_kv_heads);
    const std::vector<double> v = values(2, heads.num_kv_heads);
    for (int64_t i = c.begin; i < c.end; ++i) {
      for (int64_t h = 0; h < heads.num_heads; ++h) {
        attend(out, q.data() + (i * heads.num_heads + h) * heads.head_dim, k, v, i + 1,
               h / (heads.num_heads / heads.num_kv_heads), heads, scale);
      }
    }
  }
  return out;
}

void expect_near_reference(DType dtype, Heads heads, const std::vector<Chunk>& chunks, const Layout& layout) {
  Batch batch(dtype, heads, chunks, layout);
  batch.run();
  SCOPED_TRACE("head_dim " + std::to_string(heads.head_dim) + ", block_size " + std::to_string(layout.block_size));
  expect_near(batch.out(), reference(dtype, heads, chunks, batch.scale()), 1.01 * rounding_of(dtype) + 2e-6, 4e-6);
}

TEST(Attention, AgreesWithDoublePrecisionAtEveryLength) {
  std::vector<Chunk> decodes;
  uint32_t id = 0;
  for (const int64_t length : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200}) {
    decodes.push_back({id++, length - 1, length});
  }
  const std::vector<Chunk> mixed = {{1, 0, 7},   {2, 64, 65}, {3, 0, 129}, {4, 50, 50},
                                    {5, 60, 68}, {6, 0, 1},   {7, 10, 75}};
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : {Heads{4, 4, 64}, Heads{6, 2, 12}, Heads{5, 1, 5}}) {
      expect_near_reference(dtype, heads, decodes, {16, 1, 2});
      expect_near_reference(dtype, heads, mixed, {16, 2, 3});
    }
  }
}

TEST(Attention, AgreesWithDoublePrecisionForEveryHeadDim) {
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t dim : {1, 3, 8, 17, 77, 80, 128, 256, 257, 300, 520}) {
      expect_near_reference(dtype, {2, 1, dim}, {{1, 0, 3}, {2, 69, 70}, {3, 60, 70}}, {7, 1, 1});
    }
  }
}

TEST(Attention, ManyHeadsOfOneKvHead) {
  expect_near_reference(DType::kF32, {71, 1, 16}, {{1, 0, 3}, {2, 99, 100}}, {16, 1, 2});
}

constexpr Heads kBitHeads[] = {{4, 4, 64}, {6, 2, 12}, {8, 1, 20}, {3, 3, 5}, {2, 1, 264}};

TEST(Attention, PrefillInChunksGivesTheBitsOfDecoding) {
  constexpr int64_t kLength = 141;
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : kBitHeads) {
      const std::string whole = Batch(dtype, heads, {{9, 0, kLength}}, {}).run()[0];
      for (const int64_t size : {1, 7, 32, 64, 65}) {
        std::string chunked;
        for (int64_t begin = 0; begin < kLength; begin += size) {
          const Chunk chunk{9, begin, std::min(begin + size, kLength)};
          chunked += Batch(dtype, heads, {chunk}, {}).run()[0];
        }
        ASSERT_TRUE(chunked == whole) << "chunks of " << size << ", dim " << heads.head_dim;
      }
    }
  }
}

TEST(Attention, LayoutDoesNotChangeBits) {
  const std::vector<Chunk> chunks = {{1, 0, 40}, {2, 129, 130}, {3, 20, 90}};
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : kBitHeads) {
      const auto expected = Batch(dtype, heads, chunks, {16, 1, 1}).run();
      for (const Layout& layout : {Layout{1, 2, 2}, Layout{5, 3, 3}, Layout{32, 4, 2}, Layout{64, 5, 2},
                                   Layout{100, 6, 3}, Layout{16, 7, 3}}) {
        ASSERT_TRUE(Batch(dtype, heads, chunks, layout).run() == expected)
            << "block_size " << layout.block_size << ", dim " << heads.head_dim;
      }
    }
  }
}

TEST(Attention, CompanyDoesNotChangeBits) {
  const std::vector<Chunk> chunks = {{1, 0, 40},  {2, 129, 130}, {3, 20, 90}, {4, 0, 1},
                                     {5, 64, 65}, {6, 63, 64},   {7, 0, 65}};
  for (const DType dtype : kFloatDTypes) {
    for (const Heads heads : kBitHeads) {
      const auto together = Batch(dtype, heads, chunks, {}).run();
      for (size_t i = 0; i < chunks.size(); ++i) {
        ASSERT_TRUE(Batch(dtype, heads, {chunks[i]}, {}).run()[0] == together[i])
            << "sequence " << i << ", dim " << heads.head_dim;
      }
    }
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Stream stream(kCpuDevice, 1);
  const Heads heads{1, 1, 8};
  Batch batch(DType::kF32, heads, {{1, 0, 100}}, {});
  GuardedTensor q(DType::kF32, 100, 8, 8);
  GuardedTensor out(DType::kF32, 100, 8, 8);
  Tensor keys(DType::kF32, {1, 1, 100, 8});
  Tensor values(DType::kF32, {1, 1, 100, 8});
  fill_random(q, 1, 100);
  fill_random(keys.view().reshape({100, 8}), 2, 100);
  fill(values.view().reshape({100, 8}), [] { return 1.5; });
  Tensor table(DType::kI32, {1, 1});
  *table->data<int32_t>() = 0;
  paged_attention(out, q, {keys, values}, {int32_tensor({0, 100}), int32_tensor({100}), table}, {1.0f}, {}, stream);
  expect_near(out, std::vector<double>(800, 1.5), 1e-6, 0);
}

TEST(Attention, NoTokensIsNothing) {
  Stream stream(kCpuDevice, 1);
  GuardedTensor none(DType::kF32, 0, 8, 8);
  Tensor cache(DType::kF32, {1, 1, 4, 8});
  Tensor table(DType::kI32, {0, 1});
  paged_attention(none, none, {cache, cache}, {int32_tensor({0}), int32_tensor({}), table}, {1.0f}, {}, stream);
}

TEST(Attention, RefusesABatchThatContradictsItself) {
  Stream stream(kCpuDevice, 1);
  GuardedTensor q(DType::kF32, 2, 8, 8);
  GuardedTensor out(DType::kF32, 2, 8, 8);
  Tensor cache(DType::kF32, {2, 1, 4, 8});
  std::memset(cache->data(), 0, static_cast<size_t>(cache->num_bytes()));
  fill_random(q, 1);
  Tensor table(DType::kI32, {1, 2});
  table->data<int32_t>()[0] = 1;
  table->data<int32_t>()[1] = 2;  // no block of this cache
  const auto run = [&](const std::vector<int32_t>& starts, int32_t length) {
    paged_attention(out, q, {cache, cache}, {int32_tensor(starts), int32_tensor({length}), table}, {1.0f}, {}, stream);
  };
  EXPECT_NO_THROW(run({0, 2}, 4));
  EXPECT_THROW(run({0, 2}, 5), CheckError);  // reaches the second block
  EXPECT_THROW(run({0, 2}, 9), CheckError);
  EXPECT_THROW(run({0, 2}, 1), CheckError);
  EXPECT_THROW(run({0, 1}, 4), CheckError);
  EXPECT_THROW(run({1, 2}, 4), CheckError);
}

}  // namespace
}  // namespace cohort
