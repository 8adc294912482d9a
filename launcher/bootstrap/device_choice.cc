#include "launcher/bootstrap/device_choice.h"

#include <unordered_set>

namespace cohort {

std::vector<int> choose_devices(const std::vector<std::vector<std::string>>& ids_of) {
  std::unordered_set<std::string> taken;
  std::vector<int> chosen;
  for (const std::vector<std::string>& ids : ids_of) {
    int& ordinal = chosen.emplace_back(-1);
    for (size_t i = 0; i < ids.size() && ordinal < 0; ++i) {
      if (taken.insert(ids[i]).second) ordinal = static_cast<int>(i);
    }
  }
  return chosen;
}

}  // namespace cohort
