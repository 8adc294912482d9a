// HttpServer over real sockets: answers, streams, keep-alive.
#include "launcher/gateway/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using testing::get;
using testing::HttpAnswer;
using testing::HttpTestClient;
using testing::HttpTestServer;
using testing::post;

using Exchange = std::shared_ptr<HttpExchange>;

HttpRoute echo_route() {
  return {"POST", "/echo", [](const Exchange& exchange) {
            exchange->respond({.status = 200, .body = exchange->request().body, .content_type = "text/plain"});
          }};
}

HttpRoute health_route() {
  return {"GET", "/health", [](const Exchange& exchange) { exchange->respond({.status = 200, .body = "{}"}); }, false};
}

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  HttpTestServer server({}, {echo_route(), health_route()});
  HttpTestClient client(server.port());
  for (const std::string body : {"one", "", "three"}) {
    const HttpAnswer answer = client.ask(post("/echo", body));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, body);
    EXPECT_EQ(answer.headers.at("content-type"), "text/plain");
    EXPECT_FALSE(answer.headers.contains("connection"));
  }
  EXPECT_EQ(client.ask(get("/health")).body, "{}");
  EXPECT_EQ(server.num_connections(), 1);
}

TEST(HttpServer, ClosesWhenTheClientAsksFor) {
  HttpTestServer server({}, {health_route()});
  HttpTestClient client(server.port());
  const HttpAnswer answer = client.ask(get("/health", "Connection: close\r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.is_closed());
}

TEST(HttpServer, StreamsInChunks) {
  HttpTestServer server({}, {{"GET", "/stream", [](const Exchange& exchange) {
                                exchange->begin_stream("text/event-stream");
                                exchange->write("data: 1\n\n");
                                exchange->write("");
                                exchange->write("data: [DONE]\n\n");
                                exchange->end_stream();
                              }}});
  HttpTestClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    const HttpAnswer answer = client.ask(get("/stream"));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream");
    EXPECT_EQ(answer.chunks, (std::vector<std::string>{"data: 1\n\n", "data: [DONE]\n\n"}));
  }
  EXPECT_EQ(server.num_streams(), 0);
}

}  // namespace
}  // namespace cohort
