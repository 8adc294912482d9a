// HttpServer over real sockets: answers, streams, keep-alive, keys, and how it begins and ends.
#include "launcher/gateway/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using test::get;
using test::gzip;
using test::HttpAnswer;
using test::HttpTestClient;
using test::HttpTestServer;
using test::post;

using Exchange = std::shared_ptr<HttpExchange>;

HttpRoute echo_route() {
  return {"POST", "/echo", [](const Exchange& exchange) {
            exchange->respond({.status = 200, .body = exchange->request().body, .content_type = "text/plain"});
          }};
}

HttpRoute health_route() {
  return {"GET", "/health", [](const Exchange& exchange) { exchange->respond({.status = 200, .body = "{}"}); }, false};
}

// Answers when `held` is used.
HttpRoute hold_route(std::vector<Exchange>& held) {
  return {"GET", "/hold", [&held](const Exchange& exchange) { held.push_back(exchange); }};
}

// Checks that it is an error in OpenAI's form, and returns its message.
std::string error_message(const HttpAnswer& answer) {
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  const auto error = nlohmann::json::parse(answer.body).at("error");
  EXPECT_EQ(error.at("code"), answer.status);
  EXPECT_TRUE(error.at("type").is_string());
  EXPECT_TRUE(error.contains("param"));
  return error.at("message");
}

TEST(HttpServer, AnswersAndKeepsTheConnection) {
  HttpTestServer server({}, {echo_route(), health_route()});
  HttpTestClient client(server.port());
  for (const std::string body : {"one", "", "three"}) {
    const HttpAnswer answer = client.ask(post("/echo", body));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, body);
    EXPECT_EQ(answer.headers.at("content-type"), "text/plain");
    EXPECT_TRUE(answer.headers.at("date").ends_with(" GMT"));
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
  client.close();
  EXPECT_TRUE(server.comes_to([](HttpServer& it) { return it.num_connections() == 0; }));
}

TEST(HttpServer, SpeaksHttp10) {
  HttpTestServer server({}, {health_route(), {"GET", "/stream", [](const Exchange& exchange) {
                                                exchange->begin_stream("text/event-stream");
                                                exchange->write("data: 1\n\n");
                                                exchange->end_stream();
                                              }}});
  for (const std::string path : {"/health", "/stream"}) {
    HttpTestClient client(server.port());
    const HttpAnswer answer = client.ask("GET " + path + " HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, path == "/health" ? "{}" : "data: 1\n\n");
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_FALSE(answer.headers.contains("transfer-encoding"));
    EXPECT_TRUE(client.is_closed());
  }
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
    EXPECT_EQ(answer.headers.at("cache-control"), "no-cache");
    EXPECT_EQ(answer.chunks, (std::vector<std::string>{"data: 1\n\n", "data: [DONE]\n\n"}));
  }
  EXPECT_EQ(server.num_streams(), 0);
}

TEST(HttpServer, SendsEventsAsTheyCome) {
  std::vector<Exchange> held;
  HttpTestServer server({}, {hold_route(held)});
  HttpTestClient client(server.port());
  client.send(get("/hold"));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  server.run([&](HttpServer&) { held[0]->begin_stream("text/event-stream"); });
  EXPECT_EQ(client.receive_head().status, 200);
  EXPECT_EQ(server.num_streams(), 1);
  server.run([](HttpServer& it) { EXPECT_EQ(it.num_answering(), 1); });
  for (const std::string event : {"data: a\n\n", "data: b\n\n", "data: c\n\n"}) {
    server.run([&](HttpServer&) { held[0]->write(event); });
    EXPECT_EQ(client.receive_chunk(), event);
  }
  server.run([&](HttpServer&) { held[0]->end_stream(); });
  EXPECT_EQ(client.receive_chunk(), "");
  EXPECT_EQ(server.num_streams(), 0);
  server.run([&](HttpServer& it) {
    EXPECT_EQ(it.num_answering(), 0);
    EXPECT_FALSE(held[0]->is_gone());
    held[0]->write("late");  // nobody hears it
    held.clear();
  });
  client.send(get("/hold"));
  EXPECT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  server.run([&](HttpServer&) { held.clear(); });
  EXPECT_EQ(client.receive().status, 500);
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  std::vector<Exchange> held;
  HttpTestServer server({}, {echo_route(), hold_route(held)});
  HttpTestClient client(server.port());
  std::string requests = get("/hold");
  for (int i = 0; i < 200; ++i) requests += post("/echo", std::to_string(i));
  client.send(requests);
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  server.run([&](HttpServer&) { held[0]->respond({.status = 200, .body = "first"}); });
  EXPECT_EQ(client.receive().body, "first");
  for (int i = 0; i < 200; ++i) ASSERT_EQ(client.receive().body, std::to_string(i));
}

