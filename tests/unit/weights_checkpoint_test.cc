#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "runtime/weights/checkpoint.h"
#include "tests/files.h"
#include "tests/unit/weights_test_files.h"

namespace cohort {
namespace {

using test::counted;
using test::SafetensorsWriter;
using test::TemporaryDirectory;
using test::write_file;

class CheckpointTest : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  void write(const std::string& name, const std::string& bytes) { write_file(directory_ / name, bytes); }

  // Files a.safetensors with x and y, b.safetensors with z.
  void write_two_files() {
    write(
        "a.safetensors",
        SafetensorsWriter().add("x", "F32", {2, 3}, counted(6)).add("y", "F16", {4}, std::vector<uint16_t>(4)).bytes());
    write("b.safetensors", SafetensorsWriter().add("z", "F32", {5}, counted(5)).bytes());
  }
  void write_index(const std::string& weight_map, const std::string& total_size = "52") {
    write("model.safetensors.index.json",
          R"({"metadata": {"total_size": )" + total_size + R"(}, "weight_map": )" + weight_map + "}");
  }

  void expect_error(StatusCode code, const std::string& message) {
    const Result<Checkpoint> result = Checkpoint::open(directory_.path());
    ASSERT_FALSE(result.ok()) << "expected: " << message;
    EXPECT_EQ(result.status().code(), code);
    EXPECT_TRUE(result.status().message().starts_with(message)) << result.status().message();
  }

  TemporaryDirectory directory_;
};

constexpr const char* kGoodMap = R"({"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"})";

TEST_F(CheckpointTest, OpensTheSingleFile) {
  write("model.safetensors", SafetensorsWriter().add("x", "F32", {2, 3}, counted(6)).bytes());
  write("other.safetensors", "not read, because model.safetensors is there");
  const Result<Checkpoint> checkpoint = Checkpoint::open(directory_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->names(), std::vector<std::string>{"x"});
  EXPECT_EQ(checkpoint->tensor("x", Shape{2, 3})->data<float>()[5], 5.0f);
}

TEST_F(CheckpointTest, OpensTheOnlyFileWhateverItsName) {
  write("weights.safetensors", SafetensorsWriter().add("x", "F32", {1}, counted(1)).bytes());
  EXPECT_TRUE(Checkpoint::open(directory_.path()).ok());
}

TEST_F(CheckpointTest, OpensTheFilesOfAnIndex) {
  write_two_files();
  write("unrelated.safetensors", "not read");
  write_index(kGoodMap);
  Result<Checkpoint> opened = Checkpoint::open(directory_.path());
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint checkpoint = *std::move(opened);
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"x", "y", "z"}));
  EXPECT_TRUE(checkpoint.contains("z"));
  EXPECT_FALSE(checkpoint.contains("w"));
  EXPECT_EQ(checkpoint.tensor("z", Shape{5})->data<float>()[4], 4.0f);
  EXPECT_EQ(*checkpoint.shape("x"), (Shape{2, 3}));
  EXPECT_EQ(*checkpoint.dtype("y"), DType::kF16);
  EXPECT_EQ(*checkpoint.dtype_in_file("y"), "F16");
  EXPECT_EQ(*checkpoint.file_of("z"), directory_ / "b.safetensors");
  EXPECT_EQ(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.total_bytes(), 52);
  EXPECT_EQ(checkpoint.num_parameters(), 15);
  EXPECT_EQ(checkpoint.bytes_per_dtype(), (std::map<std::string, int64_t>{{"F16", 8}, {"F32", 44}}));
  EXPECT_TRUE(checkpoint.warnings().empty());
}

TEST_F(CheckpointTest, WarnsOfOddIndexes) {
  write_two_files();
  write_index(R"({"x": "a.safetensors", "z": "b.safetensors"})", "51");
  const Result<Checkpoint> checkpoint = Checkpoint::open(directory_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->warnings(),
            (std::vector<std::string>{
                path("a.safetensors") + ": tensor y: is not in the index",
                path("model.safetensors.index.json") + ": metadata: total_size is 51, the tensors have 52 bytes"}));
}

