// Mailbox: memory on each GPU of a group into which all its GPUs write, so that kernels pass short messages by stores
// and loads over NVLink, without a call of NCCL. Here is its layout; mailbox.cuh is how a kernel uses it.
//
// A mailbox has slots, and a slot has room for one message of every rank, twice. A call of the group uses as many slots
// as it has blocks, from 0 on: block b of each rank sends by slot b to block b of every other rank, and waits for what
// those send. The uses of a slot, one or several a call, take its two halves in turn.
//
// No flag says that a message has come: where none is, words are kNoMessage, which messages never contain, and who has
// read a message writes kNoMessage over it. Two halves are enough since every use of a slot is by all ranks to all
// ranks: one that sends for use i + 2 has all messages of use i + 1, which their senders sent when they had done use i.
#pragma once

#include <cstdint>

namespace cohort {

struct Mailbox {
  static constexpr int kMaxRanks = 8;
  static constexpr int kNumHalves = 2;
  static constexpr int kNumSlots = 256;
  static constexpr int64_t kSlotBytes = 32 * 1024;  // of one message
  static constexpr uint32_t kNoMessage = 0xffffffff;

  static constexpr int64_t num_bytes(int num_ranks) { return kNumHalves * kNumSlots * kSlotBytes * num_ranks; }

  int rank = 0;
  int size = 0;
  // Of each rank, at this GPU's addresses: [kNumHalves, size (by sender), kNumSlots, kSlotBytes].
  char* memory[kMaxRanks] = {};  // NOLINT(modernize-avoid-c-arrays): for device code
  uint32_t* num_uses = nullptr;  // [kNumSlots] of this rank: how often each slot has been used
  // Of the group's GPUs, the least of each, so that all ranks choose the same kernels.
  int num_multiprocessors = 0;
  int architecture = 0;  // code_architecture() of cuda_device.h
};

}  // namespace cohort
