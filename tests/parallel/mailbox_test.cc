// The kernels that pass messages by a mailbox, with 2, 4 and 8 ranks that are streams of one GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/cuda_device.h"
#include "kernels/core/cuda_runtime.h"
#include "kernels/core/device.h"
#include "kernels/core/device_graph.h"
#include "parallel/comm/mailbox_sum.h"
#include "parallel/tensor/vocab_parallel.h"
#include "tests/parallel/all_reduce_norm_problem.h"

namespace cohort {
namespace {

using test::on_host;
using test::Operands;
using test::Problem;

constexpr Device kDevice{DeviceKind::kCuda, 0};

// Has a mailbox and nothing else.
class MailboxComm : public DeviceComm {
 public:
  MailboxComm(const Mailbox& mailbox, int rank, int size)
      : DeviceComm("test", rank, size, kDevice), mailbox_(mailbox) {}
  bool is_layout_invariant() const override { return false; }
  const Mailbox* mailbox() const override { return &mailbox_; }

 protected:
  void do_send(ConstTensorView, int, Stream&) override { absent(); }
  void do_receive(TensorView, int, Stream&) override { absent(); }
  void do_exchange(TensorView, ConstTensorView, int, Stream&) override { absent(); }
  void do_all_gather(TensorView, ConstTensorView, Stream&) override { absent(); }
  void do_broadcast(TensorView, int, Stream&) override { absent(); }
  void do_all_reduce(TensorView sums, TensorView, Stream& stream) override { mailbox_sum(sums, mailbox_, stream); }

 private:
  [[noreturn]] static void absent() { check_failed(__FILE__, __LINE__, "a mailbox", "no other way"); }

  Mailbox mailbox_;
};

struct Rank {
  Tensor memory;
  Tensor num_uses;
  std::unique_ptr<MailboxComm> comm;
  std::unique_ptr<Stream> stream;
};

std::vector<Rank> make_ranks(int num_ranks, bool has_clusters = true, int max_multiprocessors = 1 << 30) {
  std::vector<Rank> ranks(static_cast<size_t>(num_ranks));
  Mailbox mailbox;
  mailbox.size = num_ranks;
  mailbox.num_multiprocessors = std::min(cuda::num_multiprocessors(kDevice.index), max_multiprocessors);
  mailbox.architecture = std::min(cuda::code_architecture(), has_clusters ? 90 : 80);
  for (size_t r = 0; r < ranks.size(); ++r) {
    ranks[r].memory = Tensor(DType::kU8, {Mailbox::num_bytes(num_ranks)}, kDevice);
    ranks[r].num_uses = Tensor(DType::kI32, {Mailbox::kNumSlots}, kDevice);
    test::fill(ranks[r].memory, static_cast<char>(Mailbox::kNoMessage & 0xff));
    test::fill(ranks[r].num_uses, 0);
    mailbox.memory[r] = static_cast<char*>(ranks[r].memory->data());
  }
  for (size_t r = 0; r < ranks.size(); ++r) {
    mailbox.rank = static_cast<int>(r);
    mailbox.num_uses = static_cast<uint32_t*>(ranks[r].num_uses->data());
    ranks[r].comm = std::make_unique<MailboxComm>(mailbox, mailbox.rank, num_ranks);
    ranks[r].stream = std::make_unique<Stream>(kDevice);
  }
  return ranks;
}

void synchronize(const std::vector<Rank>& ranks) {
  for (const Rank& rank : ranks) rank.stream->synchronize();
}

// Kernels of ranks wait for each other: all of a call must fit on the GPU at once.
class MailboxTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no GPU";
  }
};

// Calls `run` for each rank, then waits for all.
template <typename Run>
void run_ranks(const std::vector<Rank>& ranks, const Run& run) {
  for (size_t r = 0; r < ranks.size(); ++r) run(r, *ranks[r].comm, *ranks[r].stream);
  synchronize(ranks);
}

