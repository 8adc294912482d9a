#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "runtime/weights/progress.h"

namespace cohort {
namespace {

using std::chrono::milliseconds;

class ProgressTest : public ::testing::Test {
 protected:
  ProgressOptions options(bool is_terminal) {
    ProgressOptions options;
    options.label = "loading";
    options.is_terminal = is_terminal;
    options.write = [this](std::string_view text) { written_.emplace_back(text); };
    options.now = [this] { return now_; };
    return options;
  }

  std::chrono::steady_clock::time_point now_{};
  std::vector<std::string> written_;
};

TEST(ProgressText, SaysHowFar) {
  EXPECT_EQ(progress_text("loading", 12'300'000'000, 24'600'000'000, 4, true, 80),
            "loading [###############---------------]  50%  12.3/24.6 GB  3.08 GB/s  4 s left");
  EXPECT_EQ(progress_text("loading", 12'300'000'000, 24'600'000'000, 4, false, 80),
            "loading  50%  12.3/24.6 GB  3.08 GB/s  4 s left");
  EXPECT_EQ(progress_text("loading", 0, 350'000'000'000, 2, false, 80), "loading   0%  0.0/350.0 GB  0.00 GB/s");
  EXPECT_EQ(progress_text("loading", 1'000'000'000, 350'000'000'000, 1, false, 80),
            "loading   0%  1.0/350.0 GB  1.00 GB/s  5 min 49 s left");
  EXPECT_EQ(progress_text("loading", 2'000'000'000, 2'000'000'000, 2, false, 80),
            "loading 100%  2.0/2.0 GB  1.00 GB/s  in 2 s");
  EXPECT_EQ(progress_text("loading", 2'000'000'000, 0, 2, true, 80), "loading 2.0 GB  1.00 GB/s");
}

TEST(ProgressText, FitsTheTerminal) {
  for (int columns = 0; columns < 120; ++columns) {
    for (const int64_t done : {0, 500'000'000, 1'000'000'000, 2'000'000'000}) {
      EXPECT_LE(progress_text("loading weights", done, 1'000'000'000, 1.5, true, columns).size(),
                static_cast<size_t>(columns));
    }
  }
}

TEST_F(ProgressTest, IsSilentWhenFast) {
  Progress progress(100, options(true));
  for (int i = 0; i < 10; ++i) {
    now_ += milliseconds(99);
    progress.add(10);
  }
  progress.finish();
  EXPECT_TRUE(written_.empty());
  EXPECT_EQ(progress.done_bytes(), 100);
}

TEST_F(ProgressTest, IsSilentWhenQuiet) {
  ProgressOptions quiet = options(false);
  quiet.quiet = true;
  Progress progress(100, quiet);
  now_ += milliseconds(60000);
  progress.add(100);
  progress.finish();
  EXPECT_TRUE(written_.empty());
}

TEST_F(ProgressTest, RedrawsABarTenTimesASecond) {
  {
    Progress progress(1000, options(true));
    for (int i = 0; i < 200; ++i) {  // two seconds
      now_ += milliseconds(10);
      progress.add(5);
    }
    EXPECT_EQ(written_.size(), 11u);  // from the first second on
    for (const std::string& text : written_) {
      EXPECT_TRUE(text.starts_with("\rloading [")) << text;
      EXPECT_EQ(text.find('\n'), std::string::npos);
    }
  }
  ASSERT_EQ(written_.size(), 12u);
  EXPECT_TRUE(written_.back().ends_with("\n"));
  EXPECT_NE(written_.back().find("100%"), std::string::npos);
}

TEST_F(ProgressTest, WritesALineEveryFewSecondsElsewhere) {
  Progress progress(1000, options(false));
  for (int i = 0; i < 100; ++i) {  // ten seconds
    now_ += milliseconds(100);
    progress.add(10);
  }
  EXPECT_EQ(written_.size(), 2u);  // after 1 s and 6 s
  progress.finish();
  progress.finish();
  progress.add(1);
  ASSERT_EQ(written_.size(), 3u);
  for (const std::string& text : written_) {
    EXPECT_TRUE(text.starts_with("loading ")) << text;
    EXPECT_TRUE(text.ends_with("\n"));
  }
}

TEST_F(ProgressTest, CountsFromManyThreads) {
  ProgressOptions real = options(true);
  real.now = std::chrono::steady_clock::now;
  Progress progress(0, real);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) progress.add(3);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(progress.done_bytes(), 120000);
}

}  // namespace
}  // namespace cohort
