// TenantShares: whose turn it is among tenants that wait, by the virtual token counter of Sheng et al. 2024, "Fairness
// in Serving Large Language Models", algorithm 2: a tenant is served until it has had more than another that waits, and
// one that comes back is not owed what it did not ask for. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace cohort {

struct Tenant {
  int64_t service = 0;       // what it has had, weighed
  int64_t num_waiting = 0;   // requests that never ran
  int64_t num_requests = 0;  // that have not ended
};

class TenantShares {
 public:
  // Of a token; one of the output takes a pass over the weights of its own.
  static constexpr int64_t kPromptWeight = 1;
  static constexpr int64_t kOutputWeight = 2;

  // A request of the tenant begins to wait. The tenant stays where it is until its last request has ended.
  Tenant& arrive(const std::string& name);
  // One of its requests waits no more.
  void leave_queue(Tenant& tenant);
  // One of its requests has ended.
  void end(Tenant& tenant) { --tenant.num_requests; }

  int64_t num_tenants() const { return static_cast<int64_t>(tenants_.size()); }

 private:
  // The least that any that waits has had; where none does, what the last one that did had had.
  int64_t floor() const;
  // Those without requests who would begin at the floor anyway.
  void forget_idle();

  std::unordered_map<std::string, Tenant> tenants_;
  int64_t last_service_ = 0;  // of the tenant that waited last
};

}  // namespace cohort
