#include "parallel/comm/thread_comm.h"

#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <tuple>

#include "kernels/core/check.h"
#include "parallel/comm/device_comm.h"

namespace cohort {

// Queues of messages, one for each (communicator, sender, receiver).
class ThreadChannels {
 public:
  void send(const std::string& comm, int from, int to, std::string message) {
    const std::lock_guard lock(mutex_);
    queues_[{comm, from, to}].push_back(std::move(message));
    changed_.notify_all();
  }
  std::optional<std::string> try_receive(const std::string& comm, int from, int to) {
    const std::lock_guard lock(mutex_);
    return take(comm, from, to);
  }
  std::string receive(const std::string& comm, int from, int to) {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (auto message = take(comm, from, to)) return *std::move(message);
      changed_.wait(lock);
    }
  }
  void abort(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (abort_reason_.empty()) abort_reason_ = reason;
    changed_.notify_all();
  }

 private:
  std::optional<std::string> take(const std::string& comm, int from, int to) {
    if (!abort_reason_.empty()) throw std::runtime_error(abort_reason_);
    std::deque<std::string>& queue = queues_[{comm, from, to}];
    if (queue.empty()) return std::nullopt;
    std::string message = std::move(queue.front());
    queue.pop_front();
    return message;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::tuple<std::string, int, int>, std::deque<std::string>> queues_;
  std::string abort_reason_;
};

namespace {

std::string_view bytes_of(const ConstTensorView& x) {
  return {static_cast<const char*>(x.data()), static_cast<size_t>(x.num_bytes())};
}

class ThreadDeviceComm : public DeviceComm {
 public:
  ThreadDeviceComm(ThreadChannels& channels, std::string id, std::string name, int rank, int size)
      : DeviceComm(std::move(name), rank, size, kCpuDevice), channels_(channels), id_(std::move(id)) {}

 protected:
  void do_send(ConstTensorView x, int peer, Stream&) override {
    if (x.empty()) return;
    channels_.send(id_, rank(), peer, std::string(bytes_of(x)));
  }
  void do_receive(TensorView out, int peer, Stream&) override {
    if (out.empty()) return;
    const std::string message = channels_.receive(id_, peer, rank());
    COHORT_CHECK(static_cast<int64_t>(message.size()) == out.num_bytes(),
                 name() + ": " + std::to_string(message.size()) + " bytes into " + out.shape().to_string());
    if (!message.empty()) std::memcpy(out.data(), message.data(), message.size());
  }
  void do_exchange(TensorView out, ConstTensorView x, int peer, Stream& stream) override {
    do_send(x, peer, stream);
    do_receive(out, peer, stream);
  }
  void do_all_gather(TensorView out, ConstTensorView x, Stream& stream) override {
    const TensorView flat = out.reshape(Shape{size(), x.num_elements()});
    for (int peer = 0; peer < size(); ++peer) do_send(x, peer, stream);
    for (int peer = 0; peer < size(); ++peer) do_receive(flat.slice(0, peer, peer + 1), peer, stream);
  }
  void do_broadcast(TensorView x, int root, Stream& stream) override {
    if (rank() != root) return do_receive(x, root, stream);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer != root) do_send(x, peer, stream);
    }
  }

 private:
  ThreadChannels& channels_;
  const std::string id_;
};

class ThreadHostComm : public HostComm {
 public:
  ThreadHostComm(ThreadChannels& channels, std::string id, int rank, int size)
      : channels_(channels), id_(std::move(id)), rank_(rank), size_(size) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(int peer, std::string_view message) override { channels_.send(id_, rank_, peer, std::string(message)); }
  std::optional<std::string> try_receive(int peer) override { return channels_.try_receive(id_, peer, rank_); }
  std::string receive(int peer) override { return channels_.receive(id_, peer, rank_); }

  std::unique_ptr<HostComm> split(int color) override {
    const std::vector<std::string> colors = all_gather(*this, std::to_string(color));
    int new_rank = 0;
    int new_size = 0;
    for (int peer = 0; peer < size_; ++peer) {
      if (colors[static_cast<size_t>(peer)] != std::to_string(color)) continue;
      if (peer < rank_) ++new_rank;
      ++new_size;
    }
    return std::make_unique<ThreadHostComm>(channels_, next_id() + ":" + std::to_string(color), new_rank, new_size);
  }
  std::unique_ptr<DeviceComm> make_cpu_comm(std::string name) override {
    return std::make_unique<ThreadDeviceComm>(channels_, next_id(), std::move(name), rank_, size_);
  }

 private:
  // The same on every rank, since all of them make the same communicators in the same order.
  std::string next_id() { return id_ + "/" + std::to_string(num_children_++); }

  ThreadChannels& channels_;
  const std::string id_;
  const int rank_;
  const int size_;
  int num_children_ = 0;
};

}  // namespace

ThreadWorld::ThreadWorld(int num_ranks) : num_ranks_(num_ranks), channels_(std::make_unique<ThreadChannels>()) {}
ThreadWorld::~ThreadWorld() = default;

std::unique_ptr<HostComm> ThreadWorld::comm(int rank) {
  return std::make_unique<ThreadHostComm>(*channels_, "world", rank, num_ranks_);
}

void ThreadWorld::abort(const std::string& reason) { channels_->abort(reason); }

void run_thread_ranks(int num_ranks, const std::function<void(HostComm& world)>& body) {
  ThreadWorld world(num_ranks);
  std::mutex mutex;
  std::exception_ptr first_failure;
  const auto run = [&](int rank) {
    try {
      const std::unique_ptr<HostComm> comm = world.comm(rank);
      body(*comm);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first_failure) first_failure = std::current_exception();
      world.abort("rank " + std::to_string(rank) + " failed");
    }
  };
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) threads.emplace_back(run, rank);
  for (std::thread& thread : threads) thread.join();
  if (first_failure) std::rethrow_exception(first_failure);
}

}  // namespace cohort
