// WaitingQueue: requests that have no blocks. Who is next: the lowest priority; among those, who was preempted, then
// the tenant that has had least (tenant_shares.h); among those, who came first. Borrows the requests. One thread.
#pragma once

#include <cstdint>
#include <map>

#include "runtime/scheduler/scheduled_request.h"

namespace cohort {

class WaitingQueue {
 public:
  // A request that never ran waits among its tenant's, one that did before all tenants.
  void add(ScheduledRequest& request);
  void remove(ScheduledRequest& request);
  // Null if there is none.
  ScheduledRequest* next() const;

  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  using ByArrival = std::map<int64_t, ScheduledRequest*>;  // by id
  struct Level {
    ByArrival preempted;
    std::map<Tenant*, ByArrival> tenants;  // without empty ones; never asked for its order
  };

  std::map<int32_t, Level> levels_;  // by priority, without empty ones
  int64_t size_ = 0;
};

}  // namespace cohort
