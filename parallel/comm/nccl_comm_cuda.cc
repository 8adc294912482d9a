#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_runtime.h"
#include "kernels/core/tensor.h"
#include "parallel/comm/mailbox_sum.h"
#include "parallel/comm/nccl_calls.h"
#include "parallel/comm/nccl_comm.h"
#include "parallel/comm/symmetric_memory.h"

namespace cohort {
namespace {

using nccl::describe;
using nccl::is_error;
using nccl::wait_for;

constexpr std::chrono::milliseconds kWatchInterval{200};
// For what is queued to drain when the communicator ends. A peer that failed never drains it.
constexpr std::chrono::seconds kFinalizeTimeout{5};

// Makes one operation of the calls of `body`. The group is the thread's, so it is closed whatever they return.
template <typename Body>
ncclResult_t in_group(Body&& body) {
  if (const ncclResult_t result = ncclGroupStart(); result != ncclSuccess) return result;
  const ncclResult_t result = body();
  const ncclResult_t end = ncclGroupEnd();
  return is_error(result) ? result : end;
}

ncclDataType_t nccl_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return ncclFloat16;
    case DType::kBF16:
      return ncclBfloat16;
    default:
      return ncclFloat32;
  }
}

// Every rank takes part.
int least_of(HostComm& group, int value) {
  for (const std::string& other : all_gather(group, std::to_string(value))) value = std::min(value, std::stoi(other));
  return value;
}

// Those that mailbox.cuh has kernels for.
bool is_mailbox_size(int num_ranks) { return num_ranks == 2 || num_ranks == 4 || num_ranks == 8; }

size_t bytes_of(const ConstTensorView& x) { return static_cast<size_t>(x.num_bytes()); }

// The GPU of a rank. NCCL would say of two ranks on one GPU only that its usage is invalid, and a rank that throws
// alone leaves the others waiting for it: so all ranks learn of all, and all throw the same.
struct Seat {
  static constexpr size_t kNumUuidBytes = 16;

  std::string uuid;  // kNumUuidBytes of the GPU, the same in every process and container; empty if there is none
  std::string text;  // what a person knows it by, or why there is none
};

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

Seat find_seat(Device device) {
  const std::string where = to_string(device) + " of " + host_name();
  try {
    if (device.kind != DeviceKind::kCuda) return {"", where + ", which is no GPU"};
    const int num_devices = num_cuda_devices();
    if (device.index < 0 || device.index >= num_devices) {
      return {"", where + ", which has " + std::to_string(num_devices) + " GPUs"};
    }
    cudaDeviceProp properties{};
    COHORT_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index));
    std::array<char, 32> bus_id{};
    COHORT_CUDA_CHECK(cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), device.index));
    static_assert(sizeof(properties.uuid.bytes) == Seat::kNumUuidBytes);
    return {std::string(properties.uuid.bytes, Seat::kNumUuidBytes), where + " (PCI " + bus_id.data() + ")"};
  } catch (const std::exception& error) {
    return {"", where + ": " + error.what()};
  }
}

void check_seats(HostComm& group, const std::string& name, Device device) {
  const Seat mine = find_seat(device);
  const bool is_seated = !mine.uuid.empty();
  const std::string uuid = is_seated ? mine.uuid : std::string(Seat::kNumUuidBytes, '\0');
  std::map<std::string, int> rank_of;  // by uuid
  const std::vector<std::string> seats = all_gather(group, (is_seated ? "1" : "0") + uuid + mine.text);
  const auto text_of = [&](int rank) {
    return "rank " + std::to_string(rank) + ": " + seats[static_cast<size_t>(rank)].substr(1 + Seat::kNumUuidBytes);
  };
  for (int rank = 0; rank < group.size(); ++rank) {
    const std::string& seat = seats[static_cast<size_t>(rank)];
    if (seat[0] == '0') throw CheckError(name + ": no GPU for " + text_of(rank));
    const auto [other, is_new] = rank_of.emplace(seat.substr(1, Seat::kNumUuidBytes), rank);
    if (!is_new) {
      throw CheckError(name + ": ranks " + std::to_string(other->second) + " and " + std::to_string(rank) +
                       " share a GPU, but each needs its own: " + text_of(other->second) + "; " + text_of(rank));
    }
  }
}

