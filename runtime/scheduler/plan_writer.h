// What the ranks are told of a request in a plan.
#pragma once

#include <cstdint>

#include "runtime/scheduler/scheduled_request.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

// The next `num_tokens` tokens of a running request, and all of it that the ranks do not know yet. Counts the tokens as
// computed, and as awaited what comes of them.
void write_work(wire::StepPlan& plan, ScheduledRequest& request, int64_t num_tokens);

}  // namespace cohort
