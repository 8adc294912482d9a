#include "launcher/loadgen/load_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>

#include "launcher/loadgen/sse_parser.h"

namespace cohort {
namespace {

using Clock = HttpClient::Clock;

// Reads the answer to one request into its record.
class AnswerReader final : public HttpClient::Listener {
 public:
  AnswerReader(RequestRecord& record, Clock::time_point start, std::function<void()> on_done)
      : record_(record), start_(start), on_done_(std::move(on_done)) {}

  void on_body(int status, std::string_view bytes) override {
    if (status != 200) {
      constexpr size_t kMaxErrorBytes = 64 << 10;
      error_body_.append(bytes.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, error_body_.size())));
      return;
    }
    if (!record_.failure.empty()) return;
    const double now = seconds_now();
    const Status fed = parser_.feed(bytes, [&](std::string_view, std::string_view data) { take_event(data, now); });
    if (!fed.ok()) fail("malformed answer", fed.message());
  }

  void on_end(int status, const HttpEnd& end) override {
    record_.ended = seconds_now();
    if (end.failure == HttpEnd::Failure::kConnection) {
      fail("no connection", end.message);
    } else if (end.failure == HttpEnd::Failure::kTimeout) {
      fail("timeout", end.message);
    } else if (end.failure == HttpEnd::Failure::kCut) {
      fail("connection cut", end.message);
    } else if (status != 200) {
      fail(fmt::format("HTTP {}", status), error_message(error_body_));
    } else if (!is_done_ && !has_finished_) {
      fail("stream cut", "it ended without a finish_reason and without [DONE]");
    } else if (num_pieces_ == 0) {
      fail("no output", "");
    }
    if (!record_.has_usage) record_.num_output_tokens = num_pieces_;
    on_done_();
  }

 private:
  double seconds_now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  // The first failure is the cause of those that follow.
  void fail(std::string kind, std::string message) {
    if (!record_.failure.empty()) return;
    record_.failure = std::move(kind);
    record_.failure_message = std::move(message);
  }

  void take_event(std::string_view data, double now) {
    const Result<AnswerEvent> event = parse_answer_event(data);
    if (!event.ok()) return fail("malformed answer", event.status().message());
    if (!event->error.empty()) return fail("error event", event->error);
    is_done_ |= event->is_done;
    has_finished_ |= event->has_finished;
    if (event->num_prompt_tokens) record_.num_prompt_tokens = *event->num_prompt_tokens;
    if (event->num_output_tokens) {
      record_.num_output_tokens = *event->num_output_tokens;
      record_.has_usage = true;
    }
    // An output that ends before it has begun is an end-of-text token, which has no text.
    if (!event->has_output && !(event->has_finished && num_pieces_ == 0)) return;
    if (num_pieces_++ == 0) {
      record_.first_output = now;
    } else {
      record_.gaps.push_back(now - record_.last_output);
    }
    record_.last_output = now;
  }

  RequestRecord& record_;
  Clock::time_point start_;
  std::function<void()> on_done_;
  SseParser parser_;
  std::string error_body_;
  int64_t num_pieces_ = 0;
  bool is_done_ = false;
  bool has_finished_ = false;
};

class Load {
 public:
  Load(HttpClient& client, const LoadRunOptions& options, std::span<const LoadPrompt> prompts,
       std::span<const double> arrivals)
      : client_(client), options_(options), prompts_(prompts) {
    result_.requests.resize(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      result_.requests[i].due = arrivals[i];
      result_.requests[i].num_prompt_tokens = prompts[i].num_tokens;
    }
  }

  LoadResult run() {
    start_ = Clock::now();
    last_report_ = start_;
    arrive();
    client_.run();
    for (const RequestRecord& record : result_.requests) result_.seconds = std::max(result_.seconds, record.ended);
    return std::move(result_);
  }

 private:
  double seconds_now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

  // Sends what is due, and comes back when the next one is.
  void arrive() {
    while (next_ < prompts_.size() && result_.requests[next_].due <= seconds_now()) {
      if (options_.max_at_once > 0 && num_under_way_ >= options_.max_at_once) {
        held_.push_back({next_, seconds_now()});
      } else {
        send(next_);
      }
      ++next_;
    }
    if (next_ == prompts_.size()) return;
    const std::chrono::duration<double> due(result_.requests[next_].due);
    client_.at(start_ + std::chrono::duration_cast<Clock::duration>(due) + Clock::duration(1), [this] { arrive(); });
  }

  void send(size_t index) {
    RequestRecord& record = result_.requests[index];
    record.sent = seconds_now();
    result_.max_under_way = std::max(result_.max_under_way, ++num_under_way_);
    ++progress_.num_sent;
    auto reader = std::make_unique<AnswerReader>(record, start_, [this, &record] { on_done(record); });
    client_.send("POST", options_.path, request_body(options_.form, prompts_[index]), std::move(reader));
  }

  void on_done(const RequestRecord& record) {
    --num_under_way_;
    ++progress_.num_done;
    progress_.num_failed += record.failure.empty() ? 0 : 1;
    report();
    if (held_.empty()) return;
    const auto [index, since] = held_.front();
    held_.pop_front();
    result_.requests[index].held = seconds_now() - since;
    send(index);
  }

  void report() {
    constexpr std::chrono::seconds kInterval(5);
    if (!options_.on_progress || Clock::now() - last_report_ < kInterval) return;
    last_report_ = Clock::now();
    progress_.seconds = seconds_now();
    options_.on_progress(progress_);
  }

  struct Held {
    size_t index;
    double since;
  };

  HttpClient& client_;
  const LoadRunOptions& options_;
  std::span<const LoadPrompt> prompts_;
  Clock::time_point start_;
  Clock::time_point last_report_;
  size_t next_ = 0;
  std::deque<Held> held_;  // due, and at the limit
  int64_t num_under_way_ = 0;
  LoadProgress progress_;
  LoadResult result_;
};

}  // namespace

LoadResult run_load(HttpClient& client, const LoadRunOptions& options, std::span<const LoadPrompt> prompts,
                    std::span<const double> arrivals) {
  return Load(client, options, prompts, arrivals).run();
}

}  // namespace cohort
