// HttpServer against clients that send too much, too slowly or nonsense, that go away, and that do not read.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "launcher/gateway/http_server.h"
#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using std::chrono::milliseconds;
using test::get;
using test::gzip;
using test::HttpAnswer;
using test::HttpTestClient;
using test::HttpTestServer;
using test::post;

using Clock = std::chrono::steady_clock;
using Exchange = std::shared_ptr<HttpExchange>;

// Requests that are held, and how many of their clients went away.
struct Held {
  std::vector<Exchange> exchanges;
  int num_gone = 0;

  HttpRoute route(bool streams) {
    return {"POST", streams ? "/stream" : "/hold", [this, streams](const Exchange& exchange) {
              if (streams) exchange->begin_stream("text/event-stream");
              exchange->on_gone([this] { ++num_gone; });
              exchanges.push_back(exchange);
            }};
  }
};

HttpRoute echo_route() {
  return {"POST", "/echo",
          [](const Exchange& exchange) { exchange->respond({.status = 200, .body = exchange->request().body}); }};
}

// A client that is served, whatever happens to others.
void expect_served(HttpTestServer& server) {
  HttpTestClient client(server.port());
  EXPECT_EQ(client.ask(post("/echo", "well")).body, "well");
}

TEST(HttpLimits, ABodyOverTheLimitIsRefusedUnread) {
  HttpServerOptions options;
  options.limits.max_body_bytes = 1000;
  HttpTestServer server(options, {echo_route()});
  {
    HttpTestClient client(server.port());
    EXPECT_EQ(client.ask(post("/echo", std::string(1000, 'a'))).status, 200);
    client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
    const HttpAnswer answer = client.receive();  // and not 100
    EXPECT_EQ(answer.status, 413);
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_TRUE(client.is_closed());
  }
  {  // one that sends it all the same still reads the answer
    HttpTestClient client(server.port());
    EXPECT_TRUE(client.send(post("/echo", std::string(20'000'000, 'a'))));
    EXPECT_EQ(client.receive().status, 413);
  }
  expect_served(server);
}