ncclComm_t init_comm(HostComm& group, Device device, const NcclOptions& options) {
  ncclUniqueId id{};
  if (group.rank() == 0) nccl::check("ncclGetUniqueId", ncclGetUniqueId(&id));
  const std::string bytes = broadcast(group, std::string(id.internal, sizeof(id.internal)), 0);
  COHORT_CHECK(bytes.size() == sizeof(id.internal), std::to_string(bytes.size()));
  std::memcpy(id.internal, bytes.data(), bytes.size());

  COHORT_CUDA_CHECK(cudaSetDevice(device.index));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t started = ncclCommInitRankConfig(&comm, group.size(), id, group.rank(), &config);
  const ncclResult_t result = wait_for(comm, started, std::chrono::milliseconds(options.timeout_ms));
  if (result == ncclSuccess) return comm;
  const std::string reason = describe("ncclCommInitRankConfig", result, comm);
  if (comm != nullptr) ncclCommAbort(comm);
  throw CheckError(options.name + ", rank " + std::to_string(group.rank()) + " of " + std::to_string(group.size()) +
                   " on " + to_string(device) + ": " + reason);
}

class NcclComm : public DeviceComm {
 public:
  // Owns `comm`.
  NcclComm(ncclComm_t comm, int rank, int size, Device device, const NcclOptions& options)
      : DeviceComm(options.name, rank, size, device),
        is_deterministic_(options.deterministic),
        timeout_(options.timeout_ms),
        on_failure_(options.on_failure),
        comm_(comm),
        watcher_([this] { watch(); }) {}
  ~NcclComm() override;

  bool is_layout_invariant() const override { return is_deterministic_ || size() == 1; }
  const Mailbox* mailbox() const override { return mailbox_.size > 0 ? &mailbox_ : nullptr; }
  // Every rank takes part. Leaves mailbox() null where there can be none.
  void open_mailbox(HostComm& group);

 protected:
  // Bytes are moved as bytes, so that NCCL need not know the dtype.
  void do_send(ConstTensorView x, int peer, Stream& stream) override {
    if (x.empty()) return;
    run("ncclSend", stream,
        [&](cudaStream_t queue) { return ncclSend(x.data(), bytes_of(x), ncclInt8, peer, comm_, queue); });
  }
  void do_receive(TensorView out, int peer, Stream& stream) override {
    if (out.empty()) return;
    run("ncclRecv", stream,
        [&](cudaStream_t queue) { return ncclRecv(out.data(), bytes_of(out), ncclInt8, peer, comm_, queue); });
  }
  void do_exchange(TensorView out, ConstTensorView x, int peer, Stream& stream) override {
    run("ncclSend and ncclRecv", stream, [&](cudaStream_t queue) {
      return in_group([&] {
        const ncclResult_t sent =
            x.empty() ? ncclSuccess : ncclSend(x.data(), bytes_of(x), ncclInt8, peer, comm_, queue);
        if (is_error(sent) || out.empty()) return sent;
        return ncclRecv(out.data(), bytes_of(out), ncclInt8, peer, comm_, queue);
      });
    });
  }
  void do_all_gather(TensorView out, ConstTensorView x, Stream& stream) override {
    // Elements of half a byte: the last of a rank and the first of the next may share one, which neither can write.
    COHORT_CHECK(out.num_bytes() == size() * x.num_bytes(), name() + ": " + x.shape().to_string());
    if (x.empty()) return;
    run("ncclAllGather", stream,
        [&](cudaStream_t queue) { return ncclAllGather(x.data(), out.data(), bytes_of(x), ncclInt8, comm_, queue); });
  }
  void do_broadcast(TensorView x, int root, Stream& stream) override {
    if (x.empty()) return;
    run("ncclBroadcast", stream, [&](cudaStream_t queue) {
      return ncclBroadcast(x.data(), x.data(), bytes_of(x), ncclInt8, root, comm_, queue);
    });
  }
  void do_all_reduce(TensorView sums, TensorView scratch, Stream& stream) override {
    // A call costs tens of microseconds, in which NVLink moves megabytes: fewer exchanges, if of more bytes.
    constexpr int64_t kMinHalvingBytesOverNvlink = int64_t{32} << 20;
    if (is_deterministic_) return tree_all_reduce(*this, sums, scratch, stream, kMinHalvingBytesOverNvlink);
    if (mailbox() != nullptr && fits_mailbox(sums, size())) return mailbox_sum(sums, mailbox_, stream);
    run("ncclAllReduce", stream, [&](cudaStream_t queue) {
      return ncclAllReduce(sums.data(), sums.data(), static_cast<size_t>(sums.num_elements()), nccl_dtype(sums.dtype()),
                           ncclSum, comm_, queue);
    });
  }

 private:
  template <typename Call>
  void run(const char* name_of_call, Stream& stream, Call&& call);
  void watch();
  void report_failure(const std::string& reason) noexcept;
  void log(const std::string& text) noexcept;
  // Ends what is queued on the device, then frees. Requires mutex_.
  void abort();

  const bool is_deterministic_;
  const std::chrono::milliseconds timeout_;
  const std::function<void(const std::string&)> on_failure_;