TEST_F(CheckpointTest, ChecksShapeAndDType) {
  write("model.safetensors", SafetensorsWriter()
                                 .add("x", "F32", {2, 3}, counted(6))
                                 .add("ids", "I64", {2}, std::vector<int64_t>(2))
                                 .add("mask", "BOOL", {2}, std::vector<uint8_t>(2))
                                 .bytes());
  const Result<Checkpoint> checkpoint = Checkpoint::open(directory_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const std::string file = path("model.safetensors");
  EXPECT_EQ(checkpoint->tensor("x", Shape{3, 2}).status().message(),
            file + ": tensor x: expected shape [3, 2], got [2, 3]");
  EXPECT_EQ(checkpoint->tensor("x", Shape{6}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(checkpoint->tensor("ids", Shape{2}).status().message(),
            file + ": tensor ids: expected dtype F32, F16 or BF16, got I64");
  EXPECT_EQ(checkpoint->tensor("mask", Shape{2}).status().message(),
            file + ": tensor mask: expected dtype F32, F16 or BF16, got BOOL");
  EXPECT_EQ(checkpoint->tensor("y", Shape{2}).status().message(),
            file + ": tensor y is missing, expected it with shape [2]");
  EXPECT_EQ(checkpoint->tensor("y", Shape{2}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(checkpoint->shape("y").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(checkpoint->file_of("y").status().message(), file + ": tensor y is missing");
}

TEST_F(CheckpointTest, RefusesWhatIsNoModelDirectory) {
  write("file", "");
  EXPECT_EQ(Checkpoint::open(directory_ / "file").status().message(),
            path("file") + ": expected a model directory, and this is not a directory");
  EXPECT_EQ(Checkpoint::open(directory_ / "none").status().code(), StatusCode::kNotFound);
  const std::string where = directory_.path().string();
  expect_error(StatusCode::kNotFound, where +
                                          ": no weights: expected model.safetensors, "
                                          "model.safetensors.index.json or one *.safetensors");
  write("pytorch_model.bin", "x");
  expect_error(StatusCode::kNotFound,
               where + ": no *.safetensors, but pytorch_model.bin: convert the checkpoint to safetensors");
  write_two_files();
  expect_error(StatusCode::kInvalidArgument,
               where + ": 2 *.safetensors and neither model.safetensors nor model.safetensors.index.json");
}

TEST_F(CheckpointTest, NamesTheDamagedFileOfAnIndex) {
  write_two_files();
  write_index(kGoodMap);
  const std::string bytes = SafetensorsWriter().add("z", "F32", {5}, counted(5)).bytes();
  write("b.safetensors", bytes.substr(0, bytes.size() - 4));
  expect_error(StatusCode::kDataLoss, path("b.safetensors") + ": tensor z: bytes [0, 20) are out of range");
}

TEST_F(CheckpointTest, RefusesAnIndexThatContradictsTheFiles) {
  write_two_files();
  const std::string index = path("model.safetensors.index.json") + ": weight_map";
  write_index(R"({"x": "a.safetensors", "y": "a.safetensors", "z": "c.safetensors"})");
  expect_error(StatusCode::kNotFound, index + ": tensor z: the file c.safetensors is missing");
  write_index(R"({"x": "a.safetensors", "q": "b.safetensors"})");
  expect_error(StatusCode::kDataLoss, index + ": tensor q: is not in b.safetensors, where the index says it is");
  write_index(R"({"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"})");
  expect_error(StatusCode::kDataLoss, index + ": tensor x: is in a.safetensors, the index says in b.safetensors");
  write_index(kGoodMap);
  write("b.safetensors", SafetensorsWriter().add("z", "F32", {5}, counted(5)).add("x", "F32", {1}, counted(1)).bytes());
  expect_error(StatusCode::kDataLoss,
               path("b.safetensors") + ": tensor x: is also in a.safetensors, expected it in one file");
}

TEST_F(CheckpointTest, RefusesABadIndex) {
  write_two_files();
  const std::string index = path("model.safetensors.index.json");
  write("model.safetensors.index.json", "{");
  expect_error(StatusCode::kInvalidArgument, index + ":1:2: ");
  write("model.safetensors.index.json", "[]");
  expect_error(StatusCode::kInvalidArgument, index + ": weight_map: expected an object");
  write_index("3");
  expect_error(StatusCode::kInvalidArgument, index + ": weight_map: expected an object");
  write_index("{}");
  expect_error(StatusCode::kInvalidArgument, index + ": weight_map: expected at least one tensor");
  write_index(R"({"x": 3})");
  expect_error(StatusCode::kInvalidArgument, index + ": weight_map: tensor x: expected a file name");
  write("model.safetensors.index.json", R"({"metadata": 3, "weight_map": {"z": "b.safetensors"}})");
  EXPECT_TRUE(Checkpoint::open(directory_.path()).ok());
}

TEST_F(CheckpointTest, RefusesPathsInAnIndex) {
  write("outside.safetensors", SafetensorsWriter().add("x", "F32", {1}, counted(1)).bytes());
  std::filesystem::create_directory(directory_ / "model");
  for (const std::string& file :
       {std::string("../outside.safetensors"), path("outside.safetensors"), std::string(".."), std::string(""),
        std::string("a\\\\b.safetensors"), std::string("sub/x.safetensors"), std::string("x\\u0000.safetensors")}) {
    write("model/model.safetensors.index.json", R"({"weight_map": {"x": ")" + file + "\"}}");
    const Result<Checkpoint> result = Checkpoint::open(directory_ / "model");
    ASSERT_FALSE(result.ok()) << file;
    EXPECT_TRUE(result.status().message().starts_with(
        path("model/model.safetensors.index.json") +
        ": weight_map: tensor x: expected the name of a file beside the index, got \""))
        << result.status().message();
  }
}

}  // namespace
}  // namespace cohort
