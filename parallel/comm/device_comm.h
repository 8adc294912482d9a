// DeviceComm: moves tensors between the ranks of a group, on a stream of the group's device.
//
// Like an op, a call is work of the stream: done when it returns on the CPU, queued on CUDA. Every rank of the group
// makes the same calls in the same order; tensors are dense and of equal shape and dtype on the ranks that meet. What
// breaks throws. One thread uses a communicator at a time.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"
#include "parallel/comm/flight_recorder.h"
#include "parallel/comm/mailbox.h"

namespace cohort {

// From here on, between processes of one host, halving saves more bytes than it costs exchanges.
inline constexpr int64_t kMinHalvingBytes = 16 * 1024;

class DeviceComm {
 public:
  // `name` is what the flight recorder calls it ("tensor", "next").
  DeviceComm(std::string name, int rank, int size, Device device);
  virtual ~DeviceComm() = default;
  DeviceComm(const DeviceComm&) = delete;
  DeviceComm& operator=(const DeviceComm&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  Device device() const { return device_; }
  const std::string& name() const { return name_; }

  // Notes every call from now on in `recorder`, which outlives this. Null switches it off.
  void set_recorder(FlightRecorder* recorder) { recorder_ = recorder; }
  FlightRecorder* recorder() const { return recorder_; }

  // x may be changed when the stream has done it.
  void send(ConstTensorView x, int peer, Stream& stream);
  void receive(TensorView out, int peer, Stream& stream);
  // Sends x to `peer` and receives `out` from it at once; the sizes may differ, the dtype may not.
  void exchange(TensorView out, ConstTensorView x, int peer, Stream& stream);
  // out [size * n, ...] = x [n, ...] of every rank, by rank.
  void all_gather(TensorView out, ConstTensorView x, Stream& stream);
  // x = x of rank `root`.
  void broadcast(TensorView x, int root, Stream& stream);
  // sums = the sum of every rank's, the same bits on all. If is_layout_invariant(), they are float32, and so is
  // scratch, of at least as many elements; otherwise they may be f16 or bf16 as well, rounded as the library does, and
  // scratch is not used.
  void all_reduce(TensorView sums, TensorView scratch, Stream& stream);

  // Whether all_reduce adds as the binary tree over the ranks, ((0 + 1) + (2 + 3)) + ..., which continues the tree
  // over the chunks of K inside each rank (kernels/gemm/gemm.h). If not, the order is the library's.
  virtual bool is_layout_invariant() const { return true; }

  // What kernels of the ranks can send each other short messages by; null where there is none. On all ranks alike.
  virtual const Mailbox* mailbox() const { return nullptr; }

 protected:
  virtual void do_send(ConstTensorView x, int peer, Stream& stream) = 0;
  virtual void do_receive(TensorView out, int peer, Stream& stream) = 0;
  virtual void do_exchange(TensorView out, ConstTensorView x, int peer, Stream& stream) = 0;
  virtual void do_all_gather(TensorView out, ConstTensorView x, Stream& stream) = 0;
  virtual void do_broadcast(TensorView x, int root, Stream& stream) = 0;
  // By tree_all_reduce() unless overridden.
  virtual void do_all_reduce(TensorView sums, TensorView scratch, Stream& stream);

  // For tree_all_reduce, whose steps are not worth a record each.
  friend void tree_all_reduce(DeviceComm& comm, TensorView sums, TensorView scratch, Stream& stream,
                              int64_t min_halving_bytes);

 private:
  void check(const ConstTensorView& x, int peer, const Stream& stream) const;

  std::string name_;
  int rank_;
  int size_;
  Device device_;
  FlightRecorder* recorder_ = nullptr;
};

// sums = the sum over the ranks, a power of two of them, in the order of the binary tree over ranks. An addition has
// the same bits whichever of its operands comes first, so that partners both add and agree.
//
// Short messages: recursive doubling, log2(size) exchanges of everything. Long ones: recursive halving, where partners
// share out what they add, then the same way back (Rabenseifner 2004, "Optimization of Collective Reduction
// Operations"), but with the nearest partner first, which is what keeps the tree. Messages of min_halving_bytes are
// long; the bits are the same either way.
void tree_all_reduce(DeviceComm& comm, TensorView sums, TensorView scratch, Stream& stream,
                     int64_t min_halving_bytes = kMinHalvingBytes);

}  // namespace cohort
