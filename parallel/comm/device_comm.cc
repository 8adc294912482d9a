#include "parallel/comm/device_comm.h"

#include <array>
#include <utility>

#include "kernels/core/check.h"
#include "kernels/elementwise/elementwise.h"
#include "parallel/layout/slice.h"

namespace cohort {
namespace {

constexpr int kMaxLevels = 10;

bool is_power_of_two(int n) { return n > 0 && (n & (n - 1)) == 0; }

}  // namespace

DeviceComm::DeviceComm(std::string name, int rank, int size, Device device)
    : name_(std::move(name)), rank_(rank), size_(size), device_(device) {}

void DeviceComm::check(const ConstTensorView& x, int peer, const Stream& stream) const {
  COHORT_CHECK(peer >= 0 && peer < size_, name_ + ": peer " + std::to_string(peer) + " of " + std::to_string(size_));
  COHORT_CHECK(x.is_dense(), name_ + ": " + x.shape().to_string() + " is not dense");
  COHORT_CHECK(x.device() == device_ && stream.device() == device_, name_ + ": " + to_string(x.device()));
}

void DeviceComm::send(ConstTensorView x, int peer, Stream& stream) {
  check(x, peer, stream);
  const FlightRecord record(recorder_, "send", name_.c_str(), x.num_bytes(), peer);
  do_send(x, peer, stream);
}

void DeviceComm::receive(TensorView out, int peer, Stream& stream) {
  check(out, peer, stream);
  const FlightRecord record(recorder_, "receive", name_.c_str(), out.num_bytes(), peer);
  do_receive(out, peer, stream);
}

void DeviceComm::exchange(TensorView out, ConstTensorView x, int peer, Stream& stream) {
  check(out, peer, stream);
  check(x, peer, stream);
  const FlightRecord record(recorder_, "exchange", name_.c_str(), x.num_bytes(), peer);
  do_exchange(out, x, peer, stream);
}

void DeviceComm::all_gather(TensorView out, ConstTensorView x, Stream& stream) {
  check(out, rank_, stream);
  check(x, rank_, stream);
  COHORT_CHECK(out.dtype() == x.dtype() && out.num_elements() == size_ * x.num_elements(),
               name_ + ": " + out.shape().to_string() + " of " + x.shape().to_string());
  const FlightRecord record(recorder_, "all_gather", name_.c_str(), out.num_bytes(), -1);
  do_all_gather(out, x, stream);
}

void DeviceComm::broadcast(TensorView x, int root, Stream& stream) {
  check(x, root, stream);
  const FlightRecord record(recorder_, "broadcast", name_.c_str(), x.num_bytes(), root);
  do_broadcast(x, root, stream);
}

void DeviceComm::all_reduce(TensorView sums, TensorView scratch, Stream& stream) {
  check(sums, rank_, stream);
  const FlightRecord record(recorder_, "all_reduce", name_.c_str(), sums.num_bytes(), -1);
  const Shape flat{sums.num_elements()};
  if (!is_layout_invariant()) {
    const DType dtype = sums.dtype();
    COHORT_CHECK(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16, dtype_name(dtype));
    if (!sums.empty()) do_all_reduce(sums.reshape(flat), {}, stream);
    return;
  }
  check(scratch, rank_, stream);
  COHORT_CHECK(
      sums.dtype() == DType::kF32 && scratch.dtype() == DType::kF32 && scratch.num_elements() >= sums.num_elements(),
      name_ + ": sums " + sums.shape().to_string() + ", scratch " + scratch.shape().to_string());
  if (size_ == 1 || sums.empty()) return;
  do_all_reduce(sums.reshape(flat), scratch.reshape(Shape{scratch.num_elements()}).slice(0, 0, flat[0]), stream);
}

void DeviceComm::do_all_reduce(TensorView sums, TensorView scratch, Stream& stream) {
  tree_all_reduce(*this, sums, scratch, stream);
}

void tree_all_reduce(DeviceComm& comm, TensorView sums, TensorView scratch, Stream& stream, int64_t min_halving_bytes) {
  COHORT_CHECK(is_power_of_two(comm.size()), std::to_string(comm.size()) + " ranks");
  const auto part = [](const TensorView& t, Slice s) { return t.slice(0, s.begin, s.end); };
  if (sums.num_bytes() < min_halving_bytes) {
    for (int distance = 1; distance < comm.size(); distance *= 2) {
      comm.do_exchange(scratch, sums, comm.rank() ^ distance, stream);
      add(sums, scratch, stream);
    }
    return;
  }
  // mine: what this rank adds up from here on; theirs: what its partner of the level does.
  std::array<Slice, kMaxLevels> theirs;
  Slice mine{0, sums.num_elements()};
  int level = 0;
  for (int distance = 1; distance < comm.size(); distance *= 2, ++level) {
    const int64_t middle = mine.begin + (mine.size() + 1) / 2;
    Slice kept{mine.begin, middle};
    Slice given{middle, mine.end};
    if ((comm.rank() & distance) != 0) std::swap(kept, given);
    comm.do_exchange(part(scratch, kept), part(sums, given), comm.rank() ^ distance, stream);
    add(part(sums, kept), part(scratch, kept), stream);
    theirs[static_cast<size_t>(level)] = given;
    mine = kept;
  }
  for (int distance = comm.size() / 2; distance >= 1; distance /= 2) {
    const Slice given = theirs[static_cast<size_t>(--level)];
    comm.do_exchange(part(sums, given), part(sums, mine), comm.rank() ^ distance, stream);
    mine = {std::min(mine.begin, given.begin), std::max(mine.end, given.end)};
  }
}

}  // namespace cohort
