// Loading a model directory, or one rank's part of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "runtime/layers/decoder.h"
#include "runtime/models/family.h"
#include "runtime/weights/progress.h"

namespace cohort {

struct LoadOptions {
  std::optional<DType> dtype;   // nothing: as the checkpoint says
  int64_t max_model_len = 0;    // the longest sequence, instead of config.json's; 0: as that says
  bool random_weights = false;  // made from config.json; no weights are read
  uint64_t random_seed = 0;
  Numerics numerics = Numerics::kFast;
  int num_threads = 0;  // that read weights for a GPU; 0: as many as the process may run on
};

// A model directory that has been looked at, and whose weights have not been read.
struct OpenModel {
  ModelConfig config;
  WeightMap map;
  std::optional<Checkpoint> checkpoint;  // nothing with random weights
  DType dtype = DType::kF32;             // of weights and activations
  Numerics numerics = Numerics::kFast;
  uint64_t random_seed = 0;
  int num_threads = 0;  // as in LoadOptions

  // One line for each fact that ranks must agree on: "key=value\n". Made from config.json and the headers of the files.
  std::string fingerprint() const;
};

struct LoadedModel {
  std::unique_ptr<Decoder> decoder;
  int64_t num_bytes_read = 0;  // of the checkpoint
};

// The tensors that `config` says the checkpoint has, with the base model's prefix or without it, and with new or old
// names, as the checkpoint does.
WeightMap resolve_weight_map(const ModelConfig& config, const Checkpoint& checkpoint);

// OK when every tensor of the map is in the checkpoint with the shape that config.json implies; else names the file and
// the tensor, or the first few of many. Reads no weights.
Status check_checkpoint(const WeightMap& map, const Checkpoint& checkpoint);

// Reads and checks everything but the weights. kInvalidArgument for a max_model_len beyond config.json's of a model
// whose positions end there.
Result<OpenModel> open_model(const std::filesystem::path& model_dir, const LoadOptions& options);

// Reads the weights of `shard`. Bytes are told to `progress`, which may be null.
Result<LoadedModel> load_model(OpenModel model, const ModelShard& shard, Progress* progress, Stream& stream);

}  // namespace cohort
