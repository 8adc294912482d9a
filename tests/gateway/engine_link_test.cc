// The engine link: what gateway and leader say arrives, and what is not of it harms nobody.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <boost/asio.hpp>
#include <filesystem>
#include <thread>

#include "launcher/gateway/engine_link_client.h"
#include "launcher/link/frame.h"
#include "launcher/link/link_server.h"
#include "launcher/link/messages.h"
#include "tests/files.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;  // with a busy machine

class EngineLink : public testing::Test {
 protected:
  void connect(std::chrono::milliseconds max_silence = 60s) {
    client_ = std::make_unique<EngineLinkClient>(io_, server_->path(), max_silence,
                                                 [this](const std::string& reason) { broken_ = reason; });
  }

  // Runs the gateway's loop until `is_done`, for kPatience at most.
  template <typename IsDone>
  void run_until(IsDone is_done) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!is_done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "nothing happened";
      io_.restart();
      io_.run_one_for(20ms);
    }
  }

  // The next thing that the leader gets.
  LinkServer::Received receive() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (received_.empty()) {
      if (std::chrono::steady_clock::now() > end) throw std::runtime_error("nothing came");
      io_.restart();
      io_.run_for(5ms);
      for (auto& one : server_->receive(5ms)) received_.push_back(std::move(one));
    }
    LinkServer::Received first = std::move(received_.front());
    received_.erase(received_.begin());
    return first;
  }

  void announce_ready() {
    wire::FromEngine ready;
    ready.mutable_facts()->set_vocab(1003);
    ready.mutable_facts()->set_max_waiting(7);
    server_->announce(ready);
    run_until([&] { return client_->health().state == EngineState::kReady; });
  }

  // What a process that connects to the socket and writes `bytes` reads until it is disconnected.
  std::string talk(const std::string& bytes) {
    asio::local::stream_protocol::iostream stream{asio::local::stream_protocol::endpoint(server_->path())};
    stream.expires_after(kPatience);
    stream << bytes << std::flush;
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  const test::TemporaryDirectory directory_;
  asio::io_context io_;
  std::unique_ptr<LinkServer> server_ = std::make_unique<LinkServer>(directory_ / "sock");
  std::unique_ptr<EngineLinkClient> client_;
  std::vector<LinkServer::Received> received_;
  std::string broken_;
};

GenerationRequest full_request() {
  GenerationRequest request;
  request.prompt = {3, 1, 4, 1, 5};
  request.max_tokens = 9;
  request.min_tokens = 2;
  request.sampling = {.temperature = 0.5F,
                      .top_k = 4,
                      .top_p = 0.75F,
                      .min_p = 0.125F,
                      .repetition_penalty = 1.5F,
                      .presence_penalty = -1,
                      .frequency_penalty = 0.25F,
                      .seed = ~uint64_t{0},
                      .logit_bias = {{7, -100.0F}, {8, 0.5F}}};
  request.stop_ids = {2, 6};
  request.ignore_stop_ids = true;
  request.logprob = true;
  request.top_logprobs = 3;
  request.priority = -4;
  request.cache_salt = std::string("\0\xff", 2);
  request.tenant = "a";
  request.name = "cmpl-1";
  return request;
}

TEST_F(EngineLink, SaysHowFarLoadingIsAndThenWhatThereIsToKnow) {
  wire::FromEngine progress;
  progress.mutable_progress()->set_what("loading weights");
  progress.mutable_progress()->set_fraction(0.25);
  server_->announce(progress);  // before anybody listens
  connect();
  run_until([&] { return client_->health().fraction == 0.25; });
  EXPECT_EQ(client_->health().state, EngineState::kLoading);
  EXPECT_EQ(client_->health().what, "loading weights");
  announce_ready();
  EXPECT_EQ(client_->facts().vocab, 1003);
  EXPECT_EQ(client_->facts().max_waiting, 7);
}

TEST_F(EngineLink, CarriesEveryFieldOfARequest) {
  connect();
  announce_ready();
  const GenerationRequest sent = full_request();
  client_->submit(sent, [](const EngineEvent&) {});
  const LinkServer::Received received = receive();
  ASSERT_TRUE(received.message.has_value() && received.message->has_submit());
  const auto request = read_request(received.message->submit());
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->prompt, sent.prompt);
  EXPECT_EQ(request->max_tokens, sent.max_tokens);
  EXPECT_EQ(request->min_tokens, sent.min_tokens);
  EXPECT_EQ(request->sampling.temperature, sent.sampling.temperature);
  EXPECT_EQ(request->sampling.top_k, sent.sampling.top_k);
  EXPECT_EQ(request->sampling.top_p, sent.sampling.top_p);
  EXPECT_EQ(request->sampling.min_p, sent.sampling.min_p);
  EXPECT_EQ(request->sampling.repetition_penalty, sent.sampling.repetition_penalty);
  EXPECT_EQ(request->sampling.presence_penalty, sent.sampling.presence_penalty);
  EXPECT_EQ(request->sampling.frequency_penalty, sent.sampling.frequency_penalty);
  EXPECT_EQ(request->sampling.seed, sent.sampling.seed);
  EXPECT_EQ(request->sampling.logit_bias, sent.sampling.logit_bias);
  EXPECT_EQ(request->stop_ids, sent.stop_ids);
  EXPECT_TRUE(request->ignore_stop_ids);
  EXPECT_TRUE(request->logprob);
  EXPECT_EQ(request->top_logprobs, sent.top_logprobs);
  EXPECT_EQ(request->priority, sent.priority);
  EXPECT_EQ(request->cache_salt, sent.cache_salt);
  EXPECT_EQ(request->tenant, sent.tenant);
  EXPECT_EQ(request->name, sent.name);
}

