#include "launcher/gateway/openai_encoding_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "launcher/gateway/openai_response.h"

namespace cohort {
namespace {

static_assert(std::endian::native == std::endian::little, "embeddings are sent as they lie in memory");

// RFC 4648, section 4.
std::string base64(std::span<const unsigned char> bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < count ? bytes[i + j] : 0u);
    for (size_t j = 0; j < 4; ++j) text += j <= count ? kDigits[bits >> (18 - 6 * j) & 63] : '=';
  }
  return text;
}

// Numbers as short as tells them apart from every other float.
void append_numbers(std::string& out, std::span<const float> values) {
  fmt::format_to(std::back_inserter(out), "[{}]", fmt::join(values, ","));
}

void append_embedding(std::string& out, const std::vector<float>& embedding, size_t index, bool is_base64) {
  fmt::format_to(std::back_inserter(out), R"({{"object":"embedding","index":{},"embedding":)", index);
  if (is_base64) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(embedding.data());
    out += '"' + base64({bytes, embedding.size() * sizeof(float)}) + '"';
  } else {
    append_numbers(out, embedding);
  }
  out += '}';
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// By softmax; of a lone logit by the sigmoid.
std::vector<float> probabilities(std::span<const float> logits) {
  if (logits.size() == 1) return {static_cast<float>(sigmoid(double{logits[0]}))};
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - largest);
  std::vector<float> values;
  for (const float logit : logits) values.push_back(static_cast<float>(std::exp(double{logit} - largest) / sum));
  return values;
}

// {"label": ..., "probs": [...]} without the braces.
void append_probabilities(std::string& out, std::span<const float> logits, const std::vector<std::string>& labels) {
  const std::vector<float> values = probabilities(logits);
  const auto best = std::max_element(values.begin(), values.end()) - values.begin();
  out += R"("label":)";
  append_json_string(out, sendable(labels[static_cast<size_t>(best)]));
  out += R"(,"probs":)";
  append_numbers(out, values);
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * b[i];
    aa += double{a[i]} * a[i];
    bb += double{b[i]} * b[i];
  }
  return aa == 0 || bb == 0 ? 0 : dot / std::sqrt(aa * bb);
}

std::string_view id_prefix(EncodingKind kind) {
  switch (kind) {
    case EncodingKind::kEmbeddings:
      return "embd-";
    case EncodingKind::kClassify:
      return "classify-";
    case EncodingKind::kScore:
      return "score-";
    case EncodingKind::kRerank:
      return "rerank-";
    case EncodingKind::kFillMask:
      return "fillmask-";
  }
  return "";
}

}  // namespace

EncodingAnswer::EncodingAnswer(std::shared_ptr<const OpenAiModel> model, PreparedEncoding request,
                               std::shared_ptr<HttpExchange> exchange, int64_t created,
                               std::shared_ptr<int64_t> num_scores_under_way)
    : model_(std::move(model)),
      request_(std::move(request)),
      exchange_(std::move(exchange)),
      created_(created),
      num_scores_under_way_(std::move(num_scores_under_way)) {
  *num_scores_under_way_ += request_.num_scores;
  const bool shows_tokens =
      request_.kind == EncodingKind::kFillMask ||
      (request_.kind == EncodingKind::kClassify && model_->options().spec.head == HeadKind::kTokenLabels);
  if (!shows_tokens) return;
  for (const Tokenizer::Encoding& input : request_.inputs) token_ids_.push_back(input.ids);
}

EncodingAnswer::~EncodingAnswer() { *num_scores_under_way_ -= request_.num_scores; }

std::vector<SequencePlan> EncodingAnswer::plans() { return encoding_plans(request_); }

void EncodingAnswer::complete(std::span<GeneratedSequence> sequences) {
  int64_t num_tokens = 0;
  for (const GeneratedSequence& sequence : sequences) num_tokens += sequence.record.num_prompt_tokens;
  std::string body = "{\"id\":";
  append_json_string(body, std::string(id_prefix(request_.kind)) + exchange_->request().id);
  fmt::format_to(std::back_inserter(body), R"(,"object":"list","created":{},"model":)", created_);
  append_json_string(body, sendable(model_->options().model_name));
  body += request_.kind == EncodingKind::kRerank ? R"(,"results":[)" + ranking(sequences)
                                                 : R"(,"data":[)" + list_of_items(sequences);
  fmt::format_to(std::back_inserter(body),
                 R"(],"usage":{{"prompt_tokens":{0},"total_tokens":{0},"completion_tokens":0}}}})", num_tokens);
  exchange_->respond({.body = std::move(body)});
}

void EncodingAnswer::fail(const Status& status) { exchange_->respond(error_response(status)); }

