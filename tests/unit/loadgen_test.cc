// The parts of the load generator that need no server.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>

#include "launcher/loadgen/arrivals.h"
#include "launcher/loadgen/completion_protocol.h"
#include "launcher/loadgen/load_picture.h"
#include "launcher/loadgen/load_report.h"
#include "launcher/loadgen/prompts.h"
#include "launcher/loadgen/server_address.h"
#include "launcher/loadgen/sse_parser.h"
#include "launcher/loadgen/statistics.h"
#include "launcher/picture/chart.h"
#include "tests/files.h"

namespace cohort {
namespace {

// "name|data" of each event, of bytes in pieces of at most `piece`.
std::vector<std::string> events_of(std::string_view bytes, size_t piece) {
  SseParser parser;
  std::vector<std::string> events;
  for (size_t i = 0; i < bytes.size(); i += piece) {
    const Status status = parser.feed(bytes.substr(i, piece), [&](std::string_view name, std::string_view data) {
      events.push_back(std::string(name) + "|" + std::string(data));
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return events;
}

TEST(SseParser, EventsAreTheSameWhereverTheirBytesAreCut) {
  const std::string stream =
      "\xEF\xBB\xBF"
      "data: first\n\n"
      ": a comment\r\n"
      "data:no blank\r\ndata: two lines\r\n\r\n"
      "event: error\rdata:  blank kept\r\r"
      "id: 7\nretry: 10\nunknown\ndata\n\n"
      "event: without data\n\n"
      "\n\n\r\n"
      "data: {\"a\": \"b:c\"}\n\n"
      "data: [DONE]\n\n"
      "data: never ended\n";
  const std::vector<std::string> expected = {"|first", "|no blank\ntwo lines", "error| blank kept",
                                             "|",      "|{\"a\": \"b:c\"}",    "|[DONE]"};
  for (size_t piece = 1; piece <= stream.size(); ++piece) EXPECT_EQ(events_of(stream, piece), expected) << piece;
}

TEST(SseParser, TellsAStreamThatWasCut) {
  const auto ignore = [](std::string_view, std::string_view) {};
  for (const char* bytes : {"d", "data: x", "data: x\n", "event: y\n"}) {
    SseParser parser;
    EXPECT_TRUE(parser.feed(bytes, ignore).ok());
    EXPECT_TRUE(parser.is_inside_event()) << bytes;
    EXPECT_TRUE(parser.feed("\n\n", ignore).ok());
    EXPECT_FALSE(parser.is_inside_event()) << bytes;
  }
}

TEST(SseParser, RefusesEventsWithoutEnd) {
  const auto ignore = [](std::string_view, std::string_view) {};
  SseParser one_line(100);
  Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = one_line.feed("data: 890", ignore);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  SseParser many_lines(100);
  status = ok_status();
  for (int i = 0; i < 50 && status.ok(); ++i) status = many_lines.feed("data: 890\n", ignore);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
}

TEST(Statistics, OfUnsortedValues) {
  const std::vector<double> percents = {50, 90};
  const Distribution result = summarize({8, 1, 16, 2, 4}, percents);
  EXPECT_DOUBLE_EQ(result.mean, 6.2);
  EXPECT_DOUBLE_EQ(result.median, 4);
  EXPECT_DOUBLE_EQ(result.max, 16);
  EXPECT_NEAR(result.stddev, 5.455273, 1e-6);
  EXPECT_EQ(result.percentiles, (std::vector<std::pair<double, double>>{{50, 4}, {90, 16}}));
  EXPECT_EQ(summarize({}, percents).mean, 0);
}

TEST(Arrivals, HaveTheRateAndTheSpreadOfTheirProcess) {
  constexpr int64_t kCount = 20000;
  for (const double burstiness : {0.25, 1.0, 4.0}) {
    const auto arrivals = plan_arrivals({.rate = 50, .burstiness = burstiness, .seed = 3}, kCount);
    ASSERT_EQ(arrivals.size(), static_cast<size_t>(kCount));
    EXPECT_EQ(arrivals.front(), 0);
    EXPECT_TRUE(std::is_sorted(arrivals.begin(), arrivals.end()));
    std::vector<double> intervals;
    for (size_t i = 1; i < arrivals.size(); ++i) intervals.push_back(arrivals[i] - arrivals[i - 1]);
    const Distribution spread = summarize(intervals, {});
    EXPECT_NEAR(spread.mean, 1.0 / 50, 0.05 / 50);
    EXPECT_NEAR(spread.stddev / spread.mean, 1 / std::sqrt(burstiness), 0.1);
  }
}

TEST(Arrivals, DependOnTheSeedAlone) {
  EXPECT_EQ(plan_arrivals({.rate = 2, .seed = 1}, 10), plan_arrivals({.rate = 2, .seed = 1}, 10));
  EXPECT_NE(plan_arrivals({.rate = 2, .seed = 1}, 10), plan_arrivals({.rate = 2, .seed = 2}, 10));
  EXPECT_EQ(plan_arrivals({.rate = HUGE_VAL}, 3), (std::vector<double>{0, 0, 0}));
}

TEST(Prompts, RandomIdsHaveTheLengthsAskedFor) {
  const RandomPrompts options{.count = 200,
                              .prefix_length = 5,
                              .input_length = 20,
                              .output_length = 10,
                              .range_ratio = 0.5,
                              .vocab = 40,
                              .seed = 9};
  const auto prompts = make_random_prompts(options, nullptr);
  ASSERT_EQ(prompts.size(), 200u);
  std::set<size_t> input_lengths;
  std::set<int64_t> output_lengths;
  for (const LoadPrompt& prompt : prompts) {
    EXPECT_TRUE(prompt.text.empty());
    EXPECT_EQ(prompt.num_tokens, static_cast<int64_t>(prompt.ids.size()));
    EXPECT_TRUE(std::equal(prompt.ids.begin(), prompt.ids.begin() + 5, prompts.front().ids.begin()));
    for (const int32_t id : prompt.ids) EXPECT_TRUE(id >= 0 && id < 40) << id;
    input_lengths.insert(prompt.ids.size() - 5);
    output_lengths.insert(prompt.output_length);
  }
  EXPECT_EQ(*input_lengths.begin(), 10u);
  EXPECT_EQ(*input_lengths.rbegin(), 30u);
  EXPECT_EQ(*output_lengths.begin(), 5);
  EXPECT_EQ(*output_lengths.rbegin(), 15);
  EXPECT_EQ(make_random_prompts(options, nullptr).back().ids, prompts.back().ids);
}

TEST(Prompts, RandomTextHasAsManyTokens) {
  const auto tokenizer = Tokenizer::load(test::source_dir() / "configs/quickstart/model");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  int num_exact = 0;
  const auto prompts = make_random_prompts({.count = 50, .prefix_length = 8, .input_length = 64}, tokenizer->get());
  for (const LoadPrompt& prompt : prompts) {
    EXPECT_TRUE(prompt.ids.empty());
    EXPECT_EQ((*tokenizer)->encode(prompt.text, {.add_special_tokens = false}).size(),
              static_cast<size_t>(prompt.num_tokens));
    EXPECT_NEAR(static_cast<double>(prompt.num_tokens), 72, 8);
    num_exact += prompt.num_tokens == 72 ? 1 : 0;
  }
  EXPECT_GE(num_exact, 40);
}

TEST(Prompts, OfAFile) {
  const std::string text =
      "one line\r\n\n{\"prompt\": \"of JSON\", \"output_len\": 7}\n{\"prompt\": [1, 2, 3]}\nthe last line";
  const auto prompts = parse_prompts(text, 6, 20);
  ASSERT_TRUE(prompts.ok()) << prompts.status().message();
  ASSERT_EQ(prompts->size(), 6u);
  EXPECT_EQ((*prompts)[0].text, "one line");
  EXPECT_EQ((*prompts)[0].output_length, 20);
  EXPECT_EQ((*prompts)[1].text, "of JSON");
  EXPECT_EQ((*prompts)[1].output_length, 7);
  EXPECT_EQ((*prompts)[2].ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ((*prompts)[2].num_tokens, 3);
  EXPECT_EQ((*prompts)[3].text, "the last line");
  EXPECT_EQ((*prompts)[4].text, "one line");
  EXPECT_EQ(parse_prompts(text, 2, 20)->size(), 2u);
}

TEST(Prompts, MistakesNameTheirLine) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"\n\n", "no prompts"},
           {"good\n{\"prompt\": 3}", "line 2: prompt"},
           {"good\n{\"prompt\": []}", "line 2: prompt"},
           {"good\n{\"prompt\": [-1]}", "line 2: prompt"},
           {"good\n{\"prompt\": [5000000000]}", "line 2: prompt"},
           {"good\n\n{\"text\": \"x\"}", "line 3: prompt"},
           {"{\"prompt\": \"x\", \"output_len\": 0}", "line 1: output_len"},
           {"{\"prompt\": \"x\"", "line 1: expected a JSON object"},
       }) {
    const auto prompts = parse_prompts(text, 2, 20);
    ASSERT_FALSE(prompts.ok()) << text;
    EXPECT_NE(prompts.status().message().find(words), std::string::npos) << prompts.status().message();
  }
}

TEST(CompletionProtocol, RequestsAreJson) {
  RequestForm form{.model = "a \"model\"", .temperature = 0.5};
  const LoadPrompt ids{.ids = {5, 6}, .output_length = 9};
  auto body = nlohmann::json::parse(request_body(form, ids));
  EXPECT_EQ(body, nlohmann::json::parse(R"({"model": "a \"model\"", "max_tokens": 9, "temperature": 0.5, "stream": true,
    "stream_options": {"include_usage": true}, "prompt": [5, 6]})"));
  form.ignore_eos = true;
  form.extra = R"("top_k":4,"stop":["x"])";
  body = nlohmann::json::parse(request_body(form, {.text = "tab\t\xC3", .output_length = 1}));
  EXPECT_EQ(body["prompt"], "tab\t\xEF\xBF\xBD");
  EXPECT_EQ(body["ignore_eos"], true);
  EXPECT_EQ(body["top_k"], 4);
  form.is_chat = true;
  body = nlohmann::json::parse(request_body(form, {.text = "hello", .output_length = 1}));
  EXPECT_EQ(body["messages"], nlohmann::json::parse(R"([{"role": "user", "content": "hello"}])"));
  EXPECT_FALSE(body.contains("prompt"));
}

TEST(CompletionProtocol, WhatAnEventSays) {
  struct Case {
    const char* data;
    bool has_output, has_finished;
  };
  for (const Case& c : std::vector<Case>{
           {R"({"choices": [{"index": 0, "text": " the", "finish_reason": null}]})", true, false},
           {R"({"choices": [{"index": 0, "text": "", "finish_reason": null}]})", true, false},
           {R"({"choices": [{"index": 0, "text": " end", "finish_reason": "length"}]})", true, true},
           {R"({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})", false, true},
           {R"({"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]})", false, false},
           {R"({"choices": [{"delta": {"content": "Hi"}}]})", true, false},
           {R"({"choices": [{"delta": {"content": ""}}]})", true, false},
           {R"({"choices": [{"delta": {"content": null, "reasoning_content": "hm"}}]})", true, false},
           {R"({"choices": [{"delta": {"tool_calls": []}}]})", true, false},
           {R"({"choices": [{"delta": {}, "finish_reason": "stop"}]})", false, true},
           {R"({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})", false, false},
       }) {
    const auto event = parse_answer_event(c.data);
    ASSERT_TRUE(event.ok()) << c.data << event.status().message();
    EXPECT_EQ(event->has_output, c.has_output) << c.data;
    EXPECT_EQ(event->has_finished, c.has_finished) << c.data;
    EXPECT_FALSE(event->is_done);
    EXPECT_EQ(event->error, "");
  }
  EXPECT_TRUE(parse_answer_event("[DONE]")->is_done);
  const auto usage = parse_answer_event(R"({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})");
  EXPECT_EQ(usage->num_prompt_tokens, 3);
  EXPECT_EQ(usage->num_output_tokens, 4);
}

