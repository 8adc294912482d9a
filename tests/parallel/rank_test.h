// Tests of ranks: the same program plays them as threads, or is one of them when mpirun starts it.
#pragma once

#include <functional>

#include "parallel/comm/host_comm.h"

namespace cohort::test {

// Runs body on `num_ranks` ranks: on threads of this process, or under mpirun on the first of its processes while the
// others wait. Skips where mpirun started fewer. An exception of a rank fails the test, and under mpirun ends all.
void run_ranks(int num_ranks, const std::function<void(HostComm& world)>& body);

// How many ranks a test may ask for: any number of threads, or the processes that there are.
bool has_ranks(int num_ranks);

}  // namespace cohort::test
