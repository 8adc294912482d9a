// The CUDA backend of attention against the CPU's, on the same bytes.
#include <algorithm>
#include <numeric>

#include "kernels/attention/attention.h"
#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

constexpr Device kCuda{DeviceKind::kCuda, 0};

struct Heads {
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
};

// Queries [begin, end) of sequence `id`; positions [0, end) are in the cache.
struct Chunk {
  uint32_t id;
  int64_t begin;
  int64_t end;
};

// How a batch is laid out and run.
struct Options {
  int64_t block_size = 16;
  uint32_t shuffle = 1;
  bool deterministic = false;
  bool has_workspace = true;
  int64_t margin = 16;   // elements before each row of out: 16 bytes apart or not
  int64_t slack = 0;     // by how much the host's numbers exceed the truth
  bool uniform = false;  // queries of zero, so that every visible position counts alike
};

// Uniform in [-sqrt(3), sqrt(3)), so of variance 1: a function of its arguments (after Steele et al. 2014, SplitMix).
double value_of(uint32_t id, uint32_t what, int64_t position, int64_t index) {
  uint64_t x = (uint64_t{id} << 56) ^ (uint64_t{what} << 52) ^ (static_cast<uint64_t>(position) << 20) ^
               static_cast<uint64_t>(index);
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  x ^= x >> 31;
  return (static_cast<double>(x >> 11) * 0x1p-52 - 1) * 1.7320508;
}

Tensor copy_to(const Tensor& x, Device device) {
  Tensor copy(x->dtype(), x->shape(), device);
  if (!x->empty()) copy_bytes(copy->data(), device, x->data(), kCpuDevice, x->num_bytes());
  return copy;
}

