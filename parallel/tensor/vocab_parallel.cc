#include "parallel/tensor/vocab_parallel.h"

#include "kernels/elementwise/elementwise.h"
#include "kernels/embedding/embedding.h"

namespace cohort {

void vocab_parallel_embedding(TensorView out, ConstTensorView ids, ConstTensorView table, Slice vocab, DeviceComm* comm,
                              ReductionWorkspace& workspace, Stream& stream) {
  if (comm == nullptr) return embedding(out, ids, table, stream);
  const TensorView sums = workspace.sums_of(out.dim(0), out.dim(1));
  embedding_part(sums, ids, table, vocab.begin, stream);
  comm->all_reduce(sums, workspace.scratch, stream);
  add_bias(out, sums, {}, stream);  // exact: the one value that is not -0 had this dtype
}

void gather_logits(TensorView logits, ConstTensorView local, int64_t total_vocab, DeviceComm& comm, TensorView scratch,
                   Stream& stream) {
  const int64_t num_rows = local.dim(0);
  if (num_rows == 0) return;
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
