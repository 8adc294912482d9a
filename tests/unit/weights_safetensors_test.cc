#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "runtime/weights/safetensors.h"
#include "tests/files.h"
#include "tests/unit/weights_test_files.h"

namespace cohort {
namespace {

using test::counted;
using test::file_of;
using test::SafetensorsWriter;
using test::TemporaryDirectory;
using test::write_file;

Result<std::vector<SafetensorsEntry>> parse(const std::string& bytes) {
  const std::span prefix(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return parse_safetensors_header(prefix, std::ssize(bytes), "m.safetensors");
}

void expect_error(const std::string& bytes, StatusCode code, const std::string& message) {
  const auto result = parse(bytes);
  ASSERT_FALSE(result.ok()) << "expected: " << message;
  EXPECT_EQ(result.status().code(), code);
  EXPECT_TRUE(result.status().message().starts_with(message)) << result.status().message();
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"w": {"dtype": )" + dtype + R"(, "shape": )" + shape + R"(, "data_offsets": )" + offsets + "}}";
}

TEST(SafetensorsHeader, ListsTensorsInOrderOfTheirBytes) {
  const std::string bytes = SafetensorsWriter()
                                .add("z", "F32", {2, 3}, counted(6))
                                .add("a", "BF16", {4}, std::vector<uint16_t>(4))
                                .add("scalar", "I64", {}, std::vector<int64_t>{7})
                                .add("empty", "F16", {0, 5}, std::vector<uint16_t>{})
                                .add("mask", "BOOL", {3}, std::vector<uint8_t>(3))
                                .add("double", "F64", {2}, std::vector<double>(2))
                                .bytes(5);
  const auto entries = parse(bytes);
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  ASSERT_EQ(entries->size(), 6u);
  EXPECT_EQ((*entries)[0].name, "z");
  EXPECT_EQ((*entries)[0].dtype, DType::kF32);
  EXPECT_EQ((*entries)[0].shape, (Shape{2, 3}));
  EXPECT_EQ((*entries)[0].num_bytes(), 24);
  EXPECT_EQ((*entries)[1].name, "a");
  EXPECT_EQ((*entries)[1].dtype, DType::kBF16);
  EXPECT_EQ((*entries)[1].begin, 24);
  EXPECT_EQ((*entries)[2].shape.rank(), 0);
  EXPECT_EQ((*entries)[3].num_bytes(), 0);
  EXPECT_EQ((*entries)[4].dtype_in_file, "BOOL");
  EXPECT_EQ((*entries)[5].dtype_in_file, "F64");
  EXPECT_EQ((*entries)[5].dtype, DType::kU8);
}

TEST(SafetensorsHeader, AcceptsAFileWithoutTensors) { EXPECT_TRUE(parse(file_of("{}", "")).ok()); }

TEST(SafetensorsHeader, ReadsNothingBeyondThePrefix) {
  const std::string bytes = SafetensorsWriter().add("w", "F32", {2}, counted(2)).bytes();
  const std::string prefix = bytes.substr(0, bytes.size() - 8);
  const std::span span(reinterpret_cast<const uint8_t*>(prefix.data()), prefix.size());
  EXPECT_TRUE(parse_safetensors_header(span, std::ssize(bytes), "m").ok());
}

TEST(SafetensorsHeader, RefusesTruncation) {
  const std::string bytes = SafetensorsWriter().add("w", "F32", {2, 3}, counted(6)).bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto result = parse(bytes.substr(0, size));
    ASSERT_FALSE(result.ok()) << size;
    EXPECT_NE(result.status().message().find("truncated"), std::string::npos) << result.status().message();
  }
  expect_error(bytes.substr(0, bytes.size() - 1), StatusCode::kDataLoss,
               "m.safetensors: tensor w: bytes [0, 24) are out of range: the file is truncated or "
               "corrupt, its data "
               "has 23 bytes");
}

