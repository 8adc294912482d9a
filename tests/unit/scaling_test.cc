// The parts of `cohort bench scaling` that need no ranks.
#include <gtest/gtest.h>

#include "launcher/cli/command.h"
#include "launcher/cli/scaling_layout.h"
#include "launcher/cli/scaling_picture.h"
#include "launcher/cli/scaling_report.h"

namespace cohort {
namespace {

std::string error_of(const std::vector<std::string>& names, int num_ranks) {
  try {
    parse_scaling_layouts(names, num_ranks);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(ScalingLayout, NamesAreSizes) {
  const auto layouts = parse_scaling_layouts({"tp1", "pp2", "tp2pp2", "tp4pp1", "tp1pp4"}, 4);
  ASSERT_EQ(layouts.size(), 5u);
  EXPECT_EQ(layouts[0].sizes, ParallelSizes{});
  EXPECT_EQ(layouts[2].sizes, (ParallelSizes{.tensor = 2, .pipeline = 2}));
  EXPECT_EQ(layouts[2].num_ranks(), 4);
  EXPECT_EQ(layouts[3].name, "tp4");
  EXPECT_EQ(layouts[4].name, "pp4");
}

TEST(ScalingLayout, SaysWhatCannotBe) {
  for (const char* name : {"", "tp", "tp0", "tp01", "tp-1", "tp+1", "pp2tp2", "tp2 ", "TP2", "tp2tp2", "tp2pp", "4"}) {
    EXPECT_NE(error_of({name}, 8).find("is no layout; expected"), std::string::npos) << name;
  }
  EXPECT_NE(error_of({"tp1", "tp2pp2"}, 3).find("tp2pp2 needs 4 ranks, but there are 3"), std::string::npos);
  EXPECT_NE(error_of({"tp2"}, 1).find("there is 1"), std::string::npos);
  EXPECT_NE(error_of({"tp2147483647pp2147483647"}, 3).find("needs 4611686014132420609 ranks"), std::string::npos);
  EXPECT_NE(error_of({"tp2", "tp2"}, 2).find("tp2 is there twice"), std::string::npos);
  EXPECT_NE(error_of({"tp2", "tp2pp1"}, 2).find("tp2 is there twice, once as tp2pp1"), std::string::npos);
}

// Every rank reads 2 GB of weights and 1 MB a position, at 100 GB/s.
ScalingResult make_result(int tensor, int pipeline) {
  ScalingResult result;
  const std::string name =
      pipeline > 1 ? "tp" + std::to_string(tensor) + "pp" + std::to_string(pipeline) : "tp" + std::to_string(tensor);
  result.layout = parse_scaling_layouts({name}, tensor * pipeline)[0];
  for (int rank = 0; rank < tensor * pipeline; ++rank) {
    ScalingRank one;
    one.stage = rank / tensor;
    one.shard = rank % tensor;
    one.copy_gbps = 100;
    one.bytes = {2e9, 1e6};
    result.ranks.push_back(one);
  }
  return result;
}

ScalingMeasure make_measure(int64_t batch, double step_ms) {
  ScalingMeasure measure;
  measure.batch = batch;
  measure.output_length = 20;
  measure.prefill_ms = 10 * step_ms;
  measure.step_ms = {step_ms, 2 * step_ms};
  return measure;
}

TEST(ScalingReport, FloorsCountStagesOneAfterTheOther) {
  ScalingMeasure measure = make_measure(4, 1);
  set_floors(measure, make_result(2, 1), 90);  // 100 positions in the middle
  EXPECT_DOUBLE_EQ(measure.floor_ms, 20 + 4);
  EXPECT_DOUBLE_EQ(measure.floor_together_ms, 24);
  // Two micro-batches of two sequences: each stage reads its weights for both.
  set_floors(measure, make_result(2, 2), 90);
  EXPECT_DOUBLE_EQ(measure.floor_ms, 2 * (20 + 2));
  EXPECT_DOUBLE_EQ(measure.floor_together_ms, 24);
  // One sequence goes through both stages.
  measure.batch = 1;
  set_floors(measure, make_result(1, 2), 90);
  EXPECT_DOUBLE_EQ(measure.floor_ms, 2 * (20 + 1));
  // The slower stage holds up all micro-batches.
  ScalingResult uneven = make_result(1, 2);
  uneven.ranks[1].bytes.weights = 4e9;
  measure.batch = 2;
  set_floors(measure, uneven, 90);
  EXPECT_DOUBLE_EQ(measure.floor_ms, 2 * (40 + 1));
}

ScalingReport make_report(bool has_weak) {
  ScalingReport report;
  report.head = {{"build", "b"}, {"device", "d"},       {"num_ranks", 4},     {"hosts", {"h"}},
                 {"model", "m"}, {"weights", "random"}, {"dtype", "float32"}, {"numerics", "fast"}};
  report.batches = {1, 8};
  report.input_length = 90;
  report.output_length = 20;
  report.has_weak = has_weak;
  for (const auto& [tensor, pipeline] : {std::pair{1, 1}, {4, 1}, {2, 2}}) {
    ScalingResult result = make_result(tensor, pipeline);
    for (const int64_t batch : {1, 4, 8, 32}) {
      result.measures.push_back(make_measure(batch, 8.0 / tensor + static_cast<double>(batch)));
      set_floors(result.measures.back(), result, 90);
    }
    report.results.push_back(std::move(result));
  }
  return report;
}

TEST(ScalingReport, SpeedUpsAreOverTheFirstLayout) {
  EXPECT_EQ(scaling_series(make_report(false)).size(), 2u);
  const std::vector<ScalingSeries> all = scaling_series(make_report(true));
  ASSERT_EQ(all.size(), 4u);
  const ScalingSeries& strong = all[1];
  EXPECT_FALSE(strong.is_weak);
  EXPECT_EQ(strong.batch, 8);
  EXPECT_EQ(strong.points[0].speed_up, 1);
  EXPECT_DOUBLE_EQ(strong.points[1].speed_up, 16.0 / 10);
  EXPECT_DOUBLE_EQ(strong.points[1].efficiency, 0.4);
  const ScalingSeries& weak = all[2];
  EXPECT_TRUE(weak.is_weak);
  EXPECT_EQ(weak.points[2].batch, 4);
  EXPECT_DOUBLE_EQ(weak.points[2].speed_up, 4 * 9.0 / 8);
  EXPECT_DOUBLE_EQ(weak.points[2].prefill_speed_up, 4 * 9.0 / 8);
}

TEST(ScalingReport, TextsHaveEveryLayoutAndBatch) {
  const ScalingReport report = make_report(true);
  const std::string table = format_scaling_table(report);
  EXPECT_NE(table.find("weak, 8 a rank:"), std::string::npos);
  EXPECT_NE(table.find("tp4 x1.60 (40%)"), std::string::npos);
  const nlohmann::ordered_json json = scaling_json(report);
  EXPECT_EQ(json["layouts"].size(), 3u);
  EXPECT_EQ(json["layouts"][2]["results"].size(), 4u);
  EXPECT_EQ(json["strong"][1]["points"][1]["speed_up"], 1.6);
  EXPECT_EQ(scaling_json(make_report(false)).count("weak"), 0u);
}

TEST(ScalingPicture, HasABarForEveryMeasure) {
  const auto count = [](const std::string& text, std::string_view word) {
    int64_t n = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++n;
    return n;
  };
  const std::string svg = draw_scaling(make_report(true));
  EXPECT_EQ(count(svg, "<rect"), 1 + 3 * (2 * 3 + 2));  // ground; of each chart bars and legend
  EXPECT_EQ(count(svg, "tp2pp2 (4)"), 3);
  EXPECT_EQ(count(svg, ">ideal</text>"), 2);  // of strong and of weak scaling
  EXPECT_EQ(count(svg, "<polyline"), 2);
  EXPECT_EQ(count(svg, "nan") + count(svg, "inf"), 0);
  EXPECT_EQ(count(draw_scaling(make_report(false)), "Weak"), 0);
}

}  // namespace
}  // namespace cohort