// A batch over a cache whose unused positions are NaN and whose unused table entries are no blocks; q is the first part
// of a fused qkv whose other parts are NaN.
class Batch {
 public:
  Batch(DType dtype, Heads heads, const std::vector<Chunk>& chunks, const Options& options)
      : dtype_(dtype), heads_(heads), chunks_(chunks), options_(options) {
    int64_t num_blocks = 3;
    int64_t max_blocks = 1;
    std::vector<int32_t> starts = {0};
    std::vector<int32_t> lengths;
    for (const Chunk& c : chunks) {
      num_tokens_ += c.end - c.begin;
      starts.push_back(static_cast<int32_t>(num_tokens_));
      lengths.push_back(static_cast<int32_t>(c.end));
      num_blocks += (c.end + options.block_size - 1) / options.block_size;
      max_blocks = std::max(max_blocks, (c.end + options.slack) / options.block_size + 2);
      max_query_length_ = std::max(max_query_length_, c.end - c.begin);
      max_context_length_ = std::max(max_context_length_, c.end);
    }
    starts_ = int32_tensor(starts);
    lengths_ = int32_tensor(lengths);
    keys_ = nan_tensor({num_blocks, heads.num_kv_heads, options.block_size, heads.head_dim});
    values_ = nan_tensor(keys_->shape());
    qkv_ = nan_tensor({num_tokens_, (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim});
    make_tables(num_blocks, max_blocks);
    int64_t row = 0;
    for (size_t seq = 0; seq < chunks.size(); ++seq) {
      fill_cache(seq);
      fill_queries(chunks[seq], row);
      row += chunks[seq].end - chunks[seq].begin;
    }
  }

  // The output rows, [num_tokens, num_heads * head_dim] on the CPU. Expects that nothing else was written.
  Tensor run(Device device) const {
    Stream stream(device);
    const Tensor qkv = copy_to(qkv_, device);
    const Tensor keys = copy_to(keys_, device);
    const Tensor values = copy_to(values_, device);
    const Tensor starts = copy_to(starts_, device);
    const Tensor lengths = copy_to(lengths_, device);
    const Tensor tables = copy_to(tables_, device);
    const int64_t width = heads_.num_heads * heads_.head_dim;
    Tensor storage(dtype_, {num_tokens_ + 2, width + 2 * options_.margin});
    std::memset(storage->data(), 0xff, static_cast<size_t>(storage->num_bytes()));
    const Tensor out = copy_to(storage, device);
    const AttentionBatch batch{starts, lengths, tables, max_query_length_ + options_.slack,
                               max_context_length_ + options_.slack};
    const int64_t num_bytes =
        attention_workspace_bytes(batch.num_seqs() * 16, batch.max_context_length, heads_.num_heads, heads_.head_dim);
    const Tensor workspace(DType::kU8, {device == kCuda && options_.has_workspace ? num_bytes : 0}, device);
    if (!workspace->empty()) poison(workspace);
    paged_attention(rows_of(out).reshape({num_tokens_, heads_.num_heads, heads_.head_dim}),
                    qkv->slice(1, 0, width).reshape({num_tokens_, heads_.num_heads, heads_.head_dim}), {keys, values},
                    batch, {scale(), options_.deterministic}, workspace, stream);
    stream.synchronize();
    copy_bytes(storage->data(), kCpuDevice, out->data(), device, storage->num_bytes());
    return take_rows(storage);
  }

  // Bytes of the output rows of each chunk.
  std::vector<std::string> bytes(Device device) const {
    const Tensor out = run(device);
    std::vector<std::string> bytes;
    const char* data = static_cast<const char*>(out->data());
    for (const Chunk& c : chunks_) {
      const int64_t num_bytes = dtype_bytes(dtype_, (c.end - c.begin) * out->dim(1));
      bytes.emplace_back(data, static_cast<size_t>(num_bytes));
      data += num_bytes;
    }
    return bytes;
  }

 private:
  float scale() const { return 1 / std::sqrt(static_cast<float>(heads_.head_dim)); }

  Tensor nan_tensor(const Shape& shape) const {
    Tensor x(dtype_, shape);
    if (!x->empty()) std::memset(x->data(), 0xff, static_cast<size_t>(x->num_bytes()));
    return x;
  }

  static void poison(const Tensor& x) {
    const std::vector<char> nan(static_cast<size_t>(x->num_bytes()), '\xff');
    copy_bytes(x->data(), x->device(), nan.data(), kCpuDevice, x->num_bytes());
  }

  TensorView rows_of(const Tensor& storage) const {
    return storage->slice(0, 1, num_tokens_ + 1)
        .slice(1, options_.margin, options_.margin + heads_.num_heads * heads_.head_dim);
  }

  Tensor take_rows(const Tensor& storage) const {
    const TensorView rows = rows_of(storage);
    Tensor out(dtype_, {num_tokens_, rows.dim(1)});
    const auto num_bytes = static_cast<size_t>(dtype_bytes(dtype_, rows.dim(1)));
    for (int64_t i = 0; i < num_tokens_; ++i) {
      char* const row = static_cast<char*>(rows.data()) + dtype_bytes(dtype_, i * rows.stride(0));
      std::memcpy(static_cast<char*>(out->data()) + i * static_cast<int64_t>(num_bytes), row, num_bytes);
      std::memset(row, 0xff, num_bytes);
    }
    const auto* const begin = static_cast<const unsigned char*>(storage->data());
    EXPECT_TRUE(std::all_of(begin, begin + storage->num_bytes(), [](unsigned char x) { return x == 0xff; }))
        << "wrote outside of its rows";
    return out;
  }

  void make_tables(int64_t num_blocks, int64_t max_blocks) {
    std::vector<int32_t> order(static_cast<size_t>(num_blocks));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(options_.shuffle));
    tables_ = Tensor(DType::kI32, {static_cast<int64_t>(chunks_.size()), max_blocks});
    std::fill_n(tables_->data<int32_t>(), tables_->num_elements(), -1);
    for (size_t seq = 0; seq < chunks_.size(); ++seq) {
      int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(seq));
      for (int64_t i = 0; i * options_.block_size < chunks_[seq].end; ++i) {
        table[i] = order.back();
        order.pop_back();
      }
    }
  }

  void fill_cache(size_t seq) {
    const int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(seq));
    const int64_t dim = heads_.head_dim;
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t position = 0; position < chunks_[seq].end; ++position) {
        for (int64_t i = 0; i < heads_.num_kv_heads * dim; ++i) {
          const int64_t block = table[position / options_.block_size] * heads_.num_kv_heads + i / dim;
          const int64_t to = (block * options_.block_size + position % options_.block_size) * dim + i % dim;
          const uint32_t id = chunks_[seq].id;
          keys_->data<T>()[to] = T(static_cast<float>(value_of(id, 1, position, i)));
          values_->data<T>()[to] = T(static_cast<float>(options_.uniform ? (position % dim == i % dim ? 1.0 : 0.0)
                                                                         : value_of(id, 2, position, i)));
        }
      }
    });
  }

  // A spread of 4 lets few positions decide, so that a lost one shows.
  void fill_queries(const Chunk& chunk, int64_t row) {
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t position = chunk.begin; position < chunk.end; ++position, ++row) {
        for (int64_t i = 0; i < heads_.num_heads * heads_.head_dim; ++i) {
          const double value = options_.uniform ? 0.0 : 4 * value_of(chunk.id, 0, position, i);
          qkv_->row<T>(row)[i] = T(static_cast<float>(value));
        }
      }
    });
  }

  DType dtype_;
  Heads heads_;
  std::vector<Chunk> chunks_;
  Options options_;
  int64_t num_tokens_ = 0;
  int64_t max_query_length_ = 0;
  int64_t max_context_length_ = 0;
  Tensor qkv_, keys_, values_, starts_, lengths_, tables_;
};