TEST(SafetensorsHeader, RefusesBadHeaderLengths) {
  expect_error(file_of("{}", "", 3), StatusCode::kDataLoss,
               "m.safetensors: truncated: header of 3 bytes, but only 2 follow its length");
  expect_error(file_of("{}", "", uint64_t{1} << 63), StatusCode::kInvalidArgument,
               "m.safetensors: header of 9223372036854775808 bytes, expected at most 100000000");
  expect_error(file_of("{}", "", ~uint64_t{0}), StatusCode::kInvalidArgument,
               "m.safetensors: header of 18446744073709551615 bytes, expected at most 100000000");
  expect_error(file_of("{}", "", 100'000'001), StatusCode::kInvalidArgument,
               "m.safetensors: header of 100000001 bytes, expected at most 100000000");
  expect_error(file_of("{}", "", 0), StatusCode::kInvalidArgument,
               "m.safetensors: header: expected a JSON object that begins with {");
}

TEST(SafetensorsHeader, RefusesWhatIsNotTheFormat) {
  for (const char* header : {"[]", "3", "\"x\"", " {}"}) {
    expect_error(file_of(header, ""), StatusCode::kInvalidArgument,
                 "m.safetensors: header: expected a JSON object that begins with {");
  }
  expect_error(file_of("{\"w\": }", ""), StatusCode::kInvalidArgument, "m.safetensors: header:1:7: syntax error");
  expect_error(file_of("{\"w\": 3}", ""), StatusCode::kInvalidArgument,
               "m.safetensors: tensor w: expected an object, got 3");
  expect_error(file_of(R"({"__metadata__": 3})", ""), StatusCode::kInvalidArgument,
               "m.safetensors: __metadata__: expected an object, got 3");
  expect_error(file_of(R"({"w": {"dtype": "F32", "shape": [1]}})", ""), StatusCode::kInvalidArgument,
               "m.safetensors: tensor w: data_offsets is missing");
  expect_error(file_of(R"({"w": {"dtype": "F32", "data_offsets": [0, 0]}})", ""), StatusCode::kInvalidArgument,
               "m.safetensors: tensor w: shape is missing");
  const std::string duplicate = R"({"w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]},)"
                                R"( "w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})";
  expect_error(file_of(duplicate, ""), StatusCode::kInvalidArgument, "m.safetensors: header:1:62: duplicate key \"w\"");
}

TEST(SafetensorsHeader, RefusesANestingBomb) {
  const std::string bomb = "{\"w\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  expect_error(file_of(bomb, ""), StatusCode::kInvalidArgument, "m.safetensors: header:1:14: nested deeper than 8");
}

TEST(SafetensorsHeader, RefusesBadShapes) {
  const auto with_shape = [](const std::string& shape) { return file_of(entry("\"U8\"", shape, "[0, 0]"), ""); };
  const std::string where = "m.safetensors: tensor w: shape: ";
  for (const char* shape : {"[-1]", "[2, -3]", "[1.0]", "[\"3\"]", "[9223372036854775808]", "[true]", "[[1]]"}) {
    expect_error(with_shape(shape), StatusCode::kInvalidArgument, where + "expected sizes of at least 0, got [");
  }
  expect_error(with_shape("3"), StatusCode::kInvalidArgument, where + "expected an array of sizes, got 3");
  for (const char* shape :
       {"[4611686018427387904]", "[4294967296, 4294967296]", "[4294967296, 4294967296, 0]", "[72057594037927936]"}) {
    expect_error(with_shape(shape), StatusCode::kInvalidArgument, where + "too many elements: [");
  }
  expect_error(with_shape("[1,1,1,1,1,1]"), StatusCode::kUnimplemented, where + "expected at most 5 dimensions, got 6");
}

TEST(SafetensorsHeader, RefusesUnknownDTypes) {
  expect_error(file_of(entry("\"F128\"", "[0]", "[0, 0]"), ""), StatusCode::kUnimplemented,
               "m.safetensors: tensor w: dtype: expected F32, F16, BF16 or another type of the "
               "format, got \"F128\"");
  expect_error(file_of(entry("32", "[0]", "[0, 0]"), ""), StatusCode::kInvalidArgument,
               "m.safetensors: tensor w: dtype: expected a string, got 32");
}

