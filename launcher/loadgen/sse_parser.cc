#include "launcher/loadgen/sse_parser.h"

namespace cohort {

Status SseParser::feed(std::string_view bytes, const OnEvent& on_event) {
  while (!bytes.empty()) {
    if (skips_line_feed_) {
      skips_line_feed_ = false;
      if (bytes.front() == '\n') bytes.remove_prefix(1);
      continue;
    }
    const size_t end = bytes.find_first_of("\r\n");
    if (end == std::string_view::npos) {
      line_.append(bytes);
      bytes = {};
    } else {
      skips_line_feed_ = bytes[end] == '\r';
      if (line_.empty()) {
        take_line(bytes.substr(0, end), on_event);
      } else {
        line_.append(bytes.substr(0, end));
        take_line(line_, on_event);
        line_.clear();
      }
      bytes.remove_prefix(end + 1);
    }
    if (line_.size() + data_.size() > max_event_bytes_) {
      return resource_exhausted("an event of more than " + std::to_string(max_event_bytes_) + " bytes");
    }
  }
  return ok_status();
}

void SseParser::take_line(std::string_view line, const OnEvent& on_event) {
  if (is_first_line_ && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);  // a byte order mark
  is_first_line_ = false;
  if (line.empty()) {
    if (has_data_) on_event(name_, data_);
    name_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  const size_t colon = line.find(':');  // at 0: a comment
  const std::string_view field = line.substr(0, colon);
  std::string_view value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "data") {
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (field == "event") {
    name_ = value;
  }
}

}  // namespace cohort
