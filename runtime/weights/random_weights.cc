#include "runtime/weights/random_weights.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/core/check.h"

namespace cohort {
namespace {

constexpr int kNumLevels = 4 * 255 + 1;  // of the sum of four bytes
constexpr int kMiddleLevel = kNumLevels / 2;
constexpr int64_t kBlockElements = 512;

struct Key {
  uint32_t first, second;
};

uint64_t mix64(uint64_t x) {  // the finalizer of SplitMix64 (Steele et al., 2014)
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Of the elements [high * 2^32, (high + 1) * 2^32) of a tensor.
Key make_key(uint64_t seed, std::string_view name, uint64_t high) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  const uint64_t mixed = mix64(mix64(mix64(seed + 0x9e3779b97f4a7c15u) ^ hash) + high);
  return {static_cast<uint32_t>(mixed), static_cast<uint32_t>(mixed >> 32)};
}

// levels[i] = the sum of the four bytes of a hash of `counter + i`. 32-bit operations only, so that
// it vectorises with AVX2. The mixing is lowbias32 of Chris Wellons ("Prospecting for hash
// functions", 2018), with half of the key put in before and half in the middle, so that no two
// tensors are permutations of each other.
void make_levels(uint16_t* levels, int64_t count, uint32_t counter, Key key) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t x = (counter + static_cast<uint32_t>(i)) ^ key.first;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = ((x + key.second) ^ (x >> 15)) * 0x846ca68bu;
    x ^= x >> 16;
    const uint32_t pairs = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
    levels[i] = static_cast<uint16_t>((pairs & 0xffffu) + (pairs >> 16));
  }
}

template <typename T>
std::array<T, kNumLevels> make_table(RandomDistribution distribution) {
  // Each byte is uniform on 0..255, of variance (256^2 - 1) / 12.
  const float scale = distribution.stddev / std::sqrt(4 * (256.0f * 256.0f - 1) / 12);
  std::array<T, kNumLevels> table;
  for (int level = 0; level < kNumLevels; ++level) {
    table[static_cast<size_t>(level)] =
        static_cast<T>(distribution.mean + static_cast<float>(level - kMiddleLevel) * scale);
  }
  return table;
}

// `count` elements from element `index` of the tensor on.
template <typename T>
void fill_run(T* out, int64_t count, uint64_t index, uint64_t seed, std::string_view name,
              const std::array<T, kNumLevels>& table) {
  std::array<uint16_t, kBlockElements> levels;
  uint64_t high = index >> 32;
  Key key = make_key(seed, name, high);
  while (count > 0) {
    if (index >> 32 != high) {
      high = index >> 32;
      key = make_key(seed, name, high);
    }
    const auto until_next_key = static_cast<int64_t>(((high + 1) << 32) - index);
    const int64_t num = std::min({count, kBlockElements, until_next_key});
    make_levels(levels.data(), num, static_cast<uint32_t>(index), key);
    for (int64_t i = 0; i < num; ++i) out[i] = table[levels[static_cast<size_t>(i)]];
    out += num;
    count -= num;
    index += static_cast<uint64_t>(num);
  }
}

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// Visits the rows of `out`, dense runs of its last dimension, of which [row_begin, row_end) of the
// outermost index, and gives each its offset in `out` and the index of its first element in the
// whole tensor.
template <typename Visit>
void for_each_run(const TensorView& out, const Shape& shape, int dim, int64_t begin, int64_t row_begin, int64_t row_end,
                  Visit&& visit) {
  const int last = out.rank() - 1;
  int64_t num_runs = 1;  // per outermost index
  for (int i = 1; i < last; ++i) num_runs *= out.dim(i);
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t run = 0; run < num_runs; ++run) {
      std::array<int64_t, Shape::kMaxRank> at{};
      at[0] = row;
      int64_t rest = run;
      for (int i = last - 1; i >= 1; --i) {
        at[static_cast<size_t>(i)] = rest % out.dim(i);
        rest /= out.dim(i);
      }
      int64_t offset = 0, index = 0;
      for (int i = 0; i <= last; ++i) {
        const int64_t position = at[static_cast<size_t>(i)];
        offset += position * out.stride(i);
        index = index * shape[i] + position + (i == dim ? begin : 0);
      }
      visit(offset, index);
    }
  }
}

}  // namespace

RandomDistribution random_distribution(std::string_view name, const Shape& shape) {
  if (shape.rank() <= 1) {
    const bool is_bias = name.ends_with("bias") || name.ends_with("beta");
    return {is_bias ? 0.0f : 1.0f, 0.0f};
  }
  if (contains_any(name, {"embed", "wte", "wpe", "shared", "relative_attention_bias"})) return {0.0f, 0.02f};
  const auto fan_in = static_cast<float>(std::max<int64_t>(1, shape[shape.rank() - 1]));
  return {0.0f, 1 / std::sqrt(fan_in)};
}

void fill_random(const TensorView& out, uint64_t seed, std::string_view name, const Shape& shape, int dim,
                 int64_t begin, int64_t row_begin, int64_t row_end) {
  COHORT_CHECK(out.rank() == shape.rank(), out.shape().to_string() + " of " + shape.to_string());
  if (out.empty()) return;
  const RandomDistribution distribution = random_distribution(name, shape);
  dispatch_float(out.dtype(), [&]<typename T>() {
    T* data = out.data<T>();
    if (shape.rank() <= 1) {  // a constant, and the row is an element
      const int64_t num = shape.rank() == 0 ? 1 : row_end - row_begin;
      std::fill_n(data + (shape.rank() == 0 ? 0 : row_begin * out.stride(0)), num, static_cast<T>(distribution.mean));
      return;
    }
    const std::array<T, kNumLevels> table = make_table<T>(distribution);
    for_each_run(out, shape, dim, begin, row_begin, row_end, [&](int64_t offset, int64_t index) {
      fill_run(data + offset, out.dim(out.rank() - 1), static_cast<uint64_t>(index), seed, name, table);
    });
  });
}

}  // namespace cohort
