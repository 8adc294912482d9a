#include "launcher/loadgen/arrivals.h"

#include <cmath>
#include <random>

namespace cohort {

std::vector<double> plan_arrivals(const ArrivalProcess& process, int64_t count) {
  std::vector<double> arrivals(static_cast<size_t>(count), 0.0);
  if (std::isinf(process.rate)) return arrivals;
  std::mt19937_64 random(process.seed);
  std::gamma_distribution<double> interval(process.burstiness, 1 / (process.rate * process.burstiness));
  for (size_t i = 1; i < arrivals.size(); ++i) arrivals[i] = arrivals[i - 1] + interval(random);
  return arrivals;
}

}  // namespace cohort
