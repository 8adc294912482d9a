// What sentence-transformers' files beside a checkpoint say of embeddings.
#pragma once

#include <filesystem>

#include "kernels/core/status.h"
#include "runtime/models/model_spec.h"

namespace cohort {

// Reads modules.json and the pooling module's config.json into `pooling` and `normalizes_embedding`; changes nothing
// where there is no modules.json. INVALID_ARGUMENT names the file and what is not supported of it.
Status read_sentence_pooling(const std::filesystem::path& model_dir, ModelSpec& spec);

}  // namespace cohort