TEST(SafetensorsHeader, RefusesBadOffsets) {
  for (const char* offsets :
       {"[4, 0]", "[-4, 0]", "[0.0, 4.0]", "[0]", "[0, 4, 8]", "4", "[0, 18446744073709551615]"}) {
    expect_error(file_of(entry("\"F32\"", "[1]", offsets), "abcd"), StatusCode::kInvalidArgument,
                 "m.safetensors: tensor w: data_offsets: expected [begin, end] with 0 <= begin <= "
                 "end, got ");
  }
  expect_error(file_of(entry("\"F32\"", "[1]", "[0, 9223372036854775807]"), "abcd"), StatusCode::kDataLoss,
               "m.safetensors: tensor w: expected 4 bytes for F32 [1], data_offsets give "
               "9223372036854775807");
  expect_error(file_of(entry("\"F32\"", "[1]", "[0, 8]"), "abcdefgh"), StatusCode::kDataLoss,
               "m.safetensors: tensor w: expected 4 bytes for F32 [1], data_offsets give 8");
  expect_error(file_of(entry("\"F32\"", "[1]", "[9223372036854775803, 9223372036854775807]"), "abcd"),
               StatusCode::kDataLoss,
               "m.safetensors: tensor w: bytes [9223372036854775803, 9223372036854775807) are out of range");
}

TEST(SafetensorsHeader, RefusesOverlapHolesAndTrailingBytes) {
  const auto two = [](const std::string& second) {
    return R"({"v": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},)"
           R"( "w": {"dtype": "U8", "shape": [4], "data_offsets": )" +
           second + "}}";
  };
  EXPECT_TRUE(parse(file_of(two("[4, 8]"), "abcdefgh")).ok());
  expect_error(file_of(two("[3, 7]"), "abcdefgh"), StatusCode::kDataLoss,
               "m.safetensors: tensor w: bytes [3, 7) overlap the tensor before, which ends at 4");
  expect_error(file_of(two("[0, 4]"), "abcd"), StatusCode::kDataLoss,
               "m.safetensors: tensor w: bytes [0, 4) overlap the tensor before, which ends at 4");
  expect_error(file_of(two("[5, 9]"), "abcdefghi"), StatusCode::kDataLoss,
               "m.safetensors: tensor w: bytes [5, 9) leave a hole, expected them to begin at 4");
  expect_error(file_of(two("[4, 8]"), "abcdefghij"), StatusCode::kDataLoss,
               "m.safetensors: 2 trailing bytes after the last tensor, expected none");
}

TEST(SafetensorsFile, MapsTensors) {
  const TemporaryDirectory directory;
  write_file(
      directory / "m.safetensors",
      SafetensorsWriter().add("a", "F32", {2, 3}, counted(6)).add("b", "F64", {2}, std::vector<double>{1, 2}).bytes(7));
  Result<SafetensorsFile> opened = SafetensorsFile::open(directory / "m.safetensors");
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const SafetensorsFile file = *std::move(opened);  // moved: views come from the new owner
  const ConstTensorView a = file.tensor(file.entries()[0]);
  EXPECT_EQ(a.shape(), (Shape{2, 3}));
  std::vector<float> values(6);  // the address may be unaligned
  std::memcpy(values.data(), a.data(), 24);
  EXPECT_EQ(values, counted(6));
  const ConstTensorView b = file.tensor(file.entries()[1]);
  EXPECT_EQ(b.dtype(), DType::kU8);
  EXPECT_EQ(b.shape(), (Shape{16}));
}

TEST(SafetensorsFile, NamesTheFileInErrors) {
  const TemporaryDirectory directory;
  const auto message = [&](const std::string& name) {
    return SafetensorsFile::open(directory / name).status().message();
  };
  EXPECT_EQ(SafetensorsFile::open(directory / "none").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(message("none"), (directory / "none").string() + ": cannot be opened: No such file or directory");
  write_file(directory / "empty", "");
  EXPECT_EQ(message("empty"), (directory / "empty").string() + ": truncated: the file is empty");
  write_file(directory / "short", "abc");
  EXPECT_TRUE(message("short").starts_with((directory / "short").string() + ": truncated: 3 bytes"));
  EXPECT_EQ(message(""), (directory / "").string() + ": expected a regular file");
}

}  // namespace
}  // namespace cohort
