// The NCCL communicator.
#include "parallel/comm/nccl_comm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/device_graph.h"
#include "kernels/elementwise/elementwise.h"
#include "parallel/comm/mpi_comm.h"
#include "tests/parallel/gpu_ranks.h"

namespace cohort {
namespace {

constexpr int64_t kMaxBytes = int64_t{64} << 20;
constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kF8E5M2,
                             DType::kI8,  DType::kI4,  DType::kI32,  DType::kI64,    DType::kU8};

using test::device;
using test::world;

std::unique_ptr<DeviceComm> make_comm(HostComm& group, bool is_deterministic = true) {
  return make_nccl_comm(group, device, {.name = "test", .deterministic = is_deterministic});
}

// Words that tell rank, message and place apart.
std::vector<char> pattern(int64_t num_bytes, int rank, uint64_t seed) {
  std::vector<char> bytes(static_cast<size_t>((num_bytes + 7) / 8 * 8));
  uint64_t word = (seed * 1000 + static_cast<uint64_t>(rank)) * 0xd1342543de82ef95;
  for (size_t i = 0; i < bytes.size(); i += sizeof(word)) {
    word += 0x9e3779b97f4a7c15;
    std::memcpy(bytes.data() + i, &word, sizeof(word));
  }
  bytes.resize(static_cast<size_t>(num_bytes));
  return bytes;
}

// Elements on the device, with guards behind them.
class Message {
 public:
  Message(DType dtype, int64_t num_elements, const std::vector<char>& bytes = {})
      : num_bytes_(dtype_bytes(dtype, num_elements)),
        storage_(DType::kU8, {num_bytes_ + kGuardBytes}, device),
        view_(storage_->data(), dtype, {num_elements}, device) {
    std::vector<char> all(static_cast<size_t>(num_bytes_ + kGuardBytes), '\xa5');
    std::copy(bytes.begin(), bytes.end(), all.begin());
    copy_bytes(storage_->data(), device, all.data(), kCpuDevice, num_bytes_ + kGuardBytes);
  }

  TensorView view() const { return view_; }
  operator TensorView() const { return view_; }       // NOLINT: a message is used as its view
  operator ConstTensorView() const { return view_; }  // NOLINT: likewise

  // Requires that the stream is done.
  void expect(const std::vector<char>& bytes) const {
    std::vector<char> all(static_cast<size_t>(num_bytes_ + kGuardBytes));
    copy_bytes(all.data(), kCpuDevice, storage_->data(), device, num_bytes_ + kGuardBytes);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), all.begin(), all.begin() + num_bytes_));
    EXPECT_TRUE(std::all_of(all.begin() + num_bytes_, all.end(), [](char c) { return c == '\xa5'; }))
        << "wrote behind its end";
  }
  std::vector<float> floats() const {
    std::vector<float> values(static_cast<size_t>(view_.num_elements()));
    copy_bytes(values.data(), kCpuDevice, view_.data(), device, view_.num_bytes());
    return values;
  }

 private:
  static constexpr int64_t kGuardBytes = 256;
  int64_t num_bytes_;
  Tensor storage_;
  TensorView view_;
};

// All dtypes, from an element (two where one is half a byte) to 64 MiB.
template <typename F>
void for_each_message(F&& body) {
  uint64_t seed = 0;
  for (const DType dtype : kDTypes) {
    const int64_t least = dtype_bits(dtype) < 8 ? 2 : 1;
    for (const int64_t n : {least, 6 * least, int64_t{4098}, int64_t{1000002}, kMaxBytes * 8 / dtype_bits(dtype)}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " x " + std::to_string(n));
      body(dtype, n, ++seed);
    }
  }
}

// Ranks 0 and 1 are partners, 2 and 3, ...; -1 for the last of an odd number.
int partner() {
  const int peer = world->rank() ^ 1;
  return peer < world->size() ? peer : -1;
}

