// How the values of a random model are distributed.
#pragma once

#include <string_view>

#include "kernels/core/shape.h"
#include "kernels/random/random.h"

namespace cohort {

// Such that activations stay sane, by the names that Hugging Face uses:
//   biases (rank 1 and "...bias" or "...beta")                                                0
//   other vectors, which are norm weights                                                     1
//   embeddings ("embed", "wte", "wpe", "shared", and T5's "relative_attention_bias" in the
//   name)                                                                                     stddev 0.02, as in GPT-2
//   other matrices                                stddev 1 / sqrt(last dimension), the fan-in of a Linear
RandomDistribution random_distribution(std::string_view name, const Shape& shape);

}  // namespace cohort