TEST(HttpLimits, ACompressedBodyIsHeldToTheSameLimit) {
  HttpServerOptions options;
  options.limits.max_body_bytes = 100'000;
  HttpTestServer server(options, {echo_route()});
  const std::string bomb = gzip(std::string(50'000'000, '\0'));
  ASSERT_LT(bomb.size(), 300'000u);
  options.limits.max_body_bytes = 1'000'000;
  HttpTestServer larger(options, {echo_route()});
  for (HttpTestServer* it : {&server, &larger}) {
    HttpTestClient client(it->port());
    EXPECT_EQ(client.ask(post("/echo", bomb, "Content-Encoding: gzip\r\n")).status, 413);
  }
  HttpTestClient client(server.port());
  EXPECT_EQ(client.ask(post("/echo", "no gzip", "Content-Encoding: gzip\r\n")).status, 400);
  expect_served(server);
}

TEST(HttpLimits, ManyTinyChunksAreRefused) {
  HttpTestServer server({}, {echo_route()});
  std::string request = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 65'537; ++i) request += "1\r\na\r\n";
  request += "0\r\n\r\n";
  HttpTestClient client(server.port());
  EXPECT_EQ(client.ask(request).status, 413);
  expect_served(server);
}

TEST(HttpLimits, BodiesTogetherAreBounded) {
  HttpServerOptions options;
  options.max_total_body_bytes = 100'000;
  Held held;
  HttpTestServer server(options, {echo_route(), held.route(false)});
  HttpTestClient first(server.port());
  first.send(post("/hold", std::string(60'000, 'a')));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
  {
    HttpTestClient second(server.port());
    const HttpAnswer answer = second.ask(post("/echo", std::string(60'000, 'a')));
    EXPECT_EQ(answer.status, 503);
    EXPECT_EQ(answer.headers.at("retry-after"), "1");
  }
  server.run([&](HttpServer&) { held.exchanges[0]->respond({.status = 200, .body = ""}); });
  HttpTestClient third(server.port());
  EXPECT_EQ(third.ask(post("/echo", std::string(60'000, 'a'))).status, 200);
}

TEST(HttpLimits, HugeOrManyHeadersAreRefused) {
  HttpTestServer server({}, {echo_route()});
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "A: b\r\n";
  for (const std::string& headers : {many, "A: " + std::string(1'000'000, 'a') + "\r\n"}) {
    HttpTestClient client(server.port());
    const HttpAnswer answer = client.ask(post("/echo", "", headers));
    EXPECT_EQ(answer.status, 431);
    EXPECT_EQ(answer.headers.at("connection"), "close");
  }
  {
    HttpTestClient client(server.port());  // a line that never ends
    EXPECT_EQ(client.ask(std::string(1'000'000, 'A')).status, 431);
  }
  expect_served(server);
}

TEST(HttpLimits, SlowHeadersAndBodiesEnd) {
  HttpServerOptions options;
  options.header_timeout_ms = 500;  // in which a busy machine comes from connecting to sending
  options.body_timeout_ms = 60;
  options.idle_timeout_ms = 60;
  HttpTestServer server(options, {echo_route()});
  const std::string request = post("/echo", "body", "X-Request-Id: slow\r\n");
  struct Case {
    size_t num_bytes;
    int status;
  };
  for (const auto& [num_bytes, status] : {Case{10, 408}, Case{request.size() - 1, 408}, Case{0, 0}}) {
    const auto begin = Clock::now();
    HttpTestClient client(server.port());
    for (size_t i = 0; i < num_bytes; ++i) {  // what comes does not help
      client.send(request.substr(i, 1));
      if (i > request.size() - 10) std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_EQ(client.receive().status, status);
    EXPECT_TRUE(client.is_closed());
    EXPECT_GE(Clock::now() - begin, milliseconds(60));
  }
  HttpTestClient idle(server.port());
  EXPECT_EQ(idle.ask(post("/echo", "a")).status, 200);
  EXPECT_TRUE(idle.is_closed());
}

TEST(HttpLimits, WhatCanBeReadInTwoWaysClosesTheConnection) {
  HttpTestServer server({}, {echo_route()});
  for (const std::string headers :
       {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: -1\r\n", "Transfer-Encoding: gzip, chunked\r\n"}) {
    HttpTestClient client(server.port());
    // What would be smuggled in is never answered.
    const HttpAnswer answer =
        client.ask("POST /echo HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n0\r\n\r\n" + post("/echo", "smuggled"));
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_EQ(client.receive_all(), "");
  }
  expect_served(server);
}

TEST(HttpLimits, ConnectionsBeyondTheLimitAreToldSo) {
  HttpServerOptions options;
  options.max_connections = 2;
  options.linger_timeout_ms = 50;
  HttpTestServer server(options, {echo_route()});
  {
    HttpTestClient first(server.port());
    HttpTestClient second(server.port());
    EXPECT_EQ(first.ask(post("/echo", "a")).status, 200);
    EXPECT_EQ(second.ask(post("/echo", "a")).status, 200);
    for (int i = 0; i < 3; ++i) {
      HttpTestClient third(server.port());
      const HttpAnswer answer = third.ask(post("/echo", "a"));
      EXPECT_EQ(answer.status, 503);
      EXPECT_EQ(answer.headers.at("retry-after"), "1");
      EXPECT_EQ(answer.headers.at("connection"), "close");
      EXPECT_TRUE(third.is_closed());
    }
    EXPECT_EQ(server.num_connections(), 2);
    EXPECT_EQ(first.ask(post("/echo", "b")).status, 200);
    // Hundreds at once do not cost hundreds of connections.
    std::vector<HttpTestClient> flood;
    for (int i = 0; i < 600; ++i) flood.emplace_back(server.port());
    EXPECT_EQ(second.ask(post("/echo", "b")).status, 200);
  }
  EXPECT_TRUE(server.comes_to([](HttpServer& it) { return it.num_connections() == 0; }));
  expect_served(server);
}

TEST(HttpGone, IsNoticedWhereverTheClientStops) {
  Held held;
  HttpTestServer server({}, {echo_route(), held.route(false), held.route(true)});
  int num_gone = 0;
  for (const std::string path : {"/hold", "/stream"}) {
    for (const int how : {0, 1, 2}) {
      HttpTestClient client(server.port());
      client.send(post(path, "x"));
      ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
      if (path == "/stream" && how > 0) {
        server.run([&](HttpServer&) { held.exchanges[0]->write("data: 1\n\n"); });
        EXPECT_EQ(client.receive_head().status, 200);
        EXPECT_EQ(client.receive_chunk(), "data: 1\n\n");
      }
      server.run([&](HttpServer&) { EXPECT_FALSE(held.exchanges[0]->is_gone()); });
      if (how == 0) client.shutdown_sending();
      if (how == 1) client.close();
      if (how == 2) client.reset();
      ++num_gone;
      EXPECT_TRUE(server.comes_to([&](HttpServer&) { return held.num_gone == num_gone; })) << path << how;
      server.run([&](HttpServer& it) {
        EXPECT_TRUE(held.exchanges[0]->is_gone());
        held.exchanges[0]->write("data: 2\n\n");
        held.exchanges[0]->end_stream();
        held.exchanges.clear();
        EXPECT_EQ(it.num_streams(), 0);
        EXPECT_EQ(it.num_connections(), 0);
        EXPECT_EQ(held.num_gone, num_gone);
      });
    }
  }
}

TEST(HttpGone, IsNoticedBehindMoreThanIsReadAhead) {
  HttpServerOptions options;
  options.limits.max_header_bytes = 1000;
  options.linger_timeout_ms = 20;  // the shortest says how often it is looked at
  Held held;
  HttpTestServer server(options, {echo_route(), held.route(false)});
  {
    HttpTestClient client(server.port());
    client.send(post("/hold", "") + post("/echo", std::string(10'000, 'a')));
    ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
  }
  EXPECT_TRUE(server.comes_to([&](HttpServer&) { return held.num_gone == 1; }));
  server.run([&](HttpServer&) { held.exchanges.clear(); });
}

TEST(HttpGone, IsNotSaidOfAnAnswerThatIsComplete) {
  Held held;
  HttpTestServer server({}, {held.route(false), held.route(true)});
  for (const std::string path : {"/hold", "/stream"}) {
    HttpTestClient client(server.port());
    client.send(post(path, "x"));
    ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
    server.run([&](HttpServer&) {
      path == "/hold" ? held.exchanges[0]->respond({.status = 200, .body = ""}) : held.exchanges[0]->end_stream();
    });
    client.close();
    EXPECT_TRUE(server.comes_to([](HttpServer& it) { return it.num_connections() == 0; }));
    EXPECT_EQ(held.num_gone, 0);
    server.run([&](HttpServer&) { held.exchanges.clear(); });
  }
}

TEST(HttpGone, ACallbackMayHoldItsExchange) {
  std::weak_ptr<HttpExchange> seen;
  HttpTestServer server({}, {{"POST", "/hold", [&](const Exchange& exchange) {
                                seen = exchange;
                                exchange->on_gone([exchange] { EXPECT_TRUE(exchange->is_gone()); });
                              }}});
  {
    HttpTestClient client(server.port());
    client.send(post("/hold", ""));
    EXPECT_TRUE(server.comes_to([&](HttpServer&) { return !seen.expired(); }));
  }
  EXPECT_TRUE(server.comes_to([&](HttpServer&) { return seen.expired(); }));
}

TEST(HttpStream, AClientThatDoesNotReadIsCutOff) {
  HttpServerOptions options;
  options.max_stream_buffer_bytes = 64 << 10;
  Held held;
  HttpTestServer server(options, {echo_route(), held.route(true)});
  HttpTestClient idle(server.port(), 4096);
  HttpTestClient reading(server.port());
  idle.send(post("/stream", ""));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
  reading.send(post("/stream", ""));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 2; }));
  EXPECT_EQ(reading.receive_head().status, 200);

  const std::string event = "data: " + std::string(1000, 'x') + "\n\n";
  int num_events = 0;
  bool is_gone = false;
  while (!is_gone && num_events < 20'000) {
    server.run([&](HttpServer&) {
      for (const Exchange& exchange : held.exchanges) exchange->write(event);
      is_gone = held.num_gone == 1;
    });
    ++num_events;
    ASSERT_EQ(reading.receive_chunk(), event);  // others are not held up
  }
  EXPECT_TRUE(is_gone);
  EXPECT_LT(num_events, 10'000);  // what it takes is the kernel's buffers, and ours
  server.run([&](HttpServer& it) {
    EXPECT_TRUE(held.exchanges[0]->is_gone());
    EXPECT_FALSE(held.exchanges[1]->is_gone());
    EXPECT_EQ(it.num_streams(), 1);
    held.exchanges[1]->end_stream();
    held.exchanges.clear();
  });
  EXPECT_EQ(reading.receive_chunk(), "");
  expect_served(server);
}

TEST(HttpStream, AClientThatReadsGetsMoreThanTheBufferHolds) {
  HttpServerOptions options;
  options.max_stream_buffer_bytes = 64 << 10;
  HttpTestServer server(options, {{"POST", "/large", [](const Exchange& exchange) {
                                     exchange->respond({.status = 200, .body = std::string(30'000'000, 'y')});
                                   }}});
  HttpTestClient client(server.port(), 65536);
  client.send(post("/large", "") + post("/large", ""));
  EXPECT_EQ(client.receive().body.size(), 30'000'000u);  // an answer of known length is not bounded by it
  EXPECT_EQ(client.receive().body.size(), 30'000'000u);
}

TEST(HttpStream, AnAnswerThatIsNotReadEnds) {
  HttpServerOptions options;
  options.write_timeout_ms = 100;
  Held held;
  HttpTestServer server(options,
                        {held.route(true), {"POST", "/large", [](const Exchange& exchange) {
                                              exchange->respond({.status = 200, .body = std::string(30'000'000, 'y')});
                                            }}});
  HttpTestClient large(server.port(), 4096);
  large.send(post("/large", ""));
  HttpTestClient stream(server.port(), 4096);
  stream.send(post("/stream", ""));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.exchanges.size() == 1; }));
  server.run([&](HttpServer&) {
    for (int i = 0; i < 900; ++i) held.exchanges[0]->write(std::string(1000, 'z'));
  });
  EXPECT_TRUE(server.comes_to([&](HttpServer& it) { return it.num_connections() == 0; }));
  server.run([&](HttpServer&) {
    EXPECT_EQ(held.num_gone, 1);
    held.exchanges.clear();
  });
}

TEST(HttpStream, ASilentStreamHasNoDeadline) {
  HttpServerOptions options;
  options.header_timeout_ms = 500;  // in which a busy machine comes from connecting to sending
  options.body_timeout_ms = options.idle_timeout_ms = options.write_timeout_ms = 20;
  Held held;
  HttpTestServer server(options, {held.route(true)});
  HttpTestClient client(server.port());
  client.send(post("/stream", ""));
  EXPECT_EQ(client.receive_head().status, 200);
  std::this_thread::sleep_for(milliseconds(800));
  server.run([&](HttpServer&) {
    EXPECT_EQ(held.num_gone, 0);
    held.exchanges[0]->write("data: 1\n\n");
    held.exchanges[0]->end_stream();
    held.exchanges.clear();
  });
  EXPECT_EQ(client.receive_chunk(), "data: 1\n\n");
  EXPECT_EQ(client.receive_chunk(), "");
}

}  // namespace
}  // namespace cohort
