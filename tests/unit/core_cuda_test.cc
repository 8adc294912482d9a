// Core on the first CUDA device.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/check.h"
#include "kernels/core/device_graph.h"
#include "kernels/core/mirrored_buffer.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace cohort {
namespace {

constexpr Device kCuda{DeviceKind::kCuda, 0};

class CoreCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(CoreCuda, BytesReturnFromTheDevice) {
  for (const int64_t num_bytes : {1, 255, 4096, 1 << 20}) {
    std::vector<unsigned char> from(static_cast<size_t>(num_bytes));
    std::iota(from.begin(), from.end(), static_cast<unsigned char>(7));
    std::vector<unsigned char> to(from.size());
    const Buffer a(num_bytes, kCuda);
    const Buffer b(num_bytes, kCuda);
    EXPECT_EQ(a.device(), kCuda);
    copy_bytes(a.data(), kCuda, from.data(), kCpuDevice, num_bytes);
    copy_bytes(b.data(), kCuda, a.data(), kCuda, num_bytes);
    copy_bytes(to.data(), kCpuDevice, b.data(), kCuda, num_bytes);
    EXPECT_EQ(from, to);
  }
}

TEST_F(CoreCuda, BuffersMoveAndAreFreed) {
  for (int i = 0; i < 100; ++i) {  // 100 GiB in all: more than leaking it would leave
    Buffer a(int64_t{1} << 30, kCuda);
    void* const data = a.data();
    Buffer b(std::move(a));
    EXPECT_EQ(b.data(), data);
    a = std::move(b);
    EXPECT_EQ(a.data(), data);
  }
}

TEST_F(CoreCuda, TooMuchMemorySaysHowMuchThereIs) {
  try {
    const Buffer buffer(int64_t{1} << 50, kCuda);
    FAIL() << "there is a petabyte";
  } catch (const CheckError& error) {
    EXPECT_NE(std::string(error.what()).find("cuda:0 has "), std::string::npos) << error.what();
  }
  const Buffer small(100, kCuda);  // the failure is not found by the next call
  EXPECT_NE(small.data(), nullptr);
}

TEST_F(CoreCuda, TensorsKnowTheirDevice) {
  const Tensor tensor(DType::kBF16, {3, 5}, kCuda);
  EXPECT_EQ(tensor->device(), kCuda);
  EXPECT_EQ(tensor.view().slice(0, 1, 2).device(), kCuda);
  EXPECT_EQ(tensor.view().reshape({15}).device(), kCuda);
}

TEST_F(CoreCuda, EventsTellTheTimeOfAStream) {
  Stream stream(kCuda);
  EXPECT_NE(stream.handle(), nullptr);
  EXPECT_EQ(stream.num_threads(), 1);
  Event start(kCuda);
  Event stop(kCuda);
  start.record(stream);
  stop.record(stream);
  stop.synchronize();
  EXPECT_GE(stop.milliseconds_since(start), 0);
  EXPECT_LT(stop.milliseconds_since(start), 1000);
  stream.synchronize();
  EXPECT_THROW(stream.parallel_for(1, 1, [](int64_t, int64_t) {}), CheckError);
}

TEST_F(CoreCuda, ADeviceThatIsNotThereIsRefused) {
  const Device absent{DeviceKind::kCuda, num_cuda_devices()};
  EXPECT_THROW(Buffer(100, absent), CheckError);
  EXPECT_THROW(Stream{absent}, CheckError);
  EXPECT_THROW(Event{absent}, CheckError);
  const Buffer buffer(100, kCuda);
  EXPECT_NE(buffer.data(), nullptr);
}

TEST(CoreWithoutCuda, AsksForADeviceInVain) {
  if (num_cuda_devices() > 0) GTEST_SKIP() << "there is one";
  EXPECT_THROW(Buffer(100, kCuda), CheckError);
  EXPECT_THROW(Stream{kCuda}, CheckError);
  EXPECT_EQ(Buffer(0, kCuda).data(), nullptr);
}

TEST_F(CoreCuda, AGraphRepeatsWhatWasCaptured) {
  Stream stream(kCuda);
  MirroredBuffer buffer(16, kCuda);
  const DeviceGraph graph = DeviceGraph::capture(stream, [&] { buffer.upload(0, 16, stream); });
  EXPECT_FALSE(graph.empty());
  for (const char value : {'a', 'b'}) {
    std::memset(buffer.host(), value, 16);
    graph.launch(stream);
    stream.synchronize();
    std::vector<char> bytes(16);
    copy_bytes(bytes.data(), kCpuDevice, buffer.device_data(), kCuda, 16);
    EXPECT_EQ(bytes, std::vector<char>(16, value));
  }
}

TEST_F(CoreCuda, WhatCannotBeCapturedThrowsAndLeavesTheStreamUsable) {
  Stream stream(kCuda);
  EXPECT_THROW(DeviceGraph::capture(stream, [] { const Buffer buffer(1 << 20, kCuda); }), CheckError);
  EXPECT_THROW(DeviceGraph::capture(stream, [&] { stream.synchronize(); }), CheckError);
  MirroredBuffer buffer(16, kCuda);
  buffer.upload(0, 16, stream);
  stream.synchronize();
}

}  // namespace
}  // namespace cohort
