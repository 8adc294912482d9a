// One progress bar for all ranks.
#include <gtest/gtest.h>

#include "runtime/engine/shared_progress.h"
#include "tests/parallel/rank_test.h"

namespace cohort {
namespace {

using test::run_ranks;

TEST(SharedProgressTest, RankZeroShowsTheBytesOfAll) {
  run_ranks(4, [](HostComm& world) {
    std::string shown;
    std::chrono::steady_clock::time_point now{};
    ProgressOptions options;
    options.write = [&](std::string_view text) { shown += text; };
    options.now = [&] { return now += std::chrono::seconds(2); };           // always time for another line
    const int64_t num_bytes = (world.rank() + 1) * int64_t{1'000'000'000};  // 10 GB in all
    SharedProgress progress(world, num_bytes, options);
    for (int part = 0; part < 10; ++part) progress.progress().add(num_bytes / 10);
    progress.finish();
    if (world.rank() != 0) {
      EXPECT_EQ(shown, "");
      return;
    }
    EXPECT_NE(shown.find("/10.0 GB"), std::string::npos) << shown;
    const size_t last = shown.rfind('\n', shown.size() - 2) + 1;
    EXPECT_NE(shown.substr(last).find("100%  10.0/10.0 GB"), std::string::npos) << shown;
  });
}

TEST(SharedProgressTest, ARankThatFailsHoldsNobodyUp) {
  run_ranks(3, [](HostComm& world) {
    ProgressOptions options;
    options.quiet = true;
    SharedProgress progress(world, 100, options);
    if (world.rank() != 1) progress.progress().add(100);
    progress.finish();  // rank 1 has loaded nothing
    barrier(world);
  });
}

}  // namespace
}  // namespace cohort
