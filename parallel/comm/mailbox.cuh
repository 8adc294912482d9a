// How kernels send and receive by a mailbox (mailbox.h). Only for files that are compiled with CUDA.
//
// A message is in vectors of 16 bytes, and a thread waits for the vectors that it needs: nobody waits for a block, and
// the order in which stores arrive does not matter.
#pragma once

#include "kernels/core/cuda_vector.cuh"
#include "parallel/comm/mailbox.h"

namespace cohort::cuda {

// As many as a minute has, at least: a peer that has not sent by then is gone. Its job is about to be ended by the
// monitor, whose limits are shorter; but a kernel that never ends would keep this process from freeing memory on its
// way out.
inline constexpr uint32_t kMaxPolls = 1u << 28;

// Volatile: neither may be cached or left out, and a vector needs one access.
__device__ inline void store_volatile(char* p, uint4 v) {
  asm volatile("st.volatile.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}
__device__ inline uint4 load_volatile(const char* p) {
  uint4 v;
  asm volatile("ld.volatile.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}

// kNoMessage is a NaN in every dtype of floats, or two, which arithmetic does not make; a message that has it all the
// same gets another NaN.
__device__ inline uint32_t sendable(uint32_t word) { return word == Mailbox::kNoMessage ? 0x7fff7fffu : word; }
__device__ inline uint4 sendable(uint4 v) { return {sendable(v.x), sendable(v.y), sendable(v.z), sendable(v.w)}; }
// Stores of less than a vector may come one by one.
__device__ inline bool has_come(uint4 v) {
  return v.x != Mailbox::kNoMessage && v.y != Mailbox::kNoMessage && v.z != Mailbox::kNoMessage &&
         v.w != Mailbox::kNoMessage;
}

// A block's use of its slot, in a group of kNumRanks. After its last receive() comes a barrier of the block, then end()
// by one thread; or begin_next() by all, and the block uses its slot once more.
template <int kNumRanks>
class Slot {
 public:
  // Requires that wait_for_previous() has returned.
  __device__ Slot(const Mailbox& mailbox, int index)
      : mailbox_(mailbox),
        index_(index),
        num_uses_(*static_cast<volatile uint32_t*>(mailbox.num_uses + index)),
        half_(static_cast<int>(num_uses_ % Mailbox::kNumHalves)) {}

  // Vector i of the message that this rank sends to every other.
  __device__ void send(int i, uint4 vector) const {
    const int64_t offset = offset_of(mailbox_.rank, i);
#pragma unroll
    for (int step = 1; step < kNumRanks; ++step) {  // each begins with another peer, lest all write to one at once
      store_volatile(mailbox_.memory[(mailbox_.rank + step) % kNumRanks] + offset, vector);
    }
  }

  // Vector i of the message that this rank sends to `peer`, another rank.
  __device__ void send_to(int peer, int i, uint4 vector) const {
    store_volatile(mailbox_.memory[peer] + offset_of(mailbox_.rank, i), vector);
  }

  // vectors[r] = vector i of rank r's message, own that of this rank. To be called once for each i.
  __device__ void receive(int i, uint4 own, uint4 (&vectors)[kNumRanks]) const {
    char* const from = mailbox_.memory[mailbox_.rank] + offset_of(0, i);
    bool is_complete = false;
    for (uint32_t num_polls = 0; !is_complete; ++num_polls) {
      check_on_device(num_polls < kMaxPolls);
      is_complete = true;
#pragma unroll
      for (int r = 0; r < kNumRanks; ++r) {
        vectors[r] = r == mailbox_.rank ? own : load_volatile(from + r * kSenderStride);
      }
#pragma unroll
      for (int r = 0; r < kNumRanks; ++r) is_complete = is_complete && (r == mailbox_.rank || has_come(vectors[r]));
    }
    constexpr uint32_t kNone = Mailbox::kNoMessage;
#pragma unroll
    for (int r = 0; r < kNumRanks; ++r) {
      if (r != mailbox_.rank) store_volatile(from + r * kSenderStride, {kNone, kNone, kNone, kNone});
    }
  }

  __device__ void begin_next() {
    ++num_uses_;
    half_ = static_cast<int>(num_uses_ % Mailbox::kNumHalves);
  }
  __device__ void end() const { mailbox_.num_uses[index_] = num_uses_ + 1; }

 private:
  static constexpr int64_t kSenderStride = Mailbox::kNumSlots * Mailbox::kSlotBytes;

  // Of vector i of `sender`, in any rank's memory.
  __device__ int64_t offset_of(int sender, int i) const {
    return (int64_t{half_} * kNumRanks + sender) * kSenderStride + index_ * Mailbox::kSlotBytes +
           int64_t{i} * kVecBytes;
  }

  const Mailbox& mailbox_;
  const int index_;
  uint32_t num_uses_;
  int half_;
};

// Calls f.operator()<kNumRanks>() for a group of 2, 4 or 8; other sizes have no mailbox.
template <typename F>
void dispatch_num_ranks(int num_ranks, F&& f) {
  switch (num_ranks) {
    case 2:
      return f.template operator()<2>();
    case 4:
      return f.template operator()<4>();
    default:
      return f.template operator()<8>();
  }
}

// The sum over ranks of their vectors of Ts, in the order of ranks: the same bits on all.
template <typename T, int kNumRanks>
__device__ Vec<float, kVecBytes / sizeof(T)> sum_of_ranks(const uint4 (&vectors)[kNumRanks]) {
  constexpr int kVecSize = kVecBytes / sizeof(T);
  Vec<float, kVecSize> sum;
#pragma unroll
  for (int r = 0; r < kNumRanks; ++r) {
    const T* const values = reinterpret_cast<const T*>(&vectors[r]);
#pragma unroll
    for (int i = 0; i < kVecSize; ++i)
      sum.values[i] = r == 0 ? to_float(values[i]) : sum.values[i] + to_float(values[i]);
  }
  return sum;
}

}  // namespace cohort::cuda
