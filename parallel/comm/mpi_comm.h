// Ranks as MPI processes.
//
// Only this folder and the launcher's bootstrap know of MPI. MPI is initialised with MPI_THREAD_MULTIPLE before, and
// finalised after, every communicator made here. An error of MPI throws CheckError with MPI's text.
#pragma once

#include <memory>

#include "parallel/comm/host_comm.h"

namespace cohort {

// A duplicate of MPI_COMM_WORLD.
std::unique_ptr<HostComm> make_mpi_world();

// The ranks of `world` that share this one's host (MPI_COMM_TYPE_SHARED). `world` is from make_mpi_world().
std::unique_ptr<HostComm> split_by_host(HostComm& world);

}  // namespace cohort
