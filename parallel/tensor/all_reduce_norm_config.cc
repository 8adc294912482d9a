#include <algorithm>

#include "parallel/tensor/all_reduce_norm.h"

namespace cohort {
namespace {

constexpr int64_t kVecBytes = 16;
constexpr int64_t kWarpSize = 32;
constexpr int kFirstWithClusters = 90;
// A block waits for those of the same index elsewhere, so all must find a place at once: the 132 multiprocessors of
// H100 and H200 (SXM) can be had in clusters but for a few, and each has registers for so many threads.
constexpr int64_t kMaxMultiprocessors = 128;
constexpr int64_t kMaxThreads = 1024;
constexpr int64_t kMaxThreadsOfMany = 512;  // of a two-shot kernel between more than 2 ranks

constexpr int64_t kMaxBlocksPerRow = 4;
// Few rows are shared out among more multiprocessors, as far as there are and each has something to do.
constexpr int64_t kMaxSmallBlocks = 64;
constexpr int64_t kMinThreads = 128;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t max_blocks(const Mailbox& mailbox, int64_t num_threads, int64_t max_threads) {
  const int64_t num_multiprocessors = std::min<int64_t>(mailbox.num_multiprocessors, kMaxMultiprocessors);
  return std::min<int64_t>(num_multiprocessors * (max_threads / num_threads), Mailbox::kNumSlots);
}

std::optional<AllReduceNormConfig> one_shot_config(int64_t num_tokens, int64_t num_vectors, const Mailbox& mailbox) {
  const int64_t max_blocks_per_row = mailbox.architecture >= kFirstWithClusters ? kMaxBlocksPerRow : 1;
  int64_t blocks_per_row = 1;
  while (blocks_per_row < max_blocks_per_row &&
         (num_vectors > blocks_per_row * kMaxThreads ||
          (num_vectors >= 2 * blocks_per_row * kMinThreads && 2 * blocks_per_row * num_tokens <= kMaxSmallBlocks))) {
    blocks_per_row *= 2;
  }
  const int64_t num_threads = ceil_div(ceil_div(num_vectors, blocks_per_row), kWarpSize) * kWarpSize;
  if (num_threads > kMaxThreads) return {};
  const int64_t num_blocks = num_tokens * blocks_per_row;
  if (num_blocks > max_blocks(mailbox, num_threads, kMaxThreads)) return {};
  return AllReduceNormConfig{AllReduceAlgorithm::kOneShot, static_cast<int>(num_blocks),
                             static_cast<int>(blocks_per_row), static_cast<int>(num_threads)};
}

std::optional<AllReduceNormConfig> two_shot_config(int64_t num_tokens, int64_t num_vectors, const Mailbox& mailbox) {
  const int64_t num_threads = ceil_div(ceil_div(num_vectors, mailbox.size), kWarpSize) * kWarpSize;
  const int64_t max_threads = mailbox.size == 2 ? kMaxThreads : kMaxThreadsOfMany;
  // A message has terms and sums of a part.
  if (num_threads > max_threads || 2 * num_threads * kVecBytes > Mailbox::kSlotBytes) return {};
  const int64_t num_blocks = std::min(num_tokens, max_blocks(mailbox, num_threads, max_threads));
  return AllReduceNormConfig{AllReduceAlgorithm::kTwoShot, static_cast<int>(num_blocks), 1,
                             static_cast<int>(num_threads)};
}

// Up to which size one-shot is the quicker way; from there on two-shot is, and quicker than NCCL and a norm at every
// size that was measured between 2 ranks, up to 32 MiB: tests/bench/results/all_reduce_norm_cuda2.txt. Between 4 and 8,
// which are counted from that: the second way over the links costs 1.4 us, in which 400 GB/s carry what one-shot sends
// more than two-shot, (ranks - 1) * (1 - 2 / ranks) times the message.
constexpr int64_t max_one_shot_bytes(int num_ranks) {
  switch (num_ranks) {
    case 2:
      return int64_t{2} << 20;
    case 4:
      return int64_t{384} << 10;
    default:
      return int64_t{96} << 10;
  }
}

}  // namespace

std::optional<AllReduceNormConfig> all_reduce_norm_config(AllReduceAlgorithm algorithm, int64_t num_tokens,
                                                          int64_t row_bytes, const Mailbox& mailbox) {
  if (row_bytes % kVecBytes != 0 || num_tokens == 0) return {};
  const int64_t num_vectors = row_bytes / kVecBytes;
  return algorithm == AllReduceAlgorithm::kOneShot ? one_shot_config(num_tokens, num_vectors, mailbox)
                                                   : two_shot_config(num_tokens, num_vectors, mailbox);
}

std::optional<AllReduceNormConfig> choose_all_reduce_norm_config(int64_t num_tokens, int64_t row_bytes,
                                                                 const Mailbox& mailbox) {
  std::optional<AllReduceNormConfig> config;
  if (num_tokens * row_bytes <= max_one_shot_bytes(mailbox.size)) {
    config = all_reduce_norm_config(AllReduceAlgorithm::kOneShot, num_tokens, row_bytes, mailbox);
  }
  return config ? config : all_reduce_norm_config(AllReduceAlgorithm::kTwoShot, num_tokens, row_bytes, mailbox);
}

}  // namespace cohort
