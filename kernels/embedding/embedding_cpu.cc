#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "kernels/core/vector_math.h"
#include "kernels/embedding/embedding_backends.h"

namespace cohort::cpu {
namespace {

constexpr int64_t kMinBytesPerPiece = 16384;  // below this, waking a thread costs more than it saves

void check_ids(const int32_t* ids, int64_t num_tokens, int64_t vocab) {
  for (int64_t i = 0; i < num_tokens; ++i) {
    COHORT_CHECK(ids[i] >= 0 && ids[i] < vocab, "id " + std::to_string(ids[i]) + " of token " + std::to_string(i) +
                                                    " in a table of " + std::to_string(vocab));
  }
}

int64_t grain_of(const TensorView& out) {
  return std::max<int64_t>(1, kMinBytesPerPiece / dtype_bytes(out.dtype(), out.dim(1)));
}

template <typename T>
void add_row(T* out, const T* row, int64_t hidden) {
  for_each_vector(hidden, [&](int64_t i, auto extent) {
    store8(out + i, load8(out + i, extent) + load8(row + i, extent), extent);
  });
}

}  // namespace

void embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  const int32_t* const id = ids.data<int32_t>();
  check_ids(id, out.dim(0), table.dim(0));
  dispatch_float(out.dtype(), [&]<typename T>() {
    const auto num_bytes = static_cast<size_t>(out.dim(1)) * sizeof(T);
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        std::memcpy(static_cast<void*>(out.row<T>(i)), table.row<T>(id[i]), num_bytes);
      }
    };
    stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
  });
}

void embedding_part(TensorView out, ConstTensorView ids, ConstTensorView part, int64_t first_row, Stream& stream) {
  const int32_t* const id = ids.data<int32_t>();
  const int64_t hidden = out.dim(1);
  dispatch_float(part.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = id[i] - first_row;
        float* const to = out.row<float>(i);
        if (row < 0 || row >= part.dim(0)) {
          std::fill(to, to + hidden, -0.0f);
          continue;
        }
        const T* const from = part.row<T>(row);
        for_each_vector(hidden, [&](int64_t j, auto extent) { store8(to + j, load8(from + j, extent), extent); });
      }
    };
    stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
  });
}

void add_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Stream& stream) {
  const int32_t* const id = ids.data<int32_t>();
  check_ids(id, out.dim(0), table.dim(0));
  dispatch_float(out.dtype(), [&]<typename T>() {
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) add_row(out.row<T>(i), table.row<T>(id[i]), out.dim(1));
    };
    stream.parallel_for(out.dim(0), grain_of(out), std::ref(body));
  });
}

void feed_tokens(TensorView token_ids, ConstTensorView sources, ConstTensorView sampled, Stream&) {
  int32_t* const id = token_ids.data<int32_t>();
  const int32_t* const source = sources.data<int32_t>();
  const int32_t* const token = sampled.data<int32_t>();
  for (int64_t i = 0; i < token_ids.dim(0); ++i) {
    if (source[i] < 0) continue;
    COHORT_CHECK(source[i] < sampled.dim(0), "source " + std::to_string(source[i]) + " of token " + std::to_string(i) +
                                                 " among " + std::to_string(sampled.dim(0)));
    id[i] = std::max(token[source[i]], 0);
  }
}

}  // namespace cohort::cpu
