// Safetensors headers of arbitrary bytes: no crash, no undefined behaviour, and what is accepted is
// consistent.
//
// The first two bytes of an input say how much larger the file is than the rest of them, so that
// files are tried whose data is not there to be read; after them comes the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

#include "runtime/json/json.h"
#include "runtime/weights/safetensors.h"
#include "tests/files.h"

namespace {

using namespace cohort;

void require(bool is_so) {
  if (!is_so) std::abort();
}

void check_entries(std::span<const SafetensorsEntry> entries, int64_t file_bytes) {
  int64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    require(entry.begin == covered && entry.end >= entry.begin && entry.end <= file_bytes);
    require(entry.shape.num_elements() == 0 || entry.num_bytes() >= entry.shape.num_elements());
    covered = entry.end;
  }
  require(covered < file_bytes);
}

// The whole file, mapped: every byte of every tensor must be readable.
void check_mapped(const uint8_t* data, size_t size) {
  static const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "model.safetensors";
  test::write_file(path, {reinterpret_cast<const char*>(data), size});
  const Result<SafetensorsFile> opened = SafetensorsFile::open(path);
  std::filesystem::remove(path);
  require(opened.ok());
  unsigned sum = 0;
  for (const SafetensorsEntry& entry : opened->entries()) {
    const ConstTensorView view = opened->tensor(entry);
    require(view.num_bytes() == entry.num_bytes());
    opened->will_need(view);
    const auto* bytes = static_cast<const uint8_t*>(view.data());
    for (int64_t i = 0; i < view.num_bytes(); ++i) sum += bytes[i];
  }
  require(sum < ~0u);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint16_t num_absent = 0;
  if (size < sizeof(num_absent)) return 0;
  std::memcpy(&num_absent, data, sizeof(num_absent));
  data += sizeof(num_absent);
  size -= sizeof(num_absent);
  const auto file_bytes = static_cast<int64_t>(size + num_absent);

  const auto entries = parse_safetensors_header(std::span(data, size), file_bytes, "fuzz");
  if (entries.ok()) {
    check_entries(*entries, file_bytes);
    if (num_absent == 0) check_mapped(data, size);
  } else {
    require(entries.status().message().starts_with("fuzz: "));
  }
  // The same bytes as JSON, which every other reader of a model directory goes through.
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (parse_json(text, "fuzz").ok()) require(nlohmann::json::accept(text));
  return 0;
}