TEST(CompletionProtocol, ErrorsAreToldApart) {
  EXPECT_EQ(parse_answer_event(R"({"error": {"message": "engine died", "code": 500}})")->error, "engine died");
  EXPECT_EQ(parse_answer_event(R"({"error": "words"})")->error, "words");
  for (const char* data : {"", "{", "3", "[]", "{}", R"({"choices": 3})", R"({"choices": [3]})", "\xff"}) {
    EXPECT_EQ(parse_answer_event(data).status().code(), StatusCode::kInvalidArgument) << data;
  }
  EXPECT_EQ(error_message(R"({"error": {"message": "queue full"}})"), "queue full");
  EXPECT_EQ(error_message("plain words"), "plain words");
  EXPECT_EQ(error_message(std::string(1000, 'x')).size(), 200u);
}

TEST(ServerAddress, OfUrls) {
  const auto parts = [](std::string_view url) {
    const auto address = parse_base_url(url);
    return address.ok() ? fmt::format("{} {} {}", address->host, address->port, address->prefix) : "";
  };
  EXPECT_EQ(parts("http://localhost:8000"), "localhost 8000 ");
  EXPECT_EQ(parts("http://localhost:8000/"), "localhost 8000 ");
  EXPECT_EQ(parts("http://localhost:8000/v1"), "localhost 8000 ");
  EXPECT_EQ(parts("http://node1/proxy/v1/"), "node1 80 /proxy");
  EXPECT_EQ(parts("http://[::1]:80"), "::1 80 ");
  EXPECT_EQ(parse_base_url("http://[::1]:80/x")->url(), "http://[::1]:80/x");
  for (const char* url : {"", "localhost:8000", "https://a", "http://", "http://:80", "http://a:", "http://a:0",
                          "http://a:65536", "http://a:8x", "http://[::1", "http://u@a", "http://a b"}) {
    EXPECT_EQ(parts(url), "") << url;
  }
}

