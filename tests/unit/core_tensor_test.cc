#include "kernels/core/tensor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace cohort {
namespace {

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

TEST(Shape, SizesAndText) {
  EXPECT_EQ(Shape().rank(), 0);
  EXPECT_EQ(Shape().num_elements(), 1);
  EXPECT_EQ(Shape().to_string(), "[]");
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.num_elements(), 24);
  EXPECT_EQ(shape.to_string(), "[2, 3, 4]");
  EXPECT_EQ(shape, (Shape{2, 3, 4}));
  EXPECT_NE(shape, (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3, 1}), (Shape{2, 3}));
  EXPECT_EQ((Shape{5, 0}).num_elements(), 0);
}

TEST(Shape, RefusesWhatCannotBe) {
  EXPECT_THROW((Shape{-1}), CheckError);
  EXPECT_THROW((Shape{2, -3}), CheckError);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), CheckError);
  EXPECT_THROW((Shape{kHuge, 2}), CheckError);
  EXPECT_THROW((Shape{int64_t{1} << 31, int64_t{1} << 31}), CheckError);  // 2^62
  EXPECT_NO_THROW((Shape{int64_t{1} << 31, int64_t{1} << 30}));
  EXPECT_THROW((Shape{int64_t{1} << 32, int64_t{1} << 32, int64_t{1} << 32}), CheckError);
}

TEST(Shape, ZeroDoesNotHideAnOverflow) {
  // Whatever is accepted must have sizes that fit: strides are products of the dimensions.
  EXPECT_EQ((Shape{0, 1 << 20}).num_elements(), 0);
  EXPECT_EQ((Shape{1 << 20, 0}).num_elements(), 0);
  EXPECT_THROW((Shape{0, int64_t{1} << 40, int64_t{1} << 40}), CheckError);
  EXPECT_THROW((Shape{int64_t{1} << 40, int64_t{1} << 40, 0}), CheckError);
}

TEST(TensorView, SlicesKeepStrides) {
  Tensor tensor(DType::kI32, {4, 6});
  for (int32_t i = 0; i < 24; ++i) tensor->data<int32_t>()[i] = i;
  const TensorView columns = tensor.view().slice(1, 2, 5);
  EXPECT_EQ(columns.shape(), (Shape{4, 3}));
  EXPECT_EQ(columns.stride(0), 6);
  EXPECT_FALSE(columns.is_dense());
  EXPECT_EQ(columns.row<int32_t>(3)[2], 3 * 6 + 4);
  const TensorView rows = tensor.view().slice(0, 1, 3);
  EXPECT_TRUE(rows.is_dense());
  EXPECT_EQ(rows.row<int32_t>(0)[0], 6);
  EXPECT_TRUE(columns.slice(0, 2, 3).is_dense());  // one row has no gaps
  const TensorView none = tensor.view().slice(0, 4, 4);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.shape(), (Shape{0, 6}));
}

TEST(TensorView, RefusesSlicesOutside) {
  const Tensor tensor(DType::kF32, {4, 6});
  EXPECT_THROW(tensor.view().slice(0, 0, 5), CheckError);
  EXPECT_THROW(tensor.view().slice(0, -1, 2), CheckError);
  EXPECT_THROW(tensor.view().slice(0, 3, 2), CheckError);
  EXPECT_THROW(tensor.view().slice(2, 0, 1), CheckError);
  EXPECT_THROW(tensor.view().slice(-1, 0, 1), CheckError);
}

TEST(TensorView, Reshape) {
  const Tensor tensor(DType::kF32, {4, 6});
  const TensorView dense = tensor.view().reshape({2, 12});
  EXPECT_EQ(dense.stride(0), 12);
  EXPECT_EQ(dense.data(), tensor->data());
  const TensorView heads = tensor.view().slice(1, 0, 4).reshape({4, 2, 2});
  EXPECT_EQ(heads.stride(0), 6);
  EXPECT_EQ(heads.stride(1), 2);
  EXPECT_EQ(heads.stride(2), 1);
  EXPECT_THROW(tensor.view().reshape({5, 5}), CheckError);
  EXPECT_THROW(tensor.view().slice(1, 0, 4).reshape({2, 8}), CheckError);
  EXPECT_THROW(tensor.view().slice(1, 0, 4).reshape({16}), CheckError);
}

TEST(TensorView, RefusesAnotherType) {
  const Tensor tensor(DType::kF16, {2});
  EXPECT_NO_THROW(tensor->data<f16>());
  EXPECT_THROW(tensor->data<bf16>(), CheckError);
  EXPECT_THROW(tensor->data<float>(), CheckError);
}

TEST(TensorView, DefaultIsEmpty) {
  const ConstTensorView none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.num_bytes(), 0);
  EXPECT_EQ(none.data(), nullptr);
}

TEST(Buffer, IsAlignedAndWritable) {
  for (const int64_t num_bytes : {1, 63, 64, 65, 1000}) {
    const Buffer buffer(num_bytes, kCpuDevice);
    EXPECT_EQ(buffer.num_bytes(), num_bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % Buffer::kAlignment, 0u);
    const auto padded = (num_bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
    std::memset(buffer.data(), 1, static_cast<size_t>(padded));  // it fills whole cache lines
  }
}

TEST(Buffer, MovesLeaveNothingBehind) {
  Buffer a(100, kCpuDevice);
  void* const data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(a.data(), nullptr);  // NOLINT: what a moved-from buffer is, is promised
  EXPECT_EQ(a.num_bytes(), 0);
  Buffer c(7, kCpuDevice);
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.num_bytes(), 100);
  EXPECT_EQ(b.data(), nullptr);  // NOLINT
  Buffer& self = c;
  c = std::move(self);
  EXPECT_EQ(c.data(), data);
}

TEST(Buffer, NothingAndTooMuch) {
  EXPECT_EQ(Buffer().data(), nullptr);
  EXPECT_EQ(Buffer(0, kCpuDevice).data(), nullptr);
  EXPECT_THROW(Buffer(-1, kCpuDevice), CheckError);
  for (const int64_t num_bytes : {kHuge, kHuge - 1, kHuge - Buffer::kAlignment + 1}) {
    EXPECT_THROW(Buffer(num_bytes, kCpuDevice), std::bad_alloc) << num_bytes;
  }
}

}  // namespace
}  // namespace cohort
