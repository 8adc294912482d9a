// KServe's protocol but for inference: health, metadata, statistics, which paths there are.
#include <gtest/gtest.h>

#include "launcher/gateway/kserve_request.h"
#include "tests/gateway/openai_testing.h"

namespace cohort {
namespace {

using nlohmann::json;

TEST(KserveApi, HealthFollowsTheEngine) {
  OpenAiTester tester;
  const auto status = [&](const char* path) { return tester.get(path)->status; };
  EXPECT_EQ(status("/v2/health/live"), 200);
  EXPECT_EQ(status("/v2/health/ready"), 200);
  EXPECT_EQ(status("/v2/models/quickstart/ready"), 200);
  tester.engine.health_ = {.state = EngineState::kLoading, .what = "loading weights", .fraction = 0.25};
  EXPECT_EQ(status("/v2/health/live"), 200);
  EXPECT_EQ(status("/v2/models/quickstart/versions/1/ready"), 503);
  const auto loading = tester.get("/v2/health/ready");
  EXPECT_EQ(loading->status, 503);
  EXPECT_EQ(loading->headers.count("Retry-After"), 1u);
  EXPECT_EQ(loading->json(), json({{"error", "the model is loading: loading weights, 25%"}}));
  tester.engine.health_ = {.state = EngineState::kBroken, .what = "rank 3 has died"};
  EXPECT_EQ(status("/v2/health/live"), 503);
  EXPECT_EQ(status("/v2/health/ready"), 503);
  tester.engine.health_ = {.state = EngineState::kReady, .what = "", .fraction = 1};
  tester.api->service.begin_drain();
  EXPECT_EQ(status("/v2/health/live"), 200);
  EXPECT_EQ(status("/v2/health/ready"), 503);
}

TEST(KserveApi, NothingIsTakenBeforeTheEngineIsReady) {
  OpenAiTester tester;
  for (const EngineState state : {EngineState::kLoading, EngineState::kBroken}) {
    tester.engine.health_ = {.state = state, .what = "because"};
    for (const char* action : {"infer", "generate", "generate_stream"}) {
      const auto answered = tester.post(std::string("/v2/models/quickstart/") + action, {{"text_input", "a"}});
      EXPECT_EQ(answered->status, 503) << action;
      EXPECT_NE(answered->json()["error"].get<std::string>().find("because"), std::string::npos);
    }
    EXPECT_EQ(tester.get("/v2/models/quickstart")->status, 503);
    EXPECT_EQ(tester.get("/v2/models/quickstart/config")->status, 503);
  }
  EXPECT_TRUE(tester.engine.submitted.empty());
}

TEST(KserveApi, Metadata) {
  OpenAiTester tester;
  const json server = tester.get("/v2")->json();
  EXPECT_EQ(server["name"], "cohort");
  EXPECT_EQ(server["version"], "1.2.3");
  EXPECT_NE(std::find(server["extensions"].begin(), server["extensions"].end(), "binary_tensor_data"),
            server["extensions"].end());
  const json model = tester.get("/v2/models/quickstart")->json();
  EXPECT_EQ(tester.get("/v2/models/quickstart/versions/1")->json(), model);
  EXPECT_EQ(model["name"], "quickstart");
  EXPECT_EQ(model["versions"], json({"1"}));
  EXPECT_EQ(model["inputs"][0], json({{"name", "text_input"}, {"datatype", "BYTES"}, {"shape", {-1, 1}}}));
  EXPECT_EQ(model["inputs"][1], json({{"name", "max_tokens"}, {"datatype", "INT32"}, {"shape", {-1, 1}}}));
  EXPECT_EQ(model["outputs"][0], json({{"name", "text_output"}, {"datatype", "BYTES"}, {"shape", {-1, 1}}}));
  const json config = tester.get("/v2/models/quickstart/config")->json();
  EXPECT_EQ(config["name"], "quickstart");
  EXPECT_EQ(config["max_batch_size"], 64 + 512);
  EXPECT_EQ(config["input"].size(), kKserveInputs.size());
  EXPECT_EQ(config["input"][0],
            json({{"name", "text_input"}, {"data_type", "TYPE_STRING"}, {"dims", {1}}, {"optional", false}}));
  EXPECT_EQ(config["output"].size(), kKserveOutputs.size());
}

TEST(KserveApi, Repository) {
  OpenAiTester tester;
  const json ready = json::array({{{"name", "quickstart"}, {"version", "1"}, {"state", "READY"}, {"reason", ""}}});
  EXPECT_EQ(tester.send("POST", "/v2/repository/index")->json(), ready);
  EXPECT_EQ(tester.post("/v2/repository/index", {{"ready", true}})->json(), ready);
  EXPECT_EQ(tester.post("/v2/repository/index", {{"ready", "yes"}})->status, 400);
  EXPECT_EQ(tester.send("POST", "/v2/repository/index", "[")->status, 400);
  tester.engine.health_ = {.state = EngineState::kLoading, .what = "loading weights", .fraction = 0.25};
  EXPECT_EQ(tester.send("POST", "/v2/repository/index")->json()[0]["state"], "UNAVAILABLE");
  EXPECT_EQ(tester.post("/v2/repository/index", {{"ready", true}})->json(), json::array());
  for (const char* action : {"load", "unload"}) {
    const auto answered = tester.post(std::string("/v2/repository/models/quickstart/") + action, json::object());
    EXPECT_EQ(answered->status, 501);
    EXPECT_NE(answered->json()["error"].get<std::string>().find("loaded or unloaded"), std::string::npos);
  }
}

TEST(KserveApi, OtherModelsVersionsAndPathsAreNotFound) {
  OpenAiTester tester;
  for (const char* path :
       {"/v2/models/other", "/v2/models/", "/v2/models/../quickstart", "/v2/models/quickstart2", "/v2/models/quick",
        "/v2/models//ready", "/v2/models/quickstart/versions/2", "/v2/models/quickstart/versions/",
        "/v2/models/quickstart/versions/2/ready", "/v2/models/quickstart/versions/1/x", "/v2/models/quickstart/x",
        "/v2/models/quickstart/ready/x", "/v2/models/quickstart/versions"}) {
    const auto answered = tester.get(path);
    EXPECT_EQ(answered->status, 404) << path;
    EXPECT_TRUE(answered->json()["error"].is_string()) << path;
  }
  for (const char* path : {"/v2/models/other/infer", "/v2/models/../infer", "/v2/models/quickstart/versions/3/infer",
                           "/v2/models/quickstart/infer/x", "/v2/models//infer"}) {
    EXPECT_EQ(tester.post(path, {{"text_input", "a"}})->status, 404) << path;
  }
  const auto get = tester.get("/v2/models/quickstart/infer");
  EXPECT_EQ(get->status, 405);
  EXPECT_EQ(get->headers["Allow"], "POST");
  EXPECT_EQ(tester.post("/v2/models/quickstart/stats", json::object())->status, 405);
}

TEST(KserveApi, AModelMayBeNamedLikeAPath) {
  OpenAiOptions options = OpenAiTester::default_options();
  options.model_name = "org/versions/1";
  OpenAiTester tester(options);
  EXPECT_EQ(tester.get("/v2/models/org/versions/1")->json()["name"], "org/versions/1");
  EXPECT_EQ(tester.get("/v2/models/org/versions/1/versions/1/ready")->status, 200);
  EXPECT_EQ(tester.get("/v2/models/org/ready")->status, 404);
}

TEST(KserveApi, StatisticsAndMetricsCountEveryProtocol) {
  OpenAiTester tester;
  tester.engine.stats_.num_steps = 7;
  tester.engine.stats_.num_waiting = 2;
  tester.post("/v2/models/quickstart/generate", {{"text_input", "Once"}});
  tester.reply(0, " upon");
  tester.post("/v1/completions", {{"prompt", "Once"}, {"n", 2}});
  tester.reply(1, " upon");
  tester.reply(2, " upon");
  tester.post("/v2/models/quickstart/generate", {{"text_input", "Once"}});
  tester.engine.send_status(3, {StatusCode::kInternal, "no"});
  tester.post("/v2/models/quickstart/generate", {{"text_input", "Once"}})->go();

  const json stats = tester.get("/v2/models/quickstart/stats")->json()["model_stats"];
  ASSERT_EQ(stats.size(), 1u);
  EXPECT_EQ(stats[0]["name"], "quickstart");
  EXPECT_EQ(stats[0]["version"], "1");
  EXPECT_EQ(stats[0]["inference_count"], 3);
  EXPECT_EQ(stats[0]["execution_count"], 7);
  EXPECT_GT(stats[0]["last_inference"].get<int64_t>(), 1'700'000'000'000);
  const json& inference = stats[0]["inference_stats"];
  EXPECT_EQ(inference["success"]["count"], 2);
  EXPECT_GT(inference["success"]["ns"].get<int64_t>(), 0);
  EXPECT_EQ(inference["fail"]["count"], 1);
  EXPECT_EQ(inference["cancel"]["count"], 1);
  EXPECT_EQ(inference["queue"]["count"], 2);
  EXPECT_LE(inference["compute_infer"]["ns"].get<int64_t>(), inference["success"]["ns"].get<int64_t>());

  const std::string metrics = tester.get("/metrics")->body;
  const std::string labels = R"({model="quickstart",version="1"})";
  for (const std::string& line :
       {"nv_inference_request_success" + labels + " 2", "nv_inference_request_failure" + labels + " 2",
        "nv_inference_count" + labels + " 3", "nv_inference_exec_count" + labels + " 7",
        "nv_inference_pending_request_count" + labels + " 2"}) {
    EXPECT_NE(metrics.find("\n" + line + "\n"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace cohort