TEST_F(EngineLink, BringsTokensToTheirRequestAndNoneAfterItsEnd) {
  connect();
  announce_ready();
  std::vector<EngineEvent> events;
  const uint64_t id = client_->submit(full_request(), [&](const EngineEvent& event) { events.push_back(event); });
  const LinkServer::Received received = receive();
  ASSERT_EQ(received.message->submit().id(), id);
  wire::FromEngine message;
  for (int i = 0; i < 3; ++i) {  // the third comes after the end
    wire::NewToken& token = *message.mutable_tokens()->add_tokens();
    token.set_id(id);
    token.mutable_sampled()->set_token(40 + i);
    token.mutable_sampled()->set_logprob(-0.5F);
    auto& top = *token.mutable_sampled()->add_top_logprobs();
    top.set_id(9);
    top.set_logprob(-0.25F);
    token.set_finish(static_cast<int>(i == 0 ? FinishReason::kNone : FinishReason::kStop));
    token.set_num_cached_tokens(16);
    token.set_queue_seconds(0.5);
  }
  server_->send(received.connection, message);
  run_until([&] { return events.size() == 2; });
  io_.restart();
  io_.run_for(50ms);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].token, 40);
  EXPECT_EQ(events[0].logprob, -0.5F);
  ASSERT_EQ(events[0].top_logprobs.size(), 1U);
  EXPECT_EQ(events[0].top_logprobs[0].id, 9);
  EXPECT_EQ(events[0].num_cached_tokens, 16);
  EXPECT_EQ(events[0].queue_seconds, 0.5);
  EXPECT_FALSE(events[0].is_last());
  EXPECT_EQ(events[1].finish, FinishReason::kStop);
}

TEST_F(EngineLink, CarriesEveryCount) {
  connect();
  announce_ready();
  const EngineStats sent{.num_steps = 1,
                         .num_running = 2,
                         .num_waiting = 3,
                         .num_owned_blocks = 4,
                         .num_cached_blocks = 5,
                         .num_blocks = 6,
                         .num_prompt_tokens = 7,
                         .num_output_tokens = 8,
                         .num_prefix_queries = 9,
                         .num_prefix_hits = 10,
                         .num_preemptions = 11,
                         .num_cancelled = 12,
                         .num_errors = 13};
  wire::FromEngine message;
  *message.mutable_stats() = write_stats(sent);
  server_->broadcast(message);
  run_until([&] { return client_->stats().num_steps == 1; });
  EXPECT_EQ(client_->stats(), sent);
}

TEST_F(EngineLink, ARefusalEndsARequest) {
  connect();
  announce_ready();
  std::vector<Status> ends;
  client_->submit(full_request(), [&](const EngineEvent& event) { ends.push_back(event.status); });
  const LinkServer::Received received = receive();
  wire::FromEngine message;
  message.mutable_refusal()->set_id(received.message->submit().id());
  message.mutable_refusal()->set_code(static_cast<int>(StatusCode::kResourceExhausted));
  message.mutable_refusal()->set_message("the queue is full");
  server_->send(received.connection, message);
  run_until([&] { return !ends.empty(); });
  EXPECT_EQ(ends[0].code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ends[0].message(), "the queue is full");
}

TEST_F(EngineLink, ACancelledRequestIsToldTheLeaderAndHeardOfNoMore) {
  connect();
  announce_ready();
  int num_events = 0;
  const uint64_t id = client_->submit(full_request(), [&](const EngineEvent&) { ++num_events; });
  client_->cancel(id);
  const LinkServer::Received submitted = receive();
  const LinkServer::Received cancelled = receive();
  ASSERT_TRUE(cancelled.message->has_cancel());
  EXPECT_EQ(cancelled.message->cancel().id(), id);
  wire::FromEngine message;
  message.mutable_tokens()->add_tokens()->set_id(id);
  server_->send(submitted.connection, message);
  io_.restart();
  io_.run_for(50ms);
  EXPECT_EQ(num_events, 0);
}

