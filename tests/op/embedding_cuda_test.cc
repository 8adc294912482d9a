// The GPU's bits are the CPU's, around the rows as well.
#include "kernels/embedding/embedding.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

enum class Kind { kCopy, kPart, kAdd };
constexpr Kind kKinds[] = {Kind::kCopy, Kind::kPart, Kind::kAdd};
constexpr int64_t kVocab = 37;
constexpr int64_t kFirstRow = 20;  // of a part of kVocab rows; ids are below 2 * kVocab

class EmbeddingCuda : public CudaTest {};

std::vector<int32_t> some_ids(int64_t num_tokens, int64_t vocab) {
  std::mt19937 rng(static_cast<uint32_t>(num_tokens));
  std::vector<int32_t> ids(static_cast<size_t>(num_tokens));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng() % static_cast<uint32_t>(vocab));
  return ids;
}

// Looks `ids` up in a table laid out with the offset and the gap of `table_layout`; all bytes of what was written.
std::vector<char> run(Kind kind, DType dtype, const Layout& out_layout, const Layout& table_layout,
                      const std::vector<int32_t>& ids, Stream& stream) {
  const Device device = stream.device();
  const DType out_dtype = kind == Kind::kPart ? DType::kF32 : dtype;
  const std::vector<char> before =
      kind == Kind::kAdd ? random_bytes(dtype, out_layout.num_elements(), 1) : poison(out_dtype, out_layout);
  const Operand out(before, out_dtype, out_layout, device);
  const Operand table(random_bytes(dtype, table_layout.num_elements(), 2), dtype, table_layout, device);
  const Tensor id = on_device(int32_tensor(ids), device);
  switch (kind) {
    case Kind::kCopy:
      embedding(out.view(), id, table.view(), stream);
      break;
    case Kind::kPart:
      embedding_part(out.view(), id, table.view(), kFirstRow, stream);
      break;
    case Kind::kAdd:
      add_embedding(out.view(), id, table.view(), stream);
      break;
  }
  stream.synchronize();
  return out.bytes();
}

TEST_F(EmbeddingCuda, LooksUpLikeTheCpu) {
  std::vector<Layout> layouts = kRowLayouts;
  layouts.insert(layouts.end(), {{700, 4096}, {200000, 8}, {3, 1 << 18}});
  for (const DType dtype : kFloatDTypes) {
    for (const Layout& layout : layouts) {
      SCOPED_TRACE(name_of(layout, dtype));
      const int64_t vocab = std::min<int64_t>(kVocab, (int64_t{1} << 20) / layout.n);
      for (const Layout& table : {Layout{vocab, layout.n}, Layout{vocab, layout.n, layout.offset, layout.gap + 8},
                                  Layout{vocab, layout.n, 1, layout.gap}}) {
        for (const Kind kind : kKinds) {
          const std::vector<int32_t> ids = some_ids(layout.num_rows, kind == Kind::kPart ? 2 * vocab : vocab);
          EXPECT_TRUE(run(kind, dtype, layout, table, ids, cuda()) == run(kind, dtype, layout, table, ids, cpu()));
        }
      }
    }
  }
}

TEST_F(EmbeddingCuda, OfAnotherPartIsMinusZero) {
  const Layout layout{2, 9, 0, 7};
  for (const Layout& part : {Layout{kVocab, 9, 0, 7}, Layout{0, 9}}) {
    const std::vector<char> bytes =
        run(Kind::kPart, DType::kBF16, layout, part, {kFirstRow - 1, kFirstRow + static_cast<int32_t>(kVocab)}, cuda());
    for (int64_t i = 0; i < 2; ++i) {
      const std::string row = row_of(bytes, DType::kF32, layout, i);
      for (size_t j = 0; j < 9; ++j) EXPECT_EQ(row.substr(4 * j, 4), std::string({0, 0, 0, '\x80'}));
    }
  }
}

TEST_F(EmbeddingCuda, NoTokensIsNothing) {
  for (const Kind kind : kKinds) {
    const Layout layout{0, 8};
    EXPECT_TRUE(run(kind, DType::kF32, layout, {kVocab, 8}, {}, cuda()) ==
                run(kind, DType::kF32, layout, {kVocab, 8}, {}, cpu()));
  }
}

TEST_F(EmbeddingCuda, RefusesTensorsOfAnotherDevice) {
  const Tensor on_cpu(DType::kF32, {2, 3});
  const Tensor on_gpu(DType::kF32, {2, 3}, kCuda);
  const Tensor ids = int32_tensor({0, 1});
  EXPECT_THROW(embedding(on_cpu, ids, on_gpu, cpu()), CheckError);
  EXPECT_THROW(embedding(on_gpu, on_device(ids, kCuda), on_cpu, cuda()), CheckError);
  EXPECT_THROW(embedding(on_gpu, ids, on_gpu, cuda()), CheckError);
}

TEST_F(EmbeddingCuda, FeedsTokensLikeTheCpu) {
  for (const int64_t num_tokens : {0, 1, 3, 64, 257, 5000}) {
    for (const int64_t num_sampled : {1, 5, 300}) {
      std::mt19937 rng(static_cast<uint32_t>(num_tokens + num_sampled));
      std::vector<int32_t> sampled(static_cast<size_t>(num_sampled));
      for (int32_t& token : sampled) token = static_cast<int32_t>(rng() % 1000) - 200;
      std::vector<int32_t> sources = some_ids(num_tokens, 2 * num_sampled);
      for (int32_t& source : sources) source -= static_cast<int32_t>(num_sampled);
      const Tensor expected = int32_tensor(some_ids(num_tokens, 9999));
      const Tensor ids = on_device(expected, kCuda);
      feed_tokens(expected, int32_tensor(sources), int32_tensor(sampled), cpu());
      feed_tokens(ids, on_device(int32_tensor(sources), kCuda), on_device(int32_tensor(sampled), kCuda), cuda());
      cuda().synchronize();
      EXPECT_EQ(int32_values_of(ids), int32_values_of(expected));
    }
  }
}

}  // namespace
}  // namespace cohort
