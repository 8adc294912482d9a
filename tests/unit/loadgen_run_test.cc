// The load generator against a server that answers as it is told to.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "launcher/loadgen/arrivals.h"
#include "launcher/loadgen/load_run.h"
#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using test::HttpTestServer;

using Exchange = std::shared_ptr<HttpExchange>;

constexpr std::string_view kDone = "data: [DONE]\n\n";
constexpr std::string_view kUsage = R"(data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}})"
                                    "\n\n";

std::string token(std::string_view text, bool is_last = false) {
  return fmt::format("data: {{\"choices\":[{{\"index\":0,\"text\":\"{}\",\"finish_reason\":{}}}]}}\n\n", text,
                     is_last ? "\"length\"" : "null");
}

// Three tokens, written in pieces that end anywhere.
void answer_well(const Exchange& exchange) {
  const std::string stream = token("a") + token("b") + token("c", true) + std::string(kUsage) + std::string(kDone);
  exchange->begin_stream("text/event-stream");
  for (size_t i = 0; i < stream.size(); i += 37) exchange->write(stream.substr(i, 37));
  exchange->end_stream();
}

void stream_and_end(const Exchange& exchange, const std::string& stream) {
  exchange->begin_stream("text/event-stream");
  exchange->write(stream);
  exchange->end_stream();
}

std::unique_ptr<HttpClient> open_client(const HttpTestServer& server, int timeout_ms = 60'000) {
  auto client = HttpClient::open(
      {.host = "127.0.0.1", .port = std::to_string(server.port()), .timeout = std::chrono::milliseconds(timeout_ms)});
  EXPECT_TRUE(client.ok()) << client.status().message();
  return *std::move(client);
}

LoadResult load(HttpClient& client, int64_t count, double rate, int64_t max_at_once = 0) {
  const std::vector<LoadPrompt> prompts(static_cast<size_t>(count),
                                        {.ids = {1, 2}, .num_tokens = 2, .output_length = 3});
  LoadRunOptions options;
  options.path = "/v1/completions";
  options.max_at_once = max_at_once;
  return run_load(client, options, prompts, plan_arrivals({.rate = rate}, count));
}

TEST(LoadRun, NotesWhatStreamsSay) {
  HttpTestServer server({}, {{"POST", "/v1/completions", answer_well, false}});
  const auto client = open_client(server);
  const LoadResult result = load(*client, 200, HUGE_VAL);
  EXPECT_GT(result.max_under_way, 1);
  for (const RequestRecord& record : result.requests) {
    ASSERT_EQ(record.failure, "") << record.failure_message;
    EXPECT_TRUE(record.has_usage);
    EXPECT_EQ(record.num_prompt_tokens, 7);
    EXPECT_EQ(record.num_output_tokens, 5);
    EXPECT_EQ(record.gaps.size(), 2u);
    EXPECT_LE(record.due, record.sent);
    EXPECT_LE(record.sent, record.first_output);
    EXPECT_LE(record.first_output, record.last_output);
    EXPECT_LE(record.last_output, record.ended);
    EXPECT_LE(record.ended, result.seconds);
  }
}

TEST(LoadRun, AnOutputMayHaveNoText) {
  const auto end_at_once = [](const Exchange& exchange) {
    stream_and_end(exchange, token("", true) + std::string(kDone));
  };
  HttpTestServer server({}, {{"POST", "/v1/completions", end_at_once, false}});
  const auto client = open_client(server);
  const RequestRecord record = load(*client, 1, HUGE_VAL).requests[0];
  EXPECT_EQ(record.failure, "");
  EXPECT_GT(record.first_output, 0);
  EXPECT_FALSE(record.has_usage);
  EXPECT_EQ(record.num_output_tokens, 1);
  EXPECT_EQ(record.num_prompt_tokens, 2);
}

TEST(LoadRun, DoesNotWaitForAnswers) {
  // They come when all requests are there.
  constexpr size_t kCount = 50;
  std::vector<Exchange> waiting;
  HttpTestServer server({}, {{"POST", "/v1/completions",
                              [&](const Exchange& exchange) {
                                waiting.push_back(exchange);
                                if (waiting.size() < kCount) return;
                                for (const Exchange& one : waiting) answer_well(one);
                                waiting.clear();
                              },
                              false}});
  const auto client = open_client(server);
  const LoadResult result = load(*client, kCount, 500);
  EXPECT_EQ(result.max_under_way, static_cast<int64_t>(kCount));
  for (const RequestRecord& record : result.requests) {
    EXPECT_EQ(record.failure, "");
    EXPECT_GE(record.first_output, result.requests.back().due);
  }
}