void expect_norm_of_sum(const std::vector<Rank>& ranks, const Problem& p, AllReduceAlgorithm algorithm) {
  const auto num_ranks = static_cast<int>(ranks.size());
  const auto config = test::config_of(algorithm, p, *ranks[0].comm);
  if (!config) return;
  SCOPED_TRACE(to_string(p) + (algorithm == AllReduceAlgorithm::kOneShot ? " one-shot" : " two-shot"));
  std::vector<Operands> operands;
  for (const Rank& rank : ranks) operands.emplace_back(p, rank.comm->rank(), kDevice);
  run_ranks(ranks, [&](size_t r, DeviceComm& comm, Stream& stream) { operands[r].run_by(*config, comm, stream); });
  const std::vector<float> expected = expected_residual(p, num_ranks);
  const std::vector<double> expected_out = norm_of(expected, p);
  for (const Operands& o : operands) {
    EXPECT_EQ(on_host(o.residual), expected);
    EXPECT_FALSE(!(test::distance(on_host(o.out), expected_out) <= 2 * test::unit_of(p.dtype)));
    EXPECT_EQ(on_host(o.out), on_host(operands[0].out));
  }
}

void expect_norms_of_sums(const std::vector<Rank>& ranks) {
  uint64_t seed = 0;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int64_t hidden : {8, 1000, 5120, 12288}) {
      for (const int64_t num_tokens : {1, 3}) {
        for (const bool is_layer_norm : {false, true}) {
          const Problem p{dtype, num_tokens, hidden, is_layer_norm, ++seed};
          for (const AllReduceAlgorithm algorithm : test::kAlgorithms) expect_norm_of_sum(ranks, p, algorithm);
        }
      }
    }
  }
}

TEST_P(MailboxTest, NormsOfSums) { expect_norms_of_sums(make_ranks(GetParam())); }

// As on devices before sm_90.
TEST_P(MailboxTest, NormsOfSumsWithoutClusters) { expect_norms_of_sums(make_ranks(GetParam(), false)); }

// A block takes the rows of a long prompt one after the other, and its slot as often.
TEST_P(MailboxTest, MoreRowsThanBlocks) {
  const std::vector<Rank> ranks = make_ranks(GetParam(), true, 1);
  uint64_t seed = 300;
  for (const int64_t hidden : {8, 520, 4096}) {
    for (const int64_t num_tokens : {40, 41, 67}) {
      for (const bool is_layer_norm : {false, true}) {
        const Problem p{DType::kBF16, num_tokens, hidden, is_layer_norm, ++seed};
        const auto config = test::config_of(AllReduceAlgorithm::kTwoShot, p, *ranks[0].comm);
        ASSERT_TRUE(config && config->num_blocks < num_tokens);
        expect_norm_of_sum(ranks, p, AllReduceAlgorithm::kTwoShot);
      }
    }
  }
}

