// When the requests of an open-loop load arrive: planned beforehand, so that no answer can hold the next one up.
#pragma once

#include <cstdint>
#include <vector>

namespace cohort {

struct ArrivalProcess {
  // Requests a second on average; infinity: all at once.
  double rate = 1;
  // Shape of the gamma distribution that the intervals are drawn from: 1 is a Poisson process, less comes in bursts
  // (the coefficient of variation of an interval is 1 / sqrt(burstiness)), more is more even. As vLLM's benchmark.
  double burstiness = 1;
  uint64_t seed = 0;
};

// Seconds after the start, ascending; the first is 0. Requires a rate and a burstiness above 0.
std::vector<double> plan_arrivals(const ArrivalProcess& process, int64_t count);

}  // namespace cohort
