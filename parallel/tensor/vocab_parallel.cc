#include "parallel/tensor/vocab_parallel.h"

#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"
#include "parallel/tensor/gather_logits_kernel.h"

namespace cohort {

void vocab_parallel_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Slice vocab, DeviceComm* comm,
                              ReductionWorkspace& workspace, Stream& stream) {
  if (comm == nullptr) return embedding(out, ids, table, stream);
  const TensorView sums = workspace.sums_of(out.dim(0), out.dim(1));
  embedding_part(sums, ids, table, vocab.begin, stream);
  comm->all_reduce(sums, workspace.scratch, stream);
  add_bias(out, sums, {}, stream);  // exact: the one value that is not -0 had this dtype
}

bool fits_gather_kernel(int64_t num_rows, int64_t total_vocab, int num_shards) {
  constexpr int64_t kFloatsPerVector = 4;
  constexpr int64_t kMaxSentBytes = int64_t{4} << 20;  // of a shard to all others; what its slots hold, at most
  static_assert(kMaxSentBytes <= Mailbox::kNumSlots * Mailbox::kSlotBytes);
  const int64_t widest = padded_slice(total_vocab, 0, num_shards).size();
  const int64_t num_bytes = num_rows * widest * static_cast<int64_t>(sizeof(float));
  return total_vocab % kFloatsPerVector == 0 && widest % kFloatsPerVector == 0 &&
         num_bytes * (num_shards - 1) <= kMaxSentBytes;
}

void gather_logits(TensorView logits, ConstTensorView local, int64_t total_vocab, DeviceComm& comm, TensorView scratch,
                   Stream& stream) {
  const int64_t num_rows = local.dim(0);
  if (num_rows == 0) return;
  const Mailbox* const mailbox = comm.mailbox();
  if (mailbox != nullptr && fits_gather_kernel(num_rows, total_vocab, mailbox->size)) {
    const FlightRecord record(comm.recorder(), "gather_logits", comm.name().c_str(), local.num_bytes(), 0);
    return cuda::gather_logits(comm.rank() == 0 ? logits : TensorView(), local, total_vocab, *mailbox, stream);
  }
  if (comm.rank() != 0) {
    if (!local.empty()) comm.send(local, 0, stream);
    return;
  }
  for (int shard = 0; shard < comm.size(); ++shard) {
    const Slice part = padded_slice(total_vocab, shard, comm.size());
    if (part.size() == 0) continue;
    ConstTensorView from = local;
    if (shard != 0) {
      const TensorView received = scratch.reshape(Shape{scratch.num_elements()})
                                      .slice(0, 0, num_rows * part.size())
                                      .reshape(Shape{num_rows, part.size()});
      comm.receive(received, shard, stream);
      from = received;
    }
    copy_rows(logits.slice(1, part.begin, part.end), from, stream);
  }
}

}  // namespace cohort
