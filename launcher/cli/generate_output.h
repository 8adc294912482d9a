// GenerateOutput: what `cohort generate` writes to standard output.
//
// As text: each prompt's continuation, as it is generated, in the order of the prompts; what a later prompt says is
// held back until the earlier ones are done. As JSON: a line a prompt, in the order of the prompts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/engine/engine.h"
#include "runtime/tokenizer/stream_decoder.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

class GenerateOutput {
 public:
  // Request ids are indices into `requests`. `tokenizer` may be null: text is then null in JSON, and ids stand for
  // text.
  GenerateOutput(const std::vector<GenerationRequest>& requests, const Tokenizer* tokenizer, bool json);

  // DATA_LOSS when standard output cannot be written; INTERNAL when a request failed.
  Status add(const TokenEvent& event);
  Status finish();

 private:
  struct Continuation {
    std::vector<int32_t> token_ids;
    std::vector<std::vector<TokenLogprob>> top_logprobs;
    std::string text;
    size_t num_written = 0;  // bytes of text on standard output
    FinishReason finish = FinishReason::kNone;
    std::unique_ptr<StreamDecoder> decoder;
  };

  // Writes what may be written now.
  Status flush();
  std::string json_line(size_t index) const;

  const std::vector<GenerationRequest>& requests_;
  const Tokenizer* tokenizer_;
  bool json_;
  std::vector<Continuation> continuations_;
  size_t num_done_ = 0;  // prompts whose output is complete on standard output
  Status failure_;
};

}  // namespace cohort
