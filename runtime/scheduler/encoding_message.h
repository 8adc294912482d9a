// What is to be made of a sequence by an encoder, and what was, as messages carry it.
#pragma once

#include "runtime/decoding/encoding.h"
#include "runtime/scheduler/step_plan.pb.h"

namespace cohort {

void write_encoding_parts(wire::EncodingParts& out, const EncodingParts& parts);
EncodingParts read_encoding_parts(const wire::EncodingParts& in);

// All but the id.
void write_encoding(wire::EncodedSequence& out, const Encoding& encoding);
Encoding read_encoding(const wire::EncodedSequence& in);

}  // namespace cohort
