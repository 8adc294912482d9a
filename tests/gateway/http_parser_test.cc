// HttpParser, the router and what surrounds them, without sockets.
#include "launcher/gateway/http_parser.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/gateway/http_api_keys.h"
#include "launcher/gateway/http_response.h"
#include "launcher/gateway/http_router.h"
#include "launcher/gateway/http_target.h"
#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using namespace std::string_view_literals;
using test::get;
using test::gzip;
using test::post;

struct Parsed {
  int status = 0;  // 0: more is needed; 200: a whole request
  std::string message;
  HttpRequest request;
  size_t num_taken = 0;
};

// `piece`: how many bytes come at a time.
Parsed parse(std::string_view bytes, const HttpLimits& limits = {}, size_t piece = std::string::npos) {
  HttpParser parser(limits);
  Parsed parsed;
  std::string waiting;
  for (size_t at = 0; at < bytes.size();) {
    const std::string_view next = bytes.substr(at, piece);
    at += next.size();
    waiting += next;
    for (bool goes_on = true; goes_on && !waiting.empty();) {
      const HttpParser::State before = parser.state();
      const size_t num_taken = parser.feed(waiting);
      waiting.erase(0, num_taken);
      parsed.num_taken += num_taken;
      if (parser.state() == HttpParser::State::kDone) {
        parsed.status = 200;
        parsed.request = std::move(parser.request());
        return parsed;
      }
      if (parser.state() == HttpParser::State::kFailed) {
        parsed.status = parser.failure().status;
        parsed.message = parser.failure().message;
        return parsed;
      }
      goes_on = parser.state() != before;
    }
  }
  return parsed;
}

std::string chunked(std::string_view chunks, std::string_view more_headers = {}) {
  return "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + std::string(more_headers) + "\r\n" +
         std::string(chunks);
}

TEST(HttpParser, ReadsARequest) {
  const Parsed parsed = parse(
      "POST /v1/a%20b?x=1%2F HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one:  2 \r\n"
      "Content-Length: 4\r\n\r\nbodyGET");
  EXPECT_EQ(parsed.status, 200);
  EXPECT_EQ(parsed.request.method, "POST");
  EXPECT_EQ(parsed.request.path, "/v1/a b");
  EXPECT_EQ(parsed.request.query, "x=1%2F");
  EXPECT_EQ(parsed.request.header("x-one"), "1");
  EXPECT_EQ(parsed.request.headers[2].second, "2");
  EXPECT_EQ(parsed.request.header("absent"), "");
  EXPECT_EQ(parsed.request.body, "body");
  EXPECT_EQ(parsed.num_taken, std::string("POST /v1/a%20b?x=1%2F HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one:  2 \r\n"
                                          "Content-Length: 4\r\n\r\nbody")
                                  .size());
}

TEST(HttpParser, ReadsChunks) {
  const Parsed parsed = parse(chunked("4\r\nWiki\r\n5;a=b;c=\"d\"\r\npedia\r\n0\r\nX-Trailer: 1\r\n\r\nGET"));
  EXPECT_EQ(parsed.status, 200);
  EXPECT_EQ(parsed.request.body, "Wikipedia");
  EXPECT_EQ(parsed.request.header("x-trailer"), "");
}

TEST(HttpParser, ReadsTheSameHoweverItIsCut) {
  const std::vector<std::string> requests = {
      get("/a%C3%A4?b", "A: b\r\nC:\r\n"),
      post("/p", "some body"),
      post("/p", ""),
      chunked("4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\nT: 1\r\n\r\n"),
      chunked("0\r\n\r\n"),
      post("/p", gzip("compressed compressed compressed"), "Content-Encoding: gzip\r\n")};
  for (const std::string& request : requests) {
    const Parsed whole = parse(request);
    ASSERT_EQ(whole.status, 200) << request;
    EXPECT_EQ(whole.num_taken, request.size());
    for (const size_t piece : {1, 2, 3, 5, 7, 64}) {
      const Parsed cut = parse(request, {}, piece);
      ASSERT_EQ(cut.status, 200) << request << " by " << piece << ": " << cut.message;
      EXPECT_EQ(cut.request.path, whole.request.path);
      EXPECT_EQ(cut.request.headers, whole.request.headers);
      EXPECT_EQ(cut.request.body, whole.request.body);
    }
  }
}

struct BadRequest {
  std::string_view bytes;
  int status;
};

