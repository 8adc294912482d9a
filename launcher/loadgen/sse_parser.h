// SseParser: server-sent events (WHATWG HTML, section 9.2) from bytes that arrive in pieces of any size.
//
// Lines end with LF, CR or CRLF; comments and fields other than data and event are skipped; an event without data is
// none. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

class SseParser {
 public:
  // The name is empty where the stream gives none. Both are valid during the call, which must not touch the parser.
  using OnEvent = std::function<void(std::string_view name, std::string_view data)>;

  explicit SseParser(size_t max_event_bytes = size_t{64} << 20) : max_event_bytes_(max_event_bytes) {}

  // Calls on_event for each event that these bytes complete. RESOURCE_EXHAUSTED: an event is longer than allowed;
  // nothing may be fed afterwards.
  Status feed(std::string_view bytes, const OnEvent& on_event);

  // Whether an event was begun and has not ended: a stream that ends here was cut.
  bool is_inside_event() const { return has_data_ || !name_.empty() || !line_.empty(); }

 private:
  void take_line(std::string_view line, const OnEvent& on_event);

  size_t max_event_bytes_;
  std::string line_;  // begun, and not ended by the bytes so far
  std::string name_;
  std::string data_;
  bool has_data_ = false;
  bool is_first_line_ = true;
  bool skips_line_feed_ = false;  // the last byte was the CR of what may be a CRLF
};

}  // namespace cohort
