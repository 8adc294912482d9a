// The log of a process, on standard error, by spdlog: "2026-01-31 12:00:00.123 info rank 3 (host node7): ...".
#pragma once

#include <string>

namespace cohort {

// `level`: error, warning, info or debug, the least severe that is written. `rank_name` stands in every line; empty for
// a lone process. Until then spdlog writes as it does by default.
void start_log(const std::string& level, const std::string& rank_name);

}  // namespace cohort
