// The process's use of MPI: whether a launcher started it, and MPI_Init to MPI_Finalize.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace cohort {

// Whether mpirun or srun started this process as a rank.
bool is_launched();

// "rank 3 (host node7)" as the launcher says, before MPI can; empty where it does not.
std::string launched_rank_name();

// How many ranks the launcher says it started; 0 where it does not say.
int num_launched_ranks();

// How long after a SIGTERM the launcher ends this process by SIGKILL, where it is one that does not leave the time to a
// server to drain: mpirun. Nothing for others.
std::optional<std::chrono::milliseconds> launcher_patience();

// MPI_Init_thread with MPI_THREAD_MULTIPLE. Throws std::runtime_error where MPI has no such level, or where MPI does
// not know the ranks that the launcher started, as when srun lacks --mpi=pmix.
void start_mpi();
void finalize_mpi();

// The name of the machine.
std::string host_name();

// Ends all ranks with exit code 1. Does not wait long for MPI to be able to.
[[noreturn]] void abort_mpi();

}  // namespace cohort
