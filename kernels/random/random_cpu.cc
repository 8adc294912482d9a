#include <algorithm>
#include <array>

#include "kernels/random/random_backends.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kBlockElements = 512;
constexpr int64_t kGrainElements = 1 << 16;

template <typename T>
using LevelTable = std::array<T, kNumRandomLevels>;

template <typename T>
LevelTable<T> make_table(RandomDistribution distribution) {
  const RandomScale scale(distribution);
  LevelTable<T> table;
  for (size_t level = 0; level < table.size(); ++level) {
    table[level] = static_cast<T>(scale.value(static_cast<uint32_t>(level)));
  }
  return table;
}

// levels[i] is that of element `counter + i`.
void make_levels(uint16_t* levels, int64_t count, uint32_t counter, RandomBlockKey key) {
  for (int64_t i = 0; i < count; ++i) {
    levels[i] = static_cast<uint16_t>(random_level(counter + static_cast<uint32_t>(i), key));
  }
}

// `count` elements from element `index` of the tensor on.
template <typename T>
void fill_run(T* out, int64_t count, uint64_t index, uint64_t tensor_key, const LevelTable<T>& table) {
  std::array<uint16_t, kBlockElements> levels;
  while (count > 0) {
    const uint64_t high = index >> 32;
    const auto until_next_key = static_cast<int64_t>(((high + 1) << 32) - index);
    const int64_t num = std::min({count, kBlockElements, until_next_key});
    make_levels(levels.data(), num, static_cast<uint32_t>(index), random_block_key(tensor_key, high));
    for (int64_t i = 0; i < num; ++i) out[i] = table[levels[static_cast<size_t>(i)]];
    out += num;
    count -= num;
    index += static_cast<uint64_t>(num);
  }
}

}  // namespace

void fill_random(TensorView out, const RandomRuns& runs, const RandomValues& values, Stream& stream) {
  dispatch_float(out.dtype(), [&]<typename T>() {
    T* const data = out.data<T>();
    const LevelTable<T> table = make_table<T>(values.distribution);
    stream.parallel_for(runs.num_runs * runs.run_elements, kGrainElements, [&](int64_t begin, int64_t end) {
      while (begin < end) {  // a long run is cut as well
        const int64_t in_run = begin % runs.run_elements;
        const int64_t num = std::min(end - begin, runs.run_elements - in_run);
        const RandomRuns::Run run = runs.run(begin / runs.run_elements);
        fill_run(data + run.offset + in_run, num, run.index + static_cast<uint64_t>(in_run), values.key, table);
        begin += num;
      }
    });
  });
}

}  // namespace cohort::cpu