  // Polling finishes what a call has begun, so that the watcher and the caller may not poll at once. A caller holds
  // the mutex until NCCL has taken its call, and sees what goes wrong itself.
  std::mutex mutex_;
  std::condition_variable stopped_;
  ncclComm_t comm_;                                  // null once aborted
  std::unique_ptr<SymmetricMemory> mailbox_memory_;  // null without a mailbox, like num_uses_
  Tensor num_uses_;                                  // [Mailbox::kNumSlots] int32
  Mailbox mailbox_;
  std::string failure_;  // why no call is possible any more; empty as long as all is well
  bool is_stopping_ = false;
  std::thread watcher_;  // the last to begin
};

template <typename Call>
void NcclComm::run(const char* name_of_call, Stream& stream, Call&& call) {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) throw CheckError(name() + ": " + failure_);
  const ncclResult_t result = wait_for(comm_, call(static_cast<cudaStream_t>(stream.handle())), timeout_);
  if (result == ncclSuccess) return;
  failure_ = describe(name_of_call, result, comm_);
  abort();
  throw CheckError(name() + ": " + failure_);
}

void NcclComm::open_mailbox(HostComm& group) {
  const std::lock_guard lock(mutex_);
  const int64_t num_bytes = Mailbox::num_bytes(size());
  mailbox_memory_ = SymmetricMemory::create(group, comm_, device(), num_bytes,
                                            static_cast<int>(Mailbox::kNoMessage & 0xff), timeout_);
  if (mailbox_memory_ == nullptr) return;
  num_uses_ = Tensor(DType::kI32, Shape{Mailbox::kNumSlots}, device());
  const std::vector<int32_t> zeros(Mailbox::kNumSlots);
  copy_bytes(num_uses_->data(), device(), zeros.data(), kCpuDevice, num_uses_->num_bytes());
  mailbox_.rank = rank();
  mailbox_.size = size();
  std::copy(mailbox_memory_->addresses().begin(), mailbox_memory_->addresses().end(), mailbox_.memory);
  mailbox_.num_uses = static_cast<uint32_t*>(num_uses_->data());
  mailbox_.num_multiprocessors = least_of(group, cuda::num_multiprocessors(device().index));
  mailbox_.architecture = least_of(group, cuda::code_architecture());
}

void NcclComm::watch() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kWatchInterval, [this] { return is_stopping_; })) {
    if (!failure_.empty()) return;  // a call has found it, and thrown
    ncclResult_t state = ncclSuccess;
    const ncclResult_t error = ncclCommGetAsyncError(comm_, &state);
    const ncclResult_t result = error != ncclSuccess ? error : state;
    if (!is_error(result)) continue;
    failure_ = describe("between calls", result, comm_);
    const std::string reason = failure_;
    lock.unlock();
    report_failure(reason);  // first, since what follows ends waits, whose threads would go on with torn data
    lock.lock();
    abort();
    return;
  }
}

void NcclComm::report_failure(const std::string& reason) noexcept {
  log(reason);
  if (!on_failure_) return;
  try {
    on_failure_(name() + ": " + reason);
  } catch (const std::exception& error) {
    log(std::string("on_failure: ") + error.what());
  }
}

void NcclComm::log(const std::string& text) noexcept {
  std::fprintf(stderr, "%s, rank %d of %d on cuda:%d: %s\n", name().c_str(), rank(), size(), device().index,
               text.c_str());
}

void NcclComm::abort() {
  const ncclResult_t result = ncclCommAbort(std::exchange(comm_, nullptr));
  if (result != ncclSuccess) log(describe("ncclCommAbort", result, nullptr));
}

NcclComm::~NcclComm() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  stopped_.notify_all();
  watcher_.join();
  if (comm_ == nullptr) return;
  if (mailbox_memory_ != nullptr) mailbox_memory_->close(comm_, kFinalizeTimeout);
  const ncclResult_t finalized = wait_for(comm_, ncclCommFinalize(comm_), kFinalizeTimeout);
  if (finalized != ncclSuccess) {
    log(describe("ncclCommFinalize", finalized, comm_));
    abort();
    return;
  }
  const ncclResult_t destroyed = ncclCommDestroy(comm_);
  if (destroyed != ncclSuccess) log(describe("ncclCommDestroy", destroyed, nullptr));
}

}  // namespace

std::unique_ptr<DeviceComm> make_nccl_comm(HostComm& group, Device device, const NcclOptions& options) {
  check_seats(group, options.name, device);
  auto comm =
      std::make_unique<NcclComm>(init_comm(group, device, options), group.rank(), group.size(), device, options);
  if (options.has_mailbox && is_mailbox_size(group.size())) comm->open_mailbox(group);
  return comm;
}

}  // namespace cohort