TEST(HttpParser, RefusesWhatCanBeReadInTwoWays) {
  const BadRequest bad[] = {
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5a\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551621\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nabcde", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
      {"GET /\r\nHost: h\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"\x16\x03\x01\x02", 400},
  };
  for (const auto& [bytes, status] : bad) {
    EXPECT_EQ(parse(bytes).status, status) << bytes;
    EXPECT_EQ(parse(bytes, {}, 1).status, status) << bytes;
  }
  EXPECT_EQ(parse("GET / HTTP/1.1\nHost: h\n\n").status, 505);
}

TEST(HttpParser, RefusesTargets) {
  for (const std::string target :
       {"/%", "/%4", "/%zz", "/%00", "/%0a", "/\xff", "/%ff", "/%c3%28", "/%ed%a0%80", "a", "ftp://h/", "h:80"}) {
    EXPECT_EQ(parse("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n").status, 400) << target;
  }
  EXPECT_EQ(parse("GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"sv).status, 400);
  EXPECT_EQ(parse("GET / HTTP/1.1\r\nHost: h\r\nA: a\0b\r\n\r\n"sv).status, 400);
}

TEST(HttpParser, RefusesHeadersThatAreTooLargeOrTooMany) {
  const HttpLimits limits = {.max_header_bytes = 1000, .max_headers = 10, .max_body_bytes = 100, .max_chunks = 5};
  std::string many;
  for (int i = 0; i < 10; ++i) many += "A: b\r\n";
  const std::string large = "A: " + std::string(1000, 'a') + "\r\n";
  const std::string target = "/" + std::string(1000, 'a');
  for (const size_t piece : {std::string::npos, size_t{1}, size_t{100}}) {
    EXPECT_EQ(parse(get("/", many), limits, piece).status, 431);
    EXPECT_EQ(parse(get("/", large), limits, piece).status, 431);
    EXPECT_EQ(parse(get(target), limits, piece).status, 431);
    EXPECT_EQ(parse(get("/", large).substr(0, 1001), limits, piece).status, 431);  // before its end has come
    EXPECT_EQ(parse(chunked("0\r\n" + many), limits, piece).status, 0);
    EXPECT_EQ(parse(chunked("0\r\n" + many + "\r\n"), limits, piece).status, 431);
    EXPECT_EQ(parse(chunked("1;a=" + std::string(1000, 'a')), limits, piece).status, 400);
    EXPECT_EQ(parse(chunked("0\r\nA: " + std::string(1000, 'a')), limits, piece).status, 400);
  }
  EXPECT_EQ(parse(get("/", many.substr(6)), limits).status, 200);
}

TEST(HttpParser, RefusesBodiesThatAreTooLarge) {
  const HttpLimits limits = {.max_header_bytes = 1000, .max_headers = 10, .max_body_bytes = 100, .max_chunks = 5};
  const std::string body(101, 'a');
  EXPECT_EQ(parse(post("/", body.substr(1)), limits).status, 200);
  const std::string whole = post("/", body);
  EXPECT_EQ(parse(whole.substr(0, whole.size() - body.size()), limits).status, 413);  // before a byte of it is read
  EXPECT_EQ(parse(chunked("64\r\n" + body.substr(1) + "\r\n0\r\n\r\n"), limits).status, 200);
  EXPECT_EQ(parse(chunked("65\r\n"), limits).status, 413);
  EXPECT_EQ(parse(chunked("32\r\n" + std::string(50, 'a') + "\r\n33\r\n"), limits).status, 413);
  std::string chunks;
  for (int i = 0; i < 5; ++i) chunks += "1\r\na\r\n";
  EXPECT_EQ(parse(chunked(chunks + "0\r\n\r\n"), limits).status, 200);
  EXPECT_EQ(parse(chunked(chunks + "1\r\na\r\n"), limits).status, 413);
}

TEST(HttpParser, ReadsCompressedBodies) {
  const HttpLimits limits = {.max_header_bytes = 1000, .max_headers = 10, .max_body_bytes = 100'000, .max_chunks = 5};
  const std::string text(100'000, 'a');
  const std::string header = "Content-Encoding: gzip\r\n";
  EXPECT_EQ(parse(post("/", gzip(text), header), limits).request.body, text);
  EXPECT_EQ(parse(post("/", gzip(text), "Content-Encoding: X-GZIP\r\n"), limits).request.body, text);
  EXPECT_EQ(parse(post("/", text, "Content-Encoding: identity\r\n"), limits).request.body, text);
  EXPECT_EQ(parse(post("/", gzip("one") + gzip("two"), header), limits).request.body, "onetwo");
  EXPECT_EQ(parse(post("/", gzip(text + "a"), header), limits).status, 413);
  EXPECT_EQ(parse(post("/", text, header), limits).status, 400);
  EXPECT_EQ(parse(post("/", "", header), limits).status, 400);
  EXPECT_EQ(parse(post("/", gzip(text) + "more", header), limits).status, 400);
  std::string damaged = gzip("some text, so that there is something to damage");
  EXPECT_EQ(parse(post("/", damaged.substr(0, damaged.size() - 1), header), limits).status, 400);
  damaged[20] = static_cast<char>(damaged[20] ^ 0x55);
  EXPECT_EQ(parse(post("/", damaged, header), limits).status, 400);
  for (const std::string other : {"br", "deflate", "gzip, gzip", "zstd"}) {
    EXPECT_EQ(parse(post("/", text, "Content-Encoding: " + other + "\r\n"), limits).status, 415) << other;
  }
}

TEST(HttpParser, RefusesOtherExpectations) {
  EXPECT_EQ(parse(post("/", "a", "Expect: 100-Continue\r\n")).status, 200);
  EXPECT_EQ(parse(post("/", "a", "Expect: tea\r\n")).status, 417);
}

TEST(HttpTarget, IsAPathAQueryOrAUrl) {
  EXPECT_EQ(parse_http_target("/a/b?c?d")->path, "/a/b");
  EXPECT_EQ(parse_http_target("/a/b?c?d")->query, "c?d");
  EXPECT_EQ(parse_http_target("http://host:1/a?b")->path, "/a");
  EXPECT_EQ(parse_http_target("http://host")->path, "/");
  EXPECT_EQ(parse_http_target("http://host?q")->path, "/");
  EXPECT_EQ(parse_http_target("*")->path, "*");
  EXPECT_EQ(parse_http_target("/%C3%A4%2f..%2F")->path, "/\xC3\xA4/../");
}

TEST(HttpResponse, CannotBeSplitByAValue) {
  const HttpResponse response = {.status = 200,
                                 .body = "",
                                 .content_type = "a\r\nB: c",
                                 .headers = {{"X\r\n", std::string("d\r\n\r\n<html>\0", 12)}}};
  const std::string head = http_head(response, {.framing = HttpFraming::kLength,
                                                .num_body_bytes = 0,
                                                .closes = true,
                                                .request_id = "id",
                                                .date = http_date(784111777)});
  EXPECT_EQ(head,
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: aB: c\r\n"
            "Content-Length: 0\r\nX-Request-Id: id\r\nX: d<html>\r\nConnection: close\r\n\r\n");
}

TEST(HttpResponse, ErrorsAreInOpenAisForm) {
  const HttpResponse response = http_error(404, "no \"\xff\" here");
  EXPECT_EQ(response.content_type, "application/json");
  const auto error = nlohmann::json::parse(response.body).at("error");
  EXPECT_EQ(error.at("message"), "no \"\xEF\xBF\xBD\" here");
  EXPECT_EQ(error.at("type"), "not_found_error");
  EXPECT_TRUE(error.at("param").is_null());
  EXPECT_EQ(error.at("code"), 404);
}

TEST(HttpResponse, RequestIdsAreSane) {
  EXPECT_TRUE(is_sane_request_id("req-1:/~"));
  EXPECT_TRUE(is_sane_request_id(std::string(128, 'a')));
  EXPECT_FALSE(is_sane_request_id(std::string(129, 'a')));
  for (const std::string id : {"", "a b", "a\n", "\x7f", "\xc3\xa4"}) EXPECT_FALSE(is_sane_request_id(id)) << id;
  EXPECT_TRUE(is_sane_request_id(make_request_id()));
  EXPECT_NE(make_request_id(), make_request_id());
}

TEST(ApiKeys, AreLinesOfAFile) {
  const auto keys = ApiKeys::parse("# of the team\nsecret\r\n\nother-key", "keys");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ(keys->find("secret"), "2bb80d537b1da3e3");  // sha256sum
  EXPECT_TRUE(keys->find("other-key"));
  EXPECT_NE(keys->find("secret"), keys->find("other-key"));
  for (const std::string key : {"", "secre", "secrets", "Secret", "# of the team", "secret\r"}) {
    EXPECT_FALSE(keys->find(key)) << key;
  }
  EXPECT_EQ(ApiKeys::parse("a\nb c\n", "keys").status().message(),
            "keys:2: expected a key of printable ASCII characters without spaces");
  EXPECT_EQ(ApiKeys::parse("\n# none\n", "keys").status().message(), "keys: expected a key a line, found none");
  EXPECT_EQ(ApiKeys::read("/nonexistent/keys").status().message(), "/nonexistent/keys: cannot be read");
  EXPECT_TRUE(ApiKeys().empty());
}

HttpRequest request_of(std::string method, std::string path, std::string authorization = "") {
  HttpRequest request;
  request.method = std::move(method);
  request.path = std::move(path);
  if (!authorization.empty()) request.headers.emplace_back("authorization", std::move(authorization));
  return request;
}

TEST(HttpRouter, FindsExactPathsAndPrefixes) {
  const HttpRouter router({{"GET", "/v1/models", nullptr},
                           {"GET", "/v1/models/*", nullptr},
                           {"POST", "/v1/*", nullptr},
                           {"GET", "/v1/models/exact", nullptr},
                           {"POST", "/v1/models/exact", nullptr}},
                          {});
  const auto path = [&](const std::string& method, const std::string& asked) {
    const HttpRouter::Admission admission = router.admit(request_of(method, asked));
    return admission.route ? admission.route->path : std::to_string(admission.refusal->status);
  };
  EXPECT_EQ(path("GET", "/v1/models"), "/v1/models");
  EXPECT_EQ(path("GET", "/v1/models/x/y"), "/v1/models/*");
  EXPECT_EQ(path("GET", "/v1/models/"), "/v1/models/*");
  EXPECT_EQ(path("GET", "/v1/models/exact"), "/v1/models/exact");
  EXPECT_EQ(path("POST", "/v1/chat"), "/v1/*");
  EXPECT_EQ(path("GET", "/v1/chat"), "405");
  EXPECT_EQ(path("get", "/v1/models"), "405");
  EXPECT_EQ(path("GET", "/v1"), "404");
  EXPECT_EQ(path("GET", "/v1/modelsx"), "405");  // below /v1/*
  EXPECT_EQ(path("GET", "/"), "404");
  EXPECT_EQ(router.admit(request_of("HEAD", "/v1/models/exact")).refusal->headers[0],
            std::make_pair(std::string("Allow"), std::string("GET, POST")));
}

TEST(HttpRouter, AsksForKeysOnAllButOpenRoutes) {
  const HttpRouter router({{"GET", "/health", nullptr, false}, {"POST", "/v1/chat", nullptr}},
                          *ApiKeys::parse("secret", "keys"));
  const auto status = [&](const std::string& method, const std::string& path, const std::string& authorization) {
    const HttpRouter::Admission admission = router.admit(request_of(method, path, authorization));
    return admission.route ? 200 : admission.refusal->status;
  };
  EXPECT_EQ(status("GET", "/health", ""), 200);
  EXPECT_EQ(status("GET", "/health", "Bearer wrong"), 200);
  EXPECT_EQ(status("POST", "/health", ""), 405);
  for (const std::string authorization :
       {"", "secret", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "Bearer secret x", "Bearersecret"}) {
    EXPECT_EQ(status("POST", "/v1/chat", authorization), 401) << authorization;
    EXPECT_EQ(status("GET", "/v1/chat", authorization), 401) << authorization;
    EXPECT_EQ(status("GET", "/unknown", authorization), 401) << authorization;
  }
  EXPECT_EQ(status("POST", "/v1/chat", "Bearer secret"), 200);
  EXPECT_EQ(status("POST", "/v1/chat", "bearer  secret"), 200);
  EXPECT_EQ(status("GET", "/v1/chat", "Bearer secret"), 405);
  EXPECT_EQ(status("GET", "/unknown", "Bearer secret"), 404);
  EXPECT_EQ(router.admit(request_of("POST", "/v1/chat", "Bearer secret")).tenant, "2bb80d537b1da3e3");
  EXPECT_EQ(router.admit(request_of("POST", "/v1/chat")).refusal->headers[0].first, "WWW-Authenticate");
}

}  // namespace
}  // namespace cohort
