#include "launcher/gateway/kserve_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "launcher/gateway/json_fields.h"

namespace cohort {
namespace {

using nlohmann::json;

constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
// A timeout of more is none: a year, which any clock can add to the time.
constexpr int64_t kLongTimeoutUs = int64_t{365} * 24 * 3600 * 1'000'000;

// An array of texts, or one. Empty ones, which clients send for none, are left out.
std::vector<std::string> read_words(FieldReader& reader, std::string_view name, size_t max_count) {
  const json* value = reader.find(name);
  if (value == nullptr) return {};
  const std::string expected =
      "at most " + std::to_string(max_count) + " strings of at most " + std::to_string(kMaxStopBytes) + " bytes";
  std::vector<std::string> words;
  const auto take = [&](const json& word) {
    const bool is_word = word.is_string() && word.get_ref<const std::string&>().size() <= kMaxStopBytes;
    if (is_word && !word.get_ref<const std::string&>().empty()) words.push_back(word.get<std::string>());
    return is_word;
  };
  const bool is_right =
      value->is_array() ? value->size() <= max_count && std::all_of(value->begin(), value->end(), take) : take(*value);
  if (!is_right) reader.fail(name, expected, *value);
  return words;
}

// What a request says of one sequence, by the names of the inputs.
struct SequenceFields {
  CompletionFields fields;
  std::optional<bool> is_stream;
};

SequenceFields read_sequence(FieldReader& reader, const RequestLimits& limits) {
  SequenceFields sequence;
  CompletionFields& fields = sequence.fields;
  const std::string text = reader.text("text_input", std::numeric_limits<size_t>::max()).value_or("");
  if (text.empty()) reader.fail("text_input", "text", text);
  fields.prompts.emplace_back(text);
  fields.max_tokens = reader.integer("max_tokens", 1, kMaxInt64);
  fields.min_tokens = reader.integer("min_tokens", 0, kMaxInt64).value_or(0);
  sequence.is_stream = reader.flag("stream");
  read_sampling(reader, limits, fields);
  if (const json* seed = reader.find("random_seed"); seed != nullptr && seed->is_number_unsigned()) {
    fields.seed = seed->get<uint64_t>();
  } else if (const auto number = reader.integer("random_seed", std::numeric_limits<int64_t>::min(), kMaxInt64)) {
    fields.seed = static_cast<uint64_t>(*number);
  }
  fields.stop = read_words(reader, "stop_words", kMaxStopStrings);
  fields.bad_words = read_words(reader, "bad_words", kMaxBadWords);
  // The token that ends the output instead of the model's own; -1: none does.
  if (const auto end_id = reader.integer("end_id", -1, limits.vocab - 1)) {
    fields.ignore_eos = true;
    if (*end_id >= 0) fields.stop_token_ids = {static_cast<int32_t>(*end_id)};
  }
  reader.integer("pad_id", -1, limits.vocab - 1);  // nothing is padded
  if (reader.flag("return_log_probs").value_or(false)) fields.top_logprobs = 0;
  fields.echo = !reader.flag("exclude_input_in_output").value_or(true);
  if (reader.ok()) reader.fail(check_min_tokens(fields));
  return sequence;
}

// Of every kind of request.
struct ProtocolParameters {
  int32_t priority = 0;
  std::optional<std::chrono::microseconds> timeout;
  bool binary_outputs = false;
};

ProtocolParameters read_parameters(FieldReader& reader) {
  ProtocolParameters parameters;
  parameters.priority =
      static_cast<int32_t>(reader.integer("priority", 0, std::numeric_limits<int32_t>::max()).value_or(0));
  const int64_t timeout_us = reader.integer("timeout", 0, kMaxInt64).value_or(0);
  if (timeout_us > 0 && timeout_us < kLongTimeoutUs) parameters.timeout = std::chrono::microseconds(timeout_us);
  parameters.binary_outputs = reader.flag("binary_data_output").value_or(false);
  // A sequence of requests has no state here.
  if (const json* id = reader.find("sequence_id"); id != nullptr && !id->is_string()) {
    reader.integer("sequence_id", 0, kMaxInt64);
  }
  reader.flag("sequence_start");
  reader.flag("sequence_end");
  return parameters;
}

const KserveInput* find_input(std::string_view name) {
  const auto* found = std::find_if(kKserveInputs.begin(), kKserveInputs.end(),
                                   [&](const KserveInput& input) { return input.name == name; });
  return found == kKserveInputs.end() ? nullptr : found;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

struct Batch {
  int64_t size = 0;
  bool has_dim = false;
};

// The batch that the shape of text_input says.
Result<Batch> batch_of(const std::vector<InputTensor>& tensors) {
  for (const InputTensor& tensor : tensors) {
    if (tensor.name != "text_input") continue;
    const bool has_dim = tensor.shape.size() == 2;
    const bool is_right = !tensor.shape.empty() && tensor.shape.size() <= 2 && tensor.shape.back() == 1 &&
                          tensor.shape.front() >= 1 && tensor.shape.front() <= static_cast<int64_t>(kMaxPrompts);
    if (is_right) return Batch{.size = tensor.shape.front(), .has_dim = has_dim};
    return invalid_argument("text_input: expected the shape [1] or [n, 1] with n from 1 to " +
                            std::to_string(kMaxPrompts) + ", got " + shape_text(tensor.shape));
  }
  return invalid_argument("text_input: expected this input, got none");
}

// Whether a tensor is one of the model's inputs, of its type and a shape that fits the batch.
Status check_input(const InputTensor& tensor, const Batch& batch) {
  const KserveInput* input = find_input(tensor.name);
  if (input == nullptr) return invalid_argument("inputs: the model has no input \"" + tensor.name.substr(0, 64) + "\"");
  if (tensor.datatype != input->datatype.name) {
    return invalid_argument(tensor.name + ": expected the datatype " + std::string(input->datatype.name) + ", got " +
                            std::string(tensor.datatype));
  }
  const auto& shape = tensor.shape;
  const bool is_batch = shape.size() == 2 && shape[0] == batch.size;
  const bool is_lone = shape.size() == 1 && batch.size == 1;
  const bool has_right_values =
      !shape.empty() && (input->is_list ? shape.back() <= static_cast<int64_t>(kMaxBadWords) : shape.back() == 1);
  if ((is_batch || is_lone) && has_right_values) return ok_status();
  const std::string values = input->is_list ? "k" : "1";
  return invalid_argument(tensor.name + ": expected the shape [" + std::to_string(batch.size) + ", " + values + "]" +
                          (batch.size == 1 ? " or [" + values + "]" : "") +
                          (input->is_list ? " with k of at most " + std::to_string(kMaxBadWords) : "") + ", got " +
                          shape_text(shape));
}

// The inputs of each request of the batch, by name.
Result<std::vector<json>> rows_of(const std::vector<InputTensor>& tensors, const Batch& batch) {
  for (const InputTensor& tensor : tensors) COHORT_RETURN_IF_ERROR(check_input(tensor, batch));
  const auto num_rows = static_cast<size_t>(batch.size);
  std::vector<json> rows(num_rows, json::object());
  for (const InputTensor& tensor : tensors) {
    auto values = tensor_values(tensor);
    if (!values.ok()) {
      Status status = values.status();
      return std::move(status).annotate(tensor.name);
    }
    const bool is_list = find_input(tensor.name)->is_list;
    const size_t num_values = values->size() / num_rows;
    for (size_t row = 0; row < num_rows; ++row) {
      const auto begin = std::make_move_iterator(values->begin() + static_cast<std::ptrdiff_t>(row * num_values));
      if (is_list) {
        rows[row][tensor.name] = json::array_t(begin, begin + static_cast<std::ptrdiff_t>(num_values));
      } else {
        rows[row][tensor.name] = *begin;
      }
    }
  }
  return rows;
}

Result<RequestedOutput> parse_output(const json& object, bool binary_outputs) {
  if (!object.is_object()) return field_error("outputs", "objects", object);
  FieldReader reader(object, "outputs.");
  const std::string name = reader.text("name", kMaxNameBytes).value_or("");
  const json* parameters = reader.object("parameters");
  COHORT_RETURN_IF_ERROR(reader.status());
  const auto* found = std::find_if(kKserveOutputs.begin(), kKserveOutputs.end(),
                                   [&](const KserveOutput& output) { return output.name == name; });
  if (found == kKserveOutputs.end()) {
    return invalid_argument("outputs: the model has no output \"" + name.substr(0, 64) + "\"");
  }
  RequestedOutput requested{.output = *found, .is_binary = binary_outputs};
  if (parameters != nullptr) {
    FieldReader inner(*parameters, "outputs.parameters.");
    requested.is_binary = inner.flag("binary_data").value_or(binary_outputs);
    if (inner.integer("classification", 0, kMaxInt64).value_or(0) > 0) {
      inner.fail(unimplemented("outputs.parameters.classification: the model has no classes"));
    }
    if (inner.find("shared_memory_region") != nullptr) {
      inner.fail(unimplemented("outputs.parameters.shared_memory_region: shared memory is not supported"));
    }
    COHORT_RETURN_IF_ERROR(inner.status());
  }
  return requested;
}

// Those that are asked for; none: the text.
Result<std::vector<RequestedOutput>> parse_outputs(const json* outputs, bool binary_outputs) {
  std::vector<RequestedOutput> requested;
  if (outputs == nullptr || outputs->empty()) return requested;
  if (outputs->size() > kMaxTensors) {
    return field_error("outputs", "an array of at most " + std::to_string(kMaxTensors), *outputs);
  }
  for (const json& object : *outputs) {
    COHORT_ASSIGN_OR_RETURN(const RequestedOutput output, parse_output(object, binary_outputs));
    const bool is_there = std::any_of(requested.begin(), requested.end(), [&](const RequestedOutput& other) {
      return other.output.kind == output.output.kind;
    });
    if (is_there) return field_error("outputs", "each output once", std::string(output.output.name));
    requested.push_back(output);
  }
  return requested;
}

bool is_logprobs(const RequestedOutput& requested) {
  return requested.output.kind == KserveOutputKind::kCumLogProbs ||
         requested.output.kind == KserveOutputKind::kOutputLogProbs;
}

// Where no outputs are named: the text, and log-probabilities if some request of the batch wants them.
void add_default_outputs(KserveRequest& request, bool binary_outputs) {
  const bool wants_logprobs =
      std::any_of(request.sequences.begin(), request.sequences.end(),
                  [](const CompletionFields& fields) { return fields.top_logprobs.has_value(); });
  for (const KserveOutput& output : kKserveOutputs) {
    const RequestedOutput requested{.output = output, .is_binary = binary_outputs};
    if (output.kind == KserveOutputKind::kText || (wants_logprobs && is_logprobs(requested))) {
      request.outputs.push_back(requested);
    }
  }
}

std::optional<std::string> read_id(FieldReader& reader) { return reader.text("id", kMaxNameBytes); }

}  // namespace

Result<KserveRequest> parse_infer(std::string_view body, std::string_view header_length, const RequestLimits& limits) {
  COHORT_ASSIGN_OR_RETURN(const SplitBody split, split_body(body, header_length));
  COHORT_ASSIGN_OR_RETURN(const json object, parse_body(split.json));
  KserveRequest request;
  FieldReader reader(object);
  request.id = read_id(reader);
  const json* inputs = reader.array("inputs");
  const json* outputs = reader.array("outputs");
  const json* parameters = reader.object("parameters");
  COHORT_RETURN_IF_ERROR(reader.status());
  if (inputs == nullptr) return invalid_argument("inputs: expected an array of tensors, got none");
  request.ignored = reader.unread();

  ProtocolParameters protocol;
  if (parameters != nullptr) {
    FieldReader inner(*parameters, "parameters.");
    protocol = read_parameters(inner);
    COHORT_RETURN_IF_ERROR(inner.status());
    const std::vector<std::string> unread = inner.unread();
    request.ignored.insert(request.ignored.end(), unread.begin(), unread.end());
  }
  request.timeout = protocol.timeout;
  COHORT_ASSIGN_OR_RETURN(request.outputs, parse_outputs(outputs, protocol.binary_outputs));

  COHORT_ASSIGN_OR_RETURN(const std::vector<InputTensor> tensors, parse_inputs(*inputs, split.binary));
  COHORT_ASSIGN_OR_RETURN(const Batch batch, batch_of(tensors));
  request.has_batch_dim = batch.has_dim;
  COHORT_ASSIGN_OR_RETURN(const std::vector<json> rows, rows_of(tensors, batch));
  for (const json& row : rows) {
    FieldReader row_reader(row);
    SequenceFields sequence = read_sequence(row_reader, limits);
    if (sequence.is_stream.value_or(false)) {
      row_reader.fail(invalid_argument("stream: infer answers as a whole, generate_stream in pieces"));
    }
    if (!row_reader.ok()) {
      if (rows.size() == 1) return row_reader.status();
      Status status = row_reader.status();
      return std::move(status).annotate("request " + std::to_string(request.sequences.size()) + " of the batch");
    }
    sequence.fields.priority = protocol.priority;
    request.sequences.push_back(std::move(sequence.fields));
  }
  if (request.outputs.empty()) add_default_outputs(request, protocol.binary_outputs);
  if (std::any_of(request.outputs.begin(), request.outputs.end(), is_logprobs)) {
    for (CompletionFields& fields : request.sequences) fields.top_logprobs = 0;
  }
  return request;
}

Result<KserveRequest> parse_generate(std::string_view body, bool may_stream, const RequestLimits& limits) {
  COHORT_ASSIGN_OR_RETURN(json object, parse_body(body));
  // What is in `parameters` may as well stand beside text_input, as some clients have it.
  if (const auto found = object.find("parameters"); found != object.end() && !found->is_null()) {
    if (!found->is_object()) return field_error("parameters", "an object", *found);
    const json parameters = std::exchange(*found, nullptr);
    for (const auto& [name, value] : parameters.items()) {
      if (object.contains(name)) return invalid_argument(name + ": expected either in parameters or beside them");
      object[name] = value;
    }
  }
  KserveRequest request;
  FieldReader reader(object);
  request.id = read_id(reader);
  reader.find("parameters");
  const ProtocolParameters protocol = read_parameters(reader);
  request.timeout = protocol.timeout;
  SequenceFields sequence = read_sequence(reader, limits);
  request.is_stream = may_stream && sequence.is_stream.value_or(true);
  if (!may_stream && sequence.is_stream.value_or(false)) {
    reader.fail(invalid_argument("stream: generate answers as a whole, generate_stream in pieces"));
  }
  COHORT_RETURN_IF_ERROR(reader.status());
  request.ignored = reader.unread();
  request.shows_logprobs = sequence.fields.top_logprobs.has_value();
  sequence.fields.priority = protocol.priority;
  request.sequences.push_back(std::move(sequence.fields));
  return request;
}

}  // namespace cohort
