#include "kernels/attention/attention_tile.cuh"

namespace cohort::cuda {
namespace {

// Tiles of rows are numbered through all sequences; sequence s owns those from here on. It may own one more than its
// queries fill, and no two sequences share one.
template <class C>
__device__ int first_tile(const AttentionArgs& args, int seq) {
  return static_cast<int>(int64_t{args.query_starts[seq]} * args.group_size / C::kRows) + seq;
}

// One block for each tile of rows, and KV head. Blocks begin with the tiles that see most, so that the last to be done
// are short; those of one KV head follow each other, so that its keys and values stay in the L2 cache.
template <class C>
__global__ void __launch_bounds__(kNumTileThreads, 2)
    attention_prefill_kernel(const __grid_constant__ AttentionArgs args) {
  extern __shared__ __align__(16) char shared[];
  const int index = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  RowTile tile;
  tile.seq = find_sequence(args.num_seqs, index, [&](int seq) { return first_tile<C>(args, seq); });
  tile.kv_head = static_cast<int>(blockIdx.y);
  tile.first_row = (index - first_tile<C>(args, tile.seq)) * C::kRows;
  const SequenceView<C::kIsPlain> sequence(args, tile.seq);
  if (sequence.num_queries <= args.max_decode_queries) return;  // the decode kernel's
  tile.num_rows = min(C::kRows, sequence.num_queries * args.group_size - tile.first_row);
  if (tile.num_rows <= 0) return;
  tile.first_visible = sequence.first_visible(args, tile.first_row / args.group_size);
  tile.begin = tile.first_visible / C::kTile * C::kTile;
  tile.end = sequence.num_visible(args, (tile.first_row + tile.num_rows - 1) / args.group_size);
  TileKernel<C>(args, tile, shared).run();
}

}  // namespace

void launch_prefill(const AttentionArgs& args, const AttentionPlan& plan, DType dtype, cudaStream_t stream) {
  dispatch_tile(dtype, args.head_dim, args.is_plain, [&]<typename T, int kDim, bool kIsPlain>() {
    using C = TileConfig<T, kDim, 4, prefill_rows(kDim) / 64, kIsPlain>;
    const int num_bytes = TileLayout{C::kDim, C::kRows, args.folds}.num_bytes();
    set_shared_memory(attention_prefill_kernel<C>, num_bytes);
    const dim3 grid(static_cast<unsigned>(plan.num_prefill_tiles), static_cast<unsigned>(args.num_kv_heads));
    attention_prefill_kernel<C><<<grid, kNumTileThreads, static_cast<size_t>(num_bytes), stream>>>(args);
  });
}

}  // namespace cohort::cuda
