#include "runtime/tokenizer/vocab.h"

namespace cohort {

std::optional<std::string> Vocab::add(std::string_view token, int64_t id) {
  if (id < 0 || id > kMaxId) {
    return "id " + std::to_string(id) + " is out of range; expected 0 to " + std::to_string(kMaxId);
  }
  if (contains(static_cast<int32_t>(id))) {
    return "id " + std::to_string(id) + " is already that of \"" + std::string(spelling(static_cast<int32_t>(id))) +
           "\"";
  }
  const auto [entry, is_new] = ids_.emplace(token, static_cast<int32_t>(id));
  if (!is_new) return "already has the id " + std::to_string(entry->second);
  const auto index = static_cast<size_t>(id);
  if (by_id_.size() <= index) by_id_.resize(index + 1, nullptr);
  by_id_[index] = &entry->first;
  return std::nullopt;
}

std::optional<int32_t> Vocab::find(std::string_view token) const {
  const auto entry = ids_.find(token);
  if (entry == ids_.end()) return std::nullopt;
  return entry->second;
}

std::string_view Vocab::spelling(int32_t id) const {
  return contains(id) ? std::string_view(*by_id_[static_cast<size_t>(id)]) : std::string_view();
}

}  // namespace cohort
