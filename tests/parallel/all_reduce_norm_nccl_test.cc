// The sum over shards with residual and norm, between GPUs: by the mailbox, and by NCCL where that does not do.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/device_graph.h"
#include "parallel/comm/nccl_comm.h"
#include "parallel/tensor/vocab_parallel.h"
#include "tests/parallel/all_reduce_norm_problem.h"
#include "tests/parallel/gpu_ranks.h"

namespace cohort {
namespace {

using test::device;
using test::world;

using test::distance;
using test::expected_residual;
using test::fill;
using test::norm_of;
using test::on_host;
using test::Operands;
using test::Problem;
using test::unit_of;

Tensor on_device(const std::vector<float>& values, DType dtype, const Shape& shape) {
  return test::on_device(values, dtype, shape, device);
}

std::unique_ptr<DeviceComm> make_comm(bool has_mailbox = true) {
  return make_nccl_comm(*world, device, {.name = "test", .has_mailbox = has_mailbox});
}

void expect_same_on_all_ranks(const std::vector<float>& values) {
  const std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  const std::string mine = std::to_string(std::hash<std::string_view>()(bytes));
  for (const std::string& theirs : all_gather(*world, mine)) EXPECT_EQ(theirs, mine);
}

// is_exact: terms are added in the order of ranks.
void expect_right(const Problem& p, const Operands& operands, bool is_exact) {
  const std::vector<float> residual = on_host(operands.residual);
  const std::vector<float> out = on_host(operands.out);
  const std::vector<float> expected = expected_residual(p, world->size());
  if (is_exact) {
    EXPECT_EQ(std::memcmp(residual.data(), expected.data(), residual.size() * sizeof(float)), 0);
  }
  // Negated, so that NaN is wrong.
  EXPECT_FALSE(!(distance(residual, expected) <= 4 * unit_of(p.dtype)));
  EXPECT_FALSE(!(distance(out, norm_of(residual, p)) <= 2 * unit_of(p.dtype)));
  expect_same_on_all_ranks(residual);
  expect_same_on_all_ranks(out);
}

bool uses_mailbox(const Problem& p, const DeviceComm& comm) {
  return comm.mailbox() != nullptr &&
         choose_all_reduce_norm_config(p.num_tokens, dtype_bytes(p.dtype, p.hidden), *comm.mailbox()).has_value();
}

TEST(AllReduceNorm, GivesTheNormOfTheSum) {
  const auto comm = make_comm();
  Stream stream(device);
  uint64_t seed = 0;
  int num_exact = 0;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int64_t hidden : {8, 96, 1000, 1001, 5120, 8192, 12288}) {
      for (const int64_t num_tokens : {1, 3, 16, 128, 129}) {
        if (num_tokens * hidden > 128 * 5120) continue;
        for (const bool is_layer_norm : {false, true}) {
          const Problem p{dtype, num_tokens, hidden, is_layer_norm, ++seed};
          SCOPED_TRACE(to_string(p));
          const Operands operands(p, world->rank(), device);
          operands.run(*comm, stream);
          stream.synchronize();
          const bool is_exact = uses_mailbox(p, *comm);
          num_exact += is_exact ? 1 : 0;
          expect_right(p, operands, is_exact);
        }
      }
    }
  }
  if (comm->mailbox() != nullptr) {
    EXPECT_GT(num_exact, 100);
  }
}

// Each algorithm at every size that its kernel takes, rows fewer and more than blocks.
TEST(AllReduceNorm, EveryAlgorithmGivesTheSame) {
  const auto comm = make_comm();
  if (comm->mailbox() == nullptr) GTEST_SKIP() << "these GPUs have no mailbox";
  Stream stream(device);
  std::mt19937 rng(3);  // the same on every rank
  std::array<int, std::size(test::kAlgorithms)> num_runs{};
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const DType dtype = std::array{DType::kBF16, DType::kF16, DType::kF32}[rng() % 3];
    const int64_t vec_size = 128 / dtype_bits(dtype);
    const int64_t hidden = vec_size * (1 + static_cast<int64_t>(rng() % (seed % 4 == 0 ? 1500 : 300)));
    const int64_t max_tokens = std::max<int64_t>(1, 400'000 / hidden);
    const int64_t num_tokens = 1 + static_cast<int64_t>(rng() % (seed % 3 == 0 ? 8 : 3000)) % max_tokens;
    const Problem p{dtype, num_tokens, hidden, seed % 2 == 0, 5000 + seed};
    for (size_t i = 0; i < std::size(test::kAlgorithms); ++i) {
      const auto config = test::config_of(test::kAlgorithms[i], p, *comm);
      if (!config) continue;
      ++num_runs[i];
      SCOPED_TRACE(to_string(p) + (i == 0 ? " one-shot" : " two-shot"));
      const Operands operands(p, world->rank(), device);
      operands.run_by(*config, *comm, stream);
      stream.synchronize();
      expect_right(p, operands, true);
    }
  }
  for (const int num : num_runs) EXPECT_GT(num, 10);
}

