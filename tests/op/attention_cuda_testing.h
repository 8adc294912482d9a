// What the tests of attention on CUDA share: batches over a cache, run on either device.
#pragma once

#include <algorithm>

#include "kernels/attention/attention.h"
#include "kernels/core/device_graph.h"
#include "tests/op/attention_testing.h"
#include "tests/op/cuda_op_test.h"

namespace cohort::test {

// How a batch is laid out and run.
struct Options {
  int64_t block_size = 16;
  uint32_t shuffle = 1;
  bool deterministic = false;
  bool has_workspace = true;
  int64_t margin = 16;   // elements before each row of out: 16 bytes apart or not
  int64_t slack = 0;     // by how much the host's numbers exceed the truth
  bool uniform = false;  // queries of zero, so that every visible position counts alike
};

// Uniform in [-sqrt(3), sqrt(3)), so of variance 1: a function of its arguments (after Steele et al. 2014, SplitMix).
inline double value_of(uint32_t id, uint32_t what, int64_t position, int64_t index) {
  uint64_t x = (uint64_t{id} << 56) ^ (uint64_t{what} << 52) ^ (static_cast<uint64_t>(position) << 20) ^
               static_cast<uint64_t>(index);
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  x ^= x >> 31;
  return (static_cast<double>(x >> 11) * 0x1p-52 - 1) * 1.7320508;
}

inline Tensor copy_to(const Tensor& x, Device device) {
  Tensor copy(x->dtype(), x->shape(), device);
  if (!x->empty()) copy_bytes(copy->data(), device, x->data(), kCpuDevice, x->num_bytes());
  return copy;
}

// A batch over a cache whose unused positions are NaN and whose unused table entries are no blocks; q is the first part
// of a fused qkv whose other parts are NaN.
class Batch {
 public:
  Batch(DType dtype, Heads heads, const std::vector<Chunk>& chunks, const Options& options)
      : dtype_(dtype), heads_(heads), chunks_(chunks), options_(options) {
    int64_t num_blocks = 3;
    int64_t max_blocks = 1;
    std::vector<int32_t> starts = {0};
    std::vector<int32_t> lengths;
    for (const Chunk& c : chunks) {
      num_tokens_ += c.end - c.begin;
      starts.push_back(static_cast<int32_t>(num_tokens_));
      lengths.push_back(static_cast<int32_t>(c.end));
      num_blocks += (c.end + options.block_size - 1) / options.block_size;
      max_blocks = std::max(max_blocks, (c.end + options.slack) / options.block_size + 2);
      max_query_length_ = std::max(max_query_length_, c.end - c.begin);
      max_context_length_ = std::max(max_context_length_, c.end);
    }
    starts_ = int32_tensor(starts);
    lengths_ = int32_tensor(lengths);
    keys_ = nan_tensor({num_blocks, heads.num_kv_heads, options.block_size, heads.head_dim});
    values_ = nan_tensor(keys_->shape());
    qkv_ = nan_tensor({num_tokens_, (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim});
    tables_ = shuffled_tables(chunks, options.block_size, num_blocks, max_blocks, options.shuffle);
    int64_t row = 0;
    for (size_t seq = 0; seq < chunks.size(); ++seq) {
      fill_cache(seq);
      fill_queries(chunks[seq], row);
      row += chunks[seq].end - chunks[seq].begin;
    }
  }

  // Sequences keep their queries and see less of the cache.
  void set_lengths(const std::vector<int32_t>& lengths) { lengths_ = int32_tensor(lengths); }

  // What run(kCuda) gives for each of the lengths, of one recorded call.
  std::vector<Tensor> replay(const std::vector<std::vector<int32_t>>& lengths) const {
    Stream stream(kCuda);
    const Inputs in = inputs_on(kCuda);
    const Tensor out(dtype_, out_shape(), kCuda);
    const AttentionBatch batch = batch_of(in, 0);
    const Tensor workspace = workspace_of(batch, kCuda);
    const DeviceGraph graph = DeviceGraph::capture(stream, [&] { attend(out, in, batch, workspace, stream); });
    std::vector<Tensor> outs;
    for (const std::vector<int32_t>& l : lengths) {
      copy_bytes(in.lengths->data(), kCuda, l.data(), kCpuDevice, in.lengths->num_bytes());
      poison(out);
      graph.launch(stream);
      stream.synchronize();
      outs.push_back(rows_on_cpu(out));
    }
    return outs;
  }

  // The output rows, [num_tokens, num_heads * head_dim] on the CPU. Expects that nothing else was written.
  Tensor run(Device device) const {
    Stream stream(device);
    const Inputs in = inputs_on(device);
    Tensor storage(dtype_, {num_tokens_ + 2, width() + 2 * options_.margin});
    std::memset(storage->data(), 0xff, static_cast<size_t>(storage->num_bytes()));
    const Tensor out = copy_to(storage, device);
    const AttentionBatch batch = batch_of(in, options_.slack);
    const Tensor workspace = workspace_of(batch, device);
    attend(rows_of(out).reshape(out_shape()), in, batch, workspace, stream);
    stream.synchronize();
    copy_bytes(storage->data(), kCpuDevice, out->data(), device, storage->num_bytes());
    return take_rows(storage);
  }

  // What run(kCuda) gives when the kernels before, in one graph, store the queries' keys and values: NaNs at first.
  Tensor run_in_a_step() const {
    Stream stream(kCuda);
    const Shape shape{num_tokens_, heads_.num_kv_heads, heads_.head_dim};
    const Tensor nan = copy_to(nan_tensor(shape), kCuda);
    const Tensor k = copy_to(queries_part_of(keys_), kCuda);
    const Tensor v = copy_to(queries_part_of(values_), kCuda);
    const Tensor slots = copy_to(slots_of_queries(), kCuda);
    const Inputs in = inputs_on(kCuda);
    const Tensor out(dtype_, out_shape(), kCuda);
    const AttentionBatch batch = batch_of(in, 0);
    const Tensor workspace = workspace_of(batch, kCuda);
    const DeviceGraph graph = DeviceGraph::capture(stream, [&] {
      write_kv({in.keys, in.values}, nan, nan, slots, stream);
      write_kv({in.keys, in.values}, k, v, slots, stream);
      attend(out, in, batch, workspace, stream);
    });
    for (int i = 0; i < 3; ++i) graph.launch(stream);
    stream.synchronize();
    return rows_on_cpu(out);
  }

  // Bytes of the output rows of each chunk.
  std::vector<std::string> bytes(Device device) const {
    const Tensor out = run(device);
    std::vector<std::string> bytes;
    const char* data = static_cast<const char*>(out->data());
    for (const Chunk& c : chunks_) {
      const int64_t num_bytes = dtype_bytes(dtype_, (c.end - c.begin) * out->dim(1));
      bytes.emplace_back(data, static_cast<size_t>(num_bytes));
      data += num_bytes;
    }
    return bytes;
  }

 private:
  // What attention reads.
  struct Inputs {
    Tensor qkv;
    Tensor keys;
    Tensor values;
    Tensor starts;
    Tensor lengths;
    Tensor tables;
  };

  float scale() const { return 1 / std::sqrt(static_cast<float>(heads_.head_dim)); }
  int64_t width() const { return heads_.num_heads * heads_.head_dim; }
  Shape out_shape() const { return {num_tokens_, heads_.num_heads, heads_.head_dim}; }

  Inputs inputs_on(Device device) const {
    return {copy_to(qkv_, device),    copy_to(keys_, device),    copy_to(values_, device),
            copy_to(starts_, device), copy_to(lengths_, device), copy_to(tables_, device)};
  }

  // slack: by how much the host's numbers exceed the truth.
  AttentionBatch batch_of(const Inputs& in, int64_t slack) const {
    return {in.starts, in.lengths, in.tables, max_query_length_ + slack, max_context_length_ + slack};
  }

  void attend(TensorView out, const Inputs& in, const AttentionBatch& batch, TensorView workspace,
              Stream& stream) const {
    paged_attention(out, in.qkv->slice(1, 0, width()).reshape(out_shape()), {in.keys, in.values}, batch,
                    {scale(), options_.deterministic}, workspace, stream);
  }

  // [num_tokens, num_heads * head_dim] of the device's out.
  Tensor rows_on_cpu(const Tensor& out) const {
    Tensor rows(dtype_, {num_tokens_, width()});
    copy_bytes(rows->data(), kCpuDevice, out->data(), kCuda, out->num_bytes());
    return rows;
  }

  Tensor nan_tensor(const Shape& shape) const {
    Tensor x(dtype_, shape);
    if (!x->empty()) std::memset(x->data(), 0xff, static_cast<size_t>(x->num_bytes()));
    return x;
  }

  Tensor workspace_of(const AttentionBatch& batch, Device device) const {
    const int64_t num_bytes =
        attention_workspace_bytes(batch.num_seqs() * 16, batch.max_context_length, heads_.num_heads, heads_.head_dim);
    Tensor workspace(DType::kU8, {device == kCuda && options_.has_workspace ? num_bytes : 0}, device);
    if (!workspace->empty()) poison(workspace);
    return workspace;
  }

  static void poison(const Tensor& x) {
    const std::vector<char> nan(static_cast<size_t>(x->num_bytes()), '\xff');
    copy_bytes(x->data(), x->device(), nan.data(), kCpuDevice, x->num_bytes());
  }

  TensorView rows_of(const Tensor& storage) const {
    return storage->slice(0, 1, num_tokens_ + 1).slice(1, options_.margin, options_.margin + width());
  }

  Tensor take_rows(const Tensor& storage) const {
    const TensorView rows = rows_of(storage);
    Tensor out(dtype_, {num_tokens_, rows.dim(1)});
    const auto num_bytes = static_cast<size_t>(dtype_bytes(dtype_, rows.dim(1)));
    for (int64_t i = 0; i < num_tokens_; ++i) {
      char* const row = static_cast<char*>(rows.data()) + dtype_bytes(dtype_, i * rows.stride(0));
      std::memcpy(static_cast<char*>(out->data()) + i * static_cast<int64_t>(num_bytes), row, num_bytes);
      std::memset(row, 0xff, num_bytes);
    }
    const auto* const begin = static_cast<const unsigned char*>(storage->data());
    EXPECT_TRUE(std::all_of(begin, begin + storage->num_bytes(), [](unsigned char x) { return x == 0xff; }))
        << "wrote outside of its rows";
    return out;
  }

  void fill_cache(size_t seq) {
    const int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(seq));
    const int64_t dim = heads_.head_dim;
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t position = 0; position < chunks_[seq].end; ++position) {
        for (int64_t i = 0; i < heads_.num_kv_heads * dim; ++i) {
          const int64_t block = table[position / options_.block_size] * heads_.num_kv_heads + i / dim;
          const int64_t to = (block * options_.block_size + position % options_.block_size) * dim + i % dim;
          const uint32_t id = chunks_[seq].id;
          keys_->data<T>()[to] = T(static_cast<float>(value_of(id, 1, position, i)));
          values_->data<T>()[to] = T(static_cast<float>(options_.uniform ? (position % dim == i % dim ? 1.0 : 0.0)
                                                                         : value_of(id, 2, position, i)));
        }
      }
    });
  }

  Tensor slots_of_queries() const {
    Tensor slots(DType::kI64, {num_tokens_});
    int64_t row = 0;
    for (size_t seq = 0; seq < chunks_.size(); ++seq) {
      const int32_t* const table = tables_->row<int32_t>(static_cast<int64_t>(seq));
      for (int64_t position = chunks_[seq].begin; position < chunks_[seq].end; ++position) {
        const int64_t block = table[position / options_.block_size];
        slots->data<int64_t>()[row++] = block * options_.block_size + position % options_.block_size;
      }
    }
    return slots;
  }

  // [num_tokens, num_kv_heads, head_dim] of keys or values
  Tensor queries_part_of(const Tensor& cache) const {
    const Tensor slots = slots_of_queries();
    Tensor part(dtype_, {num_tokens_, heads_.num_kv_heads, heads_.head_dim});
    const auto row_bytes = static_cast<size_t>(dtype_bytes(dtype_, heads_.head_dim));
    char* to = static_cast<char*>(part->data());
    for (int64_t i = 0; i < num_tokens_; ++i) {
      const int64_t slot = slots->data<int64_t>()[i];
      for (int64_t head = 0; head < heads_.num_kv_heads; ++head, to += row_bytes) {
        const int64_t row = (slot / options_.block_size * heads_.num_kv_heads + head) * options_.block_size;
        const char* const from = static_cast<const char*>(cache->data());
        std::memcpy(to, from + static_cast<size_t>(row + slot % options_.block_size) * row_bytes, row_bytes);
      }
    }
    return part;
  }

  // A spread of 4 lets few positions decide, so that a lost one shows.
  void fill_queries(const Chunk& chunk, int64_t row) {
    dispatch_float(dtype_, [&]<typename T>() {
      for (int64_t position = chunk.begin; position < chunk.end; ++position, ++row) {
        for (int64_t i = 0; i < heads_.num_heads * heads_.head_dim; ++i) {
          const double value = options_.uniform ? 0.0 : 4 * value_of(chunk.id, 0, position, i);
          qkv_->row<T>(row)[i] = T(static_cast<float>(value));
        }
      }
    });
  }

  DType dtype_;
  Heads heads_;
  std::vector<Chunk> chunks_;
  Options options_;
  int64_t num_tokens_ = 0;
  int64_t max_query_length_ = 0;
  int64_t max_context_length_ = 1;
  Tensor qkv_, keys_, values_, starts_, lengths_, tables_;
};

