#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/weights/weight_source.h"
#include "tests/files.h"
#include "tests/unit/weights_test_files.h"

namespace cohort {
namespace {

using test::counted;
using test::SafetensorsWriter;
using test::TemporaryDirectory;
using test::write_file;

std::unique_ptr<WeightSource> open_source(const TemporaryDirectory& directory, Progress* progress = nullptr) {
  Result<Checkpoint> checkpoint = Checkpoint::open(directory.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint_source(*std::move(checkpoint), progress);
}

void write_checkpoint(const TemporaryDirectory& directory) {
  // The order of the header is by name, that of the bytes is this one: `flag` makes the others
  // unaligned.
  write_file(directory / "model.safetensors", SafetensorsWriter()
                                                  .add("w", "F32", {4, 6}, counted(24))
                                                  .add("cube", "F32", {2, 3, 4}, counted(24))
                                                  .add("scalar", "F32", {}, counted(1, 7))
                                                  .add("flag", "U8", {1}, std::vector<uint8_t>{1})
                                                  .add("odd", "F32", {2, 3}, counted(6))
                                                  .bytes());
}

TEST(CheckpointSource, LoadsSlicesWithoutCopying) {
  const TemporaryDirectory directory;
  write_checkpoint(directory);
  Progress progress(0, {.quiet = true});
  const auto source = open_source(directory, &progress);
  const Result<WeightSlice> rows = source->load("w", Shape{4, 6}, 0, 1, 3);
  ASSERT_TRUE(rows.ok()) << rows.status().message();
  EXPECT_EQ(rows->view.shape(), (Shape{2, 6}));
  EXPECT_EQ(rows->view.row<float>(1)[2], 14.0f);
  EXPECT_EQ(source->bytes_read(), 48);

  const Result<WeightSlice> columns = source->load("w", Shape{4, 6}, 1, 2, 5);
  ASSERT_TRUE(columns.ok());
  EXPECT_EQ(columns->view.shape(), (Shape{4, 3}));
  EXPECT_EQ(columns->view.row<float>(3)[0], 20.0f);
  EXPECT_EQ(source->bytes_read(), 48 + 48);
  EXPECT_FALSE(rows->owned.has_value() || columns->owned.has_value());

  EXPECT_EQ(source->load("w", Shape{4, 6})->view.num_bytes(), 96);
  EXPECT_EQ(source->load("scalar", Shape{})->view.data<float>()[0], 7.0f);
  EXPECT_EQ(source->load("w", Shape{4, 6}, 0, 2, 2)->view.num_elements(), 0);
  EXPECT_EQ(source->bytes_read(), 48 + 48 + 96 + 4);
  EXPECT_EQ(progress.done_bytes(), source->bytes_read());
}

TEST(CheckpointSource, CopiesOnlyWhatIsUnaligned) {
  const TemporaryDirectory directory;
  const SafetensorsWriter writer =
      SafetensorsWriter().add("flag", "U8", {1}, std::vector<uint8_t>{1}).add("odd", "F32", {2, 3}, counted(6));
  write_file(directory / "model.safetensors", writer.bytes());
  const auto source = open_source(directory);
  const Result<WeightSlice> slice = source->load("odd", Shape{2, 3}, 1, 1, 3);
  ASSERT_TRUE(slice.ok());
  EXPECT_TRUE(slice->owned.has_value());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slice->view.data()) % 4, 0u);
  EXPECT_EQ(slice->view.row<float>(1)[1], 5.0f);

