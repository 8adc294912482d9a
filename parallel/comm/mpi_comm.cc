#include "parallel/comm/mpi_comm.h"

#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <string>
#include <thread>

#include "kernels/core/check.h"
#include "parallel/comm/device_comm.h"

namespace cohort {
namespace {

constexpr int kTag = 1;
// MPI counts in int: longer messages go in parts.
constexpr int64_t kMaxPartBytes = int64_t{1} << 30;

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw CheckError(std::string(call) + ": " + text);
}

// How long a wait has lasted decides how it waits: a step's partners are microseconds behind, and then a yield costs
// least; the next request may be hours away, and then the core belongs to others.
class Backoff {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Backoff(Clock::duration patience) : sleep_begin_(Clock::now() + patience) {}

  void pause() {
    constexpr std::chrono::microseconds kFirstSleep{20};
    constexpr std::chrono::microseconds kLongestSleep{500};
    if (Clock::now() < sleep_begin_) {
      sched_yield();
      return;
    }
    sleep_ = sleep_.count() == 0 ? kFirstSleep : std::min(2 * sleep_, kLongestSleep);
    std::this_thread::sleep_for(sleep_);
  }

 private:
  const Clock::time_point sleep_begin_;
  std::chrono::microseconds sleep_{0};
};

// A transfer moves on only when it is asked after: sleeping made one of 16 MB between processes of a host 80 times as
// slow.
constexpr std::chrono::seconds kTransferPatience{2};
// For a message that nobody may have sent yet.
constexpr std::chrono::milliseconds kMessagePatience{2};

// Not MPI_Wait, which spins: there may be more ranks than cores.
void wait_for(MPI_Request& request) {
  Backoff backoff(kTransferPatience);
  for (;;) {
    int is_done = 0;
    check_mpi(MPI_Test(&request, &is_done, MPI_STATUS_IGNORE), "MPI_Test");
    if (is_done != 0) return;
    backoff.pause();
  }
}

// Waits for a send whose receiver may be gone for good, as when a rank ends because another failed.
bool is_done_soon(MPI_Request& request) {
  constexpr std::chrono::seconds kPatience{1};
  const auto give_up = Backoff::Clock::now() + kPatience;
  Backoff backoff(kMessagePatience);
  while (Backoff::Clock::now() < give_up) {
    int is_done = 0;
    if (MPI_Test(&request, &is_done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (is_done != 0) return true;
    backoff.pause();
  }
  return false;
}

// A communicator, left to MPI_Finalize: were it freed while a message is on its way to it, as a last heartbeat may be,
// the next communicator would get its number and the message, and Open MPI 4.1 crash. Errors are returned, not fatal.
class MpiHandle {
 public:
  explicit MpiHandle(MPI_Comm comm) : comm_(comm) {
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  MpiHandle(const MpiHandle&) = delete;
  MpiHandle& operator=(const MpiHandle&) = delete;

  MPI_Comm get() const { return comm_; }
  int rank() const {
    int rank = 0;
    check_mpi(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
    return rank;
  }
  int size() const {
    int size = 0;
    check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
    return size;
  }

 private:
  MPI_Comm comm_;
};

MPI_Comm duplicate(MPI_Comm comm) {
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(comm, &copy), "MPI_Comm_dup");
  return copy;
}

class MpiDeviceComm : public DeviceComm {
 public:
  MpiDeviceComm(std::string name, MPI_Comm comm, int rank, int size)
      : DeviceComm(std::move(name), rank, size, kCpuDevice), comm_(comm) {}
  ~MpiDeviceComm() override {
    // MPI may read what it was given as long as it lives: a message that nobody takes is left to it.
    if (pending_ != MPI_REQUEST_NULL && !is_done_soon(pending_)) new std::string(std::move(outgoing_));
  }

 protected:
  // One message may be under way while the sender computes on: it goes from a buffer that grows to the largest.
  void do_send(ConstTensorView x, int peer, Stream&) override {
    if (pending_ != MPI_REQUEST_NULL) wait_for(pending_);
    const char* bytes = static_cast<const char*>(x.data());
    outgoing_.assign(bytes, bytes + x.num_bytes());
    for_each_part(x.num_bytes(), [&](int64_t begin, int count) {
      if (pending_ != MPI_REQUEST_NULL) wait_for(pending_);
      check_mpi(MPI_Isend(outgoing_.data() + begin, count, MPI_BYTE, peer, kTag, comm_.get(), &pending_), "MPI_Isend");
    });
  }
  void do_receive(TensorView out, int peer, Stream&) override {
    for_each_part(out.num_bytes(), [&](int64_t begin, int count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Irecv(static_cast<char*>(out.data()) + begin, count, MPI_BYTE, peer, kTag, comm_.get(), &request),
                "MPI_Irecv");
      wait_for(request);
    });
  }
  void do_exchange(TensorView out, ConstTensorView x, int peer, Stream& stream) override {
    COHORT_CHECK(std::max(out.num_bytes(), x.num_bytes()) <= kMaxPartBytes, x.shape().to_string());
    MPI_Request request = MPI_REQUEST_NULL;
    if (!x.empty()) {  // as in the other calls, nothing is sent of nothing
      check_mpi(MPI_Isend(x.data(), static_cast<int>(x.num_bytes()), MPI_BYTE, peer, kTag, comm_.get(), &request),
                "MPI_Isend");
    }
    do_receive(out, peer, stream);
    wait_for(request);
  }
  void do_all_gather(TensorView out, ConstTensorView x, Stream&) override {
    COHORT_CHECK(x.num_bytes() <= kMaxPartBytes, x.shape().to_string());
    const int count = static_cast<int>(x.num_bytes());
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgather(x.data(), count, MPI_BYTE, out.data(), count, MPI_BYTE, comm_.get(), &request),
              "MPI_Iallgather");
    wait_for(request);
  }
  void do_broadcast(TensorView x, int root, Stream&) override {
    for_each_part(x.num_bytes(), [&](int64_t begin, int count) {
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Ibcast(static_cast<char*>(x.data()) + begin, count, MPI_BYTE, root, comm_.get(), &request),
                "MPI_Ibcast");
      wait_for(request);
    });
  }

 private:
  template <typename F>
  static void for_each_part(int64_t num_bytes, F&& f) {
    for (int64_t begin = 0; begin < num_bytes; begin += kMaxPartBytes) {
      f(begin, static_cast<int>(std::min(kMaxPartBytes, num_bytes - begin)));
    }
  }

  MpiHandle comm_;
  std::string outgoing_;
  MPI_Request pending_ = MPI_REQUEST_NULL;  // the last send
};

class MpiHostComm : public HostComm {
 public:
  explicit MpiHostComm(MPI_Comm comm) : comm_(comm), rank_(comm_.rank()), size_(comm_.size()) {}
  ~MpiHostComm() override {
    while (!outgoing_.empty() && is_done_soon(outgoing_.front().request)) outgoing_.pop_front();
    // MPI may read what it was given as long as it lives: messages that nobody takes are left to it.
    if (!outgoing_.empty()) new std::deque<Outgoing>(std::move(outgoing_));
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  MPI_Comm handle() const { return comm_.get(); }

  void send(int peer, std::string_view message) override {
    reap();
    COHORT_CHECK(static_cast<int64_t>(message.size()) <= kMaxPartBytes, std::to_string(message.size()) + " bytes");
    Outgoing& out = outgoing_.emplace_back();  // a deque: what is under way never moves
    out.bytes = message;
    check_mpi(MPI_Isend(out.bytes.data(), static_cast<int>(out.bytes.size()), MPI_BYTE, peer, kTag, comm_.get(),
                        &out.request),
              "MPI_Isend");
  }

  std::optional<std::string> try_receive(int peer) override {
    reap();
    int is_there = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check_mpi(MPI_Improbe(peer, kTag, comm_.get(), &is_there, &message, &status), "MPI_Improbe");
    if (is_there == 0) return std::nullopt;
    int num_bytes = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &num_bytes), "MPI_Get_count");
    std::string bytes(static_cast<size_t>(num_bytes), '\0');
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Imrecv(bytes.data(), num_bytes, MPI_BYTE, &message, &request), "MPI_Imrecv");
    wait_for(request);
    return bytes;
  }

  std::string receive(int peer) override {
    Backoff backoff(patience_);
    for (;;) {
      if (auto message = try_receive(peer)) return *std::move(message);
      backoff.pause();
    }
  }

  void set_patience(std::chrono::milliseconds patience) override { patience_ = patience; }

  std::unique_ptr<HostComm> split(int color) override {
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_.get(), color, rank_, &part), "MPI_Comm_split");
    return std::make_unique<MpiHostComm>(part);
  }

  std::unique_ptr<DeviceComm> make_cpu_comm(std::string name) override {
    return std::make_unique<MpiDeviceComm>(std::move(name), duplicate(comm_.get()), rank_, size_);
  }

 private:
  struct Outgoing {
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  // Forgets what has been delivered.
  void reap() {
    while (!outgoing_.empty()) {
      int is_done = 0;
      check_mpi(MPI_Test(&outgoing_.front().request, &is_done, MPI_STATUS_IGNORE), "MPI_Test");
      if (is_done == 0) return;
      outgoing_.pop_front();
    }
  }

  MpiHandle comm_;
  int rank_;
  int size_;
  std::chrono::milliseconds patience_ = kMessagePatience;
  std::deque<Outgoing> outgoing_;
};

}  // namespace

std::unique_ptr<HostComm> make_mpi_world() { return std::make_unique<MpiHostComm>(duplicate(MPI_COMM_WORLD)); }

std::unique_ptr<HostComm> split_by_host(HostComm& world) {
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(static_cast<MpiHostComm&>(world).handle(), MPI_COMM_TYPE_SHARED, world.rank(),
                                MPI_INFO_NULL, &part),
            "MPI_Comm_split_type");
  return std::make_unique<MpiHostComm>(part);
}

}  // namespace cohort
