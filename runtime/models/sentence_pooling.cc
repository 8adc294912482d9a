#include "runtime/models/sentence_pooling.h"

#include <algorithm>
#include <optional>
#include <string>

#include "runtime/json/json.h"
#include "runtime/models/config_reader.h"

namespace cohort {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;

struct Mode {
  const char* key;   // true in older files
  const char* name;  // `pooling_mode` of newer ones
  std::optional<Pooling> kind;
};

constexpr Mode kModes[] = {{"pooling_mode_mean_tokens", "mean", Pooling::kMean},
                           {"pooling_mode_cls_token", "cls", Pooling::kFirst},
                           {"pooling_mode_lasttoken", "lasttoken", Pooling::kLast},
                           {"pooling_mode_max_tokens", "max", std::nullopt},
                           {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", std::nullopt},
                           {"pooling_mode_weightedmean_tokens", "weightedmean", std::nullopt}};

// A folder's name comes with the model: it may not lead out of its directory.
bool is_inside(const std::filesystem::path& folder) {
  return folder.is_relative() && std::find(folder.begin(), folder.end(), "..") == folder.end();
}

Result<Pooling> read_pooling(const std::filesystem::path& path) {
  COHORT_ASSIGN_OR_RETURN(const nlohmann::json json, read_json_file(path, kMaxFileBytes));
  if (!json.is_object()) return invalid_argument(path.string() + ": expected an object");
  ConfigReader config(json, path.string());
  const std::string name = config.text("pooling_mode", "");
  std::optional<Pooling> pooling;
  for (const Mode& mode : kModes) {
    if (name.empty() ? !config.boolean(mode.key, false) : mode.name != name) continue;
    if (!mode.kind || pooling) config.fail(mode.key, "not supported; expected one of mean, cls and lasttoken");
    pooling = mode.kind;
  }
  if (!pooling) config.fail("pooling_mode", "expected one of mean, cls and lasttoken");
  COHORT_RETURN_IF_ERROR(Status(config.status()));
  return *pooling;
}

}  // namespace

Status read_sentence_pooling(const std::filesystem::path& model_dir, ModelSpec& spec) {
  const std::filesystem::path path = model_dir / "modules.json";
  if (!std::filesystem::exists(path)) return ok_status();
  COHORT_ASSIGN_OR_RETURN(const nlohmann::json modules, read_json_file(path, kMaxFileBytes));
  if (!modules.is_array()) return invalid_argument(path.string() + ": expected a list of modules");
  spec.normalizes_embedding = false;
  for (const nlohmann::json& entry : modules) {
    if (!entry.is_object()) return invalid_argument(path.string() + ": expected a list of modules");
    ConfigReader module(entry, path.string());
    const std::string type = module.text("type", "");
    const std::string folder = module.text("path", "");
    COHORT_RETURN_IF_ERROR(Status(module.status()));
    if (!is_inside(folder)) {
      return invalid_argument(path.string() + ": path: expected a folder beside it, got \"" + folder + "\"");
    }
    if (type.ends_with(".Pooling")) {
      COHORT_ASSIGN_OR_RETURN(spec.pooling, read_pooling(model_dir / folder / "config.json"));
    } else if (type.ends_with(".Normalize")) {
      spec.normalizes_embedding = true;
    } else if (!type.ends_with(".Transformer")) {
      return invalid_argument(path.string() + ": type: \"" + type + "\" is not supported");
    }
  }
  return ok_status();
}

}  // namespace cohort
