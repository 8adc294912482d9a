#include "launcher/cli/encode_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

namespace cohort {
namespace {

using Row = std::span<const float>;

// `values` as rows of `width`.
std::vector<Row> rows_of(const std::vector<float>& values, int64_t width) {
  std::vector<Row> rows;
  for (size_t i = 0; i < values.size(); i += static_cast<size_t>(width)) {
    rows.emplace_back(values.data() + i, static_cast<size_t>(width));
  }
  return rows;
}

size_t largest(Row row) { return static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin()); }

// Of the largest, by softmax; of a single logit, by the sigmoid.
double probability(Row row) {
  if (row.size() == 1) return 1 / (1 + std::exp(-double{row[0]}));
  double sum = 0;
  for (const float logit : row) sum += std::exp(double{logit} - row[largest(row)]);
  return 1 / sum;
}

std::string json_row(Row row) { return fmt::format("[{}]", fmt::join(row, ",")); }

std::string json_rows(const std::vector<float>& values, int64_t width) {
  std::vector<std::string> rows;
  for (const Row row : rows_of(values, width)) rows.push_back(json_row(row));
  return fmt::format("[{}]", fmt::join(rows, ","));
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<std::string> token_labels(const Encoding& encoding, const ModelSpec& spec) {
  std::vector<std::string> labels;
  for (const Row row : rows_of(encoding.logits, num_logits(spec))) labels.push_back(spec.labels[largest(row)]);
  return labels;
}

}  // namespace

std::string encoding_json(const GenerationRequest& request, const Encoding& encoding, const ModelSpec& spec) {
  std::string line = fmt::format("{{\"input_ids\":[{}]", fmt::join(request.prompt, ","));
  const auto add = [&](const char* name, const std::string& value) { line += fmt::format(",\"{}\":{}", name, value); };
  switch (spec.head) {
    case HeadKind::kSequenceLabels:
      add("logits", json_row(encoding.logits));
      add("label", json_text(spec.labels[largest(encoding.logits)]));
      break;
    case HeadKind::kTokenLabels: {
      std::vector<std::string> labels = token_labels(encoding, spec);
      for (std::string& label : labels) label = json_text(label);
      add("logits", json_rows(encoding.logits, num_logits(spec)));
      add("labels", fmt::format("[{}]", fmt::join(labels, ",")));
      break;
    }
    case HeadKind::kMaskedToken:
      add("logits", json_rows(encoding.logits, num_logits(spec)));
      break;
    default:
      add("last_hidden_state", json_rows(encoding.hidden_states, spec.hidden));
      if (spec.has_pooler) add("pooler_output", json_row(encoding.pooler_output));
      add("embedding", json_row(encoding.embedding));
  }
  return line + "}";
}

std::string encoding_text(const Encoding& encoding, const ModelSpec& spec) {
  switch (spec.head) {
    case HeadKind::kSequenceLabels:
      return fmt::format("{} {:.4f}", spec.labels[largest(encoding.logits)], probability(encoding.logits));
    case HeadKind::kTokenLabels:
      return fmt::format("{}", fmt::join(token_labels(encoding, spec), " "));
    case HeadKind::kMaskedToken: {
      std::vector<size_t> ids;
      for (const Row row : rows_of(encoding.logits, num_logits(spec))) ids.push_back(largest(row));
      return fmt::format("{}", fmt::join(ids, " "));
    }
    default:
      return fmt::format("{}", fmt::join(encoding.embedding, " "));
  }
}

}  // namespace cohort