inline std::string name_of(DType dtype, const Heads& heads, const Options& options) {
  return std::string(dtype_name(dtype)) + ", " + std::to_string(heads.num_heads) + ":" +
         std::to_string(heads.num_kv_heads) + " heads of " + std::to_string(heads.head_dim) + ", blocks of " +
         std::to_string(options.block_size) + (options.deterministic ? ", deterministic" : "") +
         (options.has_workspace ? "" : ", no workspace");
}

// 16-bit probabilities go into the products, each rounded by itself, and both sides round their result.
inline void expect_like_the_cpu(DType dtype, const Heads& heads, const std::vector<Chunk>& chunks, Options options) {
  const std::vector<double> expected = values_of(Batch(dtype, heads, chunks, options).run(kCpuDevice));
  for (const bool deterministic : {false, true}) {
    options.deterministic = deterministic;
    SCOPED_TRACE(name_of(dtype, heads, options));
    const Batch batch(dtype, heads, chunks, options);
    const double absolute = dtype == DType::kF32 ? 1e-5 : 2 * rounding_of(dtype);
    expect_near(batch.run(kCuda), expected, 2.1 * rounding_of(dtype), absolute);
    EXPECT_TRUE(batch.bytes(kCuda) == batch.bytes(kCuda)) << "other bits the second time";
  }
}

inline const std::vector<Chunk> kMixed = {{1, 0, 7}, {2, 64, 65},  {3, 0, 129},    {4, 50, 50},   {5, 60, 68},
                                          {6, 0, 1}, {7, 10, 275}, {8, 999, 1000}, {9, 600, 700}, {10, 0, 512}};
inline const std::vector<Chunk> kDecodes = {{1, 0, 1}, {2, 99, 100}, {3, 63, 64}, {4, 256, 257}, {5, 1299, 1300}};
inline constexpr DType kTiledDTypes[] = {DType::kBF16, DType::kF16};

class AttentionCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (num_cuda_devices() == 0) GTEST_SKIP() << "no CUDA device";
  }
};

}  // namespace cohort::test
