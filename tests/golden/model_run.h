// Running a loaded model as tests of golden checkpoints do.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/engine/load_model.h"
#include "tests/golden/golden_data.h"

namespace cohort::test {

// A checkpoint by its folder's name, and where it runs.
struct CheckpointCase {
  std::string name;
  Device device;
};

// Every checkpoint of `dir` on the CPU, and on the first GPU.
inline std::vector<CheckpointCase> checkpoint_cases(const std::filesystem::path& dir) {
  std::vector<CheckpointCase> cases;
  for (const Device device : {kCpuDevice, Device{DeviceKind::kCuda, 0}}) {
    for (const std::string& name : names_in(dir)) cases.push_back({name, device});
  }
  return cases;
}

// As a test's name may be.
inline std::string case_name(const testing::TestParamInfo<CheckpointCase>& info) {
  std::string name = info.param.name + (info.param.device == kCpuDevice ? "" : "_cuda");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// The whole model of `dir` in float32. Fails the test, and gives no decoder, where it cannot be loaded.
inline LoadedModel load_whole(const std::filesystem::path& dir, Stream& stream) {
  auto open = open_model(dir, {.dtype = DType::kF32});
  EXPECT_TRUE(open.ok()) << open.status().message();
  if (!open.ok()) return {};
  const ModelShard whole = whole_model(open->config.spec);
  auto model = load_model(*std::move(open), whole, nullptr, stream);
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? *std::move(model) : LoadedModel{};
}

// The elements of a float32 tensor, whose rows may be strided, of any device.
inline std::vector<float> values_of(ConstTensorView x) {
  const int64_t row_size = x.num_elements() / std::max<int64_t>(x.dim(0), 1);
  std::vector<float> values(static_cast<size_t>(x.num_elements()));
  for (int64_t i = 0; i < x.dim(0); ++i) {
    copy_bytes(values.data() + i * row_size, kCpuDevice, x.row<float>(i), x.device(),
               dtype_bytes(DType::kF32, row_size));
  }
  return values;
}

// 0, 1, ... as logit rows of all `num_tokens` tokens of a step.
inline Tensor all_rows(int64_t num_tokens, Device device) {
  std::vector<int32_t> rows(static_cast<size_t>(num_tokens));
  std::iota(rows.begin(), rows.end(), 0);
  Tensor tensor(DType::kI32, Shape{num_tokens}, device);
  copy_bytes(tensor->data(), device, rows.data(), kCpuDevice, tensor->num_bytes());
  return tensor;
}

// The tokens that an engine gives each of the requests, all submitted at once.
inline std::vector<std::vector<int32_t>> generate_all(const Decoder& decoder, const EngineOptions& options,
                                                      const std::vector<GenerationRequest>& requests, Stream& stream) {
  const RankComms comms = RankComms::solo();
  ModelRunner runner(decoder, comms, options, stream);
  runner.prepare({});
  Engine engine(runner, comms);
  std::map<int64_t, size_t> places;
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto id = engine.submit(requests[i]);
    EXPECT_TRUE(id.ok()) << id.status().message();
    if (id.ok()) places[*id] = i;
  }
  std::vector<std::vector<int32_t>> outputs(requests.size());
  while (engine.has_work()) {
    for (const TokenEvent& event : engine.step()) outputs[places.at(event.request_id)].push_back(event.token);
  }
  EXPECT_EQ(engine.blocks().num_available(), engine.blocks().num_blocks());
  return outputs;
}

}  // namespace cohort::test