// Long prompts: by the kernel that goes over many rows, in a graph, and the residual stream goes on from call to call.
TEST(AllReduceNorm, LongPrompts) {
  constexpr int kCallsPerGraph = 3;
  const auto comm = make_comm();
  Stream stream(device);
  for (const Problem& p : {Problem{DType::kBF16, 2048, 1024, false, 71}, Problem{DType::kF16, 700, 2048, true, 72}}) {
    SCOPED_TRACE(to_string(p));
    const Operands operands(p, world->rank(), device);
    operands.run(*comm, stream);  // connects the ranks, which a graph could not
    const DeviceGraph graph = DeviceGraph::capture(stream, [&] {
      for (int i = 0; i < kCallsPerGraph; ++i) operands.run(*comm, stream);
    });
    graph.launch(stream);
    graph.launch(stream);
    stream.synchronize();
    const std::vector<float> residual = on_host(operands.residual);
    if (uses_mailbox(p, *comm)) {
      EXPECT_EQ(residual, expected_residual(p, world->size(), 1 + 2 * kCallsPerGraph));
    }
    EXPECT_LE(distance(on_host(operands.out), norm_of(residual, p)), 2 * unit_of(p.dtype));
    expect_same_on_all_ranks(residual);
  }
}

TEST(AllReduceNorm, DoesWithoutAMailbox) {
  const auto comm = make_comm(false);
  EXPECT_EQ(comm->mailbox(), nullptr);
  Stream stream(device);
  for (const bool is_layer_norm : {false, true}) {
    const Problem p{DType::kBF16, 16, 5120, is_layer_norm, 3};
    const Operands operands(p, world->rank(), device);
    operands.run(*comm, stream);
    stream.synchronize();
    expect_right(p, operands, false);
  }
}

// As in steps: calls of many sizes after each other, nobody waits between them.
TEST(AllReduceNorm, ManyCallsInARow) {
  const auto comm = make_comm();
  Stream stream(device);
  std::vector<Problem> problems;
  std::vector<Operands> operands;
  for (uint64_t i = 0; i < 120; ++i) {
    const int64_t num_tokens = std::vector<int64_t>{1, 1, 5, 64, 1, 2, 30}[i % 7];
    problems.push_back({DType::kBF16, num_tokens, i % 5 == 3 ? 2048 : 1024, i % 3 == 0, 1000 + i});
    operands.emplace_back(problems.back(), world->rank(), device);
  }
  stream.synchronize();
  for (const Operands& o : operands) o.run(*comm, stream);
  stream.synchronize();
  for (size_t i = 0; i < problems.size(); ++i) {
    SCOPED_TRACE(std::to_string(i) + ": " + to_string(problems[i]));
    expect_right(problems[i], operands[i], uses_mailbox(problems[i], *comm));
  }
}

// Graphs of calls of different sizes, replayed in an order of no pattern, with calls outside of graphs between and
// other terms each time.
TEST(AllReduceNorm, GraphsAreReplayedInAnyOrder) {
  constexpr int kCallsPerGraph = 7;
  const auto comm = make_comm();
  Stream stream(device);
  std::vector<Problem> problems;
  std::vector<Operands> operands;
  std::vector<DeviceGraph> graphs;
  for (const int64_t num_tokens : {1, 2, 16, 100}) {
    problems.push_back({DType::kBF16, num_tokens, 2048, num_tokens == 2, 1});
    operands.emplace_back(problems.back(), world->rank(), device);
  }
  const auto submit = [&](const Operands& o) {
    for (int i = 0; i < kCallsPerGraph; ++i) o.run(*comm, stream);
  };
  for (const Operands& o : operands) graphs.push_back(DeviceGraph::capture(stream, [&] { submit(o); }));
  std::mt19937 rng(5);  // the same on every rank
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    const size_t choice = rng() % problems.size();
    Problem& p = problems[choice];
    p.seed = 2000 + static_cast<uint64_t>(round);
    const Operands& o = operands[choice];
    copy_bytes(o.term->data(), device, on_device(p.term(world->rank()), p.dtype, p.shape())->data(), device,
               o.term->num_bytes());
    copy_bytes(o.residual->data(), device, on_device(p.residual(), p.dtype, p.shape())->data(), device,
               o.residual->num_bytes());
    if (rng() % 3 == 0) {
      submit(o);
    } else {
      graphs[choice].launch(stream);
    }
    stream.synchronize();
    const std::vector<float> expected = expected_residual(p, world->size(), kCallsPerGraph);
    const std::vector<float> residual = on_host(o.residual);
    if (comm->mailbox() != nullptr) {
      EXPECT_EQ(residual, expected);
    }
    EXPECT_LE(distance(on_host(o.out), norm_of(residual, p)), 2 * unit_of(p.dtype));
    expect_same_on_all_ranks(residual);
  }
}