// Calls of different sizes and algorithms in graphs, which every rank replays in the same order of no pattern.
TEST_P(MailboxTest, GraphsInAnyOrder) {
  const std::vector<Rank> ranks = make_ranks(GetParam());
  struct Call {
    Problem problem;
    AllReduceAlgorithm algorithm;
  };
  const std::array<Call, 5> calls = {{{{DType::kBF16, 1, 2048, false, 1}, AllReduceAlgorithm::kOneShot},
                                      {{DType::kBF16, 4, 1024, true, 2}, AllReduceAlgorithm::kOneShot},
                                      {{DType::kBF16, 9, 512, false, 3}, AllReduceAlgorithm::kOneShot},
                                      {{DType::kBF16, 1, 2048, true, 4}, AllReduceAlgorithm::kTwoShot},
                                      {{DType::kBF16, 7, 2064, false, 5}, AllReduceAlgorithm::kTwoShot}}};
  std::vector<std::vector<Operands>> operands(calls.size());  // by call, by rank
  std::vector<std::vector<DeviceGraph>> graphs(calls.size());
  const auto run = [&](size_t i, size_t r) {
    const Rank& rank = ranks[r];
    const auto config = test::config_of(calls[i].algorithm, calls[i].problem, *rank.comm);
    operands[i][r].run_by(config.value(), *rank.comm, *rank.stream);
  };
  for (size_t i = 0; i < calls.size(); ++i) {
    for (size_t r = 0; r < ranks.size(); ++r) {
      operands[i].emplace_back(calls[i].problem, ranks[r].comm->rank(), kDevice);
      graphs[i].push_back(DeviceGraph::capture(*ranks[r].stream, [&] { run(i, r); }));
    }
  }
  std::array<int, calls.size()> num_runs{};
  std::mt19937 rng(1);
  for (int step = 0; step < 60; ++step) {
    const size_t choice = rng() % calls.size();
    const bool is_replay = rng() % 4 != 0;
    ++num_runs[choice];
    for (size_t r = 0; r < ranks.size(); ++r) {
      if (is_replay) {
        graphs[choice][r].launch(*ranks[r].stream);
      } else {
        run(choice, r);
      }
    }
  }
  synchronize(ranks);
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::vector<float> expected = expected_residual(calls[i].problem, GetParam(), num_runs[i]);
    for (const Operands& o : operands[i]) EXPECT_EQ(on_host(o.residual), expected);
  }
}

TEST_P(MailboxTest, Sums) {
  const std::vector<Rank> ranks = make_ranks(GetParam());
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t n : {8, 4096, 32 * 1024}) {
      const Problem p{dtype, 1, n, false, 17};
      SCOPED_TRACE(to_string(p));
      std::vector<Tensor> sums;
      for (const Rank& rank : ranks) sums.push_back(test::on_device(p.term(rank.comm->rank()), dtype, {n}, kDevice));
      for (size_t r = 0; r < ranks.size(); ++r) ranks[r].comm->all_reduce(sums[r], {}, *ranks[r].stream);
      synchronize(ranks);
      std::vector<float> expected = test::sum_of_terms(p, GetParam());
      dispatch_float(dtype, [&]<typename T>() {
        for (float& value : expected) value = static_cast<float>(static_cast<T>(value));
      });
      for (const Tensor& sum : sums) EXPECT_EQ(on_host(sum), expected);
    }
  }
}

TEST_P(MailboxTest, GatheredLogits) {
  const std::vector<Rank> ranks = make_ranks(GetParam());
  std::vector<int64_t> vocabs = {32, 1056, 4000};
  if (GetParam() == 8) vocabs.push_back(28);  // of which the last shard has nothing
  for (const int64_t vocab : vocabs) {
    for (const int64_t num_rows : {1, 3}) {
      SCOPED_TRACE(std::to_string(num_rows) + " x " + std::to_string(vocab));
      const Tensor logits(DType::kF32, {num_rows, vocab}, kDevice);
      test::fill(logits, '\x7b');
      std::vector<Tensor> parts;
      for (const Rank& rank : ranks) {
        const Slice part = padded_slice(vocab, rank.comm->rank(), GetParam());
        std::vector<float> values;
        for (int64_t row = 0; row < num_rows; ++row) {
          for (int64_t i = part.begin; i < part.end; ++i) values.push_back(static_cast<float>(row * vocab + i));
        }
        parts.push_back(test::on_device(values, DType::kF32, {num_rows, part.size()}, kDevice));
      }
      for (size_t r = 0; r < ranks.size(); ++r) {
        gather_logits(r == 0 ? logits.view() : TensorView(), parts[r], vocab, *ranks[r].comm, {}, *ranks[r].stream);
      }
      synchronize(ranks);
      std::vector<float> expected(static_cast<size_t>(num_rows * vocab));
      for (size_t i = 0; i < expected.size(); ++i) expected[i] = static_cast<float>(i);
      EXPECT_EQ(on_host(logits), expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, MailboxTest, testing::Values(2, 4, 8));

}  // namespace
}  // namespace cohort