std::string name_of(DType dtype, const Heads& heads, const Options& options) {
  return std::string(dtype_name(dtype)) + ", " + std::to_string(heads.num_heads) + ":" +
         std::to_string(heads.num_kv_heads) + " heads of " + std::to_string(heads.head_dim) + ", blocks of " +
         std::to_string(options.block_size) + (options.deterministic ? ", deterministic" : "") +
         (options.has_workspace ? "" : ", no workspace");
}

// 16-bit probabilities go into the products, each rounded by itself, and both sides round their result.
void expect_like_the_cpu(DType dtype, const Heads& heads, const std::vector<Chunk>& chunks, Options options) {
  const std::vector<double> expected = values_of(Batch(dtype, heads, chunks, options).run(kCpuDevice));
  for (const bool deterministic : {false, true}) {
    options.deterministic = deterministic;
    SCOPED_TRACE(name_of(dtype, heads, options));
    const Batch batch(dtype, heads, chunks, options);
    const double absolute = dtype == DType::kF32 ? 1e-5 : 2 * rounding_of(dtype);
    expect_near(batch.run(kCuda), expected, 2.1 * rounding_of(dtype), absolute);
    EXPECT_TRUE(batch.bytes(kCuda) == batch.bytes(kCuda)) << "other bits the second time";
  }
}

const std::vector<Chunk> kMixed = {{1, 0, 7}, {2, 64, 65},  {3, 0, 129},    {4, 50, 50},   {5, 60, 68},
                                   {6, 0, 1}, {7, 10, 275}, {8, 999, 1000}, {9, 600, 700}, {10, 0, 512}};
const std::vector<Chunk> kDecodes = {{1, 0, 1}, {2, 99, 100}, {3, 63, 64}, {4, 256, 257}, {5, 1299, 1300}};
constexpr DType kTiledDTypes[] = {DType::kBF16, DType::kF16};

class AttentionCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(AttentionCuda, EveryHeadDim) {
  for (const DType dtype : kTiledDTypes) {
    for (const int64_t dim : {8, 24, 40, 64, 72, 80, 96, 112, 128, 192, 256}) {
      expect_like_the_cpu(dtype, {4, 2, dim}, kMixed, {});
      expect_like_the_cpu(dtype, {4, 2, dim}, kDecodes, {});
    }
  }
}

