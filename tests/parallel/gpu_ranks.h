// Tests of ranks that have a GPU each: mpirun -np 2 nccl_test [--gtest_...]. Every rank runs the same cases in the same
// order. Exits 77 where there are fewer GPUs than ranks.
#pragma once

#include "kernels/core/device.h"
#include "parallel/comm/host_comm.h"

namespace cohort::test {

extern HostComm* world;  // of all ranks
extern Device device;    // this rank's

}  // namespace cohort::test
