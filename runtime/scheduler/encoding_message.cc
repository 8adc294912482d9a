#include "runtime/scheduler/encoding_message.h"

namespace cohort {

void write_encoding_parts(wire::EncodingParts& out, const EncodingParts& parts) {
  out.set_hidden_states(parts.hidden_states);
  out.set_pooler_output(parts.pooler_output);
  out.set_embedding(parts.embedding);
  out.set_logits(parts.logits);
  out.mutable_logits_of()->Add(parts.logits_of.begin(), parts.logits_of.end());
}

EncodingParts read_encoding_parts(const wire::EncodingParts& in) {
  return {.hidden_states = in.hidden_states(),
          .pooler_output = in.pooler_output(),
          .embedding = in.embedding(),
          .logits = in.logits(),
          .logits_of = {in.logits_of().begin(), in.logits_of().end()}};
}

void write_encoding(wire::EncodedSequence& out, const Encoding& encoding) {
  out.mutable_hidden_states()->Add(encoding.hidden_states.begin(), encoding.hidden_states.end());
  out.mutable_pooler_output()->Add(encoding.pooler_output.begin(), encoding.pooler_output.end());
  out.mutable_embedding()->Add(encoding.embedding.begin(), encoding.embedding.end());
  out.mutable_logits()->Add(encoding.logits.begin(), encoding.logits.end());
}

Encoding read_encoding(const wire::EncodedSequence& in) {
  return {.hidden_states = {in.hidden_states().begin(), in.hidden_states().end()},
          .pooler_output = {in.pooler_output().begin(), in.pooler_output().end()},
          .embedding = {in.embedding().begin(), in.embedding().end()},
          .logits = {in.logits().begin(), in.logits().end()}};
}

}  // namespace cohort
