// A picture of what `cohort bench scaling` measured, as an SVG: speed-ups beside the ideal ones, and decode steps
// beside their floors.
#pragma once

#include <string>

#include "launcher/cli/scaling_report.h"

namespace cohort {

// Requires a result.
std::string draw_scaling(const ScalingReport& report);

}  // namespace cohort
