#include "launcher/bootstrap/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace cohort {

void start_log(const std::string& level, const std::string& rank_name) {
  auto logger = std::make_shared<spdlog::logger>(rank_name, std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(rank_name.empty() ? "%Y-%m-%d %H:%M:%S.%e %l: %v" : "%Y-%m-%d %H:%M:%S.%e %l %n: %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);  // a rank may end at any time
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace cohort