TEST_F(AttentionCuda, EveryGroupSize) {
  for (const Heads heads : {Heads{3, 3, 128}, Heads{4, 2, 128}, Heads{8, 2, 128}, Heads{16, 2, 64}, Heads{16, 1, 128},
                            Heads{10, 2, 96}, Heads{32, 1, 64}, Heads{71, 1, 64}, Heads{142, 2, 64}}) {
    expect_like_the_cpu(DType::kBF16, heads, kMixed, {});
    expect_like_the_cpu(DType::kBF16, heads, kDecodes, {});
  }
}

TEST_F(AttentionCuda, EveryBlockSize) {
  for (const int64_t block_size : {1, 5, 16, 32, 64, 100, 1024}) {
    for (const int64_t dim : {64, 256}) {
      expect_like_the_cpu(DType::kF16, {4, 2, dim}, kMixed, {.block_size = block_size, .shuffle = 2});
      expect_like_the_cpu(DType::kF16, {4, 2, dim}, kDecodes, {.block_size = block_size, .shuffle = 3});
    }
  }
}

TEST_F(AttentionCuda, EveryContextLength) {
  std::vector<Chunk> decodes;
  uint32_t id = 0;
  for (const int64_t length : {1,   2,   15,  16,  17,  31,  32,  33,  63,  64,   65,   127,  128,
                               129, 255, 256, 257, 511, 512, 513, 767, 768, 1025, 2047, 2999, 3000}) {
    decodes.push_back({id++, length - 1, length});
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, {decodes.back()}, {});
  }
  expect_like_the_cpu(DType::kBF16, {8, 2, 128}, decodes, {});
  expect_like_the_cpu(DType::kBF16, {2, 2, 256}, decodes, {});
}

TEST_F(AttentionCuda, ChunksInTheMiddleOfAContext) {
  for (const int64_t num_queries : {2, 5, 16, 17, 64, 65, 127, 128, 129, 300}) {
    for (const int64_t begin : {0, 1, 63, 255, 256, 1500}) {
      expect_like_the_cpu(DType::kBF16, {4, 2, 128}, {{1, begin, begin + num_queries}}, {});
    }
  }
  expect_like_the_cpu(DType::kF16, {2, 1, 256}, {{1, 1000, 1200}, {2, 0, 1100}}, {});
}

TEST_F(AttentionCuda, FewQueriesOfLongContexts) {
  const std::vector<Chunk> drafts = {{1, 2995, 3000}, {2, 100, 103}, {3, 1023, 1024}, {4, 0, 4}, {5, 500, 500}};
  for (const Heads heads : {Heads{4, 4, 64}, Heads{8, 2, 128}, Heads{8, 1, 80}, Heads{32, 1, 64}}) {
    expect_like_the_cpu(DType::kBF16, heads, drafts, {});
    expect_like_the_cpu(DType::kBF16, heads, drafts, {.has_workspace = false});
  }
}

// The host may know no more than limits.
TEST_F(AttentionCuda, LimitsMayExceedTheBatch) {
  for (const int64_t slack : {1, 50, 3000}) {
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, kMixed, {.slack = slack});
    expect_like_the_cpu(DType::kBF16, {8, 2, 128}, kDecodes, {.slack = slack});
  }
}

TEST_F(AttentionCuda, EveryVisiblePositionCountsOnce) {
  const std::vector<Chunk> chunks = {{1, 0, 200}, {2, 1299, 1300}, {3, 30, 31}, {4, 700, 1000}};
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t dim : {64, 80, 128, 256}) {
      const Options options{.uniform = true};
      for (const std::vector<Chunk>& batch : {chunks, std::vector<Chunk>{{2, 1299, 1300}, {3, 30, 31}}}) {
        SCOPED_TRACE(name_of(dtype, {2, 1, dim}, options));
        std::vector<double> expected;
        for (const Chunk& c : batch) {
          for (int64_t position = c.begin; position < c.end; ++position) {
            for (int64_t i = 0; i < 2 * dim; ++i) {
              const int64_t count = position / dim + (i % dim <= position % dim ? 1 : 0);
              expected.push_back(static_cast<double>(count) / static_cast<double>(position + 1));
            }
          }
        }
        expect_near(Batch(dtype, {2, 1, dim}, batch, options).run(kCuda), expected, 1.01 * rounding_of(dtype) + 1e-5,
                    0);
      }
    }
  }
}

