#include "launcher/bootstrap/job.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "kernels/core/check.h"
#include "kernels/core/device_facts.h"
#include "kernels/core/thread_pool.h"
#include "launcher/bootstrap/device_choice.h"
#include "launcher/bootstrap/mpi_session.h"
#include "launcher/cli/command.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/comm/thread_comm.h"

namespace cohort {
namespace {

// The CPUs that this process may run on, as a text that is equal for equal sets.
std::string affinity_text() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return "";
  std::string text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) text += CPU_ISSET(cpu, &set) != 0 ? '1' : '0';
  return text;
}

// How agree() writes down what a rank found: a digit, the exit code, and the message.
std::string outcome_of(const std::function<Status()>& part) {
  try {
    const Status status = part();
    return status.ok() ? std::to_string(kExitOk) : std::to_string(kExitFailed) + status.message();
  } catch (const UsageError& error) {
    return std::to_string(kExitUsage) + error.what();
  }
}

std::map<std::string, std::string> parse_facts(const std::string& facts) {
  std::map<std::string, std::string> values;
  std::istringstream lines(facts);
  for (std::string line; std::getline(lines, line);) {
    const size_t end = std::min(line.find('='), line.size());
    values[line.substr(0, end)] = line.substr(std::min(end + 1, line.size()));
  }
  return values;
}

// "key is A here and B there" for the first key that differs; empty if none does.
std::string first_difference(const std::string& facts, const std::string& expected) {
  auto values = parse_facts(facts);
  auto expected_values = parse_facts(expected);
  for (const auto& [key, value] : expected_values) {
    if (values[key] != value) return fmt::format("{} is {}, not {}", key, values[key], value);
  }
  return facts == expected ? "" : "it knows of keys that rank 0 does not";
}

// Waits for a message that may be minutes away, and leaves the processor to others.
std::string await_message(HostComm& comm, int peer) {
  constexpr std::chrono::milliseconds kPause{5};
  for (;;) {
    if (auto message = comm.try_receive(peer)) return *std::move(message);
    std::this_thread::sleep_for(kPause);
  }
}

// Ends the process when ranks have not met in time, as when one never started: MPI would wait for ever, and before it
// is up there is no heartbeat.
class StartupLimit {
 public:
  explicit StartupLimit(std::chrono::seconds limit) : thread_([this, limit] { run(limit); }) {}
  ~StartupLimit() {
    {
      const std::lock_guard lock(mutex_);
      is_done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  void run(std::chrono::seconds limit) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, limit, [this] { return is_done_; })) return;
    fmt::print(stderr, "cohort: {}: the ranks have not all met within {} s: one did not start, or cannot be reached\n",
               launched_rank_name(), limit.count());
    _exit(kExitFailed);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_done_ = false;
  std::thread thread_;
};

}  // namespace

Job::Job(const JobOptions& options) : options_(options), recorder_(std::make_shared<FlightRecorder>()) {
  if (!is_launched()) {
    solo_ = std::make_unique<ThreadWorld>(1);
    world_ = solo_->comm(0);
    hosts_ = {host_name()};
    return;
  }
  const StartupLimit limit(options.startup_timeout);
  start_mpi();
  has_mpi_ = true;
  world_ = make_mpi_world();
  hosts_ = all_gather(*world_, host_name());
  const std::unique_ptr<HostComm> local = split_by_host(*world_);
  local_rank_ = local->rank();
  local_size_ = local->size();
  const std::string mine = affinity_text();
  num_sharing_ = 0;
  for (const std::string& others : all_gather(*local, mine)) num_sharing_ += others == mine ? 1 : 0;
  if (size() == 1) return;
  MonitorOptions monitor{
      .interval = options.heartbeat_interval, .timeout = options.heartbeat_timeout, .peer_names = {}};
  for (int peer = 0; peer < size(); ++peer) monitor.peer_names.push_back(rank_name(peer));
  monitor_ = std::make_unique<Monitor>(world_->split(0), monitor, on_failure());
}

Job::Job(std::unique_ptr<HostComm> world)
    : world_(std::move(world)),
      local_rank_(world_->rank()),
      local_size_(world_->size()),
      num_sharing_(world_->size()),
      hosts_(all_gather(*world_, host_name())),
      recorder_(std::make_shared<FlightRecorder>()) {}

Job::~Job() {
  monitor_.reset();
  world_.reset();
  if (has_mpi_) finalize_mpi();
}

std::string Job::rank_name(int rank) const {
  return fmt::format("rank {} (host {})", rank, hosts_[static_cast<size_t>(rank)]);
}

void Job::fail(const std::string& reason) {
  std::string text = "cohort: " + reason + "\n";
  if (size() > 1) {
    text = fmt::format("cohort: {}: {}\n", rank_name(rank()), reason);
    const std::string last = recorder_->dump();
    if (!last.empty()) text += fmt::format("last collectives and steps of {}:\n{}", rank_name(rank()), last);
  }
  // One write, so that the lines of ranks that fail together do not mix.
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  failure_mutex_.lock();  // for good: the first thread to fail ends the process
  if (last_words_) last_words_(reason);
  if (has_mpi_) abort_mpi();
  _exit(kExitFailed);
}

