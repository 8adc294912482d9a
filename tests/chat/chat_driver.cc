// What compare_jinja.py drives: reads one JSON object a line, {"template", "data", "trusted"}, and writes one a line,
// {"text", "data"} or {"error", "code"}. "data" lists the characters that come from data, as [begin, end) in bytes.
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/chat/chat_template.h"

namespace {

using nlohmann::ordered_json;

ordered_json answer(const ordered_json& request) {
  const auto failure = [](const cohort::Status& status) {
    return ordered_json{{"error", status.message()}, {"code", cohort::status_code_name(status.code())}};
  };
  const auto parsed = cohort::ChatTemplate::parse(request.at("template").get<std::string>());
  if (!parsed.ok()) return failure(parsed.status());
  cohort::ChatRenderOptions options;
  options.now = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
  const auto segments = parsed->render_segments(request.at("data"), request.at("trusted"), options);
  if (!segments.ok()) return failure(segments.status());
  std::string text;
  ordered_json data = ordered_json::array();
  for (const cohort::ChatSegment& segment : *segments) {
    if (segment.is_data) data.push_back({text.size(), text.size() + segment.text.size()});
    text += segment.text;
  }
  return {{"text", text}, {"data", data}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(ordered_json::parse(line)) << std::endl;
  return 0;
}