TEST(Nccl, SendsAndReceives) {
  const auto comm = make_comm(*world);
  Stream stream(device);
  const int peer = partner();
  for_each_message([&](DType dtype, int64_t n, uint64_t seed) {
    if (peer < 0) return;
    const int64_t num_bytes = dtype_bytes(dtype, n);
    const Message mine(dtype, n, pattern(num_bytes, comm->rank(), seed));
    const Message theirs(dtype, n);
    if (comm->rank() < peer) {
      comm->send(mine, peer, stream);
      comm->receive(theirs, peer, stream);
    } else {
      comm->receive(theirs, peer, stream);
      comm->send(mine, peer, stream);
    }
    stream.synchronize();
    theirs.expect(pattern(num_bytes, peer, seed));
    mine.expect(pattern(num_bytes, comm->rank(), seed));
  });
}

TEST(Nccl, ExchangesMessagesOfDifferentSizes) {
  const auto comm = make_comm(*world);
  Stream stream(device);
  const int peer = partner();
  for_each_message([&](DType dtype, int64_t n, uint64_t seed) {
    if (peer < 0) return;
    for (const int64_t other_n : {n, n / 2, int64_t{0}}) {
      const bool is_lower = comm->rank() < peer;
      const int64_t num_sent = is_lower ? n : other_n;
      const int64_t num_received = is_lower ? other_n : n;
      const Message mine(dtype, num_sent, pattern(dtype_bytes(dtype, num_sent), comm->rank(), seed));
      const Message theirs(dtype, num_received);
      comm->exchange(theirs, mine, peer, stream);
      stream.synchronize();
      theirs.expect(pattern(dtype_bytes(dtype, num_received), peer, seed));
    }
  });
}

TEST(Nccl, GathersByRank) {
  const auto comm = make_comm(*world);
  Stream stream(device);
  for_each_message([&](DType dtype, int64_t n, uint64_t seed) {
    const int64_t num_bytes = dtype_bytes(dtype, n);
    const Message mine(dtype, n, pattern(num_bytes, comm->rank(), seed));
    const Message all(dtype, n * comm->size());
    comm->all_gather(all, mine, stream);
    stream.synchronize();
    std::vector<char> expected;
    for (int rank = 0; rank < comm->size(); ++rank) {
      const std::vector<char> part = pattern(num_bytes, rank, seed);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    all.expect(expected);
  });
}

TEST(Nccl, BroadcastsFromAnyRoot) {
  const auto comm = make_comm(*world);
  Stream stream(device);
  for_each_message([&](DType dtype, int64_t n, uint64_t seed) {
    for (int root = 0; root < comm->size(); ++root) {
      const int64_t num_bytes = dtype_bytes(dtype, n);
      const Message message(dtype, n, pattern(num_bytes, comm->rank(), seed));
      comm->broadcast(message, root, stream);
      stream.synchronize();
      message.expect(pattern(num_bytes, root, seed));
    }
  });
}

// Of many magnitudes, so that another order of the additions gives other bits.
std::vector<float> addends(int64_t n, int rank, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(n));
  std::mt19937 rng(static_cast<uint32_t>(seed * 100 + static_cast<uint64_t>(rank)));
  for (float& value : values) {
    value = std::ldexp(static_cast<float>(rng() % 16777216) - 8388608.0f, static_cast<int>(rng() % 12) - 30);
  }
  return values;
}

std::vector<char> bytes_of(const std::vector<float>& values) {
  const char* const bytes = reinterpret_cast<const char*>(values.data());
  return {bytes, bytes + values.size() * sizeof(float)};
}