// Hopper's prefill kernel: every tile shape, with tails of blocks and of tiles.
TEST_F(AttentionCuda, PrefillsOfEveryHeadDimAndBlockSize) {
  const std::vector<Chunk> chunks = {{1, 0, 300}, {2, 77, 205}, {3, 640, 700}, {4, 0, 128}, {5, 0, 1}, {6, 3, 131}};
  for (const DType dtype : kTiledDTypes) {
    for (const int64_t dim : {64, 80, 96, 128, 256}) {
      for (const int64_t block_size : {16, 32, 64}) {
        expect_like_the_cpu(dtype, {4, 2, dim}, chunks, {.block_size = block_size, .margin = 8});
      }
    }
  }
}

TEST_F(AttentionCuda, PrefillsAroundTheEdgesOfTiles) {
  for (const Heads heads : {Heads{2, 2, 128}, Heads{8, 1, 128}, Heads{12, 2, 64}, Heads{32, 1, 96}}) {
    for (const int64_t length : {18, 63, 64, 65, 127, 128, 129, 143, 144, 145, 255, 256, 257, 384, 513}) {
      expect_like_the_cpu(DType::kBF16, heads, {{1, 0, length}}, {});
      expect_like_the_cpu(DType::kF16, heads, {{2, 250, 250 + length}}, {.block_size = 32});
    }
  }
}

// So many that each multiprocessor has several tiles, of sequences that are alike and of others.
TEST_F(AttentionCuda, PrefillsOfManySequences) {
  std::vector<Chunk> alike;
  std::vector<Chunk> others;
  for (uint32_t id = 0; id < 40; ++id) {
    alike.push_back({id, id, int64_t{id} + 150});
    others.push_back({id, 2 * id, 2 * id + 1 + id % 3 * 110});
  }
  for (const Heads heads : {Heads{12, 12, 64}, Heads{16, 2, 128}}) {
    expect_like_the_cpu(DType::kBF16, heads, alike, {});
    expect_like_the_cpu(DType::kBF16, heads, others, {});
    expect_like_the_cpu(DType::kBF16, heads, others, {.slack = 100});
  }
}

// What the tensor core kernels do not take.
TEST_F(AttentionCuda, AnyDTypeDimensionAndAlignment) {
  for (const int64_t dim : {1, 5, 64, 128, 300}) {
    expect_like_the_cpu(DType::kF32, {4, 2, dim}, kMixed, {.block_size = 7});
  }
  expect_like_the_cpu(DType::kF32, {71, 1, 64}, kDecodes, {});
  expect_like_the_cpu(DType::kBF16, {4, 2, 20}, kMixed, {});
  expect_like_the_cpu(DType::kF16, {4, 2, 264}, kMixed, {});
  expect_like_the_cpu(DType::kBF16, {4, 2, 128}, kMixed, {.margin = 5});
}

constexpr Heads kBitHeads[] = {{4, 4, 64}, {8, 2, 128}, {10, 2, 80}, {71, 1, 64}, {2, 1, 256}};

TEST_F(AttentionCuda, DeterministicBitsAreThoseOfTheSequenceAlone) {
  for (const Heads heads : kBitHeads) {
    for (const DType dtype : kTiledDTypes) {
      const Options options{.deterministic = true};
      SCOPED_TRACE(name_of(dtype, heads, options));
      for (const std::vector<Chunk>& chunks : {kMixed, kDecodes}) {
        const std::vector<std::string> together = Batch(dtype, heads, chunks, options).bytes(kCuda);
        const Options other{.block_size = 5, .shuffle = 9, .deterministic = true, .slack = 7};
        for (size_t i = 0; i < chunks.size(); ++i) {
          if (chunks[i].begin == chunks[i].end) continue;
          EXPECT_TRUE(Batch(dtype, heads, {chunks[i]}, other).bytes(kCuda)[0] == together[i]) << "sequence " << i;
        }
      }
    }
  }
}

