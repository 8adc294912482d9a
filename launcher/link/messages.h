// Requests and counts as the engine link carries them.
#pragma once

#include <cstdint>

#include "launcher/link/engine_link.pb.h"
#include "runtime/decoding/engine_stats.h"
#include "runtime/decoding/request.h"

namespace cohort {

wire::SubmitRequest write_request(uint64_t id, const GenerationRequest& request);

// INVALID_ARGUMENT for what no gateway writes.
Result<GenerationRequest> read_request(const wire::SubmitRequest& message);

wire::Stats write_stats(const EngineStats& stats);
EngineStats read_stats(const wire::Stats& message);

}  // namespace cohort
