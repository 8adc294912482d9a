// Kernels in plain C++: for other CPUs, and a second opinion in tests. Subnormals are kept, also in
// bfloat16.
#include "kernels/gemm/kernels_portable.h"

#include "kernels/gemm/rows.h"
#include "kernels/gemm/tile.h"

namespace cohort::gemm_internal {
namespace {

struct PortablePanel {
  static constexpr int kTileRows = 1;
  static constexpr int kTilePanels = 1;
  static constexpr int kPairTileRows = 1;
  static constexpr int kPairTilePanels = 1;

  float lanes[kPanelWidth];

  static PortablePanel zero() { return {}; }
  template <typename T>
  static PortablePanel load(const T* p) {
    PortablePanel v;
    for (int i = 0; i < kWidth; ++i) v.lanes[i] = static_cast<float>(p[i]);
    return v;
  }
  static void load_pairs(const bf16* p, PortablePanel& even, PortablePanel& odd) {
    for (int i = 0; i < kWidth; ++i) {
      even.lanes[i] = static_cast<float>(p[2 * i]);
      odd.lanes[i] = static_cast<float>(p[2 * i + 1]);
    }
  }
  static void store(float* p, const PortablePanel& v) {
    for (int i = 0; i < kWidth; ++i) p[i] = v.lanes[i];
  }
  static PortablePanel add(const PortablePanel& a, const PortablePanel& b) {
    PortablePanel v;
    for (int i = 0; i < kWidth; ++i) v.lanes[i] = a.lanes[i] + b.lanes[i];
    return v;
  }
  static float broadcast(const float* p) { return *p; }
  static PortablePanel fma(float x, const PortablePanel& w, const PortablePanel& sum) {
    PortablePanel v;
    for (int i = 0; i < kWidth; ++i) v.lanes[i] = __builtin_fmaf(x, w.lanes[i], sum.lanes[i]);
    return v;
  }
};

}  // namespace

constinit const Kernel kPortableF32{Isa::kPortable, DType::kF32,   SumOrder::kSequential,
                                    kMaxBlockK,     pack_rows_f32, multiply_packed<PortablePanel, float>};
constinit const Kernel kPortableF16{Isa::kPortable, DType::kF16,   SumOrder::kSequential,
                                    kMaxBlockK,     pack_rows_f16, multiply_f16<PortablePanel>};
constinit const Kernel kPortableBF16{Isa::kPortable, DType::kBF16,         SumOrder::kPairGroups,
                                     kMaxBlockK,     pack_rows_bf16_split, multiply_bf16<PortablePanel>};

}  // namespace cohort::gemm_internal
