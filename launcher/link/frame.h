// Framing of the engine link: each message follows its length, four bytes, the lowest first.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace cohort {

inline constexpr uint32_t kLinkVersion = 1;

// A message with its length before it.
std::string frame(const google::protobuf::MessageLite& message);

// Takes a stream of bytes apart into messages. One thread.
class FrameReader {
 public:
  // A prompt of a million tokens has five. What claims to be longer is not one of ours.
  static constexpr size_t kMaxMessageBytes = size_t{64} << 20;

  void append(std::string_view bytes) { buffer_.append(bytes); }
  // The next message whose bytes are all there, valid until the next call of any method. Throws std::runtime_error for
  // a length above kMaxMessageBytes.
  std::optional<std::string_view> next();

  // The same, as the message that it is. Throws std::runtime_error also for bytes that are none.
  template <typename Message>
  std::optional<Message> next_message() {
    const auto bytes = next();
    if (!bytes) return std::nullopt;
    std::optional<Message> message(std::in_place);
    if (!message->ParseFromArray(bytes->data(), static_cast<int>(bytes->size()))) {
      throw std::runtime_error("not a message of the engine link");
    }
    return message;
  }

 private:
  std::string buffer_;
  size_t begin_ = 0;  // of what next() has not returned
};

}  // namespace cohort
