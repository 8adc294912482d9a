#include "launcher/link/frame.h"

namespace cohort {
namespace {

constexpr size_t kLengthBytes = 4;

}  // namespace

std::string frame(const google::protobuf::MessageLite& message) {
  const size_t num_bytes = message.ByteSizeLong();
  std::string bytes;
  bytes.reserve(kLengthBytes + num_bytes);
  for (size_t i = 0; i < kLengthBytes; ++i) bytes += static_cast<char>(num_bytes >> (8 * i) & 0xff);
  message.AppendToString(&bytes);
  return bytes;
}

std::optional<std::string_view> FrameReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  size_t num_bytes = 0;
  if (rest.size() >= kLengthBytes) {
    for (size_t i = 0; i < kLengthBytes; ++i) num_bytes |= size_t{static_cast<unsigned char>(rest[i])} << (8 * i);
    if (num_bytes > kMaxMessageBytes) {
      throw std::runtime_error("a message of " + std::to_string(num_bytes) + " bytes; expected at most " +
                               std::to_string(kMaxMessageBytes));
    }
    if (rest.size() >= kLengthBytes + num_bytes) {
      begin_ += kLengthBytes + num_bytes;
      return rest.substr(kLengthBytes, num_bytes);
    }
  }
  buffer_.erase(0, begin_);
  begin_ = 0;
  return std::nullopt;
}

}  // namespace cohort