TEST(Mailbox, SumsInTheOrderOfRanks) {
  const auto comm = make_comm();
  if (comm->mailbox() == nullptr) GTEST_SKIP() << "these GPUs have no mailbox";
  Stream stream(device);
  uint64_t seed = 0;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t n : {8, 40, 1024, 5120, 5 * 4096, 128 * 1024}) {
      SCOPED_TRACE(std::string(dtype_name(dtype)) + " x " + std::to_string(n));
      const Problem p{dtype, 1, n, false, ++seed};
      const Tensor sums = on_device(p.term(world->rank()), dtype, {n});
      comm->all_reduce(sums, {}, stream);
      stream.synchronize();
      std::vector<float> expected = test::sum_of_terms(p, world->size());
      dispatch_float(dtype, [&]<typename T>() {
        for (float& value : expected) value = static_cast<float>(static_cast<T>(value));
      });
      EXPECT_EQ(on_host(sums), expected);
    }
  }
}

// Vocabularies of parts that are whole vectors and of others, of shards that have less than the rest or nothing.
TEST(Mailbox, LogitsAreGatheredInOrder) {
  const auto comm = make_comm();
  Stream stream(device);
  for (const int64_t vocab : {8, 1000, 1003, 32000, 50272, 128256}) {
    for (const int64_t num_rows : {1, 3, 16}) {
      SCOPED_TRACE(std::to_string(num_rows) + " x " + std::to_string(vocab));
      const Slice part = padded_slice(vocab, world->rank(), world->size());
      const auto value_at = [](int64_t row, int64_t token) { return static_cast<float>(row * 200000 + token); };
      std::vector<float> mine;
      for (int64_t row = 0; row < num_rows; ++row) {
        for (int64_t token = part.begin; token < part.end; ++token) mine.push_back(value_at(row, token));
      }
      const Tensor local = on_device(mine, DType::kF32, {num_rows, part.size()});
      const Tensor logits(DType::kF32, {num_rows, vocab}, device);
      const Tensor scratch(DType::kF32, {num_rows * padded_slice(vocab, 0, world->size()).size()}, device);
      fill(logits, '\x7b');
      gather_logits(logits, local, vocab, *comm, scratch, stream);
      stream.synchronize();
      if (world->rank() != 0) continue;
      const std::vector<float> got = on_host(logits);
      int64_t num_wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const auto index = static_cast<int64_t>(i);
        num_wrong += got[i] == value_at(index / vocab, index % vocab) ? 0 : 1;
      }
      EXPECT_EQ(num_wrong, 0);
    }
  }
}

// All bits set are what a mailbox without a message holds.
TEST(Mailbox, CarriesEveryNan) {
  const auto comm = make_comm();
  if (comm->mailbox() == nullptr) GTEST_SKIP() << "these GPUs have no mailbox";
  Stream stream(device);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Tensor sums = on_device(std::vector<float>(1024, 1.0f), dtype, {1024});
    if (world->rank() == world->size() - 1) {
      const std::vector<char> ones(64, '\xff');
      copy_bytes(sums->data(), device, ones.data(), kCpuDevice, 64);
    }
    comm->all_reduce(sums, {}, stream);
    stream.synchronize();
    const std::vector<float> got = on_host(sums);
    const auto num_nans = static_cast<size_t>(512 / dtype_bits(dtype));
    for (size_t i = 0; i < got.size(); ++i) {
      if (i < num_nans) {
        EXPECT_TRUE(std::isnan(got[i])) << i;
      } else {
        EXPECT_EQ(got[i], static_cast<float>(world->size())) << i;
      }
    }
  }
}

}  // namespace
}  // namespace cohort
