// What lies between the qkv product and attention, in one pass: heads are turned by their positions, and keys and
// values go into the paged cache.
#pragma once

#include "kernels/kv/kv_cache.h"
#include "kernels/position/rotary.h"

namespace cohort {

// Where the tokens of a step are; each [num_tokens].
struct TokenPlaces {
  ConstTensorView positions;  // int32
  ConstTensorView lengths;    // int32: as RotaryEmbedding::apply() takes them
  ConstTensorView slots;      // int64: as write_kv() takes them; -1 for padding, of which nothing is stored
};

// Turns q [num_tokens, num_heads, head_dim] and k [num_tokens, num_kv_heads, head_dim] in place, and stores k and
// v [num_tokens, num_kv_heads, head_dim] at the tokens' slots: rotary->apply(), then write_kv(), with their bits and
// their errors. Rows may be strided. `rotary` is null for a model without rotary positions, whose q and k stay as they
// are.
void rotate_and_cache(TensorView q, TensorView k, ConstTensorView v, KvCacheView cache, const TokenPlaces& places,
                      const RotaryEmbedding* rotary, Stream& stream);

}  // namespace cohort
