// Attention of few queries a sequence: at the speed of the memory, whatever the lengths of the sequences.
//
// As many blocks as multiprocessors divide the tiles of all sequences among themselves (DecodeShares), from context
// lengths that only the device knows, so that one launch serves every context. One warp of a block plans and loads:
// tiles come by bulk copies into a ring of stages, with what is to be known of each; those that store help it begin.
// Four attend to all tiles alike (FlashAttention-2, Dao 2023, with mma.sync), each to the positions of its own. When an
// item ends they leave their states in shared memory and go on; others put these together and store them. What was cut
// between blocks is put together by a second kernel.
//
// Both kernels read lengths and block tables, and the decode kernel keys and values of earlier steps, before they wait
// for the kernel before. attention.h asks that nothing since the last work of the stream that was no kernel wrote
// them, and they are complete: such work (a copy, the launch of a graph) begins when all before it has ended, the first
// kernel behind it when it has ended, and each further kernel when all blocks of the one before it have begun.
#include "kernels/attention/attention_decode_attender.cuh"
#include "kernels/attention/attention_decode_loader.cuh"
#include "kernels/attention/attention_decode_rows.cuh"
#include "kernels/attention/attention_dispatch.cuh"
#include "kernels/core/cuda_launch.cuh"

namespace cohort::cuda {
namespace {

constexpr int kNumDecodeThreads = decode::kNumWarps * 32;
// What the decode kernel is compiled for, so that its registers leave room for a block of the merge kernel.
constexpr int launch_bound(int dim) { return dim > 128 ? kNumDecodeThreads : 336; }
constexpr int kMergeWarps = 8;

template <typename T, int kDim, bool kIsPlain>
__global__ void __launch_bounds__(launch_bound(kDim), 1)
    attention_decode_kernel(const __grid_constant__ AttentionArgs args) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) char shared[];
  const DecodeLayout layout{args.head_dim, args.max_decode_queries * args.group_size};
  const decode::Ring stages(layout.stages(), shared);
  const decode::Ring results(layout.results(), shared);
  if (threadIdx.x == 0) {
    stages.init(1, kDecodeWarps * 32);
    results.init(kDecodeWarps * 32, decode::kFinishers * 32);
    publish_barriers();
  }
  let_next_begin();
  decode::Loader<kIsPlain> loader(args, layout, stages);
  if (decode::warp_index() >= decode::kLoader) loader.plan();
  __syncthreads();  // the barriers are there
  if (decode::warp_index() < kDecodeWarps) {
    wait_for_previous();
    decode::Attender<T, kDim, kIsPlain>(args, layout).run(stages, results);
    return;
  }
  loader.begin();
  if (decode::warp_index() == decode::kLoader) {
    loader.run();
  } else {
    decode::Finisher<T, kDim>(args, layout).run(results);
  }
#else
  __trap();
#endif
}

// An item that is cut: what the merge kernel puts together.
struct CutItem {
  int num_states = 0;  // 0: none is cut here
  int first_block = 0;
  int num_rows = 0;
  int first_query = 0;
  int kv_head = 0;
};

// Whether the merge kernel looks at every item; else at what each block begins and does not end.
__host__ __device__ bool has_few_items(const AttentionArgs& args) {
  return args.num_seqs * args.num_kv_heads < args.decode_workspace.num_blocks;
}

// Of a warp.
template <bool kIsPlain>
__device__ CutItem find_cut_item(const AttentionArgs& args, int index) {
  const decode::Lengths<kIsPlain> lengths(args);
  const DecodeShares shares(lengths.num_tiles(), args.decode_workspace.num_blocks);
  decode::Cursor<kIsPlain> cursor;
  int item = 0;  // its first tile
  CutItem cut;
  if (has_few_items(args)) {
    cursor = lengths.sequence(index / args.num_kv_heads, item);
    if (cursor.tiles_per_head == 0) return cut;
    cut.kv_head = index % args.num_kv_heads;
    item += cut.kv_head * cursor.tiles_per_head;
    cut.first_block = shares.block_of(item);
  } else {
    const int last_tile = shares.first_tile(index + 1) - 1;
    if (last_tile < shares.first_tile(index) || !lengths.find(last_tile, cursor)) return cut;
    cut.kv_head = cursor.offset / cursor.tiles_per_head;
    item = last_tile - cursor.offset % cursor.tiles_per_head;
    cut.first_block = index;
  }
  cut.num_states = shares.num_states(cut.first_block, item, item + cursor.tiles_per_head);
  cut.num_rows = cursor.num_queries * args.group_size;
  cut.first_query = cursor.first_query;
  return cut;
}

