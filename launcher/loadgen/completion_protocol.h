// What is sent to and read from an OpenAI server, of its completions and chat completions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/core/status.h"
#include "launcher/loadgen/prompts.h"

namespace cohort {

// What all requests of a load have in common.
struct RequestForm {
  bool is_chat = false;  // messages, or else a prompt
  std::string model = {};
  double temperature = 0;
  bool ignore_eos = false;  // go on to the asked-for length
  std::string extra = {};   // members of a JSON object that go in as they are: "\"top_k\":1"
};

// A streamed request, which asks for usage, as JSON. Requires text, not ids, of a chat.
std::string request_body(const RequestForm& form, const LoadPrompt& prompt);

// One event of an answer.
struct AnswerEvent {
  bool is_done = false;                                         // "[DONE]"
  bool has_output = false;                                      // tokens came with it
  bool has_finished = false;                                    // it says why the output ends
  std::string error;                                            // of an error event: its message
  std::optional<int64_t> num_prompt_tokens, num_output_tokens;  // usage
};

// The data of an event. INVALID_ARGUMENT if it is none of the protocol.
Result<AnswerEvent> parse_answer_event(std::string_view data);

// What an error answer says: its error.message, or else its first 200 bytes.
std::string error_message(std::string_view body);

}  // namespace cohort
