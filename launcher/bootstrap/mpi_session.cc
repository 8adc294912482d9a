#include "launcher/bootstrap/mpi_session.h"

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace cohort {
namespace {

constexpr std::chrono::seconds kAbortPatience{2};

int integer_variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

}  // namespace

int num_launched_ranks() {
  // A batch script has SLURM_NTASKS without being a task; only tasks of a step have these.
  int num_ranks = 0;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    num_ranks = std::max(num_ranks, integer_variable(name));
  }
  return num_ranks;
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::string launched_rank_name() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"}) {
    if (const char* rank = std::getenv(name)) return fmt::format("rank {} (host {})", rank, host_name());
  }
  return "";
}

bool is_launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return num_launched_ranks() > 1;
}

void start_mpi() {
  int provided = MPI_THREAD_SINGLE;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) {
    throw std::runtime_error("MPI_Init_thread failed");
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    throw std::runtime_error("this MPI has no MPI_THREAD_MULTIPLE, which heartbeats beside the work need");
  }
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 1 && num_launched_ranks() > 1) {
    throw std::runtime_error(
        fmt::format("the launcher started {} ranks, but MPI knows of one only: expected mpirun of "
                    "the Open MPI that Cohort was built with, or srun --mpi=pmix",
                    num_launched_ranks()));
  }
}

void finalize_mpi() { MPI_Finalize(); }

void abort_mpi() {
  // MPI_Abort asks the launcher to end the others, and would wait for one that cannot be reached.
  std::thread([] {
    std::this_thread::sleep_for(kAbortPatience);
    _exit(1);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, 1);
  _exit(1);
}

}  // namespace cohort