TEST(LoadRun, HoldsBackWhatIsOverTheLimit) {
  std::atomic<int> num_under_way = 0;
  std::atomic<int> most = 0;
  HttpTestServer server({}, {{"POST", "/v1/completions",
                              [&](const Exchange& exchange) {
                                most = std::max<int>(most, ++num_under_way);
                                --num_under_way;
                                answer_well(exchange);
                              },
                              false}});
  const auto client = open_client(server);
  const LoadResult result = load(*client, 40, HUGE_VAL, 4);
  EXPECT_EQ(result.max_under_way, 4);
  int num_held = 0;
  for (const RequestRecord& record : result.requests) {
    EXPECT_EQ(record.failure, "");
    EXPECT_GE(record.sent, record.due + record.held);
    num_held += record.held > 0 ? 1 : 0;
  }
  EXPECT_EQ(num_held, 36);
  EXPECT_LE(server.num_connections(), 4);  // kept, and used again
}

TEST(LoadRun, TellsFailuresApart) {
  const std::vector<std::pair<std::string, HttpHandler>> cases = {
      {"HTTP 429",
       [](const Exchange& exchange) {
         exchange->respond({.status = 429, .body = R"({"error":{"message":"the queue is full"}})"});
       }},
      {"error event",
       [](const Exchange& exchange) {
         stream_and_end(exchange, token("a") + "data: {\"error\":{\"message\":\"dead\"}}\n\n" + std::string(kDone));
       }},
      {"stream cut", [](const Exchange& exchange) { stream_and_end(exchange, token("a") + token("b")); }},
      {"stream cut", [](const Exchange& exchange) { stream_and_end(exchange, token("a") + "data: [DON"); }},
      {"malformed answer",
       [](const Exchange& exchange) { stream_and_end(exchange, "data: {\n\n" + token("a", true)); }},
      {"no output", [](const Exchange& exchange) { stream_and_end(exchange, std::string(kDone)); }},
  };
  for (const auto& [kind, handler] : cases) {
    HttpTestServer server({}, {{"POST", "/v1/completions", handler, false}});
    const auto client = open_client(server);
    const LoadResult result = load(*client, 3, HUGE_VAL);
    for (const RequestRecord& record : result.requests) EXPECT_EQ(record.failure, kind) << record.failure_message;
  }
}

TEST(LoadRun, BrokenConnectionsAreFailures) {
  HttpTestServer server({}, {{"POST", "/v1/completions",
                              [](const Exchange& exchange) {
                                exchange->begin_stream("text/event-stream");
                                exchange->write(token("a"));
                                static Exchange kept;  // else its end would be an answer's
                                kept = exchange;
                                kept->on_gone([] { kept = nullptr; });
                              },
                              false}});
  const auto client = open_client(server);
  std::thread breaker([&] {
    EXPECT_TRUE(server.comes_to([](HttpServer& s) { return s.num_streams() == 1; }));
    server.run([](HttpServer& s) { s.close_all(); });
  });
  const LoadResult result = load(*client, 1, HUGE_VAL);
  breaker.join();
  EXPECT_EQ(result.requests[0].failure, "connection cut") << result.requests[0].failure_message;
}

TEST(LoadRun, TimesOut) {
  std::vector<Exchange> waiting;
  HttpTestServer server({}, {{"POST", "/v1/completions", [&](const Exchange& e) { waiting.push_back(e); }, false}});
  const auto client = open_client(server, 500);
  const LoadResult result = load(*client, 2, HUGE_VAL);
  for (const RequestRecord& record : result.requests) {
    EXPECT_EQ(record.failure, "timeout");
    EXPECT_GE(record.ended - record.sent, 0.5);
  }
  server.run([&](HttpServer&) { waiting.clear(); });
}

TEST(LoadRun, NobodyThere) {
  std::unique_ptr<HttpClient> client;
  {
    HttpTestServer server({}, {});
    client = open_client(server);
  }
  const LoadResult result = load(*client, 2, HUGE_VAL);
  for (const RequestRecord& record : result.requests) EXPECT_EQ(record.failure, "no connection");
  EXPECT_FALSE(fetch(*client, "GET", "/v1/models").ok());
}

TEST(HttpClient, SendsAgainWhatAKeptConnectionDidNotTake) {
  std::atomic<int> num_asked = 0;
  HttpTestServer server({.idle_timeout_ms = 50}, {{"GET", "/", [&](const Exchange& exchange) {
                                                     ++num_asked;
                                                     exchange->respond({.body = exchange->request().id});
                                                   }}});
  const auto client = open_client(server);
  for (int i = 0; i < 3; ++i) {
    const auto answer = fetch(*client, "GET", "/");
    ASSERT_TRUE(answer.ok()) << answer.status().message();
    EXPECT_EQ(answer->status, 200);
    EXPECT_TRUE(server.comes_to([](HttpServer& s) { return s.num_connections() == 0; }));  // idle for too long
  }
  EXPECT_EQ(num_asked, 3);
}

TEST(HttpClient, UnknownHost) {
  const auto client = HttpClient::open({.host = "no.such.host.invalid", .port = "80"});
  ASSERT_FALSE(client.ok());
  EXPECT_NE(client.status().message().find("no.such.host.invalid"), std::string::npos);
}

}  // namespace
}  // namespace cohort