// Puts the items together that blocks of the decode kernel have parts of: blockIdx.x is an item's number if there are
// few, else a block's. A row has `row_warps` warps, which take its states in turn.
template <typename T, int kDim, bool kIsPlain>
__global__ void __launch_bounds__(kMergeWarps * 32)
    merge_items_kernel(const __grid_constant__ AttentionArgs args, int row_warps) {
  using State = decode::RowState<kDim>;
  __shared__ float2 max_and_sum[kMergeWarps];
  __shared__ float4 values[kMergeWarps][kDim / 4];
  constexpr int kOnTheirWay = 4;
  let_next_begin();
  const CutItem item = find_cut_item<kIsPlain>(args, static_cast<int>(blockIdx.x));
  wait_for_previous();
  if (item.num_states == 0) return;
  const DecodeWorkspace& at = args.decode_workspace;
  const int warp = decode::warp_index();
  const int row = (static_cast<int>(blockIdx.y) * kMergeWarps + warp) / row_warps;
  const int part = warp % row_warps;
  State merged;
  for (int first = part; row < item.num_rows && first < item.num_states; first += row_warps * kOnTheirWay) {
    State added[kOnTheirWay];
#pragma unroll
    for (int i = 0; i < kOnTheirWay; ++i) {
      const int state = first + i * row_warps;
      if (state >= item.num_states) break;
      // The first block of the item has its state at its end, the others at their beginning.
      const int64_t from = at.row(2 * (item.first_block + state) + (state == 0 ? 1 : 0), row);
      added[i].load(args.workspace + at.max_and_sum(from), args.workspace + at.values(from), args.head_dim);
    }
    merged.add(added, args.scale_log2);
  }
  if (row_warps > 1) {
    merged.store(&max_and_sum[warp].x, &values[warp][0].x, args.head_dim);
    __syncthreads();  // all warps' parts are there
    if (part != 0) return;
    for (int i = 1; i < row_warps; ++i) {
      State other[1];
      other[0].load(&max_and_sum[warp + i].x, &values[warp + i][0].x, args.head_dim);
      merged.add(other, args.scale_log2);
    }
  }
  if (row < item.num_rows) merged.template store_output<T>(args, item.first_query, item.kv_head, row);
}

// Warps of the merge kernel for a row, a power of two: where sequences are alike each has up to four states at once.
int merge_warps_of_row(const AttentionArgs& args) {
  const int num_items = args.num_seqs * args.num_kv_heads;
  int row_warps = 1;
  while (row_warps < kMergeWarps && row_warps * 4 * num_items < args.decode_workspace.num_blocks + num_items) {
    row_warps *= 2;
  }
  return row_warps;
}

// Calls f.operator()<T, kDim, kIsPlain>() for the dtype, the dimension, and whether attention is plain. The largest
// kDim is for every dimension that has no instance of its own.
template <typename F>
void dispatch_decode(DType dtype, int head_dim, bool is_plain, F&& f) {
  const auto with_kind = [&]<typename T, int kDim>() {
    return is_plain ? f.template operator()<T, kDim, true>() : f.template operator()<T, kDim, false>();
  };
  const auto with_dim = [&]<typename T>() {
    switch (head_dim) {
      case 64:
        return with_kind.template operator()<T, 64>();
      case 80:
        return with_kind.template operator()<T, 80>();
      case 96:
        return with_kind.template operator()<T, 96>();
      case 128:
        return with_kind.template operator()<T, 128>();
      default:
        return with_kind.template operator()<T, kMaxTileDim>();
    }
  };
  if (dtype == DType::kBF16) {
    with_dim.template operator()<__nv_bfloat16>();
  } else {
    with_dim.template operator()<__half>();
  }
}

}  // namespace

void launch_decode(const AttentionArgs& args, DType dtype, cudaStream_t stream) {
  const int max_rows = args.max_decode_queries * args.group_size;
  dispatch_decode(dtype, args.head_dim, args.is_plain, [&]<typename T, int kDim, bool kIsPlain>() {
    const int num_bytes = DecodeLayout{args.head_dim, max_rows}.num_bytes();
    set_shared_memory(attention_decode_kernel<T, kDim, kIsPlain>, num_bytes);
    const auto num_blocks = static_cast<unsigned>(args.decode_workspace.num_blocks);
    launch_chained(attention_decode_kernel<T, kDim, kIsPlain>, num_blocks, kNumDecodeThreads,
                   static_cast<size_t>(num_bytes), stream, args);
    if (!args.cuts_items) return;
    const int row_warps = merge_warps_of_row(args);
    const int num_groups = has_few_items(args) ? args.num_seqs * args.num_kv_heads : args.decode_workspace.num_blocks;
    const int blocks_per_group = (max_rows * row_warps + kMergeWarps - 1) / kMergeWarps;
    launch_chained(merge_items_kernel<T, kDim, kIsPlain>,
                   dim3(static_cast<unsigned>(num_groups), static_cast<unsigned>(blocks_per_group)), kMergeWarps * 32,
                   0, stream, args, row_warps);
  });
}

}  // namespace cohort::cuda
