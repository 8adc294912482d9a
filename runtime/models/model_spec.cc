#include "runtime/models/model_spec.h"

#include <algorithm>

namespace cohort {

int64_t window_of(const ModelSpec& spec, int64_t i) {
  return spec.windows.empty() ? 0 : spec.windows[static_cast<size_t>(i)];
}

int64_t num_logits(const ModelSpec& spec) {
  switch (spec.head) {
    case HeadKind::kNone:
      return 0;
    case HeadKind::kSequenceLabels:
    case HeadKind::kTokenLabels:
      return static_cast<int64_t>(spec.labels.size());
    default:
      return spec.vocab;
  }
}

bool has_logits_of_tokens(const ModelSpec& spec) {
  return spec.head == HeadKind::kTokenLabels || spec.head == HeadKind::kMaskedToken;
}

ModelSpec source_encoder_spec(const ModelSpec& spec) {
  ModelSpec encoder = spec;
  encoder.num_layers = spec.num_encoder_layers;
  encoder.num_encoder_layers = 0;
  encoder.is_causal = false;
  return encoder;
}

int64_t num_layer_caches(const ModelSpec& spec, int64_t num_layers) {
  if (spec.has_source()) return std::max<int64_t>(num_layers, 1);
  return spec.is_causal ? num_layers : std::min<int64_t>(num_layers, 1);
}

}  // namespace cohort
