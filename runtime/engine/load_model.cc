#include "runtime/engine/load_model.h"

namespace cohort {
namespace {

constexpr size_t kMaxNamesShown = 3;

int64_t total_bytes(const WeightMap& map, DType dtype) {
  int64_t total = 0;
  for (const TensorRef& tensor : all_tensors(map)) {
    total += dtype_bytes(dtype, tensor.shape.num_elements());
  }
  return total;
}

}  // namespace

WeightMap resolve_weight_map(const ModelConfig& config, const Checkpoint& checkpoint) {
  WeightMap map = config.family->weight_map(config.spec);
  if (checkpoint.contains(map.embedding.name)) return map;
  return with_base_prefix(map, std::string(config.family->base_prefix));
}

Status check_checkpoint(const WeightMap& map, const Checkpoint& checkpoint) {
  std::string missing;
  size_t num_missing = 0;
  for (const TensorRef& ref : all_tensors(map)) {
    if (checkpoint.contains(ref.name)) {
      const auto tensor = checkpoint.tensor(ref.name, ref.shape);
      if (!tensor.ok()) return tensor.status();
    } else if (++num_missing <= kMaxNamesShown) {
      missing += (missing.empty() ? "" : ", ") + ref.name + " " + ref.shape.to_string();
    }
  }
  if (num_missing == 0) return ok_status();
  if (num_missing > kMaxNamesShown) {
    missing += " and " + std::to_string(num_missing - kMaxNamesShown) + " more";
  }
  return not_found(checkpoint.model_dir().string() + ": missing tensors that config.json implies: " + missing);
}

Result<LoadedModel> load_model(const std::filesystem::path& model_dir, const LoadOptions& options, Stream& stream) {
  LoadedModel model;
  COHORT_ASSIGN_OR_RETURN(model.config, read_model_config(model_dir));
  const DType dtype = options.dtype.value_or(model.config.spec.checkpoint_dtype);

  WeightMap map;
  std::unique_ptr<WeightSource> source;
  std::unique_ptr<Progress> progress;
  if (options.random_weights) {
    map = with_base_prefix(model.config.family->weight_map(model.config.spec),
                           std::string(model.config.family->base_prefix));
    progress = std::make_unique<Progress>(total_bytes(map, dtype), options.progress);
    source = random_source(options.random_seed, dtype, progress.get(), &stream);
  } else {
    COHORT_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(model_dir));
    map = resolve_weight_map(model.config, checkpoint);
    COHORT_RETURN_IF_ERROR(check_checkpoint(map, checkpoint));
    progress = std::make_unique<Progress>(checkpoint.total_bytes(), options.progress);
    source = checkpoint_source(std::move(checkpoint), progress.get());
  }
  COHORT_ASSIGN_OR_RETURN(Decoder decoder, Decoder::load(model.config.spec, map, dtype, *source, stream));
  model.decoder = std::make_unique<Decoder>(std::move(decoder));
  COHORT_RETURN_IF_ERROR(source->finish(map.ignorable));
  model.num_bytes_read = options.random_weights ? 0 : source->bytes_read();
  return model;
}

}  // namespace cohort