void Job::set_last_words(std::function<void(const std::string& reason)> last_words) {
  const std::lock_guard lock(failure_mutex_);
  last_words_ = std::move(last_words);
}

Device Job::choose_device(const std::string& kind) {
  const std::vector<std::string> mine = kind == "cpu" ? std::vector<std::string>() : cuda_device_ids();
  std::vector<std::vector<std::string>> ids_of;
  for (const std::string& ids : all_gather(*world_, fmt::format("{}", fmt::join(mine, " ")))) {
    std::istringstream words(ids);
    ids_of.emplace_back(std::istream_iterator<std::string>(words), std::istream_iterator<std::string>());
  }
  if (kind == "cpu" || (kind == "auto" && mine.empty())) return kCpuDevice;
  if (mine.empty()) throw UsageError("--device: cuda, but this process can use no CUDA device");
  const int ordinal = choose_devices(ids_of)[static_cast<size_t>(rank())];
  if (ordinal < 0) {
    throw UsageError(fmt::format("--device: {} ranks on host {}, which has {} CUDA devices; expected one rank a device",
                                 local_size_, host(), mine.size()));
  }
  return {DeviceKind::kCuda, ordinal};
}

int Job::num_threads(int configured) const {
  return configured > 0 ? configured : std::max(1, num_usable_cpus() / num_sharing_);
}

void Job::agree(const std::function<Status()>& part) {
  const std::string outcome = outcome_of(part);
  const Deadline deadline(monitor_.get(), "waiting for the other ranks", options_.startup_timeout);
  compare(outcome);
}

void Job::compare(const std::string& mine) {
  const std::vector<std::string> outcomes = all_gather(*world_, mine);
  int exit_code = kExitOk;
  std::map<std::string, std::vector<int>> ranks_of;  // by message
  for (int peer = 0; peer < size(); ++peer) {
    const std::string& outcome = outcomes[static_cast<size_t>(peer)];
    if (outcome[0] == '0') continue;
    exit_code = std::max(exit_code, outcome[0] - '0');
    ranks_of[outcome.substr(1)].push_back(peer);
  }
  if (exit_code == kExitOk) return;
  std::string text;
  for (const auto& [message, ranks] : ranks_of) {
    if (!text.empty()) text += "\ncohort: ";
    if (static_cast<int>(ranks.size()) < size()) {  // what all ranks find is said once, without a name
      text += rank_name(ranks[0]);
      if (ranks.size() > 1) text += fmt::format(" and {} more", ranks.size() - 1);
      text += ": ";
    }
    text += message;
  }
  throw JobFailure(exit_code, text);
}

void Job::check_same(const std::string& facts) {
  const std::vector<std::string> all = all_gather(*world_, facts);
  std::string text;
  for (int peer = 1; peer < size(); ++peer) {
    const std::string difference = first_difference(all[static_cast<size_t>(peer)], all[0]);
    if (difference.empty()) continue;
    if (!text.empty()) text += "\ncohort: ";
    text += fmt::format("{} disagrees with {}: {}", rank_name(peer), rank_name(0), difference);
  }
  if (!text.empty()) throw JobFailure(kExitFailed, text);
}

void Job::on_first_ranks(int num_ranks, const std::function<Status()>& body) {
  COHORT_CHECK(0 < num_ranks && num_ranks <= size(), fmt::format("{} of {} ranks", num_ranks, size()));
  const bool takes_part = rank() < num_ranks;
  std::unique_ptr<HostComm> part = world_->split(takes_part ? 0 : 1);
  std::string outcome = outcome_of(ok_status);
  if (takes_part) {
    std::swap(world_, part);
    try {
      compare(outcome_of(body));
    } catch (const JobFailure& failure) {
      outcome = std::to_string(failure.exit_code()) + failure.what();
    }
    std::swap(world_, part);
  }
  for (int peer = num_ranks; peer < size() && rank() == 0; ++peer) world_->send(peer, outcome);
  if (!takes_part) outcome = await_message(*world_, 0);
  if (outcome[0] != '0') throw JobFailure(outcome[0] - '0', outcome.substr(1));
}

Status run_job(const JobOptions& options, const std::function<Status(Job&)>& body) {
  Job job(options);
  try {
    job.compare(outcome_of([&] { return body(job); }));  // a leader may work for hours after its followers are done
  } catch (const JobFailure& failure) {
    if (job.rank() == 0) fmt::print(stderr, "cohort: {}\n", failure.what());  // for all ranks
    throw;
  } catch (const std::bad_alloc&) {
    job.fail("out of memory");
  } catch (const std::exception& error) {
    job.fail(error.what());
  }
  return ok_status();
}

void run_thread_job(int num_ranks, const std::function<void(Job&)>& body) {
  run_thread_ranks(num_ranks, [&](HostComm& world) {
    Job job(world.split(0));
    body(job);
  });
}

}  // namespace cohort