std::string EncodingAnswer::list_of_items(std::span<GeneratedSequence> sequences) const {
  std::string out;
  const auto separate = [&] { out += out.empty() ? "" : ","; };
  if (request_.kind == EncodingKind::kScore) {
    const std::vector<double> values = scores(sequences);
    for (size_t i = 0; i < values.size(); ++i) {
      separate();
      fmt::format_to(std::back_inserter(out), R"({{"index":{},"object":"score","score":{}}})", i, values[i]);
    }
    return out;
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    separate();
    if (request_.kind == EncodingKind::kEmbeddings) {
      append_embedding(out, sequences[i].encoding->embedding, i, request_.is_base64);
    } else if (request_.kind == EncodingKind::kFillMask) {
      append_fills(out, sequences[i], i);
    } else if (token_ids_.empty()) {
      append_classes(out, sequences[i], i);
    } else {
      append_token_classes(out, sequences[i], i);
    }
  }
  return out;
}

void EncodingAnswer::append_classes(std::string& out, const GeneratedSequence& sequence, size_t index) const {
  const std::vector<std::string>& labels = model_->options().spec.labels;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},)", index);
  append_probabilities(out, sequence.encoding->logits, labels);
  fmt::format_to(std::back_inserter(out), R"(,"num_classes":{}}})", labels.size());
}

void EncodingAnswer::append_token_classes(std::string& out, const GeneratedSequence& sequence, size_t index) const {
  const std::vector<std::string>& labels = model_->options().spec.labels;
  const std::span<const float> logits = sequence.encoding->logits;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"tokens":[)", index);
  const std::vector<int32_t>& ids = token_ids_[index];
  for (size_t i = 0; i < ids.size(); ++i) {
    out += i == 0 ? R"({"token":)" : R"(,{"token":)";
    append_json_string(out, sendable(model_->tokenizer().id_to_token(ids[i])));
    out += ',';
    append_probabilities(out, logits.subspan(i * labels.size(), labels.size()), labels);
    out += '}';
  }
  fmt::format_to(std::back_inserter(out), R"(],"num_classes":{}}})", labels.size());
}

// The likeliest tokens for each mask, each with the text that it makes: by Hugging Face's rule without special tokens
// if there is one mask, with them (and the other masks) if there are several.
void EncodingAnswer::append_fills(std::string& out, const GeneratedSequence& sequence, size_t index) const {
  const Tokenizer& tokenizer = model_->tokenizer();
  const std::vector<int32_t>& positions = request_.masks[index];
  const std::span<const float> logits = sequence.encoding->logits;
  const size_t vocab = logits.size() / positions.size();
  const size_t count = std::min(static_cast<size_t>(request_.top_k), vocab);
  std::vector<int32_t> order(vocab);
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"masks":[)", index);
  for (size_t i = 0; i < positions.size(); ++i) {
    fmt::format_to(std::back_inserter(out), R"({}{{"position":{},"predictions":[)", i == 0 ? "" : ",", positions[i]);
    const std::vector<float> scores = probabilities(logits.subspan(i * vocab, vocab));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                      [&](int32_t a, int32_t b) {
                        const float score_a = scores[static_cast<size_t>(a)], score_b = scores[static_cast<size_t>(b)];
                        return score_a != score_b ? score_a > score_b : a < b;
                      });
    std::vector<int32_t> filled = token_ids_[index];
    for (size_t rank = 0; rank < count; ++rank) {
      const int32_t token = filled[static_cast<size_t>(positions[i])] = order[rank];
      fmt::format_to(std::back_inserter(out), R"({}{{"score":{},"token":{},"token_str":)", rank == 0 ? "" : ",",
                     scores[static_cast<size_t>(token)], token);
      append_json_string(out, sendable(tokenizer.decode(std::span(&token, 1), false)));
      out += R"(,"sequence":)";
      append_json_string(out, sendable(tokenizer.decode(filled, positions.size() == 1)));
      out += '}';
    }
    out += "]}";
  }
  out += "]}";
}

// The documents, the best first.
std::string EncodingAnswer::ranking(std::span<GeneratedSequence> sequences) const {
  const std::vector<double> values = scores(sequences);
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  // vLLM takes 0 for all of them.
  if (request_.top_n.value_or(0) > 0) order.resize(std::min(order.size(), static_cast<size_t>(*request_.top_n)));
  std::string out;
  for (const size_t i : order) {
    fmt::format_to(std::back_inserter(out), R"({}{{"index":{},)", out.empty() ? "" : ",", i);
    if (!request_.documents.empty()) {
      out += R"("document":{"text":)";
      append_json_string(out, request_.documents[i]);
      out += "},";
    }
    fmt::format_to(std::back_inserter(out), R"("relevance_score":{}}})", values[i]);
  }
  return out;
}

std::vector<double> EncodingAnswer::scores(std::span<GeneratedSequence> sequences) const {
  std::vector<double> values;
  for (const auto& [first, second] : request_.pairs) {
    values.push_back(cosine(sequences[first].encoding->embedding, sequences[second].encoding->embedding));
  }
  if (!request_.pairs.empty()) return values;
  for (const GeneratedSequence& sequence : sequences) {
    const double logit = sequence.encoding->logits[0];
    values.push_back(model_->options().spec.has_probability_score ? sigmoid(logit) : logit);
  }
  return values;
}

}  // namespace cohort
