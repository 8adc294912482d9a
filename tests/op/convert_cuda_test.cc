// The GPU's bits are the CPU's, around the rows as well.
#include "kernels/core/convert.h"
#include "tests/op/cuda_op_test.h"

namespace cohort {
namespace {

using namespace test;

class ConvertCuda : public CudaTest {};

std::vector<char> run(DType to, const Layout& out_layout, DType from, const Layout& in_layout, bool is_transposed,
                      Stream& stream) {
  const Operand out(poison(to, out_layout), to, out_layout, stream.device());
  const Operand in(random_bytes(from, in_layout.num_elements(), 3), from, in_layout, stream.device());
  (is_transposed ? transpose : convert)(out.view(), in.view(), stream);
  stream.synchronize();
  return out.bytes();
}

TEST_F(ConvertCuda, ConvertsLikeTheCpu) {
  for (const DType to : kFloatDTypes) {
    for (const DType from : kFloatDTypes) {
      for (const Layout& in : kRowLayouts) {
        for (const Layout& out : {in, Layout{in.num_rows, in.n}, Layout{in.num_rows, in.n, 1, 6}}) {
          SCOPED_TRACE(name_of(in, from) + " to " + name_of(out, to));
          EXPECT_TRUE(run(to, out, from, in, false, cuda()) == run(to, out, from, in, false, cpu()));
        }
      }
    }
  }
}

TEST_F(ConvertCuda, TransposesLikeTheCpu) {
  for (const DType to : kFloatDTypes) {
    for (const DType from : kFloatDTypes) {
      for (const Layout& in : kRowLayouts) {
        for (const Layout& out : {Layout{in.n, in.num_rows}, Layout{in.n, in.num_rows, 3, 5}}) {
          if (out.num_elements() > (1 << 23)) continue;
          SCOPED_TRACE(name_of(in, from) + " to " + name_of(out, to));
          EXPECT_TRUE(run(to, out, from, in, true, cuda()) == run(to, out, from, in, true, cpu()));
        }
      }
    }
  }
}

}  // namespace
}  // namespace cohort
