// One load: requests that are sent when they are due, whatever became of those before, and what became of each.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "launcher/loadgen/completion_protocol.h"
#include "launcher/loadgen/http_client.h"
#include "launcher/loadgen/prompts.h"

namespace cohort {

// Times are seconds since the load's start.
struct RequestRecord {
  double due = 0;   // as planned
  double held = 0;  // for how long it then waited for others to end, where the number at once is limited
  double sent = 0;
  double first_output = 0;        // the first tokens came
  double last_output = 0;         // the last ones
  std::vector<double> gaps = {};  // between one piece of output and the next
  double ended = 0;               // the answer, or the failure
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
  bool has_usage = false;  // the numbers are the server's; otherwise the prompt's own and the pieces of output
  // Empty if it went well; or its kind, of which there are few ("HTTP 429", "timeout"), and what was said.
  std::string failure = {};
  std::string failure_message = {};
};

struct LoadProgress {
  double seconds = 0;
  int64_t num_sent = 0;
  int64_t num_done = 0;  // of which some failed
  int64_t num_failed = 0;
};

struct LoadRunOptions {
  std::string path;  // "/v1/completions"
  RequestForm form;
  int64_t max_at_once = 0;                               // requests under way; 0: no limit
  std::function<void(const LoadProgress&)> on_progress;  // now and then, if any
};

struct LoadResult {
  std::vector<RequestRecord> requests;  // in the order of the prompts
  double seconds = 0;                   // from the start to the last end
  int64_t max_under_way = 0;            // requests at once
};

// arrivals: seconds after the start, ascending, one a prompt.
LoadResult run_load(HttpClient& client, const LoadRunOptions& options, std::span<const LoadPrompt> prompts,
                    std::span<const double> arrivals);

}  // namespace cohort
