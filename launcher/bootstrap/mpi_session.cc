#include "launcher/bootstrap/mpi_session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <mpi.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

namespace cohort {
namespace {

constexpr std::chrono::seconds kAbortPatience{2};

int integer_variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

// Under Slurm, MPI_Init of Open MPI 4.1 waits for the other ranks twice, and on a busy machine a rank may be past both
// while another still waits for the first: a message that comes then, before there is anybody to take it, is a
// segmentation fault. With this all wait once, when they can take messages.
void wait_once_in_init() {
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) return;  // mpirun's
  setenv("OMPI_MCA_pmix_base_async_modex", "1", /*overwrite=*/0);
}

// Whether process `id` is mpirun's daemon on a host. Only what a child of a process with threads may call.
bool is_daemon(pid_t id) {
  char path[32] = "/proc/";
  char digits[16];
  char* digit = digits + sizeof(digits);
  for (pid_t rest = id; rest > 0; rest /= 10) *--digit = static_cast<char>('0' + rest % 10);
  const auto num_digits = static_cast<size_t>(digits + sizeof(digits) - digit);
  std::memcpy(path + 6, digit, num_digits);
  std::memcpy(path + 6 + num_digits, "/comm", 6);
  char name[8] = "";
  const int file = open(path, O_RDONLY);
  const bool is_read = file >= 0 && read(file, name, sizeof(name) - 1) > 0;
  if (file >= 0) close(file);
  return is_read && std::strncmp(name, "orted\n", 6) == 0;
}

// A daemon that is cut off from mpirun ends its ranks when one asks for it, and then waits for as long as TCP does. It
// serves this job alone: a process of its own, which the daemon does not end with the ranks, gives it a while.
void end_daemon_in_time() {
  constexpr int kChecks = 80;
  const pid_t daemon = getppid();
  if (!is_daemon(daemon) || fork() != 0) return;
  setsid();
  close_range(0, ~0u, 0);  // mpirun waits for the ends of what ranks write
  const timespec pause{0, 100'000'000};
  for (int i = 0; i < kChecks; ++i) {
    nanosleep(&pause, nullptr);
    if (!is_daemon(daemon)) _exit(0);
  }
  kill(daemon, SIGKILL);
  _exit(0);
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

std::optional<std::chrono::milliseconds> launcher_patience() {
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return std::nullopt;
  const char* seconds = std::getenv("OMPI_MCA_odls_base_sigkill_timeout");  // mpirun's default is 1
  return std::chrono::seconds(seconds == nullptr ? 1 : std::max(std::atoi(seconds), 0));
}

void start_mpi() {
  wait_once_in_init();
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
  end_daemon_in_time();
  // MPI_Abort asks the launcher to end the others, and would wait for one that cannot be reached.
  std::thread([] {
    std::this_thread::sleep_for(kAbortPatience);
    _exit(1);
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, 1);
  _exit(1);
}

}  // namespace cohort
