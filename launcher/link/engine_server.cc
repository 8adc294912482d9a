#include "launcher/link/engine_server.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "launcher/link/frame.h"
#include "launcher/link/messages.h"
#include "runtime/scheduler/encoding_message.h"

namespace cohort {
namespace {

// While there is nothing to do: how long until `should_end` is asked again.
constexpr std::chrono::milliseconds kIdleWait{100};
constexpr std::chrono::milliseconds kStatsInterval{500};

wire::NewToken write_token(uint64_t id, const TokenEvent& event) {
  wire::NewToken token;
  token.set_id(id);
  if (event.encoding) write_encoding(*token.mutable_encoded(), *event.encoding);
  token.mutable_sampled()->set_token(event.token);
  token.mutable_sampled()->set_logprob(event.logprob);
  for (const TokenLogprob& top : event.top_logprobs) {
    wire::Logprob& out = *token.mutable_sampled()->add_top_logprobs();
    out.set_id(top.id);
    out.set_logprob(top.logprob);
  }
  token.set_finish(static_cast<int>(event.finish));
  token.set_num_cached_tokens(event.num_cached_tokens);
  token.set_queue_seconds(event.queue_s);
  return token;
}

}  // namespace

EngineServer::EngineServer(Engine& engine, LinkServer& link, wire::Facts facts)
    : engine_(engine), link_(link), facts_(std::move(facts)) {}

void EngineServer::run(const std::function<bool()>& should_end) {
  wire::FromEngine ready;
  *ready.mutable_facts() = facts_;
  link_.announce(ready);
  Clock::time_point next_stats = Clock::now();
  while (!should_end()) {
    const bool is_idle = !engine_.has_work();
    for (const LinkServer::Received& received : link_.receive(is_idle ? kIdleWait : kIdleWait * 0)) take(received);
    if (engine_.has_work()) send_tokens(engine_.step());
    // Also when the last request ends, so that nobody sees an idle engine at work.
    const bool became_idle = !is_idle && !engine_.has_work();
    if (Clock::now() < next_stats && !became_idle) continue;
    next_stats = Clock::now() + kStatsInterval;
    send_stats();
  }
  drop_all();
}

// The followers are in the steps under way, too: these are gone through to their end.
void EngineServer::drop_all() {
  for (const auto& [id, origin] : origins_) engine_.cancel(id);
  origins_.clear();
  ids_.clear();
  while (engine_.has_work()) engine_.step();
}

void EngineServer::take(const LinkServer::Received& received) {
  if (!received.message) return cancel_all(received.connection);
  if (received.message->has_submit()) {
    submit({received.connection, received.message->submit().id()}, received.message->submit());
  } else if (received.message->has_cancel()) {
    cancel({received.connection, received.message->cancel().id()});
  }
}

void EngineServer::submit(Origin origin, const wire::SubmitRequest& message) {
  if (refuses_new_) return refuse(origin, Status(StatusCode::kUnavailable, "the engine is shutting down"));
  if (ids_.count(origin) != 0) {
    return refuse(origin, Status(StatusCode::kInternal, "a request under way has the same number"));
  }
  auto request = read_request(message);
  if (!request.ok()) return refuse(origin, request.status());
  spdlog::debug("request {}: {} prompt tokens, at most {} more", request->name, request->prompt.size(),
                request->max_tokens);
  const Result<int64_t> id = engine_.submit(*std::move(request));
  if (!id.ok()) return refuse(origin, id.status());
  origins_.emplace(*id, origin);
  ids_.emplace(origin, *id);
}

void EngineServer::refuse(Origin origin, const Status& status) {
  wire::FromEngine message;
  message.mutable_refusal()->set_id(origin.id);
  message.mutable_refusal()->set_code(static_cast<int>(status.code()));
  message.mutable_refusal()->set_message(status.message());
  link_.send(origin.connection, message);
}

void EngineServer::cancel(Origin origin) {
  const auto found = ids_.find(origin);
  if (found == ids_.end()) return;  // it has ended meanwhile
  engine_.cancel(found->second);
  origins_.erase(found->second);
  ids_.erase(found);
}

void EngineServer::cancel_all(int64_t connection) {
  for (auto it = ids_.lower_bound({connection, 0}); it != ids_.end() && it->first.connection == connection;) {
    engine_.cancel(it->second);
    origins_.erase(it->second);
    it = ids_.erase(it);
  }
}

void EngineServer::send_tokens(const std::vector<TokenEvent>& events) {
  std::map<int64_t, wire::FromEngine> messages;  // by connection
  for (const TokenEvent& event : events) {
    const auto found = origins_.find(event.request_id);
    if (found == origins_.end()) continue;
    const Origin origin = found->second;
    if (event.encoding) {
      send_encoding(origin, event);
    } else {
      *messages[origin.connection].mutable_tokens()->add_tokens() = write_token(origin.id, event);
    }
    if (event.finish == FinishReason::kNone) continue;
    origins_.erase(found);
    ids_.erase(origin);
  }
  for (const auto& [connection, message] : messages) link_.send(connection, message);
}

void EngineServer::send_encoding(Origin origin, const TokenEvent& event) {
  wire::FromEngine message;
  *message.mutable_tokens()->add_tokens() = write_token(origin.id, event);
  if (const size_t num_bytes = message.ByteSizeLong(); num_bytes > FrameReader::kMaxMessageBytes) {
    return refuse(origin, invalid_argument("its result of " + std::to_string(num_bytes) +
                                           " bytes is more than the engine link carries, which is " +
                                           std::to_string(FrameReader::kMaxMessageBytes)));
  }
  link_.send(origin.connection, message);
}

void EngineServer::send_stats() {
  wire::FromEngine message;
  *message.mutable_stats() = write_stats(engine_.stats());
  link_.broadcast(message);
}

}  // namespace cohort
