#include "kernels/embedding/embedding.h"

#include "tests/op/op_test.h"

namespace cohort {
namespace {

using namespace test;

std::vector<int32_t> some_ids(int64_t num_tokens, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < num_tokens; ++i) ids.push_back(static_cast<int32_t>(i * 7 % vocab));
  return ids;
}

TEST(Embedding, CopiesAndAddsRows) {
  constexpr int64_t kVocab = 11;
  for (const DType dtype : kFloatDTypes) {
    for (const int64_t hidden : {1, 3, 8, 77, 257}) {
      for (const int64_t num_tokens : {0, 1, 5, 40}) {
        for (const int num_threads : kThreadCounts) {
          Stream stream(kCpuDevice, num_threads);
          GuardedTensor table(dtype, kVocab, hidden);
          GuardedTensor out(dtype, num_tokens, hidden);
          fill_random(table, 1);
          const std::vector<int32_t> ids = some_ids(num_tokens, kVocab);
          embedding(out, int32_tensor(ids), table, stream);
          for (int64_t i = 0; i < num_tokens; ++i) {
            EXPECT_EQ(out.bytes_of_row(i), table.bytes_of_row(ids[i]));
          }
          add_embedding(out, int32_tensor(ids), table, stream);
          std::vector<double> twice;
          for (const int32_t id : ids) {
            for (const double v : values_of(table.view().slice(0, id, id + 1))) {
              twice.push_back(2 * v);
            }
          }
          expect_near(out, twice, 0, 0);  // doubling is exact
          out.expect_guards_untouched();
        }
      }
    }
  }
}

TEST(Embedding, RefusesAnIdOutsideOfTheTable) {
  Stream stream(kCpuDevice, 2);
  GuardedTensor table(DType::kF32, 4, 3);
  GuardedTensor out(DType::kF32, 2, 3);
  EXPECT_THROW(embedding(out, int32_tensor({0, 4}), table, stream), CheckError);
  EXPECT_THROW(add_embedding(out, int32_tensor({-1, 0}), table, stream), CheckError);
}

TEST(Embedding, RefusesShapesAndDtypesThatDiffer) {
  Stream stream(kCpuDevice, 1);
  GuardedTensor table(DType::kF32, 4, 3);
  GuardedTensor narrow(DType::kF32, 2, 2);
  GuardedTensor half(DType::kF16, 2, 3);
  EXPECT_THROW(embedding(narrow, int32_tensor({0, 1}), table, stream), CheckError);
  EXPECT_THROW(embedding(half, int32_tensor({0, 1}), table, stream), CheckError);
}

TEST(FeedTokens, TakesWhatWasSampled) {
  Stream stream(kCpuDevice, 1);
  const Tensor ids = int32_tensor({7, 8, 9, 10, 11});
  feed_tokens(ids, int32_tensor({-1, 2, 0, 2, 1}), int32_tensor({100, -1, 102}), stream);
  EXPECT_EQ(int32_values_of(ids), (std::vector<int32_t>{7, 102, 100, 102, 0}));
  feed_tokens(int32_tensor({}), int32_tensor({}), int32_tensor({}), stream);
  feed_tokens(ids, int32_tensor({-1, -1, -1, -1, -5}), int32_tensor({}), stream);
  EXPECT_EQ(int32_values_of(ids), (std::vector<int32_t>{7, 102, 100, 102, 0}));
}

TEST(FeedTokens, RefusesWhatDoesNotFit) {
  Stream stream(kCpuDevice, 1);
  const Tensor ids = int32_tensor({7, 8});
  EXPECT_THROW(feed_tokens(ids, int32_tensor({0, 1}), int32_tensor({100}), stream), CheckError);
  EXPECT_THROW(feed_tokens(ids, int32_tensor({0}), int32_tensor({100}), stream), CheckError);
  EXPECT_THROW(feed_tokens(Tensor(DType::kF32, {2}), int32_tensor({0, 0}), int32_tensor({100}), stream), CheckError);
}

}  // namespace
}  // namespace cohort