  write_file(directory / "model.safetensors", writer.bytes(7));
  const auto aligned = open_source(directory);
  const Result<WeightSlice> view = aligned->load("odd", Shape{2, 3}, 1, 1, 3);
  ASSERT_TRUE(view.ok());
  EXPECT_FALSE(view->owned.has_value());
  EXPECT_EQ(view->view.row<float>(1)[1], 5.0f);
}

TEST(CheckpointSource, LoadsIntoAnyDTypeAndStride) {
  const TemporaryDirectory directory;
  write_checkpoint(directory);
  const auto source = open_source(directory);
  Tensor half(DType::kF16, Shape{2, 3, 2});
  ASSERT_TRUE(source->load_into(half, "cube", Shape{2, 3, 4}, 2, 1, 3).ok());
  for (int64_t i = 0; i < 12; ++i) {
    const int64_t index = i / 6 * 12 + i / 2 % 3 * 4 + i % 2 + 1;
    const auto expected = static_cast<float>(index);
    EXPECT_EQ(static_cast<float>(half->data<f16>()[i]), expected) << i;
  }
  Tensor wide(DType::kF32, Shape{2, 10});
  ASSERT_TRUE(source->load_into(wide.view().slice(1, 3, 6), "odd", Shape{2, 3}, 0, 0, 2).ok());
  EXPECT_EQ(wide->row<float>(1)[3], 3.0f);
  EXPECT_EQ(wide->row<float>(1)[5], 5.0f);
}

TEST(CheckpointSource, SaysWhatIsWrong) {
  const TemporaryDirectory directory;
  write_checkpoint(directory);
  const auto source = open_source(directory);
  const std::string file = (directory / "model.safetensors").string();
  EXPECT_EQ(source->load("w", Shape{6, 4}).status().message(), file + ": tensor w: expected shape [6, 4], got [4, 6]");
  EXPECT_EQ(source->load("v", Shape{6, 4}).status().message(),
            file + ": tensor v is missing, expected it with shape [6, 4]");
  EXPECT_EQ(source->load("flag", Shape{1}).status().message(),
            file + ": tensor flag: expected dtype F32, F16 or BF16, got U8");
  for (const auto& [dim, begin, end] : {std::tuple(0, 3, 5), {0, -1, 2}, {0, 3, 2}, {2, 0, 1}, {-1, 0, 1}}) {
    EXPECT_EQ(source->load("w", Shape{4, 6}, dim, begin, end).status().message(),
              "tensor w: there is no slice [" + std::to_string(begin) + ", " + std::to_string(end) + ") of dimension " +
                  std::to_string(dim) + " of shape [4, 6]");
  }
  EXPECT_EQ(source->bytes_read(), 0);
}

TEST(CheckpointSource, FindsUnexpectedTensors) {
  const TemporaryDirectory directory;
  write_checkpoint(directory);
  const auto source = open_source(directory);
  const std::string file = (directory / "model.safetensors").string();
  EXPECT_TRUE(source->contains("cube"));
  EXPECT_FALSE(source->contains("cub"));
  ASSERT_TRUE(source->load("w", Shape{4, 6}, 0, 0, 1).ok());
  source->skip("scalar");
  const Status status = source->finish({});
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), file +
                                  ": unexpected tensor cube of shape [2, 3, 4] and 2 more: expected only tensors "
                                  "that config.json's architecture has");
  for (const std::vector<std::string>& ignorable : std::vector<std::vector<std::string>>{
           {"cube", "flag", "odd"}, {"*"}, {"c*b*", "*d", "*a*"}, {"cube*", "fl**ag", "*odd"}}) {
    EXPECT_TRUE(source->finish(ignorable).ok()) << ignorable[0];
  }
  for (const std::vector<std::string>& ignorable : std::vector<std::vector<std::string>>{
           {"cub", "flag", "odd"}, {"cube", "flag", "d"}, {"", "cube", "flag", "o*o"}, {"cube", "*flagg", "odd"}}) {
    EXPECT_FALSE(source->finish(ignorable).ok()) << ignorable[0];
  }
}

TEST(CheckpointSource, LoadsInSeveralThreads) {
  const TemporaryDirectory directory;
  write_checkpoint(directory);
  const auto source = open_source(directory);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(source->load("w", Shape{4, 6}, 0, i % 4, i % 4 + 1).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(source->bytes_read(), 400 * 24);
}

// The pages of [begin, end) that lie in it wholly are taken away: who touches them dies.
void forbid(const char* begin, const char* end) {
  const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page_bytes - 1) / page_bytes * page_bytes;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page_bytes * page_bytes;
  ASSERT_LT(first, last);
  ASSERT_EQ(::mprotect(reinterpret_cast<void*>(first), last - first, PROT_NONE), 0);
}

