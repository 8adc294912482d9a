#include "tests/parallel/rank_test.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <memory>

#include "parallel/comm/mpi_comm.h"
#include "parallel/comm/thread_comm.h"

namespace cohort::test {
namespace {

std::unique_ptr<HostComm> mpi_world;  // under mpirun

// Of the ranks but the first: what they find wrong is said with their number, the rest not at all.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.failed()) std::fprintf(stderr, "rank %d: %s\n", rank_, result.message());
  }

 private:
  int rank_;
};

int run_all(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr) return RUN_ALL_TESTS();
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  mpi_world = make_mpi_world();
  if (mpi_world->rank() > 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(mpi_world->rank()));
  }
  const int result = RUN_ALL_TESTS();
  mpi_world.reset();
  MPI_Finalize();
  return result;
}

}  // namespace

bool has_ranks(int num_ranks) { return mpi_world == nullptr || mpi_world->size() >= num_ranks; }

void run_ranks(int num_ranks, const std::function<void(HostComm& world)>& body) {
  if (mpi_world == nullptr) {
    EXPECT_NO_THROW(run_thread_ranks(num_ranks, body));
    return;
  }
  if (!has_ranks(num_ranks)) GTEST_SKIP() << num_ranks << " ranks, but mpirun started " << mpi_world->size();
  const bool is_rank = mpi_world->rank() < num_ranks;
  const std::unique_ptr<HostComm> world = mpi_world->split(is_rank ? 1 : 0);
  try {
    if (is_rank) body(*world);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", mpi_world->rank(), error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  barrier(*mpi_world);
}

}  // namespace cohort::test

int main(int argc, char** argv) { return cohort::test::run_all(argc, argv); }
