// Working memory for the threads that encode at once: as many pieces of it as there ever were such threads.
//
// Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace cohort {

template <typename Scratch>
class ScratchPool {
 public:
  // Holds one piece, as it was left by its last user, and gives it back at its end.
  class Lease {
   public:
    Lease(const ScratchPool& pool, std::unique_ptr<Scratch> scratch) : pool_(pool), scratch_(std::move(scratch)) {}
    ~Lease() {
      const std::lock_guard lock(pool_.mutex_);
      pool_.free_.push_back(std::move(scratch_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Scratch* operator->() const { return scratch_.get(); }

   private:
    const ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

  // The pool must outlive the lease.
  Lease lease() const { return Lease(*this, take()); }

 private:
  std::unique_ptr<Scratch> take() const {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<Scratch> scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>();
  }

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> free_;  // guarded by mutex_
};

}  // namespace cohort
