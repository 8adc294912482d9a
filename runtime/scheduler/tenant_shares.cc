#include "runtime/scheduler/tenant_shares.h"

#include <algorithm>
#include <limits>

namespace cohort {
namespace {

constexpr size_t kManyTenants = 1024;

}  // namespace

int64_t TenantShares::floor() const {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.num_waiting > 0) least = std::min(least, tenant.service);
  }
  return least == std::numeric_limits<int64_t>::max() ? last_service_ : least;
}

void TenantShares::forget_idle() {
  const int64_t least = floor();
  std::erase_if(tenants_, [&](const auto& item) {
    const Tenant& tenant = item.second;
    return tenant.num_requests == 0 && tenant.service <= least;
  });
}

Tenant& TenantShares::arrive(const std::string& name) {
  auto place = tenants_.find(name);
  if (place == tenants_.end()) {
    if (tenants_.size() >= kManyTenants) forget_idle();
    place = tenants_.emplace(name, Tenant{}).first;
  }
  Tenant& tenant = place->second;
  if (tenant.num_waiting == 0) tenant.service = std::max(tenant.service, floor());
  ++tenant.num_waiting;
  ++tenant.num_requests;
  return tenant;
}

void TenantShares::leave_queue(Tenant& tenant) {
  if (--tenant.num_waiting == 0) last_service_ = tenant.service;
}

}  // namespace cohort