// A rank's slice must not pull the rest of the file through the disk.
TEST(CheckpointSource, TouchesOnlyThePagesOfASlice) {
  const TemporaryDirectory directory;
  constexpr int64_t kRows = 12, kColumns = 65536;  // rows of 64 pages
  constexpr int64_t kRowBytes = kColumns * 4;
  const Shape shape{kRows, kColumns};
  write_file(directory / "model.safetensors",
             SafetensorsWriter().add("w", "F32", {kRows, kColumns}, counted(kRows * kColumns)).bytes());
  const auto source_without = [&](const std::vector<std::pair<int64_t, int64_t>>& byte_ranges) {
    Result<Checkpoint> checkpoint = Checkpoint::open(directory.path());
    const auto* data = static_cast<const char*>(checkpoint->tensor("w", shape)->data());
    for (const auto& [begin, end] : byte_ranges) forbid(data + begin, data + end);
    return checkpoint_source(*std::move(checkpoint), nullptr);
  };

  Tensor rows(DType::kF32, Shape{2, kColumns});
  ASSERT_TRUE(source_without({{0, 5 * kRowBytes}, {7 * kRowBytes, kRows * kRowBytes}})
                  ->load_into(rows, "w", shape, 0, 5, 7)
                  .ok());
  EXPECT_EQ(rows->row<float>(1)[kColumns - 1], static_cast<float>(7 * kColumns - 1));

  std::vector<std::pair<int64_t, int64_t>> outside;  // of the columns [40000, 42048)
  for (int64_t row = 0; row < kRows; ++row) {
    outside.emplace_back(row * kRowBytes, row * kRowBytes + 40000 * 4);
    outside.emplace_back(row * kRowBytes + 42048 * 4, (row + 1) * kRowBytes);
  }
  Tensor columns(DType::kF32, Shape{kRows, 2048});
  ASSERT_TRUE(source_without(outside)->load_into(columns, "w", shape, 1, 40000, 42048).ok());
  EXPECT_EQ(columns->row<float>(11)[2047], static_cast<float>(11 * kColumns + 42047));
}

// Pages of [data, data + num_bytes) in memory.
int64_t num_resident_pages(const void* data, int64_t num_bytes) {
  const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(data) / page_bytes * page_bytes;
  const uintptr_t length = reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(num_bytes) - first;
  std::vector<unsigned char> pages((length + page_bytes - 1) / page_bytes);
  EXPECT_EQ(::mincore(reinterpret_cast<void*>(first), length, pages.data()), 0);
  int64_t count = 0;
  for (const unsigned char page : pages) count += page & 1;
  return count;
}

// Nor may the system's read-ahead do it.
TEST(CheckpointSource, ReadsAheadOnlyTheSlice) {
  const TemporaryDirectory directory;
  constexpr int64_t kRows = 64, kColumns = 65536;  // rows of 64 pages
  constexpr int64_t kBytes = kRows * kColumns * 4;
  const Shape shape{kRows, kColumns};
  write_file(directory / "model.safetensors",
             SafetensorsWriter().add("w", "F32", {kRows, kColumns}, counted(kRows * kColumns)).bytes());
  const int fd = ::open((directory / "model.safetensors").c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);

  Result<Checkpoint> checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.ok());
  const void* data = checkpoint->tensor("w", shape)->data();
  const int64_t before = num_resident_pages(data, kBytes);
  if (before > 64) GTEST_SKIP() << "this file system keeps its pages in memory: " << before;
  const auto source = checkpoint_source(*std::move(checkpoint), nullptr);

  Tensor rows(DType::kF32, Shape{2, kColumns});
  ASSERT_TRUE(source->load_into(rows, "w", shape, 0, 10, 12).ok());
  const int64_t after_rows = num_resident_pages(data, kBytes);
  EXPECT_LE(after_rows - before, 2 * 64 + 32);

  Tensor columns(DType::kF32, Shape{kRows, 2048});
  ASSERT_TRUE(source->load_into(columns, "w", shape, 1, 40000, 42048).ok());
  EXPECT_LE(num_resident_pages(data, kBytes) - after_rows, kRows * 4);
}

}  // namespace
}  // namespace cohort
