#include "launcher/cli/generate_output.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "launcher/cli/command.h"

namespace cohort {

GenerateOutput::GenerateOutput(const std::vector<GenerationRequest>& requests, const Tokenizer* tokenizer, bool json)
    : requests_(requests), tokenizer_(tokenizer), json_(json), continuations_(requests.size()) {
  if (tokenizer == nullptr) return;
  for (Continuation& c : continuations_) {
    c.decoder = std::make_unique<StreamDecoder>(*tokenizer, /*skip_special_tokens=*/true);
  }
}

Status GenerateOutput::add(const TokenEvent& event) {
  Continuation& c = continuations_[static_cast<size_t>(event.request_id)];
  c.finish = event.finish;
  if (event.finish == FinishReason::kError) {
    failure_ = Status(StatusCode::kInternal,
                      "prompt " + std::to_string(event.request_id) + ": the model's logits are not finite numbers");
  } else {
    c.token_ids.push_back(event.token);
    c.top_logprobs.push_back(event.top_logprobs);
    c.text +=
        c.decoder ? c.decoder->append(event.token) : (c.token_ids.size() == 1 ? "" : " ") + std::to_string(event.token);
  }
  if (c.finish != FinishReason::kNone && c.decoder) c.text += c.decoder->finish();
  return flush();
}

Status GenerateOutput::finish() { return failure_; }

Status GenerateOutput::flush() {
  for (; num_done_ < continuations_.size(); ++num_done_) {
    Continuation& c = continuations_[num_done_];
    const bool is_finished = c.finish != FinishReason::kNone;
    std::string out;
    if (json_) {
      if (is_finished) out = json_line(num_done_) + "\n";
    } else {
      out = c.text.substr(c.num_written) + (is_finished ? "\n" : "");
      c.num_written = c.text.size();
    }
    std::fwrite(out.data(), 1, out.size(), stdout);
    COHORT_RETURN_IF_ERROR(flush_output());
    if (!is_finished) break;
  }
  return ok_status();
}

std::string GenerateOutput::json_line(size_t index) const {
  const Continuation& c = continuations_[index];
  nlohmann::ordered_json line;
  line["prompt_ids"] = requests_[index].prompt;
  line["token_ids"] = c.token_ids;
  line["text"] = tokenizer_ != nullptr ? nlohmann::ordered_json(c.text) : nlohmann::ordered_json();
  line["finish_reason"] = finish_reason_name(c.finish);
  line["top_logprobs"] = nlohmann::ordered_json::array();
  for (const std::vector<TokenLogprob>& step : c.top_logprobs) {
    if (step.empty()) continue;  // none were asked for
    auto& list = line["top_logprobs"].emplace_back(nlohmann::ordered_json::array());
    for (const TokenLogprob& t : step) list.push_back({{"id", t.id}, {"logprob", t.logprob}});
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace cohort