// Sent at `due`, its first output after ttft seconds, then pieces of one token with `gap` between them.
RequestRecord record(double due, double ttft, double gap, int64_t num_tokens) {
  RequestRecord r{.due = due, .sent = due, .num_prompt_tokens = 10, .num_output_tokens = num_tokens, .has_usage = true};
  r.first_output = r.sent + ttft;
  r.gaps.assign(static_cast<size_t>(num_tokens - 1), gap);
  r.last_output = r.first_output + gap * static_cast<double>(num_tokens - 1);
  r.ended = r.last_output;
  return r;
}

LoadReport report_of_three() {
  LoadResult result;
  result.requests = {record(0, 0.1, 0.01, 11), record(1, 0.3, 0.02, 11), record(2, 0.5, 0.03, 1)};
  RequestRecord refused{.due = 2.5, .sent = 2.5, .ended = 2.6, .failure = "HTTP 429", .failure_message = "queue full"};
  result.requests.push_back(refused);
  refused.failure_message = "another";
  result.requests.push_back(refused);
  RequestRecord late = record(3, 0.1, 0.01, 2);
  late.sent += 0.75;
  late.held = 0.5;
  late.failure = "stream cut";
  result.requests.push_back(late);
  result.seconds = 4;
  result.max_under_way = 2;
  return make_report({.request_rate = 2, .percents = {50, 99}, .service_levels = {{"ttft", 200}, {"tpot", 15}}},
                     result);
}

