// How a request is to be sampled, as messages carry it.
#pragma once

#include "runtime/decoding/request.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

// Everything of wire::Sampling, from the request.
void write_sampling(wire::Sampling& out, const GenerationRequest& request);

// The part of it that says how to draw. Throws CheckError for biases without a token each.
SamplingParams read_sampling(const wire::Sampling& in);

}  // namespace cohort
