#include "tests/parallel/gpu_ranks.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <string>

#include "parallel/comm/mpi_comm.h"

namespace cohort {

HostComm* test::world = nullptr;
Device test::device{DeviceKind::kCuda, 0};

namespace {

using test::device;
using test::world;

constexpr int kExitSkipped = 77;

// One report from many ranks: rank 0 prints all, the others what fails.
class FailurePrinter : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", world->rank(), result.file_name(), result.line_number(),
                 result.message());
  }
};

int run_cases() {
  const std::unique_ptr<HostComm> mpi_world = make_mpi_world();
  test::world = mpi_world.get();
  const std::unique_ptr<HostComm> host = split_by_host(*world);
  device.index = host->rank();
  bool has_gpus = true;
  for (const std::string& answer : all_gather(*world, num_cuda_devices() >= host->size() ? "yes" : "no")) {
    has_gpus = has_gpus && answer == "yes";
  }
  if (!has_gpus) {
    if (world->rank() == 0) {
      std::printf("skipped: %d GPUs for %d ranks of this host, or too few on another\n", num_cuda_devices(),
                  host->size());
    }
    return kExitSkipped;
  }
  if (world->rank() != 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  const int result = RUN_ALL_TESTS();
  barrier(*world);
  return result;
}

}  // namespace
}  // namespace cohort

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  testing::InitGoogleTest(&argc, argv);
  // A rank that throws ends the job: the others would wait for it.
  GTEST_FLAG_SET(catch_exceptions, false);
  const int result = provided == MPI_THREAD_MULTIPLE ? cohort::run_cases() : 1;
  MPI_Finalize();
  return result;
}
