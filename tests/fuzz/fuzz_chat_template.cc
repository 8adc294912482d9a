// Any bytes as a chat template: a Status, or a template that renders any context to a Status or valid segments.
//
// Input: the template; after a zero byte, the variables as JSON, of which "trusted" are those that come with the model.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "runtime/chat/chat_template.h"
#include "runtime/tokenizer/unicode.h"

namespace {

using nlohmann::ordered_json;

void require(bool condition) {
  if (!condition) std::abort();
}

// What a template is given in production, where nothing else is said.
ordered_json sample_variables() {
  return {{"messages",
           {{{"role", "system"}, {"content", " Be <b>. "}},
            {{"role", "user"}, {"content", "h\xC3\xA9llo\n\n1,2"}},
            {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {{{"id", "a"}, {"n", 2.5}}}}}}},
          {"tools", {{{"name", "f"}, {"parameters", {{"x", {{"type", "string"}}}}}}}},
          {"s", "abc abc"},
          {"n", 7},
          {"l", {3, 1, 2}},
          {"add_generation_prompt", true},
          {"trusted", {{"bos_token", "<s>"}}}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  const auto parsed = cohort::ChatTemplate::parse(input.substr(0, end));
  if (!parsed.ok()) {
    require(!parsed.status().message().empty());
    return 0;
  }
  ordered_json variables = sample_variables();
  if (end < size) {
    variables = ordered_json::parse(input.substr(end + 1), nullptr, false);
    if (!variables.is_object()) return 0;
  }
  ordered_json trusted = ordered_json::object();
  if (variables.contains("trusted") && variables["trusted"].is_object()) trusted = variables["trusted"];
  cohort::ChatRenderOptions options;
  options.now = {};
  options.limits.max_steps = 100'000;
  options.limits.max_text_bytes = 1 << 20;
  const auto segments = parsed->render_segments(variables, trusted, options);
  if (!segments.ok()) return 0;
  for (size_t i = 0; i < segments->size(); ++i) {
    const cohort::ChatSegment& segment = (*segments)[i];
    require(!segment.text.empty() && cohort::is_valid_utf8(segment.text));
    require(i == 0 || segment.is_data != (*segments)[i - 1].is_data);
  }
  return 0;
}