TEST(HttpServer, ReadsNoMoreAheadThanItMay) {
  std::vector<Exchange> held;
  HttpServerOptions options;
  options.limits.max_header_bytes = 4096;
  HttpTestServer server(options, {echo_route(), hold_route(held)});
  HttpTestClient client(server.port());
  client.send(get("/hold"));
  const std::string body(100'000, 'x');
  client.send(post("/echo", body));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  server.run([&](HttpServer&) { held[0]->respond({.status = 200, .body = "first"}); });
  EXPECT_EQ(client.receive().body, "first");
  EXPECT_EQ(client.receive().body, body);
}

TEST(HttpServer, AnswersAClientThatAsksNothingMore) {
  HttpTestServer server({}, {echo_route()});
  HttpTestClient client(server.port());
  client.send(post("/echo", "last"));
  client.shutdown_sending();
  EXPECT_EQ(client.receive().body, "last");
  EXPECT_TRUE(client.is_closed());
}

TEST(HttpServer, TakesCompressedAndChunkedBodies) {
  HttpTestServer server({}, {echo_route()});
  HttpTestClient client(server.port());
  const std::string text(1'000'000, 'z');
  EXPECT_EQ(client.ask(post("/echo", gzip(text), "Content-Encoding: gzip\r\n")).body, text);
  EXPECT_EQ(
      client.ask("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").body,
      "abc");
  const HttpAnswer answer = client.ask(post("/echo", text, "Content-Encoding: br\r\n"));
  EXPECT_EQ(answer.status, 415);
  EXPECT_EQ(answer.headers.at("accept-encoding"), "gzip");
}

TEST(HttpServer, LetsAClientSendItsBody) {
  HttpTestServer server({}, {echo_route()});
  HttpTestClient client(server.port());
  const std::string whole = post("/echo", "body", "Expect: 100-continue\r\n");
  client.send(whole.substr(0, whole.size() - 4));
  EXPECT_EQ(client.receive().status, 100);
  client.send("body");
  EXPECT_EQ(client.receive().body, "body");
}

TEST(HttpServer, EveryAnswerHasTheIdOfItsRequest) {
  HttpTestServer server({}, {health_route()});
  HttpTestClient client(server.port());
  EXPECT_EQ(client.ask(get("/health", "X-Request-Id: abc-1\r\n")).headers.at("x-request-id"), "abc-1");
  EXPECT_EQ(client.ask(get("/nothing", "X-Request-Id: abc-2\r\n")).headers.at("x-request-id"), "abc-2");
  const std::string made = client.ask(get("/health")).headers.at("x-request-id");
  EXPECT_EQ(made.size(), 32u);
  EXPECT_NE(client.ask(get("/health", "X-Request-Id: a b\r\n")).headers.at("x-request-id"), "a b");
  EXPECT_NE(client.ask(get("/health")).headers.at("x-request-id"), made);
  EXPECT_EQ(client.ask(get("/health", "X-Request-Id: abc-3\r\nContent-Length: x\r\n")).headers.at("x-request-id"),
            "abc-3");
}

TEST(HttpServer, SaysWhatIsWrongWithAPathOrMethod) {
  HttpTestServer server({}, {health_route(), echo_route()});
  HttpTestClient client(server.port());
  HttpAnswer answer = client.ask(get("/v1/models/..%2Fx"));
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(error_message(answer), "GET /v1/models/../x: there is no such path");
  answer = client.ask("DELETE /health HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.headers.at("allow"), "GET");
  EXPECT_EQ(error_message(answer), "DELETE /health: expected GET");
  answer = client.ask("OPTIONS /echo HTTP/1.1\r\nHost: h\r\nOrigin: http://x\r\n\r\n");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.headers.at("allow"), "POST");
  for (const auto& [name, value] : answer.headers) EXPECT_FALSE(name.starts_with("access-control")) << name;
  EXPECT_EQ(client.ask("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").status, 405);
  client.send("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.receive(false).status, 405);
  EXPECT_EQ(client.ask(get("/health")).status, 200);  // the answer to HEAD had no body
}

TEST(HttpServer, AsksForAKeyBeforeItReadsABody) {
  HttpServerOptions options;
  options.keys = *ApiKeys::parse("secret\n", "keys");
  std::string tenant;
  HttpTestServer server(options, {health_route(), {"POST", "/v1/chat", [&](const Exchange& exchange) {
                                                     tenant = exchange->request().tenant;
                                                     exchange->respond({.status = 200, .body = "{}"});
                                                   }}});
  for (const std::string header : {"", "Authorization: Bearer wrong\r\n", "Authorization: secret\r\n"}) {
    HttpTestClient client(server.port());
    client.send("POST /v1/chat HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n" + header + "\r\n");
    const HttpAnswer answer = client.receive();
    EXPECT_EQ(answer.status, 401);
    EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_NE(error_message(answer), "");
    EXPECT_TRUE(client.is_closed());
  }
  HttpTestClient client(server.port());
  EXPECT_EQ(client.ask(get("/health")).status, 200);
  EXPECT_EQ(client.ask(get("/unknown")).status, 401);
  EXPECT_EQ(client.ask(post("/v1/chat", "{}", "Authorization: Bearer secret\r\n")).status, 200);
  EXPECT_EQ(tenant, "2bb80d537b1da3e3");
}

TEST(HttpServer, AnExceptionIsA500) {
  HttpTestServer server({}, {health_route(),
                             {"GET", "/throw", [](const Exchange&) { throw std::runtime_error("broken"); }},
                             {"GET", "/forget", [](const Exchange&) {}},
                             {"GET", "/cut", [](const Exchange& exchange) {
                                exchange->begin_stream("text/event-stream");
                                exchange->write("data: 1\n\n");
                                throw std::runtime_error("broken");
                              }}});
  HttpTestClient client(server.port());
  for (const std::string path : {"/throw", "/forget"}) {
    const HttpAnswer answer = client.ask(get(path, "X-Request-Id: id-1\r\n"));
    EXPECT_EQ(answer.status, 500);
    EXPECT_EQ(error_message(answer), "internal error, see the log for request id-1");
  }
  EXPECT_EQ(client.ask(get("/health")).status, 200);
  client.send(get("/cut"));
  EXPECT_EQ(client.receive_all().find("0\r\n\r\n"), std::string::npos);  // the stream has no end
  EXPECT_EQ(server.num_streams(), 0);
}

TEST(HttpServer, FreesARequestThatIsBeingAnswered) {
  std::vector<Exchange> held;
  HttpTestServer server({}, {{"POST", "/hold", [&](const Exchange& exchange) {
                                EXPECT_EQ(exchange->request().body.size(), 100'000u);
                                exchange->begin_stream("text/event-stream");
                                EXPECT_EQ(exchange->request().body.capacity(), std::string().capacity());
                                EXPECT_EQ(exchange->request().path, "/hold");
                                held.push_back(exchange);
                              }}});
  HttpTestClient client(server.port());
  client.send(post("/hold", std::string(100'000, 'a')));
  EXPECT_EQ(client.receive_head().status, 200);
  server.run([&](HttpServer&) { held.clear(); });
}

TEST(HttpServer, DrainsItsConnections) {
  std::vector<Exchange> held;
  HttpTestServer server({}, {health_route(), hold_route(held)});
  HttpTestClient idle(server.port());
  HttpTestClient streaming(server.port());
  EXPECT_EQ(idle.ask(get("/health")).status, 200);
  streaming.send(get("/hold"));
  ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  server.run([&](HttpServer& it) {
    held[0]->begin_stream("text/event-stream");
    it.stop_accepting();
  });
  EXPECT_THROW(HttpTestClient(server.port()), std::runtime_error);
  server.run([&](HttpServer&) {
    held[0]->write("data: last\n\n");
    held[0]->end_stream();
  });
  EXPECT_EQ(streaming.receive().body, "data: last\n\n");
  const HttpAnswer answer = idle.ask(get("/health"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(idle.is_closed());
}

TEST(HttpServer, ClosesAll) {
  std::vector<Exchange> held;
  int num_gone = 0;
  HttpTestServer server({}, {{"GET", "/hold", [&](const Exchange& exchange) {
                                exchange->on_gone([&] { ++num_gone; });
                                held.push_back(exchange);
                              }}});
  HttpTestClient waiting(server.port());
  HttpTestClient idle(server.port());
  waiting.send(get("/hold"));
  ASSERT_TRUE(server.comes_to([&](HttpServer& it) { return held.size() == 1 && it.num_connections() == 2; }));
  server.run([&](HttpServer& it) {
    it.close_all();
    EXPECT_EQ(it.num_connections(), 0);
    EXPECT_EQ(num_gone, 1);
    EXPECT_TRUE(held[0]->is_gone());
  });
  EXPECT_TRUE(waiting.is_closed());
  EXPECT_TRUE(idle.is_closed());
}

TEST(HttpServer, AnExchangeMayOutliveIt) {
  std::vector<Exchange> held;
  {
    HttpTestServer server({}, {hold_route(held)});
    HttpTestClient client(server.port());
    client.send(get("/hold"));
    ASSERT_TRUE(server.comes_to([&](HttpServer&) { return held.size() == 1; }));
  }
  EXPECT_TRUE(held[0]->is_gone());
  held[0]->on_gone([] { FAIL(); });
  held[0]->respond({.status = 200, .body = ""});
  held[0]->begin_stream("text/plain");
  held[0]->write("x");
  held[0]->end_stream();
}

TEST(HttpServer, NamesTheAddressItCannotHave) {
  boost::asio::io_context io;
  auto first = HttpServer::listen(io, {}, {});
  ASSERT_TRUE(first.ok());
  HttpServerOptions options;
  options.port = (*first)->port();
  EXPECT_EQ((*first)->address(), "127.0.0.1:" + std::to_string(options.port));
  const auto second = HttpServer::listen(io, options, {});
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(second.status().message(), (*first)->address() + ": cannot listen: Address already in use");
  options.host = "203.0.113.1";
  EXPECT_TRUE(HttpServer::listen(io, options, {}).status().message().starts_with("203.0.113.1:"));
  options.host = "no.such.host.invalid";
  EXPECT_TRUE(HttpServer::listen(io, options, {}).status().message().starts_with("no.such.host.invalid:"));
}

}  // namespace
}  // namespace cohort
