// What a checkpoint's tensors are on a GPU, compared with the same in host memory.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "runtime/weights/weight_source.h"
#include "tests/files.h"
#include "tests/unit/weights_test_files.h"

namespace cohort {
namespace {

using test::SafetensorsWriter;
using test::TemporaryDirectory;
using test::write_file;

constexpr Device kCuda{DeviceKind::kCuda, 0};
constexpr DType kFloatDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

std::string name_in_file(DType dtype) { return dtype == DType::kF32 ? "F32" : dtype == DType::kF16 ? "F16" : "BF16"; }

template <typename T>
std::vector<T> random_values(int64_t count) {
  std::mt19937 rng(static_cast<uint32_t>(count));
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) value = static_cast<T>(static_cast<float>(rng() % 65521) / 8192 - 4);
  return values;
}

std::unique_ptr<WeightSource> open_source(const TemporaryDirectory& directory, Stream* stream, int num_threads) {
  Result<Checkpoint> checkpoint = Checkpoint::open(directory.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return checkpoint_source(*std::move(checkpoint), nullptr, stream, num_threads);
}

class DeviceSource : public ::testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
    stream_ = std::make_unique<Stream>(kCuda);
  }

  // A slice in the middle of a wider matrix, loaded to the GPU and to the host, has the same bytes, and so has what is
  // around it.
  void expect_same(WeightSource& on_device, WeightSource& on_host, DType dtype, const std::string& name,
                   const Shape& shape, int dim, int64_t begin, int64_t end, int64_t gap) {
    SCOPED_TRACE(name + " to " + std::string(dtype_name(dtype)) + " " + std::to_string(dim) + " " +
                 std::to_string(begin) + " gap " + std::to_string(gap));
    const int64_t num_rows = dim == 0 ? end - begin : shape[0];
    const int64_t num_columns = dim == 1 ? end - begin : shape[1];
    const Tensor expected(dtype, {num_rows, num_columns + gap});
    const Tensor fetched(dtype, {num_rows, num_columns + gap});
    const Tensor actual(dtype, {num_rows, num_columns + gap}, kCuda);
    std::memset(expected->data(), 0x5a, static_cast<size_t>(expected->num_bytes()));
    copy_bytes(actual->data(), kCuda, expected->data(), kCpuDevice, expected->num_bytes());
    const auto middle = [&](const Tensor& t) { return t->slice(1, gap / 2, gap / 2 + num_columns); };
    ASSERT_TRUE(on_host.load_into(middle(expected), name, shape, dim, begin, end).ok());
    ASSERT_TRUE(on_device.load_into(middle(actual), name, shape, dim, begin, end).ok());
    ASSERT_TRUE(on_device.wait().ok());
    stream_->synchronize();
    copy_bytes(fetched->data(), kCpuDevice, actual->data(), kCuda, fetched->num_bytes());
    EXPECT_EQ(std::memcmp(fetched->data(), expected->data(), static_cast<size_t>(fetched->num_bytes())), 0);
  }

  std::unique_ptr<Stream> stream_;
};

TEST_F(DeviceSource, LoadsWhatTheHostLoads) {
  constexpr int64_t kRows = 3001, kColumns = 1003;  // several pieces, the last not full
  const TemporaryDirectory directory;
  SafetensorsWriter writer;
  writer.add("flag", "U8", {1}, std::vector<uint8_t>{1});  // what follows is not aligned
  for (const DType dtype : kFloatDTypes) {
    dispatch_float(dtype, [&]<typename T>() {
      writer.add(name_in_file(dtype), name_in_file(dtype), {kRows, kColumns}, random_values<T>(kRows * kColumns));
    });
  }
  write_file(directory / "model.safetensors", writer.bytes());
  const auto on_host = open_source(directory, nullptr, 1);
  for (const int num_threads : {1, 3}) {
    const auto on_device = open_source(directory, stream_.get(), num_threads);
    EXPECT_EQ(on_device->device(), kCuda);
    for (const DType from : kFloatDTypes) {
      for (const DType to : kFloatDTypes) {
        for (const int64_t gap : {0, 14}) {
          const std::string name = name_in_file(from);
          const Shape shape{kRows, kColumns};
          expect_same(*on_device, *on_host, to, name, shape, 0, 0, kRows, gap);
          expect_same(*on_device, *on_host, to, name, shape, 0, 2, 2998, gap);
          expect_same(*on_device, *on_host, to, name, shape, 1, 5, 1000, gap);
          expect_same(*on_device, *on_host, to, name, shape, 0, 7, 7, gap);
        }
      }
    }
    const int64_t elements = 2 * 3 * ((kRows + 2996) * kColumns + kRows * 995);
    EXPECT_EQ(on_device->bytes_read(), elements * (4 + 2 + 2));
  }
}

