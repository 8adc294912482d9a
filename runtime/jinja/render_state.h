// What one render uses up and keeps alive, shared by the evaluator and the builtins. One thread at a time.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "runtime/jinja/budget.h"
#include "runtime/jinja/value.h"

namespace cohort::jinja {

class RenderState {
 public:
  RenderState(const Limits& limits, std::chrono::system_clock::time_point now) : budget_(limits), now_(now) {}

  Budget& budget() { return budget_; }
  std::chrono::system_clock::time_point now() const { return now_; }

  // One more level of expressions, statements, macros or filters within each other, until the Level dies.
  class Level {
   public:
    explicit Level(RenderState& state) : state_(state) { ++state_.depth_; }
    ~Level() { --state_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

    // kResourceExhausted when there are too many, else counts a step.
    Status check() const {
      if (state_.depth_ <= state_.budget_.limits().max_depth) return state_.budget_.charge(1);
      return resource_exhausted("the template nests or recurses too deep");
    }

   private:
    RenderState& state_;
  };

  // `error` with the line that it is of, which the innermost expression or statement says.
  Status locate(const Status& error, int line) {
    if (is_located_) return error;
    is_located_ = true;
    return Status(error).annotate("line " + std::to_string(line));
  }

  // The error that is returned next is a text of the template for the client: it gets no line.
  void set_located() { is_located_ = true; }

  // A namespace that lives as long as this.
  Namespace* add_namespace() {
    namespaces_.push_back(std::make_unique<Namespace>());
    return namespaces_.back().get();
  }

 private:
  Budget budget_;
  std::chrono::system_clock::time_point now_;
  int depth_ = 0;
  bool is_located_ = false;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

}  // namespace cohort::jinja