TEST_F(EngineLink, TheEndOfTheLeaderEndsEveryRequest) {
  connect();
  announce_ready();
  std::vector<Status> ends;
  for (int i = 0; i < 3; ++i) {
    client_->submit(full_request(), [&](const EngineEvent& event) { ends.push_back(event.status); });
    receive();
  }
  server_.reset();
  run_until([&] { return !broken_.empty(); });
  ASSERT_EQ(ends.size(), 3U);
  for (const Status& status : ends) EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_EQ(client_->health().state, EngineState::kBroken);
}

TEST_F(EngineLink, ALeaderThatSaysNothingIsBroken) {
  connect(/*max_silence=*/400ms);
  announce_ready();
  Status end;
  client_->submit(full_request(), [&](const EngineEvent& event) { end = event.status; });
  run_until([&] { return !broken_.empty(); });
  EXPECT_EQ(broken_, "the engine makes no progress");
  EXPECT_EQ(end.code(), StatusCode::kUnavailable);
}

TEST_F(EngineLink, AGatewayThatGoesIsReported) {
  connect();
  announce_ready();
  client_.reset();
  EXPECT_FALSE(receive().message.has_value());
}

TEST_F(EngineLink, WhatIsNotOfTheProtocolIsDisconnectedAndHarmsNobody) {
  connect();
  announce_ready();
  wire::ToEngine early;
  early.mutable_cancel()->set_id(1);
  wire::ToEngine old;
  old.mutable_hello()->set_version(kLinkVersion + 1);
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100, '\xff'), frame(early),
                                   frame(old), std::string("\x03\0\0\0\xff\xff\xff", 7)}) {
    EXPECT_EQ(talk(bytes), "");
  }
  EXPECT_TRUE(server_->receive(0ms).empty());
  client_->submit(full_request(), [](const EngineEvent&) {});
  EXPECT_TRUE(receive().message->has_submit());
}

TEST_F(EngineLink, OnlyThisUserMayOpenTheSocket) {
  struct stat facts {};
  ASSERT_EQ(stat(server_->path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0077, 0U);
  server_ = std::make_unique<LinkServer>("");
  ASSERT_EQ(stat(server_->path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0077, 0U);
  ASSERT_EQ(stat(std::filesystem::path(server_->path()).parent_path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0077, 0U);
}

TEST_F(EngineLink, APrivateSocketIsGoneOnceItsGatewayIsThere) {
  server_ = std::make_unique<LinkServer>("");
  const std::filesystem::path path = server_->path();
  EXPECT_EQ(talk("no hello"), "");
  EXPECT_TRUE(std::filesystem::exists(path));
  connect();
  announce_ready();
  EXPECT_FALSE(std::filesystem::exists(path.parent_path()));
  client_->submit(full_request(), [](const EngineEvent&) {});
  EXPECT_TRUE(receive().message->has_submit());
}

TEST_F(EngineLink, APathThatIsTakenIsAnErrorThatNamesIt) {
  const auto error_of = [](const std::string& path) -> std::string {
    try {
      const LinkServer server(path);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(error_of(server_->path()), "engine link: " + server_->path() + ": another engine listens there");
  const std::filesystem::path file = directory_ / "file";
  test::write_file(file, "kept");
  EXPECT_EQ(error_of(file), "engine link: " + file.string() + ": is there already, and no socket");
  EXPECT_NE(error_of(std::string(200, 'a')), "");
}

TEST(FrameReader, TakesMessagesApartWhereverTheBytesAreCut) {
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    wire::ToEngine message;
    message.mutable_submit()->set_id(static_cast<uint64_t>(i));
    message.mutable_submit()->set_name(std::string(static_cast<size_t>(i) * 7, 'x'));
    bytes += frame(message);
  }
  for (const size_t step : {size_t{1}, size_t{3}, size_t{64}, bytes.size()}) {
    FrameReader reader;
    uint64_t num_read = 0;
    for (size_t begin = 0; begin < bytes.size(); begin += step) {
      reader.append(std::string_view(bytes).substr(begin, step));
      while (const auto one = reader.next()) {
        wire::ToEngine message;
        ASSERT_TRUE(message.ParseFromArray(one->data(), static_cast<int>(one->size())));
        EXPECT_EQ(message.submit().id(), num_read);
        EXPECT_EQ(message.submit().name().size(), num_read * 7);
        ++num_read;
      }
    }
    EXPECT_EQ(num_read, 50U);
  }
}

TEST(FrameReader, RefusesAMessageThatIsTooLong) {
  FrameReader reader;
  reader.append(std::string("\x01\0\0\x04", 4));  // 64 MiB and a byte
  EXPECT_THROW(reader.next(), std::runtime_error);
}

}  // namespace
}  // namespace cohort