TEST_F(DeviceSource, CutsRowsThatAreLongerThanAPiece) {
  constexpr int64_t kColumns = 2500007;
  const TemporaryDirectory directory;
  write_file(directory / "model.safetensors",
             SafetensorsWriter().add("F32", "F32", {2, kColumns}, random_values<float>(2 * kColumns)).bytes());
  const auto on_host = open_source(directory, nullptr, 1);
  const auto on_device = open_source(directory, stream_.get(), 2);
  for (const DType to : kFloatDTypes) {
    expect_same(*on_device, *on_host, to, "F32", {2, kColumns}, 0, 0, 2, 6);
    expect_same(*on_device, *on_host, to, "F32", {2, kColumns}, 1, 3, kColumns - 2, 0);
  }
}

TEST_F(DeviceSource, LoadsManyTensorsAtOnce) {
  constexpr int64_t kRows = 257, kColumns = 4099;
  const TemporaryDirectory directory;
  SafetensorsWriter writer;
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) {
    names.push_back("tensor" + std::to_string(i));
    writer.add(names.back(), "F32", {kRows + i, kColumns}, random_values<float>((kRows + i) * kColumns));
  }
  write_file(directory / "model.safetensors", writer.bytes());
  Progress progress(0, {.quiet = true});
  Result<Checkpoint> checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.ok());
  const auto on_device = checkpoint_source(*std::move(checkpoint), &progress, stream_.get(), 4);
  const auto on_host = open_source(directory, nullptr, 1);
  std::vector<Tensor> loaded;
  for (int i = 0; i < 12; ++i) {
    loaded.emplace_back(DType::kBF16, Shape{kRows + i, kColumns}, kCuda);
    ASSERT_TRUE(
        on_device->load_into(loaded.back(), names[static_cast<size_t>(i)], {kRows + i, kColumns}, 0, 0, kRows + i)
            .ok());
  }
  ASSERT_TRUE(on_device->finish({}).ok());
  EXPECT_EQ(progress.done_bytes(), on_device->bytes_read());
  stream_->synchronize();
  for (int i = 0; i < 12; ++i) {
    const Tensor expected(DType::kBF16, {kRows + i, kColumns});
    const Tensor fetched(DType::kBF16, {kRows + i, kColumns});
    ASSERT_TRUE(
        on_host->load_into(expected, names[static_cast<size_t>(i)], {kRows + i, kColumns}, 0, 0, kRows + i).ok());
    copy_bytes(fetched->data(), kCpuDevice, loaded[static_cast<size_t>(i)]->data(), kCuda, fetched->num_bytes());
    EXPECT_EQ(std::memcmp(fetched->data(), expected->data(), static_cast<size_t>(fetched->num_bytes())), 0) << i;
  }
}

// A source that goes in the middle of a load gives up what is left.
TEST_F(DeviceSource, MayGoWhileItLoads) {
  constexpr int64_t kRows = 3001, kColumns = 10007;
  const TemporaryDirectory directory;
  write_file(directory / "model.safetensors",
             SafetensorsWriter().add("w", "F32", {kRows, kColumns}, random_values<float>(kRows * kColumns)).bytes());
  const Tensor out(DType::kF32, {kRows, kColumns}, kCuda);
  for (int i = 0; i < 3; ++i) {
    const auto source = open_source(directory, stream_.get(), 2);
    ASSERT_TRUE(source->load_into(out, "w", {kRows, kColumns}, 0, 0, kRows).ok());
  }
  stream_->synchronize();
}

// The file shrinks after it was opened.
TEST_F(DeviceSource, NamesTheTensorThatCannotBeRead) {
  const TemporaryDirectory directory;
  const std::string bytes = SafetensorsWriter().add("w", "F32", {1000, 1000}, random_values<float>(1000000)).bytes();
  write_file(directory / "model.safetensors", bytes);
  const auto source = open_source(directory, stream_.get(), 2);
  std::filesystem::resize_file(directory / "model.safetensors", bytes.size() / 2);
  const Tensor out(DType::kF32, {1000, 1000}, kCuda);
  ASSERT_TRUE(source->load_into(out, "w", {1000, 1000}, 0, 0, 1000).ok());
  const Status status = source->finish({});
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("model.safetensors: truncated while it was read: tensor w"), std::string::npos)
      << status.message();
}

TEST_F(DeviceSource, NamesWhatIsMissing) {
  const TemporaryDirectory directory;
  write_file(directory / "model.safetensors", SafetensorsWriter().add("w", "F32", {2, 3}, test::counted(6)).bytes());
  const auto source = open_source(directory, stream_.get(), 2);
  const Tensor out(DType::kF32, {2, 3}, kCuda);
  const Status missing = source->load_into(out, "v", {2, 3}, 0, 0, 2);
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
  EXPECT_NE(missing.message().find("model.safetensors: tensor v"), std::string::npos) << missing.message();
  const Tensor narrow(DType::kF32, {2, 2}, kCuda);
  EXPECT_EQ(source->load_into(narrow, "w", {3, 2}, 0, 0, 2).code(), StatusCode::kInvalidArgument);
  EXPECT_THROW((void)source->load_into(Tensor(DType::kF32, {2, 3}), "w", {2, 3}, 0, 0, 2), CheckError);
}

}  // namespace
}  // namespace cohort