TEST(LoadReport, CountsWhatWentWellAndWhatDidNot) {
  const LoadReport report = report_of_three();
  EXPECT_EQ(report.num_completed, 3);
  EXPECT_EQ(report.num_failed, 3);
  EXPECT_EQ(report.failures.at("HTTP 429").count, 2);
  EXPECT_EQ(report.failures.at("HTTP 429").example, "queue full");
  EXPECT_EQ(report.failures.at("stream cut").count, 1);
  EXPECT_EQ(report.num_prompt_tokens, 30);
  EXPECT_EQ(report.num_output_tokens, 23);
  EXPECT_DOUBLE_EQ(report.request_throughput(), 0.75);
  EXPECT_DOUBLE_EQ(report.output_throughput(), 23.0 / 4);
  EXPECT_DOUBLE_EQ(report.total_throughput(), 53.0 / 4);
  EXPECT_EQ(report.num_good, 1);
  EXPECT_DOUBLE_EQ(report.goodput(), 0.25);
  EXPECT_EQ(report.max_concurrency, 2);
  EXPECT_DOUBLE_EQ(report.offered_rate, 5.0 / 3);
  EXPECT_NEAR(report.mean_concurrency, (0.2 + 0.5 + 0.5 + 0.1 + 0.1 - 0.64) / 4, 1e-9);
}

TEST(LoadReport, LatenciesAreOfTheOnesThatWentWell) {
  const LoadReport report = report_of_three();
  EXPECT_NEAR(report.latencies_ms.at("ttft").mean, 300, 1e-9);
  EXPECT_NEAR(report.latencies_ms.at("ttft").percentiles[1].second, 500, 1e-9);
  EXPECT_NEAR(report.latencies_ms.at("tpot").mean, 15, 1e-9);  // of two: one token has none
  EXPECT_NEAR(report.latencies_ms.at("itl").mean, 15, 1e-9);
  EXPECT_NEAR(report.latencies_ms.at("e2el").median, 500, 1e-9);
  EXPECT_NEAR(report.send_lag_ms.max, 250, 1e-9);
  EXPECT_NEAR(report.held_ms.max, 500, 1e-9);
  EXPECT_EQ(report.num_held, 1);
}

