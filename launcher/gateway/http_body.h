// HttpBody: the body of a request as it arrives, decompressed, within a limit.
//
// One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/core/status.h"

namespace cohort {

class HttpBody {
 public:
  HttpBody();
  ~HttpBody();

  // The value of Content-Encoding: "gzip", "x-gzip", "identity" or nothing. Not ok: kUnimplemented.
  Status set_encoding(std::string_view encoding);

  // Appends what `bytes` stand for to `out`. Not ok: kResourceExhausted, `out` would hold more than max_bytes;
  // kInvalidArgument, the data are damaged.
  Status append(std::string_view bytes, int64_t max_bytes, std::string& out);

  // After the last byte. Not ok: kInvalidArgument, the compressed data have no end.
  Status finish() const;

 private:
  class Inflater;
  std::unique_ptr<Inflater> inflater_;  // of compressed bodies
};

}  // namespace cohort
