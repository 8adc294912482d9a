#include "launcher/gateway/http_body.h"

#include <zlib.h>

#include <array>
#include <new>

namespace cohort {

class HttpBody::Inflater {
 public:
  Inflater() {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&stream_); }

  Status append(std::string_view bytes, int64_t max_bytes, std::string& out) {
    std::array<char, 16384> piece;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib only reads it
    stream_.avail_in = static_cast<uInt>(bytes.size());
    bool has_more_output = false;
    while (stream_.avail_in > 0 || has_more_output) {
      if (has_ended_) {  // RFC 1952 2.2: a file may be several members, one after another
        if (inflateReset(&stream_) != Z_OK) return damaged();
        has_ended_ = false;
      }
      stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
      stream_.avail_out = static_cast<uInt>(piece.size());
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return damaged();
      const size_t num_made = piece.size() - stream_.avail_out;
      if (static_cast<int64_t>(out.size() + num_made) > max_bytes) {
        return resource_exhausted("the decompressed body is larger than " + std::to_string(max_bytes) + " bytes");
      }
      out.append(piece.data(), num_made);
      has_ended_ = result == Z_STREAM_END;
      has_more_output = !has_ended_ && stream_.avail_out == 0;
    }
    return ok_status();
  }

  bool has_ended() const { return has_ended_; }

 private:
  static Status damaged() { return invalid_argument("the body is not gzip data, or it is damaged"); }

  z_stream stream_ = {};
  bool has_ended_ = false;
};

HttpBody::HttpBody() = default;
HttpBody::~HttpBody() = default;

Status HttpBody::set_encoding(std::string_view encoding) {
  if (encoding.empty() || encoding == "identity") return ok_status();
  if (encoding == "gzip" || encoding == "x-gzip") {
    inflater_ = std::make_unique<Inflater>();
    return ok_status();
  }
  return unimplemented("Content-Encoding: expected gzip or identity, got \"" + std::string(encoding) + "\"");
}

Status HttpBody::append(std::string_view bytes, int64_t max_bytes, std::string& out) {
  if (inflater_) return inflater_->append(bytes, max_bytes, out);
  if (static_cast<int64_t>(out.size() + bytes.size()) > max_bytes) {
    return resource_exhausted("the body is larger than " + std::to_string(max_bytes) + " bytes");
  }
  out.append(bytes);
  return ok_status();
}

Status HttpBody::finish() const {
  if (inflater_ && !inflater_->has_ended()) return invalid_argument("the gzip data of the body have no end");
  return ok_status();
}

}  // namespace cohort
