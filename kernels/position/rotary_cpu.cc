#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/core/vector_math.h"
#include "kernels/position/rotary_backends.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinElementsPerPiece = 4096;  // below this, waking a thread costs more than it saves
constexpr int64_t kTilePairs = 128;             // pairs whose cosines are held at a time; more take turns

// cos and sin of one position for pairs [begin, begin + count), times the attention factor.
struct Angles {
  float cos[kTilePairs];
  float sin[kTilePairs];

  void set(int32_t position, const float* inv_freq, int64_t count, float attention_factor) {
    const auto p = static_cast<float>(position);
    for (int64_t i = 0; i < count; ++i) {
      const float angle = p * inv_freq[i];
      cos[i] = std::cos(angle) * attention_factor;
      sin[i] = std::sin(angle) * attention_factor;
    }
  }
};

// Turns pairs (x[i], y[i]).
template <typename T>
void turn_halves(T* x, T* y, const Angles& angles, int64_t count) {
  for_each_vector(count, [&](int64_t i, auto extent) {
    const Float8 cos = load8(angles.cos + i, extent);
    const Float8 sin = load8(angles.sin + i, extent);
    const Float8 a = load8(x + i, extent);
    const Float8 b = load8(y + i, extent);
    store8(x + i, a * cos - b * sin, extent);
    store8(y + i, b * cos + a * sin, extent);
  });
}

// The halves of 16 elements of which the first 2 * count, or all, are there.
Whole low_half(Whole) { return {}; }
Whole high_half(Whole) { return {}; }
Part low_half(Part pairs) { return {std::min(2 * pairs.count, kLanes)}; }
Part high_half(Part pairs) { return {std::max<int64_t>(2 * pairs.count - kLanes, 0)}; }

// Turns pairs (x[2 i], x[2 i + 1]).
template <typename T>
void turn_interleaved(T* x, const Angles& angles, int64_t count) {
  for_each_vector(count, [&](int64_t i, auto extent) {
    T* const p = x + 2 * i;
    const Float8 cos = load8(angles.cos + i, extent);
    const Float8 sin = load8(angles.sin + i, extent);
    const Float8 low = load8(p, low_half(extent));
    const Float8 high = load8(p + kLanes, high_half(extent));
    const Float8 a = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    const Float8 b = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
    const Float8 c = a * cos - b * sin;
    const Float8 d = b * cos + a * sin;
    store8(p, __builtin_shufflevector(c, d, 0, 8, 1, 9, 2, 10, 3, 11), low_half(extent));
    store8(p + kLanes, __builtin_shufflevector(c, d, 4, 12, 5, 13, 6, 14, 7, 15), high_half(extent));
  });
}

// Pairs [begin, begin + count) of all heads of one token.
template <typename T>
void turn_heads(T* token, int64_t num_heads, int64_t head_stride, const RotaryConfig& config, const Angles& angles,
                int64_t begin, int64_t count) {
  for (int64_t h = 0; h < num_heads; ++h) {
    T* const head = token + h * head_stride;
    if (config.pairing == RotaryPairing::kHalves) {
      turn_halves(head + begin, head + config.rotary_dim / 2 + begin, angles, count);
    } else {
      turn_interleaved(head + 2 * begin, angles, count);
    }
  }
}

}  // namespace

void apply_rotary(TensorView q, TensorView k, ConstTensorView positions, ConstTensorView lengths,
                  const RotaryAngles& rotary, Stream& stream) {
  const RotaryConfig& config = rotary.config;
  const int64_t num_token_elements = (q.dim(1) + k.dim(1)) * config.head_dim;
  const int32_t* const position = positions.data<int32_t>();
  const int32_t* const length = lengths.data<int32_t>();
  const int64_t num_pairs = config.rotary_dim / 2;
  dispatch_float(q.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      float own_inv_freq[kTilePairs];
      Angles angles;
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t pair = 0; pair < num_pairs; pair += kTilePairs) {
          const int64_t count = std::min(kTilePairs, num_pairs - pair);
          const float* inv_freq = rotary.inv_freq + pair;
          if (depends_on_length(config, length[i]) && rotary.long_inv_freq != nullptr) {
            inv_freq = rotary.long_inv_freq + pair;
          } else if (depends_on_length(config, length[i])) {
            compute_inv_freq(config, length[i], pair, {own_inv_freq, static_cast<size_t>(count)});
            inv_freq = own_inv_freq;
          }
          angles.set(position[i], inv_freq, count, rotary.attention_factor);
          turn_heads(q.row<T>(i), q.dim(1), q.stride(1), config, angles, pair, count);
          turn_heads(k.row<T>(i), k.dim(1), k.stride(1), config, angles, pair, count);
        }
      }
    };
    const int64_t grain = std::max<int64_t>(1, kMinElementsPerPiece / num_token_elements);
    stream.parallel_for(q.dim(0), grain, std::ref(body));
  });
}

}  // namespace cohort::cpu
