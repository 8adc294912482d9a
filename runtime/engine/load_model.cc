#include "runtime/engine/load_model.h"

#include <fmt/format.h>

#include "kernels/core/thread_pool.h"
#include "runtime/models/rename_tensors.h"

namespace cohort {
namespace {

constexpr size_t kMaxNamesShown = 3;

// FNV-1a (Fowler, Noll, Vo), for telling things apart, not for keeping secrets.
uint64_t hash_text(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

// What the first checkpoints of BERT, made by TensorFlow, call the weights and biases of norms; transformers still
// takes them.
void use_tensorflow_name(std::string& name, const Checkpoint& checkpoint) {
  for (const auto& [suffix, old_suffix] :
       {std::pair(".LayerNorm.weight", ".LayerNorm.gamma"), std::pair(".LayerNorm.bias", ".LayerNorm.beta")}) {
    if (!name.ends_with(suffix)) continue;
    const std::string old_name = name.substr(0, name.size() - std::string_view(suffix).size()) + old_suffix;
    if (!checkpoint.contains(name) && checkpoint.contains(old_name)) name = old_name;
  }
}

// Tables of positions end where config.json says, and rotations were not trained beyond; distances between tokens have
// no end.
Status limit_sequences(int64_t max_model_len, const std::filesystem::path& model_dir, ModelSpec& spec) {
  const bool has_end = spec.position == PositionKind::kLearned || spec.position == PositionKind::kRotary;
  if (has_end && max_model_len > spec.max_position) {
    return invalid_argument(fmt::format("model.max_model_len: expected at most {}, the longest sequence of {}, got {}",
                                        spec.max_position, model_dir.string(), max_model_len));
  }
  if (max_model_len > 0) spec.max_position = max_model_len;
  return ok_status();
}

}  // namespace

WeightMap resolve_weight_map(const ModelConfig& config, const Checkpoint& checkpoint) {
  WeightMap map = config.family->weight_map(config.spec);
  if (!checkpoint.contains(map.embedding.name)) map = with_base_prefix(map, std::string(config.family->base_prefix));
  rename_tensors(map, [&](std::string& name) { use_tensorflow_name(name, checkpoint); });
  return map;
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

Result<OpenModel> open_model(const std::filesystem::path& model_dir, const LoadOptions& options) {
  OpenModel model;
  COHORT_ASSIGN_OR_RETURN(model.config, read_model_config(model_dir));
  model.dtype = options.dtype.value_or(model.config.spec.checkpoint_dtype);
  model.numerics = options.numerics;
  model.random_seed = options.random_seed;
  model.num_threads = options.num_threads;
  if (options.random_weights) {
    model.map = with_base_prefix(model.config.family->weight_map(model.config.spec),
                                 std::string(model.config.family->base_prefix));
  } else {
    COHORT_ASSIGN_OR_RETURN(model.checkpoint, Checkpoint::open(model_dir));
    model.map = resolve_weight_map(model.config, *model.checkpoint);
    COHORT_RETURN_IF_ERROR(check_checkpoint(model.map, *model.checkpoint));
  }
  // After the map, whose table of positions has all rows.
  COHORT_RETURN_IF_ERROR(limit_sequences(options.max_model_len, model_dir, model.config.spec));
  return model;
}

std::string OpenModel::fingerprint() const {
  std::string tensors;
  for (const TensorRef& tensor : all_tensors(map)) {
    tensors += tensor.name + tensor.shape.to_string();
    if (checkpoint) tensors += checkpoint->dtype_in_file(tensor.name).value();
  }
  return fmt::format(
      "model.family={}\nmodel.layers={}\nmodel.hidden={}\nmodel.vocab={}\nmodel.dtype={}\n"
      "model.checkpoint_bytes={}\nmodel.tensors={:016x}\n",
      config.spec.family, config.spec.num_layers, config.spec.hidden, config.spec.vocab, dtype_name(dtype),
      checkpoint ? checkpoint->total_bytes() : 0, hash_text(tensors));
}

Result<LoadedModel> load_model(OpenModel model, const ModelShard& shard, Progress* progress, Stream& stream) {
  const bool is_random = !model.checkpoint;
  const bool is_cuda = stream.device().kind == DeviceKind::kCuda;
  const int num_threads = model.num_threads > 0 ? model.num_threads : num_usable_cpus();
  const std::unique_ptr<WeightSource> source =
      is_random ? random_source(model.random_seed, model.dtype, progress, stream)
                : checkpoint_source(*std::move(model.checkpoint), progress, is_cuda ? &stream : nullptr, num_threads);
  COHORT_ASSIGN_OR_RETURN(Decoder decoder, Decoder::load(model.config.spec, shard, model.map,
                                                         {model.dtype, model.numerics}, *source, stream));
  COHORT_RETURN_IF_ERROR(source->finish(model.map.ignorable));
  stream.synchronize();
  LoadedModel loaded;
  loaded.decoder = std::make_unique<Decoder>(std::move(decoder));
  loaded.num_bytes_read = is_random ? 0 : source->bytes_read();
  return loaded;
}

}  // namespace cohort
