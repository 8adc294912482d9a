// The operations of a step at a model's sizes, with memory of their own and random data: what `cohort bench kernels`
// times.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/core/stream.h"
#include "runtime/models/model_shard.h"

namespace cohort {

// What a rank computes: its part of a model, in one dtype.
struct KernelModel {
  ModelSpec spec;
  ModelShard shard;
  DType dtype = DType::kBF16;
};

// Sequences that a step takes on: each with num_queries new tokens at the end of a context of context_length.
struct KernelLoad {
  int64_t num_seqs = 1;
  int64_t num_queries = 1;     // 1: a decode
  int64_t context_length = 1;  // these counted

  int64_t num_rows() const { return num_seqs * num_queries; }
};

// An operation that can be run over and over. Moved-from or destroyed only when its stream is idle.
struct KernelOperation {
  std::string sizes;      // "1 x 5120 x 15360"
  int64_t num_bytes = 0;  // that a run must read and write at the least, each once
  double num_flops = 0;   // multiplications and additions of matrix products; 0 elsewhere
  // Sets of operands that a run can use, one as good as another: together they exceed the device's caches, where there
  // is memory for as many.
  int num_sets = 1;
  std::function<void(int set)> run;  // queues on the stream it was made with
  // Brings back what a run changes: to be called before each, and no part of its time. Empty where nothing is.
  std::function<void(int set)> reset = nullptr;
};

// The names of the operations, in the order of a step: all that there are, and those of a model.
const std::vector<std::string>& kernel_operation_names();
std::vector<std::string> kernel_operation_names(const ModelSpec& spec);

// Takes memory of the stream's device. Throws CheckError for a name that is not of the model.
KernelOperation make_kernel_operation(const std::string& name, const KernelModel& model, const KernelLoad& load,
                                      Stream& stream);

// What operations are held against: copying num_bytes on the device, and a product of n x n matrices.
KernelOperation make_copy(int64_t num_bytes, Stream& stream);
KernelOperation make_square_product(int64_t n, DType dtype, Stream& stream);

}  // namespace cohort