std::vector<float> sum_of(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// ((0 + 1) + (2 + 3)) + ...
std::vector<float> tree_sum(int64_t n, int first_rank, int num_ranks, uint64_t seed) {
  if (num_ranks == 1) return addends(n, first_rank, seed);
  const int half = num_ranks / 2;
  return sum_of(tree_sum(n, first_rank, half, seed), tree_sum(n, first_rank + half, half, seed));
}

std::vector<float> sum_in_turn(int64_t n, int num_ranks, uint64_t seed) {
  std::vector<float> sums = addends(n, 0, seed);
  for (int rank = 1; rank < num_ranks; ++rank) sums = sum_of(std::move(sums), addends(n, rank, seed));
  return sums;
}

void expect_same_on_all_ranks(const std::vector<float>& values) {
  const size_t mine =
      std::hash<std::string_view>()({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  for (const std::string& theirs : all_gather(*world, std::to_string(mine))) EXPECT_EQ(theirs, std::to_string(mine));
}

// Around where the tree goes over from doubling to halving, 16 KiB, and up to 64 MiB.
constexpr int64_t kReducedSizes[] = {1, 3, 4095, 4096, 4097, 4099, 65536, 1 << 20, (1 << 20) + 1, 1 << 24};

bool is_power_of_two(int n) { return (n & (n - 1)) == 0; }

TEST(Nccl, ReducesByTheTreeWhenDeterministic) {
  if (!is_power_of_two(world->size())) GTEST_SKIP() << world->size() << " ranks";
  const auto comm = make_comm(*world);
  EXPECT_TRUE(comm->is_layout_invariant());
  Stream stream(device);
  for (const int64_t n : kReducedSizes) {
    SCOPED_TRACE(n);
    const auto seed = static_cast<uint64_t>(n);
    const Message sums(DType::kF32, n, bytes_of(addends(n, comm->rank(), seed)));
    const Message scratch(DType::kF32, n);
    comm->all_reduce(sums, scratch, stream);
    stream.synchronize();
    const std::vector<float> expected = tree_sum(n, 0, comm->size(), seed);
    sums.expect(bytes_of(expected));
    expect_same_on_all_ranks(sums.floats());
    if (comm->size() > 2 && n > 1000) {
      EXPECT_NE(expected, sum_in_turn(n, comm->size(), seed)) << "no order would be wrong";
    }
  }
}

TEST(Nccl, ReducesWithinRoundingOtherwise) {
  const auto comm = make_comm(*world, false);
  EXPECT_EQ(comm->is_layout_invariant(), comm->size() == 1);
  Stream stream(device);
  for (const int64_t n : kReducedSizes) {
    SCOPED_TRACE(n);
    const auto seed = static_cast<uint64_t>(n);
    const Message sums(DType::kF32, n, bytes_of(addends(n, comm->rank(), seed)));
    const Message scratch(DType::kF32, n);
    comm->all_reduce(sums, scratch, stream);
    stream.synchronize();
    std::vector<double> expected(static_cast<size_t>(n));
    std::vector<double> magnitude(static_cast<size_t>(n));
    for (int rank = 0; rank < comm->size(); ++rank) {
      const std::vector<float> part = addends(n, rank, seed);
      for (size_t i = 0; i < part.size(); ++i) {
        expected[i] += part[i];
        magnitude[i] += std::abs(part[i]);
      }
    }
    const std::vector<float> got = sums.floats();
    // Each addition may lose half a unit of float32's last place, of no more than the sum of magnitudes.
    const double allowed = comm->size() * 0x1p-24;
    int64_t num_wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      if (!(std::abs(got[i] - expected[i]) <= allowed * magnitude[i])) ++num_wrong;  // NaN is wrong, too
    }
    EXPECT_EQ(num_wrong, 0);
    expect_same_on_all_ranks(got);
  }
}

// As a step does: many calls in a row, nobody waits for the device, the same buffers each time.
void reduce_many_times(bool is_deterministic, int64_t n) {
  constexpr int kRepeats = 200;
  constexpr int kSources = 3;
  const auto comm = make_comm(*world, is_deterministic);
  Stream stream(device);
  std::vector<Message> sources;
  sources.reserve(kSources);
  for (uint64_t seed = 0; seed < kSources; ++seed) {
    // Small integers: every order gives the same sum, so that both modes have one answer.
    std::vector<float> values = addends(n, comm->rank(), seed);
    for (float& value : values) value = std::floor(std::ldexp(value, 10));
    sources.emplace_back(DType::kF32, n, bytes_of(values));
  }
  const Message sums(DType::kF32, n);
  const Message scratch(DType::kF32, n);
  const Tensor results(DType::kF32, {kRepeats, n}, device);
  for (int i = 0; i < kRepeats; ++i) {
    copy_rows(sums, sources[static_cast<size_t>(i % kSources)], stream);
    comm->all_reduce(sums, scratch, stream);
    copy_rows(results.view().slice(0, i, i + 1).reshape({n}), sums, stream);
  }
  stream.synchronize();
  std::vector<std::vector<float>> expected;
  for (uint64_t seed = 0; seed < kSources; ++seed) {
    std::vector<float> total(static_cast<size_t>(n));
    for (int rank = 0; rank < comm->size(); ++rank) {
      const std::vector<float> part = addends(n, rank, seed);
      for (size_t i = 0; i < part.size(); ++i) total[i] += std::floor(std::ldexp(part[i], 10));
    }
    expected.push_back(total);
  }
  std::vector<float> got(static_cast<size_t>(n));
  for (int i = 0; i < kRepeats; ++i) {
    const TensorView row = results.view().slice(0, i, i + 1);
    copy_bytes(got.data(), kCpuDevice, row.data(), device, row.num_bytes());
    EXPECT_EQ(got, expected[static_cast<size_t>(i % kSources)]) << "repeat " << i;
  }
}

TEST(Nccl, RepeatsWithoutRacesDeterministic) {
  if (!is_power_of_two(world->size())) GTEST_SKIP() << world->size() << " ranks";
  reduce_many_times(true, 1000);
  reduce_many_times(true, 200003);
}

TEST(Nccl, RepeatsWithoutRacesOtherwise) {
  reduce_many_times(false, 1000);
  reduce_many_times(false, 200003);
}

// Every kind of call, in two graphs that are replayed in an order of no pattern, with calls outside of graphs between.
TEST(Nccl, CallsAreReplayedByGraphs) {
  constexpr int64_t kCount = 5000;
  const auto comm = make_comm(*world, false);
  Stream stream(device);
  const int peer = partner();
  const Message x(DType::kF32, kCount);
  const Message sums(DType::kF32, kCount);
  const Message scratch(DType::kF32, kCount);
  const Message gathered(DType::kF32, kCount * comm->size());
  const Message sent(DType::kF32, kCount);
  const Message exchanged(DType::kF32, kCount);
  const auto submit = [&](int root) {
    copy_rows(sums, x, stream);
    comm->all_reduce(sums, scratch, stream);
    comm->all_gather(gathered, sums, stream);
    if (peer >= 0) {
      comm->exchange(exchanged, x, peer, stream);
      if (comm->rank() < peer) comm->send(x, peer, stream);
      if (comm->rank() > peer) comm->receive(sent, peer, stream);
    }
    comm->broadcast(x, root, stream);
  };
  submit(0);  // connects the ranks, which a graph could not
  stream.synchronize();
  const int last = comm->size() - 1;
  const DeviceGraph graphs[] = {DeviceGraph::capture(stream, [&] { submit(0); }),
                                DeviceGraph::capture(stream, [&] { submit(last); })};
  const auto value_of = [](int rank, int round) { return static_cast<float>(100 * round + rank + 1); };
  const auto filled = [&](float value) { return std::vector<float>(kCount, value); };
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const int choice = round * 7 % 5 % 3;  // 2: outside of graphs
    const std::vector<float> mine = filled(value_of(comm->rank(), round));
    copy_bytes(x.view().data(), device, mine.data(), kCpuDevice, x.view().num_bytes());
    if (choice == 2) {
      submit(0);
    } else {
      graphs[choice].launch(stream);
    }
    stream.synchronize();
    float total = 0;
    for (int rank = 0; rank < comm->size(); ++rank) total += value_of(rank, round);
    EXPECT_EQ(sums.floats(), filled(total));
    EXPECT_EQ(gathered.floats(), std::vector<float>(static_cast<size_t>(kCount * comm->size()), total));
    EXPECT_EQ(x.floats(), filled(value_of(choice == 1 ? last : 0, round)));
    if (peer < 0) continue;
    EXPECT_EQ(exchanged.floats(), filled(value_of(peer, round)));
    if (comm->rank() > peer) {
      EXPECT_EQ(sent.floats(), filled(value_of(peer, round)));
    }
  }
}

// A tensor group of all and a pipeline edge of two, used in turn on one stream.
TEST(Nccl, TwoCommunicatorsLiveAtOnce) {
  const std::unique_ptr<HostComm> pair = world->split(world->rank() / 2);
  const auto tensor = make_comm(*world, false);
  const auto edge = make_comm(*pair);
  Stream stream(device);
  constexpr int64_t kCount = 5000;
  for (uint64_t round = 0; round < 50; ++round) {
    SCOPED_TRACE(round);
    const std::vector<float> ones(kCount, 1.0f + static_cast<float>(round));
    const Message sums(DType::kF32, kCount, bytes_of(ones));
    const Message scratch(DType::kF32, kCount);
    tensor->all_reduce(sums, scratch, stream);
    const Message received(DType::kF32, kCount, bytes_of(ones));
    if (edge->size() == 2) {
      if (edge->rank() == 0) edge->send(sums, 1, stream);
      if (edge->rank() == 1) edge->receive(received, 0, stream);
    }
    stream.synchronize();
    const std::vector<float> expected(kCount, ones[0] * static_cast<float>(world->size()));
    sums.expect(bytes_of(expected));
    received.expect(bytes_of(edge->rank() == 1 ? expected : ones));
  }
}

TEST(Nccl, AGroupMayHaveOneRank) {
  const std::unique_ptr<HostComm> alone = world->split(world->rank());
  const auto comm = make_comm(*alone);
  EXPECT_EQ(comm->size(), 1);
  Stream stream(device);
  const std::vector<char> bytes = pattern(4000, comm->rank(), 1);
  const Message mine(DType::kF32, 1000, bytes);
  const Message other(DType::kF32, 1000);
  comm->all_gather(other, mine, stream);
  comm->broadcast(mine, 0, stream);
  comm->all_reduce(mine, other, stream);
  stream.synchronize();
  other.expect(bytes);
  mine.expect(bytes);
}

template <typename F>
void expect_refusal(F&& make, const std::vector<std::string>& parts) {
  try {
    make();
    FAIL() << "there is a communicator";
  } catch (const CheckError& error) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << part << " in " << error.what();
    }
  }
}

TEST(Nccl, RefusesTwoRanksOnOneGpu) {
  const std::unique_ptr<HostComm> host = split_by_host(*world);
  if (host->size() < 2) GTEST_SKIP() << "one rank on this host";
  expect_refusal(
      [&] {
        make_nccl_comm(*host, {DeviceKind::kCuda, 0}, {.name = "all"});
      },
      {"all", "ranks 0 and 1", "cuda:0", "PCI"});
}

TEST(Nccl, RefusesADeviceThatIsNotThere) {
  const bool is_last = world->rank() == world->size() - 1;
  const Device absent{DeviceKind::kCuda, num_cuda_devices() + 7};
  expect_refusal([&] { make_nccl_comm(*world, is_last ? absent : device, {.name = "all"}); },
                 {"all", "rank " + std::to_string(world->size() - 1), "GPUs"});
  expect_refusal([&] { make_nccl_comm(*world, is_last ? kCpuDevice : device, {.name = "all"}); },
                 {"all", "rank " + std::to_string(world->size() - 1), "no GPU"});
}

}  // namespace
}  // namespace cohort
