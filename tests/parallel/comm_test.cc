// HostComm and DeviceComm, whatever carries them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "parallel/comm/device_comm.h"
#include "parallel/comm/rank_comms.h"
#include "tests/parallel/rank_test.h"

namespace cohort {
namespace {

using test::run_ranks;

// What rank `rank` puts at `i`: of many magnitudes, so that another order of adding shows.
float value_of(int rank, int64_t i) {
  auto hash = static_cast<uint32_t>(i * 2654435761u + static_cast<uint32_t>(rank) * 40503u + 12345u);
  hash ^= hash >> 15;
  hash *= 0x85ebca6bu;
  hash ^= hash >> 13;
  return std::ldexp(static_cast<float>(hash % 20000) / 10000 - 1, static_cast<int>(hash >> 16) % 24 - 12);
}

std::vector<float> values_of(int rank, int64_t n) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(value_of(rank, i));
  return values;
}

// The binary tree over ranks [begin, end).
float tree_sum(int begin, int end, int64_t i) {
  if (end - begin == 1) return value_of(begin, i);
  const int middle = (begin + end) / 2;
  return tree_sum(begin, middle, i) + tree_sum(middle, end, i);
}

TensorView view_of(std::vector<float>& values) {
  return TensorView(values.data(), DType::kF32, Shape{static_cast<int64_t>(values.size())});
}

TEST(HostCommTest, MessagesArriveWholeAndInOrder) {
  run_ranks(4, [](HostComm& world) {
    const int next = (world.rank() + 1) % world.size();
    const int previous = (world.rank() + world.size() - 1) % world.size();
    const std::vector<size_t> lengths = {0, 1, 100, 65536, 3'000'000, 7};
    for (const size_t length : lengths) world.send(next, std::string(length, static_cast<char>('a' + world.rank())));
    for (const size_t length : lengths) {
      EXPECT_EQ(world.receive(previous), std::string(length, static_cast<char>('a' + previous)));
    }
    barrier(world);
    EXPECT_FALSE(world.try_receive(previous).has_value());
  });
}

TEST(HostCommTest, CollectivesAndSplits) {
  run_ranks(6, [](HostComm& world) {
    const std::string mine = "rank " + std::to_string(world.rank());
    const std::vector<std::string> all = all_gather(world, mine);
    ASSERT_EQ(all.size(), 6u);
    for (int peer = 0; peer < 6; ++peer) EXPECT_EQ(all[static_cast<size_t>(peer)], "rank " + std::to_string(peer));
    EXPECT_EQ(broadcast(world, mine, 4), "rank 4");

    const std::unique_ptr<HostComm> third = world.split(world.rank() % 3);
    EXPECT_EQ(third->size(), 2);
    EXPECT_EQ(third->rank(), world.rank() / 3);
    const std::unique_ptr<HostComm> alone = third->split(third->rank());
    EXPECT_EQ(alone->size(), 1);
    EXPECT_EQ(all_gather(*alone, "x"), std::vector<std::string>{"x"});
    // Messages of one communicator are not those of another.
    third->send(1 - third->rank(), "third");
    world.send((world.rank() + 3) % 6, "world");
    EXPECT_EQ(world.receive((world.rank() + 3) % 6), "world");
    EXPECT_EQ(third->receive(1 - third->rank()), "third");
  });
}

class DeviceCommTest : public testing::TestWithParam<int> {};

TEST_P(DeviceCommTest, SumsAreThoseOfTheTree) {
  run_ranks(GetParam(), [](HostComm& world) {
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.make_cpu_comm("tensor");
    EXPECT_TRUE(comm->is_layout_invariant());
    // Around where short messages become long ones, and sizes that do not halve evenly.
    for (const int64_t n : {0, 1, 2, 7, 4095, 4096, 4097, 5003, 40001}) {
      std::vector<float> sums = values_of(comm->rank(), n);
      std::vector<float> scratch(sums.size());
      comm->all_reduce(view_of(sums), view_of(scratch), stream);
      std::vector<float> expected;
      for (int64_t i = 0; i < n; ++i) expected.push_back(tree_sum(0, comm->size(), i));
      EXPECT_EQ(std::memcmp(sums.data(), expected.data(), sums.size() * sizeof(float)), 0) << n;
    }
  });
}

TEST_P(DeviceCommTest, GathersAndBroadcasts) {
  run_ranks(GetParam(), [](HostComm& world) {
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.make_cpu_comm("tensor");
    for (const int64_t n : {1, 33, 70000}) {
      std::vector<float> mine = values_of(comm->rank(), n);
      std::vector<float> all(mine.size() * static_cast<size_t>(comm->size()));
      comm->all_gather(view_of(all), view_of(mine), stream);
      std::vector<float> expected;
      for (int peer = 0; peer < comm->size(); ++peer) {
        for (const float value : values_of(peer, n)) expected.push_back(value);
      }
      EXPECT_EQ(all, expected);
      const int root = comm->size() - 1;
      comm->broadcast(view_of(mine), root, stream);
      EXPECT_EQ(mine, values_of(root, n));
    }
  });
}

TEST_P(DeviceCommTest, SendsAndExchanges) {
  run_ranks(GetParam(), [](HostComm& world) {
    if (world.size() == 1) return;
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.make_cpu_comm("next");
    const int rank = comm->rank();
    const int peer = rank ^ 1;
    for (const int64_t n : {1, 1000, 200000}) {
      std::vector<float> mine = values_of(rank, n);
      std::vector<float> theirs(mine.size());
      comm->exchange(view_of(theirs), view_of(mine), peer, stream);
      EXPECT_EQ(theirs, values_of(peer, n));
      // One way only, which leaves nothing behind for the next call.
      std::vector<float> nothing;
      if (rank < peer) {
        comm->exchange(view_of(nothing), view_of(mine), peer, stream);
      } else {
        comm->exchange(view_of(theirs), view_of(nothing), peer, stream);
        EXPECT_EQ(theirs, values_of(peer, n));
      }
      // What was sent may be changed at once.
      std::vector<float> received(mine.size());
      for (int turn = 0; turn < 3; ++turn) {
        if (rank < peer) {
          std::fill(mine.begin(), mine.end(), static_cast<float>(turn));
          comm->send(view_of(mine), peer, stream);
          std::fill(mine.begin(), mine.end(), -1.0f);
        } else {
          comm->receive(view_of(received), peer, stream);
          EXPECT_EQ(received, std::vector<float>(received.size(), static_cast<float>(turn)));
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, DeviceCommTest, testing::Values(1, 2, 4, 8));

TEST(DeviceCommTest, MistakesAreNamed) {
  run_ranks(2, [](HostComm& world) {
    Stream stream(kCpuDevice, 1);
    const std::unique_ptr<DeviceComm> comm = world.make_cpu_comm("tensor");
    std::vector<float> values(12);
    const TensorView matrix = view_of(values).reshape(Shape{3, 4});
    EXPECT_THROW(comm->send(view_of(values), 2, stream), CheckError);
    EXPECT_THROW(comm->send(matrix.slice(1, 0, 2), 1, stream), CheckError);             // not dense
    EXPECT_THROW(comm->all_reduce(matrix, matrix.slice(0, 0, 1), stream), CheckError);  // too little scratch
    EXPECT_THROW(comm->all_gather(matrix, matrix, stream), CheckError);
  });
}

TEST(RankCommsTest, GroupsAreThoseOfTheLayout) {
  const ParallelSizes sizes{.tensor = 2, .pipeline = 2, .replicas = 2};
  run_ranks(8, [&](HostComm& world) {
    const RankComms comms = RankComms::create(world, sizes, kCpuDevice);
    const ParallelLayout& layout = comms.layout;
    EXPECT_EQ(comms.control->size(), 4);
    EXPECT_EQ(comms.control->rank(), layout.rank() % 4);
    EXPECT_EQ(comms.tensor->rank(), layout.shard());
    EXPECT_EQ(comms.next != nullptr, layout.stage() == 0);
    EXPECT_EQ(comms.previous != nullptr, layout.stage() == 1);
    Stream stream(kCpuDevice, 1);
    std::vector<float> value{static_cast<float>(layout.rank())};
    if (comms.next) comms.next->send(view_of(value), 1, stream);
    if (comms.previous) {
      comms.previous->receive(view_of(value), 0, stream);
      EXPECT_EQ(value[0], static_cast<float>(layout.rank() - 2));
    }
    EXPECT_NE(comms.recorder->dump().find(comms.next ? "send next" : "receive previous"), std::string::npos);
  });
}

TEST(RankCommsTest, PipelinesOfThree) {
  run_ranks(6, [](HostComm& world) {
    const RankComms comms = RankComms::create(world, {.tensor = 2, .pipeline = 3}, kCpuDevice);
    EXPECT_EQ(comms.next != nullptr, !comms.layout.is_last_stage());
    EXPECT_EQ(comms.previous != nullptr, !comms.layout.is_first_stage());
    Stream stream(kCpuDevice, 1);
    std::vector<float> value{comms.layout.is_first_stage() ? 10.0f * static_cast<float>(comms.layout.shard()) : 0};
    if (comms.previous) comms.previous->receive(view_of(value), 0, stream);
    value[0] += 1;
    if (comms.next) comms.next->send(view_of(value), 1, stream);
    if (comms.layout.is_last_stage()) {
      EXPECT_EQ(value[0], 10.0f * static_cast<float>(comms.layout.shard()) + 3);
    }
  });
}

}  // namespace
}  // namespace cohort
