// The requests of `cohort encode`: from flags to tokens. Only the ranks that lead a replica make them.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/status.h"
#include "runtime/decoding/request.h"
#include "runtime/models/family.h"
#include "runtime/tokenizer/tokenizer.h"

namespace cohort {

// What the flags say.
struct EncodeInputs {
  std::vector<std::string> texts;
  std::vector<std::string> text_pairs;  // none, or one a text
  std::string texts_file;
  std::vector<std::string> input_ids;
  std::vector<std::string> token_type_ids;  // none, or one an input of ids

  bool empty() const { return texts.empty() && texts_file.empty() && input_ids.empty(); }
};

// Must stay where it is until the command line is parsed: CLI11 keeps references into it.
void add_encode_flags(CLI::App& command, EncodeInputs& inputs);

struct EncodeRequests {
  std::unique_ptr<Tokenizer> tokenizer;  // null where there are only token ids and no tokenizer files
  std::vector<GenerationRequest> requests;
};

// Reads inputs and tokenizer and checks every request, which asks for `parts`. Throws UsageError for a flag that cannot
// be.
Result<EncodeRequests> make_encode_requests(const EncodeInputs& inputs, const EncodingParts& parts,
                                            const std::string& model_dir, const ModelConfig& config);

}  // namespace cohort
