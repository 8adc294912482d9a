#include "runtime/scheduler/waiting_queue.h"

#include <string>
#include <tuple>

#include "kernels/core/check.h"

namespace cohort {

void WaitingQueue::add(ScheduledRequest& request) {
  Level& level = levels_[request.priority()];
  ByArrival& line = request.has_run() ? level.preempted : level.tenants[request.tenant];
  line.emplace(request.id(), &request);
  ++size_;
}

void WaitingQueue::remove(ScheduledRequest& request) {
  const auto place = levels_.find(request.priority());
  COHORT_CHECK(place != levels_.end(), "request " + std::to_string(request.id()));
  Level& level = place->second;
  size_t num_removed = level.preempted.erase(request.id());
  if (const auto tenant = level.tenants.find(request.tenant); num_removed == 0 && tenant != level.tenants.end()) {
    num_removed = tenant->second.erase(request.id());
    if (tenant->second.empty()) level.tenants.erase(tenant);
  }
  COHORT_CHECK(num_removed == 1, "request " + std::to_string(request.id()));
  if (level.preempted.empty() && level.tenants.empty()) levels_.erase(place);
  --size_;
}

ScheduledRequest* WaitingQueue::next() const {
  if (levels_.empty()) return nullptr;
  const Level& level = levels_.begin()->second;
  if (!level.preempted.empty()) return level.preempted.begin()->second;
  ScheduledRequest* next = nullptr;
  for (const auto& [tenant, line] : level.tenants) {
    ScheduledRequest* const first = line.begin()->second;
    const auto turn = [](const ScheduledRequest& r) { return std::tuple(r.tenant->service, r.id()); };
    if (next == nullptr || turn(*first) < turn(*next)) next = first;
  }
  return next;
}

}  // namespace cohort
