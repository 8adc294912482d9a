// Prefill attention for Hopper's own instructions. Internal to this folder.
#pragma once

#include "kernels/attention/attention_args.cuh"

namespace cohort::cuda {

// Whether this build and the current device have the kernel, and it takes the problem: what can_tile() of
// attention_cuda.cu requires, a head_dim of 64, 80, 96, 128 or 256, blocks of 16, 32 or 64 positions, and not the
// deterministic mode.
bool can_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem);

// Queues the kernel for the sequences with more than args.max_decode_queries queries; the launch is checked.
void launch_prefill_sm90(const AttentionArgs& args, const AttentionProblem& problem, DType dtype, cudaStream_t stream);

}  // namespace cohort::cuda