TEST_F(AttentionCuda, DeterministicChunksGiveTheBitsOfTheWhole) {
  constexpr int64_t kLength = 613;
  const Options options{.deterministic = true};
  for (const Heads heads : kBitHeads) {
    for (const DType dtype : kTiledDTypes) {
      SCOPED_TRACE(name_of(dtype, heads, options));
      const std::string whole = Batch(dtype, heads, {{9, 0, kLength}}, options).bytes(kCuda)[0];
      const size_t row_bytes = whole.size() / kLength;
      for (const int64_t size : {1, 3, 64, 65, 256, 300}) {
        // Small chunks, where contexts are long as well, cover all cases near the ends of runs.
        for (int64_t begin = size < 60 ? 500 : 0; begin < kLength; begin += size) {
          const Chunk chunk{9, begin, std::min(begin + size, kLength)};
          const std::string bytes = Batch(dtype, heads, {chunk}, options).bytes(kCuda)[0];
          ASSERT_TRUE(bytes == whole.substr(static_cast<size_t>(begin) * row_bytes, bytes.size()))
              << "chunk of " << size << " from " << begin;
        }
      }
    }
  }
}

TEST_F(AttentionCuda, DeterministicBitsDoNotDependOnTheWorkspace) {
  for (const Heads heads : kBitHeads) {
    const Options with{.deterministic = true};
    const Options without{.deterministic = true, .has_workspace = false};
    SCOPED_TRACE(name_of(DType::kBF16, heads, with));
    for (const std::vector<Chunk>& chunks : {std::vector<Chunk>{{1, 2999, 3000}}, kDecodes, kMixed}) {
      EXPECT_TRUE(Batch(DType::kBF16, heads, chunks, with).bytes(kCuda) ==
                  Batch(DType::kBF16, heads, chunks, without).bytes(kCuda));
    }
  }
}

TEST_F(AttentionCuda, NoTokensIsNothing) {
  Stream stream(kCuda);
  const Tensor none(DType::kBF16, {0, 8, 64}, kCuda);
  const Tensor cache(DType::kBF16, {1, 1, 16, 64}, kCuda);
  const Tensor table(DType::kI32, {0, 1}, kCuda);
  const Tensor starts(DType::kI32, {1}, kCuda);
  const Tensor lengths(DType::kI32, {0}, kCuda);
  paged_attention(none, none, {cache, cache}, {starts, lengths, table}, {1.0f}, {}, stream);
  EXPECT_NO_THROW(stream.synchronize());
}

TEST_F(AttentionCuda, RefusesWhatDoesNotFit) {
  Stream stream(kCuda);
  const Tensor q(DType::kBF16, {2, 8, 64}, kCuda);
  const Tensor on_host(DType::kBF16, {2, 8, 64});
  const Tensor cache(DType::kBF16, {1, 1, 16, 64}, kCuda);
  const Tensor table(DType::kI32, {1, 1}, kCuda);
  const Tensor starts(DType::kI32, {2}, kCuda);
  const Tensor lengths(DType::kI32, {1}, kCuda);
  const auto run = [&](const Tensor& out, int64_t max_query_length, int64_t max_context_length, TensorView workspace) {
    paged_attention(out, q, {cache, cache}, {starts, lengths, table, max_query_length, max_context_length}, {1.0f},
                    workspace, stream);
  };
  EXPECT_THROW(run(q, 0, 0, {}), CheckError);
  EXPECT_THROW(run(q, 2, 1, {}), CheckError);
  EXPECT_THROW(run(q, 2, 17, {}), CheckError);  // more than the table has blocks for
  EXPECT_THROW(run(on_host, 2, 2, {}), CheckError);
  EXPECT_THROW(run(q, 2, 2, Tensor(DType::kU8, {1024})), CheckError);
}

}  // namespace
}  // namespace cohort
