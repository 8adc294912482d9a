// ConfigReader: typed reading of one JSON object of a model's configuration. The first thing that is wrong is kept and
// every later read gives its fallback, so that a family reads as a list of facts and asks status() once.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

class ConfigReader {
 public:
  // `where` names the object in messages: "DIR/config.json", "DIR/config.json: rope_scaling". Borrows `object`.
  ConfigReader(const nlohmann::json& object, std::string where) : object_(&object), where_(std::move(where)) {}

  // Absent and null are alike, as in Hugging Face's own reading.
  bool has(std::string_view key) const;

  int64_t positive_int(std::string_view key);                    // required
  int64_t positive_int(std::string_view key, int64_t fallback);  // optional
  double positive_number(std::string_view key, double fallback);
  double number(std::string_view key, double fallback);
  int32_t int32(std::string_view key, int32_t fallback);  // of any number of 32 bits, what is before its point
  bool boolean(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  // The nested object, empty if absent.
  ConfigReader object(std::string_view key);

  // Keeps the error "where: key: message" unless there is one already.
  void fail(std::string_view key, std::string_view message);
  // Takes over the error of a reader of a nested object.
  void merge(const ConfigReader& nested);
  const Status& status() const { return status_; }
  const nlohmann::json& json() const { return *object_; }

 private:
  const nlohmann::json* find(std::string_view key) const;

  const nlohmann::json* object_;
  std::string where_;
  Status status_;
};

}  // namespace cohort
