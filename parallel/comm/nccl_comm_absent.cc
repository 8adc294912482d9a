#include "kernels/core/check.h"
#include "parallel/comm/nccl_comm.h"

namespace cohort {

std::unique_ptr<DeviceComm> make_nccl_comm(HostComm&, Device, const NcclOptions&) {
  check_failed(__FILE__, __LINE__, "built with CUDA", "this build has no CUDA backend");
}

}  // namespace cohort
