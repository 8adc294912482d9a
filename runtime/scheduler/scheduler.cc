#include "runtime/scheduler/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "kernels/core/check.h"
#include "runtime/scheduler/encoding_message.h"
#include "runtime/scheduler/plan_writer.h"

namespace cohort {
namespace {

bool goes_before(const ScheduledRequest* a, const ScheduledRequest* b) { return a->goes_before(*b); }

// Whether it goes on by one token, which is known.
bool is_decode(const ScheduledRequest& request) {
  return request.is_known_to_ranks && request.sequence.num_pending() == 1;
}

// The `count` that were in no plan for longest, in the order that they had.
void keep_longest_left_out(std::vector<ScheduledRequest*>& requests, int64_t count) {
  if (static_cast<int64_t>(requests.size()) <= count) return;
  const auto middle = requests.begin() + count;
  std::nth_element(requests.begin(), middle, requests.end(), [](const auto* a, const auto* b) {
    return a->last_step != b->last_step ? a->last_step < b->last_step : a->goes_before(*b);
  });
  requests.erase(middle, requests.end());
  std::sort(requests.begin(), requests.end(), goes_before);
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), blocks_(options.num_blocks, options.block_size, options.shares_prefixes) {
  COHORT_CHECK(options.max_tokens_per_step >= options.max_seqs && options.max_seqs >= 1,
               "a step must have room for a token of every sequence");
  const bool has_source = options.decoder_start_token.has_value();
  COHORT_CHECK(!(options.encodes || has_source) || options.max_tokens_per_step >= options.max_position,
               "a step must have room for the longest sequence that is encoded");
  COHORT_CHECK(!has_source || !options.shares_prefixes, "what follows a prefix depends on the source");
  COHORT_CHECK(options.num_micro_batches >= 1 && !(options.overlap_steps && options.num_micro_batches > 1),
               std::to_string(options.num_micro_batches));
}

Result<int64_t> Scheduler::submit(GenerationRequest request, double now_s) {
  if (request.encoding.any() != options_.encodes) {
    return invalid_argument(options_.encodes ? "the model encodes; it does not generate"
                                             : "the model generates; it does not encode");
  }
  COHORT_RETURN_IF_ERROR(request.validate(options_.limits()));
  request.max_tokens = request.output_limit(options_.limits());
  std::vector<int32_t> source;
  if (options_.decoder_start_token) source = std::exchange(request.prompt, {*options_.decoder_start_token});
  // The last token that is sampled is never fed back.
  const int64_t num_blocks =
      blocks_.blocks_for(std::ssize(source)) + blocks_.blocks_for(std::ssize(request.prompt) + request.max_tokens - 1);
  if (num_blocks > options_.num_blocks) {
    return invalid_argument("prompt and output need " + std::to_string(num_blocks) +
                            " blocks of the cache, which has " + std::to_string(options_.num_blocks));
  }
  // Places that are free now are for those that wait already, and do so until the next plan only.
  const int64_t num_places = options_.max_seqs - std::ssize(running_);
  if (waiting_.size() - num_places >= options_.max_waiting) {
    return resource_exhausted("the queue is full: " + std::to_string(waiting_.size()) + " requests wait");
  }
  std::erase_if(request.stop_ids, [&](int32_t token) { return token < 0 || token >= options_.vocab; });
  const int64_t id = next_request_id_++;
  ScheduledRequest& added = *requests_.emplace(id, std::make_unique<ScheduledRequest>()).first->second;
  added.sequence.id = id;
  added.sequence.source = std::move(source);
  added.sequence.prompt = std::move(request.prompt);
  added.sequence.token_types = std::move(request.token_types);
  added.request = std::move(request);
  added.arrival_s = now_s;
  added.tenant = &tenants_.arrive(added.request.tenant);
  blocks_.add_prompt_keys(added);
  waiting_.add(added);
  return id;
}

void Scheduler::cancel(int64_t id) {
  const auto place = requests_.find(id);
  if (place == requests_.end() || place->second->state == ScheduledRequest::State::kEnded) return;
  ++counts_.num_cancelled;
  end(*place->second);
}

std::optional<wire::StepPlan> Scheduler::next_plan(double now_s) {
  // Tokens are fed from one step to the next only.
  COHORT_CHECK(!options_.overlap_steps || num_under_way() < 2, std::to_string(num_under_way()) + " plans under way");
  std::vector<Work> work;
  bool has_preempted = false;
  do {  // again if all that were chosen had to go: there is room then
    const int64_t num_before = counts_.num_preemptions;
    choose_decodes(work);
    has_preempted = counts_.num_preemptions > num_before;
    if (!has_preempted) admit();
    choose_prefills(work);
  } while (work.empty() && has_preempted);
  if (work.empty()) return std::nullopt;
  return write_plan(work, now_s);
}

int64_t Scheduler::max_seqs_per_plan() const {
  return (static_cast<int64_t>(running_.size()) + options_.num_micro_batches - 1) / options_.num_micro_batches;
}

bool Scheduler::can_be_fed(const ScheduledRequest& request) const {
  const Sequence& sequence = request.sequence;
  const auto num_outputs = static_cast<int64_t>(sequence.output.size()) + request.num_awaited;
  return options_.overlap_steps && sequence.num_pending() == 0 && request.num_awaited == 1 &&
         num_outputs < request.request.max_tokens && !request.request.sampling.reads_output();
}

void Scheduler::choose_decodes(std::vector<Work>& work) {
  std::vector<ScheduledRequest*> decodes;
  for (ScheduledRequest* request : running_) {
    if (is_decode(*request) || can_be_fed(*request)) decodes.push_back(request);
  }
  keep_longest_left_out(decodes, max_seqs_per_plan());
  for (ScheduledRequest* request : decodes) {
    // Who goes to make room for another stands behind it, and is not in `work` yet.
    if (request->state == ScheduledRequest::State::kRunning && make_room(*request)) work.push_back({request, 1});
  }
}

bool Scheduler::make_room(ScheduledRequest& request) {
  if (blocks_.has_room(request, request.sequence.num_computed + 1)) return true;
  while (blocks().num_available() == 0) {
    ScheduledRequest& last = *running_.back();
    preempt(last);
    if (&last == &request) return false;
  }
  blocks_.grow(request);
  return true;
}

void Scheduler::admit() {
  while (static_cast<int64_t>(running_.size()) < options_.max_seqs) {
    ScheduledRequest* const next = waiting_.next();
    if (next == nullptr || next->num_awaited > 0) return;
    // A block for each is left: whoever comes in now does not drive another out at once, or go itself.
    const int64_t num_spare = running_.empty() ? 0 : static_cast<int64_t>(running_.size()) + 1;
    if (!blocks_.take(*next, num_spare)) return;
    start(*next);
  }
}

void Scheduler::start(ScheduledRequest& request) {
  waiting_.remove(request);
  request.state = ScheduledRequest::State::kRunning;
  running_.insert(std::upper_bound(running_.begin(), running_.end(), &request, goes_before), &request);
  if (request.has_run()) return;
  const int64_t length = request.num_input_tokens();
  request.num_cached_tokens = request.sequence.num_computed;
  tenants_.leave_queue(*request.tenant);
  request.tenant->service += TenantShares::kPromptWeight * (length - request.num_cached_tokens);
  counts_.num_prompt_tokens += length;
  if (options_.shares_prefixes) counts_.num_prefix_queries += length;
  counts_.num_prefix_hits += request.num_cached_tokens;
}

void Scheduler::choose_prefills(std::vector<Work>& work) {
  const auto num_decodes = static_cast<int64_t>(work.size());
  int64_t num_places = max_seqs_per_plan() - num_decodes;
  int64_t num_spare = options_.max_tokens_per_step - num_decodes;
  int64_t num_spare_source = options_.max_tokens_per_step;  // sources go through layers of their own, before the rest
  for (ScheduledRequest* request : running_) {
    if (num_places <= 0 || num_spare <= 0) return;
    const int64_t num_pending = request->sequence.num_pending();
    if (num_pending <= 0 || is_decode(*request)) continue;
    const int64_t num_source = request->sequence.is_source_pending() ? request->sequence.source_length() : 0;
    // What is encoded is so whole: it comes first in the next step.
    if ((options_.encodes && num_pending > num_spare) || num_source > num_spare_source) continue;
    const int64_t num_tokens = std::min(num_pending, num_spare);
    work.push_back({request, num_tokens});
    num_spare -= num_tokens;
    num_spare_source -= num_source;
    --num_places;
  }
}

wire::StepPlan Scheduler::write_plan(const std::vector<Work>& work, double now_s) {
  wire::StepPlan plan = std::exchange(spare_plan_, {});
  plan.set_step(next_step_++);
  plan.mutable_released()->Add(released_.begin(), released_.end());
  released_.clear();
  for (const auto& [request, num_tokens] : work) {
    if (request->queue_s < 0) request->queue_s = now_s - request->arrival_s;
    request->last_step = plan.step();
    write_work(plan, *request, num_tokens);
    blocks_.publish(*request);
  }
  under_way_.push_back(plan.step());
  return plan;
}

void Scheduler::recycle(wire::StepPlan plan) {
  // Prompts are of any length and seldom: they would keep memory for nothing.
  google::protobuf::RepeatedPtrField<wire::AdmittedSequence>().Swap(plan.mutable_admitted());
  plan.Clear();
  spare_plan_ = std::move(plan);
}

void Scheduler::preempt(ScheduledRequest& request) {
  stop(request);
  request.state = ScheduledRequest::State::kWaiting;
  waiting_.add(request);
  ++counts_.num_preemptions;
}

void Scheduler::stop(ScheduledRequest& request, bool is_bad) {
  const auto place = std::lower_bound(running_.begin(), running_.end(), &request, goes_before);
  COHORT_CHECK(place != running_.end() && *place == &request, "request " + std::to_string(request.id()));
  running_.erase(place);
  blocks_.release(request, is_bad);
  if (std::exchange(request.is_known_to_ranks, false)) released_.push_back(request.id());
}

void Scheduler::end(ScheduledRequest& request, bool is_bad) {
  if (request.state == ScheduledRequest::State::kRunning) {
    stop(request, is_bad);
  } else {
    waiting_.remove(request);
    if (!request.has_run()) tenants_.leave_queue(*request.tenant);
  }
  request.state = ScheduledRequest::State::kEnded;
  tenants_.end(*request.tenant);
  if (request.num_awaited == 0) requests_.erase(request.id());
}

std::vector<TokenEvent> Scheduler::complete(const wire::StepResult& result) {
  COHORT_CHECK(!under_way_.empty() && under_way_.front() == result.step(), "step " + std::to_string(result.step()));
  under_way_.pop_front();
  ++counts_.num_steps;
  std::vector<TokenEvent> events;
  events.reserve(static_cast<size_t>(result.tokens_size() + result.encoded_size()));
  for (const wire::SampledToken& sampled : result.tokens()) {
    take_result(sampled.id(), events, [&](ScheduledRequest& request) { return take_token(request, sampled); });
  }
  for (const wire::EncodedSequence& encoded : result.encoded()) {
    take_result(encoded.id(), events, [&](ScheduledRequest& request) { return take_encoding(request, encoded); });
  }
  return events;
}

template <typename Take>
void Scheduler::take_result(int64_t id, std::vector<TokenEvent>& events, const Take& take) {
  const auto place = requests_.find(id);
  COHORT_CHECK(place != requests_.end() && place->second->num_awaited > 0, "sequence " + std::to_string(id));
  ScheduledRequest& request = *place->second;
  --request.num_awaited;
  if (request.state != ScheduledRequest::State::kEnded) {
    events.push_back(take(request));
  } else if (request.num_awaited == 0) {
    requests_.erase(place);
  }
}

TokenEvent Scheduler::take_encoding(ScheduledRequest& request, const wire::EncodedSequence& encoded) {
  TokenEvent event;
  event.request_id = request.id();
  event.queue_s = request.queue_s;
  event.finish = encoded.is_bad() ? FinishReason::kError : FinishReason::kStop;
  if (encoded.is_bad()) {
    ++counts_.num_errors;
  } else {
    event.encoding = std::make_shared<const Encoding>(read_encoding(encoded));
  }
  end(request, encoded.is_bad());
  return event;
}

TokenEvent Scheduler::take_token(ScheduledRequest& request, const wire::SampledToken& sampled) {
  std::vector<int32_t>& output = request.sequence.output;
  TokenEvent event;
  event.request_id = request.id();
  event.token = sampled.token();
  event.logprob = sampled.logprob();
  for (const wire::Logprob& t : sampled.top_logprobs()) event.top_logprobs.push_back({t.id(), t.logprob()});
  if (output.empty()) {
    event.num_cached_tokens = request.num_cached_tokens;
    event.queue_s = request.queue_s;
  }
  if (event.token < 0) {
    event.finish = FinishReason::kError;
    ++counts_.num_errors;
    end(request, /*is_bad=*/true);
    return event;
  }
  output.push_back(event.token);
  ++counts_.num_output_tokens;
  request.tenant->service += TenantShares::kOutputWeight;
  if (request.state == ScheduledRequest::State::kRunning) blocks_.publish(request);
  event.finish = finish_reason(request.request, output, options_.limits());
  if (event.finish != FinishReason::kNone) end(request);
  return event;
}

EngineStats Scheduler::stats() const {
  EngineStats stats = counts_;
  stats.num_running = static_cast<int64_t>(running_.size());
  stats.num_waiting = waiting_.size();
  stats.num_owned_blocks = blocks().num_owned();
  stats.num_cached_blocks = blocks().num_cached();
  stats.num_blocks = blocks().num_blocks();
  return stats;
}

void Scheduler::check_invariants() const {
  blocks().check_invariants();
  COHORT_CHECK(std::is_sorted(running_.begin(), running_.end(), goes_before), "the order of those that run");
  std::vector<int32_t> num_owners(static_cast<size_t>(options_.num_blocks));
  for (const ScheduledRequest* request : running_) {
    for (const int32_t block : request->sequence.block_table) ++num_owners[static_cast<size_t>(block)];
    for (const int32_t block : request->sequence.source_table) ++num_owners[static_cast<size_t>(block)];
  }
  for (int32_t block = 0; block < static_cast<int32_t>(options_.num_blocks); ++block) {
    COHORT_CHECK(blocks().num_owners(block) == num_owners[static_cast<size_t>(block)],
                 "block " + std::to_string(block));
  }
  int64_t num_running = 0;
  int64_t num_waiting = 0;
  for (const auto& [id, request] : requests_) {
    const bool is_running = request->state == ScheduledRequest::State::kRunning;
    num_running += is_running ? 1 : 0;
    num_waiting += request->state == ScheduledRequest::State::kWaiting ? 1 : 0;
    COHORT_CHECK(is_running || (request->sequence.block_table.empty() && !request->is_known_to_ranks),
                 "request " + std::to_string(id));
    COHORT_CHECK(request->num_awaited <= num_under_way(), "request " + std::to_string(id));
  }
  COHORT_CHECK(num_running == static_cast<int64_t>(running_.size()) && num_waiting == waiting_.size(),
               std::to_string(num_running) + " running, " + std::to_string(num_waiting) + " waiting");
}

}  // namespace cohort
