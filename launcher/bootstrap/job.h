// Job: this process's part in a job of one or more ranks.
//
// Brings MPI up where mpirun or srun started the process, and is a job of one rank otherwise. Watches the other ranks
// (parallel/health/monitor.h) and ends all of them when one fails: loudly, quickly and with a non-zero exit code.
//
// Errors come in two kinds. What every rank can be told of in an orderly way (a bad file, a wrong setting) goes through
// agree(): all ranks end together, and rank 0 says which rank found what. What breaks a rank (an exception, a lost
// peer) ends in MPI_Abort.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/stream.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/host_comm.h"
#include "parallel/health/monitor.h"

namespace cohort {

// What every rank throws alike when agree() found that one of them failed. The message names the ranks.
class JobFailure : public std::runtime_error {
 public:
  JobFailure(int exit_code, const std::string& message) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

struct JobOptions {
  std::chrono::milliseconds heartbeat_interval{500};
  std::chrono::milliseconds heartbeat_timeout{4000};
  std::chrono::seconds startup_timeout{600};  // for ranks to wait for each other in agree()
};

class Job {
 public:
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  ~Job();

  HostComm& world() { return *world_; }
  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }
  // Among the ranks of this host.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  const std::string& host() const { return hosts_[static_cast<size_t>(rank())]; }
  const std::vector<std::string>& hosts() const { return hosts_; }  // by rank
  std::string rank_name(int rank) const;                            // "rank 3 (host node7)"

  Monitor* monitor() { return monitor_.get(); }  // null for a lone rank
  const std::shared_ptr<FlightRecorder>& recorder() const { return recorder_; }
  // Ends the job with a reason; for what notices a failure on a thread of its own.
  std::function<void(const std::string& reason)> on_failure() {
    return [this](const std::string& reason) { fail(reason); };
  }

  // Called with the reason before a failure of this rank ends the job, by whichever thread found it: for what owes
  // somebody a word. It has a second or so. Empty for none.
  void set_last_words(std::function<void(const std::string& reason)> last_words);

  // "cpu", "cuda", or "auto" for CUDA where the process can use a device; which one, device_choice.h says. Every rank
  // calls it. Throws UsageError.
  Device choose_device(const std::string& kind);
  // `configured`, or if that is 0 as many as the process may run on, shared with the host's ranks that may run there
  // too.
  int num_threads(int configured) const;

  // Runs `part` on every rank and returns when all have succeeded. Otherwise throws JobFailure on all: usage errors
  // end with kExitUsage, others with kExitFailed.
  void agree(const std::function<Status()>& part);
  // Throws JobFailure on all ranks, naming those that differ from rank 0 and in what, unless `facts`, lines of
  // "key=value", are the same on all.
  void check_same(const std::string& facts);

  // Runs `body` on the first `num_ranks` ranks as if they were the whole job: meanwhile world(), rank(), size(),
  // agree() and check_same() are theirs. The others wait until it is done, and cost next to nothing. Threads and memory
  // of a host are divided as before. Every rank takes part; a status that is not ok, of any rank, is thrown as
  // JobFailure on all.
  void on_first_ranks(int num_ranks, const std::function<Status()>& body);

 private:
  friend Status run_job(const JobOptions& options, const std::function<Status(Job&)>& body);
  friend void run_thread_job(int num_ranks, const std::function<void(Job&)>& body);
  explicit Job(const JobOptions& options);
  explicit Job(std::unique_ptr<HostComm> world);  // of threads of this process
  // Throws JobFailure on every rank unless the outcome of each is good.
  void compare(const std::string& mine);
  [[noreturn]] void fail(const std::string& reason);

  JobOptions options_;
  bool has_mpi_ = false;
  std::unique_ptr<class ThreadWorld> solo_;  // for a job without MPI
  std::unique_ptr<HostComm> world_;
  int local_rank_ = 0;
  int local_size_ = 1;
  int num_sharing_ = 1;  // ranks of this host that may run on the same CPUs, this one counted
  std::vector<std::string> hosts_;
  std::shared_ptr<FlightRecorder> recorder_;
  std::mutex failure_mutex_;                                   // held by the thread that ends the job
  std::function<void(const std::string& reason)> last_words_;  // guarded by failure_mutex_
  std::unique_ptr<Monitor> monitor_;
};

// Brings the job up, runs `body` as one rank of it, and takes it down. A status that is not ok, of any rank, is thrown
// as JobFailure on all, after rank 0 has said it on standard error. Does not return when a rank breaks.
Status run_job(const JobOptions& options, const std::function<Status(Job&)>& body);

// For tests: runs `body` as every rank of a job whose ranks are threads of this process, which nobody watches. Rethrows
// what the first rank to fail threw, once the others have been stopped.
void run_thread_job(int num_ranks, const std::function<void(Job&)>& body);

}  // namespace cohort
