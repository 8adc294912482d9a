#include "kernels/random/random.h"

#include "kernels/core/check.h"
#include "kernels/random/random_backends.h"

namespace cohort {

uint64_t random_key(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return mix64(mix64(seed + 0x9e3779b97f4a7c15u) ^ hash);
}

void fill_random(TensorView out, const RandomValues& values, const Shape& shape, int dim, int64_t begin,
                 Stream& stream) {
  COHORT_CHECK(out.rank() == shape.rank(), out.shape().to_string() + " of " + shape.to_string());
  for (int i = 0; i < shape.rank(); ++i) {
    const bool is_inside = i == dim ? begin >= 0 && begin + out.dim(i) <= shape[i] : out.dim(i) == shape[i];
    COHORT_CHECK(is_inside, out.shape().to_string() + " of " + shape.to_string());
  }
  COHORT_CHECK(out.device() == stream.device(), to_string(out.device()));
  if (out.empty()) return;
  const RandomRuns runs(out, shape, dim, begin);
  (stream.device().kind == DeviceKind::kCuda ? cuda::fill_random : cpu::fill_random)(out, runs, values, stream);
}

}  // namespace cohort
