#include "launcher/gateway/engine_link_client.h"

#include <boost/asio.hpp>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "launcher/link/link_connection.h"
#include "launcher/link/messages.h"
#include "runtime/scheduler/encoding_message.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;
using boost::system::error_code;

constexpr std::chrono::milliseconds kTick{200};  // between looks at the clock, and attempts to connect

Protocol::endpoint endpoint_at(const std::string& path) {
  try {
    return Protocol::endpoint(path);
  } catch (const boost::system::system_error& error) {  // it is too long for an address
    throw std::runtime_error("engine link: " + path + ": " + error.code().message());
  }
}

EngineFacts read_facts(const wire::Facts& in) {
  return {.vocab = in.vocab(),
          .max_position = in.max_position(),
          .block_size = in.block_size(),
          .num_blocks = in.num_blocks(),
          .max_seqs = in.max_seqs(),
          .max_waiting = in.max_waiting(),
          .has_source = in.has_source()};
}

EngineEvent read_event(const wire::NewToken& in) {
  EngineEvent event;
  if (in.has_encoded()) event.encoding = std::make_shared<const Encoding>(read_encoding(in.encoded()));
  event.token = in.sampled().token();
  event.logprob = in.sampled().logprob();
  for (const wire::Logprob& top : in.sampled().top_logprobs()) event.top_logprobs.push_back({top.id(), top.logprob()});
  event.finish = static_cast<FinishReason>(in.finish());
  event.num_cached_tokens = in.num_cached_tokens();
  event.queue_seconds = in.queue_seconds();
  return event;
}

}  // namespace

class EngineLinkClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& io, const std::string& path, std::chrono::milliseconds max_silence,
       std::function<void(const std::string& reason)> on_broken)
      : endpoint_(endpoint_at(path)),
        max_silence_(max_silence),
        on_broken_(std::move(on_broken)),
        socket_(io),
        timer_(io) {
    health_.what = "starting";
  }

  void start() {
    connect();
    tick();
  }

  // Nothing is called back any more.
  void stop() {
    is_stopped_ = true;
    requests_.clear();
    disconnect();
  }

  uint64_t submit(GenerationRequest request, OnEvent on_event) {
    const uint64_t id = ++last_id_;
    requests_.emplace(id, std::move(on_event));
    wire::ToEngine message;
    *message.mutable_submit() = write_request(id, request);
    if (health_.state == EngineState::kReady) {
      send(message);
    } else {  // it broke since the caller looked; on_event is not called before this returns
      asio::post(socket_.get_executor(), [self = shared_from_this(), id] {
        EngineEvent event;
        event.status = Status(StatusCode::kUnavailable, "the engine is not ready");
        self->deliver(id, event);
      });
    }
    return id;
  }

  void cancel(uint64_t id) {
    if (requests_.erase(id) == 0 || health_.state != EngineState::kReady) return;
    wire::ToEngine message;
    message.mutable_cancel()->set_id(id);
    send(message);
  }

  void set_broken(const std::string& reason) {
    if (is_stopped_ || health_.state == EngineState::kBroken) return;
    health_ = EngineHealth{.state = EngineState::kBroken, .what = reason, .fraction = 0};
    disconnect();
    EngineEvent event;
    event.status = Status(StatusCode::kUnavailable, reason);
    for (auto& [id, on_event] : std::exchange(requests_, {})) on_event(event);
    on_broken_(reason);
  }

  EngineHealth health_;
  EngineFacts facts_;
  EngineStats stats_;

 private:
  using Clock = std::chrono::steady_clock;

  void connect() {
    is_connecting_ = true;
    socket_ = Protocol::socket(timer_.get_executor());
    socket_.async_connect(endpoint_, [self = shared_from_this()](error_code error) {
      self->is_connecting_ = false;
      if (error || self->has_ended()) return;  // the next tick tries again
      self->begin_talk();
    });
  }

  void begin_talk() {
    const auto weak = weak_from_this();  // which has the connection
    LinkConnection::Handlers handlers;
    handlers.on_bytes = [weak](FrameReader& reader) {
      if (const auto self = weak.lock()) self->take_messages(reader);
    };
    handlers.on_end = [weak](const std::string& why) {
      if (const auto self = weak.lock())
        self->set_broken(why.empty() ? "the engine has ended" : "the engine link: " + why);
    };
    link_ = std::make_shared<LinkConnection>(std::move(socket_), std::move(handlers));
    last_heard_ = Clock::now();
    wire::ToEngine hello;
    hello.mutable_hello()->set_version(kLinkVersion);
    send(hello);
    link_->start();
  }

  void disconnect() {
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
    if (link_) link_->close();
  }

  bool has_ended() const { return is_stopped_ || health_.state == EngineState::kBroken; }

  void tick() {
    timer_.expires_after(kTick);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (error || self->is_stopped_) return;
      if (!self->link_ && !self->is_connecting_) self->connect();
      // A process that was stopped finds everything overdue when it goes on, and what was said meanwhile unread.
      const Clock::time_point now = Clock::now();
      if (now - self->last_tick_ > 5 * kTick) self->last_heard_ = std::max(self->last_heard_, now);
      self->last_tick_ = now;
      if (self->health_.state == EngineState::kReady && now - self->last_heard_ > self->max_silence_) {
        self->set_broken("the engine makes no progress");
        return;
      }
      self->tick();
    });
  }

  void take_messages(FrameReader& reader) {
    last_heard_ = Clock::now();
    while (const auto message = reader.next_message<wire::FromEngine>()) {
      take(*message);
      if (has_ended()) return;
    }
  }

  void take(const wire::FromEngine& message) {
    switch (message.kind_case()) {
      case wire::FromEngine::kProgress:
        health_.what = message.progress().what();
        health_.fraction = message.progress().fraction();
        break;
      case wire::FromEngine::kFacts:
        facts_ = read_facts(message.facts());
        health_ = EngineHealth{.state = EngineState::kReady, .what = "", .fraction = 1};
        break;
      case wire::FromEngine::kRefusal: {
        EngineEvent event;
        event.status = Status(static_cast<StatusCode>(message.refusal().code()), message.refusal().message());
        deliver(message.refusal().id(), event);
        break;
      }
      case wire::FromEngine::kTokens:
        for (const wire::NewToken& token : message.tokens().tokens()) deliver(token.id(), read_event(token));
        break;
      case wire::FromEngine::kStats:
        stats_ = read_stats(message.stats());
        break;
      case wire::FromEngine::kFailure:
        set_broken(message.failure().reason());
        break;
      case wire::FromEngine::KIND_NOT_SET:
        break;
    }
  }

  void deliver(uint64_t id, const EngineEvent& event) {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return;  // cancelled, and the engine had not heard of it
    if (!event.is_last()) {
      const OnEvent on_event = found->second;  // it may cancel, which erases it
      return on_event(event);
    }
    const OnEvent on_event = std::move(found->second);
    requests_.erase(found);
    on_event(event);
  }

  void send(const wire::ToEngine& message) { link_->send(frame(message)); }

  const Protocol::endpoint endpoint_;
  const std::chrono::milliseconds max_silence_;
  const std::function<void(const std::string& reason)> on_broken_;
  Protocol::socket socket_;  // until it is connected
  std::shared_ptr<LinkConnection> link_;
  asio::steady_timer timer_;
  Clock::time_point last_heard_;
  Clock::time_point last_tick_ = Clock::now();
  bool is_connecting_ = false;
  bool is_stopped_ = false;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, OnEvent> requests_;
};

EngineLinkClient::EngineLinkClient(asio::io_context& io, const std::string& path, std::chrono::milliseconds max_silence,
                                   std::function<void(const std::string& reason)> on_broken)
    : impl_(std::make_shared<Impl>(io, path, max_silence, std::move(on_broken))) {
  impl_->start();
}

EngineLinkClient::~EngineLinkClient() { impl_->stop(); }

const EngineHealth& EngineLinkClient::health() const { return impl_->health_; }
const EngineFacts& EngineLinkClient::facts() const { return impl_->facts_; }
const EngineStats& EngineLinkClient::stats() const { return impl_->stats_; }
uint64_t EngineLinkClient::submit(GenerationRequest request, OnEvent on_event) {
  return impl_->submit(std::move(request), std::move(on_event));
}
void EngineLinkClient::cancel(uint64_t id) { impl_->cancel(id); }
void EngineLinkClient::set_broken(const std::string& reason) { impl_->set_broken(reason); }

}  // namespace cohort
