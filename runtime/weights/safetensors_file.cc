// The memory mapping of a safetensors file.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/weights/safetensors.h"

namespace cohort {
namespace {

// Closes what it opened, unless that is taken.
class FileDescriptor {
 public:
  explicit FileDescriptor(const char* path) : fd_(::open(path, O_RDONLY | O_CLOEXEC)) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

constexpr int64_t kHeaderGuessBytes = 64 * 1024;
constexpr int64_t kMinGapBytes = 64 * 1024;

void advise_pages(const char* begin, const char* end) {
  static const auto page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / page_bytes * page_bytes;
  // Only a hint: a kernel that refuses it still gives the right bytes.
  ::madvise(reinterpret_cast<void*>(first), reinterpret_cast<uintptr_t>(end) - first, MADV_WILLNEED);
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  FileDescriptor file(path.c_str());
  if (file.get() < 0) {
    const int error = errno;
    const std::string message = path.string() + ": cannot be opened: " + std::strerror(error);
    return error == ENOENT ? not_found(message) : invalid_argument(message);
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return invalid_argument(path.string() + ": expected a regular file");
  if (info.st_size == 0) return data_loss(path.string() + ": truncated: the file is empty");

  SafetensorsFile opened;
  void* map = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, file.get(), 0);
  if (map == MAP_FAILED) return resource_exhausted(path.string() + ": cannot be mapped: " + std::strerror(errno));
  // No guessed read-ahead: a rank wants its shards, not their neighbours. will_need() asks for what
  // is wanted, here for the beginning, where the header is.
  const auto* begin = static_cast<const char*>(map);
  ::madvise(map, static_cast<size_t>(info.st_size), MADV_RANDOM);
  advise_pages(begin, begin + std::min<int64_t>(info.st_size, kHeaderGuessBytes));
  opened.path_ = path;
  opened.fd_ = file.take();
  opened.map_ = map;
  opened.map_bytes_ = info.st_size;
  const std::span prefix(static_cast<const uint8_t*>(map), static_cast<size_t>(info.st_size));
  COHORT_ASSIGN_OR_RETURN(opened.entries_, parse_safetensors_header(prefix, info.st_size, path.string()));
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, map, sizeof(header_bytes));
  opened.data_begin_ = static_cast<int64_t>(sizeof(header_bytes) + header_bytes);
  return opened;
}

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) ::munmap(map_, static_cast<size_t>(map_bytes_));
  if (fd_ >= 0) ::close(fd_);
}

void SafetensorsFile::swap(SafetensorsFile& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(map_, other.map_);
  std::swap(map_bytes_, other.map_bytes_);
  std::swap(data_begin_, other.data_begin_);
  std::swap(entries_, other.entries_);
}

ConstTensorView SafetensorsFile::tensor(const SafetensorsEntry& entry) const {
  const char* data = static_cast<const char*>(map_) + data_begin_ + entry.begin;
  if (dtype_bytes(entry.dtype, entry.shape.num_elements()) != entry.num_bytes())
    return {data, DType::kU8, Shape{entry.num_bytes()}};
  return {data, entry.dtype, entry.shape};
}

Status SafetensorsFile::read(void* to, const void* from, int64_t num_bytes) const {
  const int64_t begin = static_cast<const char*>(from) - static_cast<const char*>(map_);
  for (int64_t done = 0; done < num_bytes;) {
    const ssize_t num_read =
        ::pread(fd_, static_cast<char*>(to) + done, static_cast<size_t>(num_bytes - done), begin + done);
    if (num_read < 0 && errno == EINTR) continue;
    if (num_read < 0) return data_loss(path_.string() + ": cannot be read: " + std::strerror(errno));
    if (num_read == 0) return data_loss(path_.string() + ": truncated while it was read");
    done += num_read;
  }
  return ok_status();
}

void SafetensorsFile::will_need(const ConstTensorView& view) const {
  if (view.empty()) return;
  const auto* data = static_cast<const char*>(view.data());
  // The slice of one dimension is `num_runs` dense runs at equal distances.
  int64_t num_runs = 1, run_elements = 1;
  int dim = view.rank() - 1;
  for (; dim >= 0 && (view.dim(dim) == 1 || view.stride(dim) == run_elements); --dim) run_elements *= view.dim(dim);
  const int64_t run_stride = dim < 0 ? 0 : dtype_bytes(view.dtype(), view.stride(dim));
  for (int i = 0; i <= dim; ++i) num_runs *= view.dim(i);
  const int64_t run_bytes = dtype_bytes(view.dtype(), run_elements);
  // Runs that lie nearer to each other are cheaper read with what is between them.
  const bool is_scattered = run_stride - run_bytes > kMinGapBytes;
  if (!is_scattered) {
    advise_pages(data, data + (num_runs - 1) * run_stride + run_bytes);
    return;
  }
  for (int64_t i = 0; i < num_runs; ++i) {
    advise_pages(data + i * run_stride, data + i * run_stride + run_bytes);
  }
}

}  // namespace cohort
