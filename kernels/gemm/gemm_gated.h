// Products of which one half gates the other: the first product of a gated feed-forward layer, with its activation.
#pragma once

#include "kernels/activation/activation.h"
#include "kernels/gemm/gemm.h"

namespace cohort {

// out [num_rows, n / 2] = f(x * gate^T + gate_bias) * (x * up^T + up_bias): the rows of `weight`, [n, k], are those of
// gate, then those of up, and so is `bias` [n], empty for none. Requires what gemm() does of x, weight and bias; out
// has the dtype of x. As gemm() into gate_up [num_rows, n], which may be left unwritten, and activate_gated(): the
// products are rounded before f, and what gemm.h says of bits holds. May be captured as gemm() may.
void gemm_gated(TensorView out, TensorView gate_up, ConstTensorView x, const PackedWeight& weight, ConstTensorView bias,
                Activation activation, Stream& stream);

}  // namespace cohort