TEST(LoadReport, SaysSoInWordsAndInJson) {
  const LoadReport report = report_of_three();
  const std::vector<std::string> metrics = {"ttft", "itl"};
  const std::string text = format_report(report, metrics);
  for (const char* words : {"Successful requests", "HTTP 429", "queue full", "goodput", "Median TTFT", "P99 ITL"}) {
    EXPECT_NE(text.find(words), std::string::npos) << words << "\n" << text;
  }
  EXPECT_EQ(text.find("TPOT"), std::string::npos);
  const auto json = report_json(report);
  EXPECT_EQ(json["completed"], 3);
  EXPECT_EQ(json["failures"]["HTTP 429"]["count"], 2);
  EXPECT_NEAR(json["median_ttft_ms"].get<double>(), 300, 1e-9);
  EXPECT_NEAR(json["p99_ttft_ms"].get<double>(), 500, 1e-9);
  EXPECT_EQ(json["goodput_ms"]["tpot"], 15);
  const std::string sweep = format_sweep(std::vector<LoadReport>{report, report});
  EXPECT_EQ(std::count(sweep.begin(), sweep.end(), '\n'), 3);
}

TEST(LoadReport, OfNothingThatWentWell) {
  LoadResult result;
  result.requests = {{.failure = "no connection", .failure_message = "refused"}};
  const LoadReport report = make_report({.request_rate = HUGE_VAL, .percents = {99}}, result);
  EXPECT_EQ(report.num_completed, 0);
  EXPECT_EQ(report.request_throughput(), 0);
  EXPECT_EQ(report_json(report)["request_rate"], "inf");
  EXPECT_NE(format_report(report, std::vector<std::string>{"ttft"}).find("no connection"), std::string::npos);
}

TEST(LoadPicture, TicksEncloseWhatIsShown) {
  EXPECT_EQ(linear_ticks(100), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(linear_ticks(101), (std::vector<double>{0, 50, 100, 150}));
  EXPECT_EQ(linear_ticks(0).size(), 2u);
  EXPECT_EQ(logarithmic_ticks(3, 45), (std::vector<double>{2, 5, 10, 20, 50}));
  EXPECT_EQ(logarithmic_ticks(10, 10), (std::vector<double>{10, 20}));
  EXPECT_EQ(logarithmic_ticks(2, 90000), (std::vector<double>{1, 10, 100, 1000, 10000, 100000}));
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    const double low = std::pow(10, std::uniform_real_distribution(-6.0, 6.0)(random));
    const double high = low * std::pow(10, std::uniform_real_distribution(0.0, 6.0)(random));
    for (const auto& ticks : {logarithmic_ticks(low, high), linear_ticks(high)}) {
      ASSERT_GE(ticks.size(), 2u);
      ASSERT_LE(ticks.size(), 9u);
      ASSERT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
      ASSERT_LE(ticks.front(), low * (1 + 1e-6));
      ASSERT_GE(ticks.back(), high * (1 - 1e-6));
    }
  }
}

TEST(LoadPicture, HasEveryPointAndNoMarkupOfItsTexts) {
  const std::vector<LoadPoint> points = {
      {4, 30, 60, 12, 20, 400, 420, 0}, {1, 20, 40, 10, 12, 100, 105, 0}, {16, 300, 900, 40, 90, 900, 1680, 3}};
  const std::string svg = draw_load({"<a & b>", {"note"}, "p99"}, points);
  const auto count = [&](std::string_view word) {
    int64_t n = 0;
    for (size_t at = svg.find(word); at != std::string::npos; at = svg.find(word, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<svg "), 1);
  EXPECT_EQ(count("</svg>"), 1);
  EXPECT_EQ(count("<polyline"), 6);
  EXPECT_EQ(count("<circle"), 3 * 3 + 3);  // with the legends'
  EXPECT_EQ(count("<text"), count("</text>"));
  EXPECT_EQ(count("&lt;a &amp; b&gt;"), 1);
  EXPECT_EQ(count("failed requests: 3 at 16/s"), 1);
  EXPECT_EQ(count("nan"), 0);
  EXPECT_EQ(count("inf"), 0);
  EXPECT_EQ(count("<script"), 0);
}

TEST(LoadPicture, OfOneRateAndOfNothing) {
  for (const LoadPoint& point : {LoadPoint{.request_rate = 2, .num_failed = 5}, LoadPoint{2, 1, 1, 1, 1, 1, 1, 0}}) {
    const std::string svg = draw_load({"title", {}, "p99"}, std::vector<LoadPoint>{point});
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(svg.find("inf"), std::string::npos);
  }
}

}  // namespace
}  // namespace cohort
