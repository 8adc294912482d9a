// Any bytes as a configuration file: a Status that says where, or a Config that is printed and read back equal. The
// same bytes as the text of every flag.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/config/config_loader.h"

namespace {

using namespace cohort;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_round_trip(const Config& config) {
  const auto again = load_config_text(print_config(config), {.file = "fuzz", .flags = {}, .environment = {}});
  require(again.ok() && *again == config && canonical_config(*again) == canonical_config(config));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto config = load_config_text(text, {.file = "fuzz", .flags = {}, .environment = {}});
  if (config.ok()) {
    check_round_trip(*config);
  } else {
    require(config.status().message().starts_with("fuzz:"));
    require(config.status().message().find('\n') == std::string::npos);
  }
  for (const ConfigKey& key : config_keys()) {
    const std::string flag(key.flag);
    const auto from_flag = load_config_text("", {.file = "fuzz", .flags = {{flag, text}}, .environment = {}});
    if (from_flag.ok()) {
      check_round_trip(*from_flag);
    } else {
      require(from_flag.status().message().starts_with(flag + ": "));
    }
  }
  return 0;
}
