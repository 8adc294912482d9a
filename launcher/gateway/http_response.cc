#include "launcher/gateway/http_response.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace cohort {
namespace {

struct StatusText {
  int status;
  std::string_view reason;
  std::string_view error_type;
};

constexpr StatusText kStatusTexts[] = {
    {200, "OK", ""},
    {202, "Accepted", ""},
    {204, "No Content", ""},
    {400, "Bad Request", "invalid_request_error"},
    {401, "Unauthorized", "authentication_error"},
    {403, "Forbidden", "permission_error"},
    {404, "Not Found", "not_found_error"},
    {405, "Method Not Allowed", "invalid_request_error"},
    {408, "Request Timeout", "timeout_error"},
    {409, "Conflict", "invalid_request_error"},
    {413, "Content Too Large", "invalid_request_error"},
    {415, "Unsupported Media Type", "invalid_request_error"},
    {417, "Expectation Failed", "invalid_request_error"},
    {422, "Unprocessable Content", "invalid_request_error"},
    {429, "Too Many Requests", "rate_limit_error"},
    {431, "Request Header Fields Too Large", "invalid_request_error"},
    {499, "Client Closed Request", "invalid_request_error"},
    {500, "Internal Server Error", "server_error"},
    {501, "Not Implemented", "server_error"},
    {503, "Service Unavailable", "service_unavailable_error"},
    {505, "HTTP Version Not Supported", "invalid_request_error"},
};

const StatusText* find_text(int status) {
  const auto* found = std::find_if(std::begin(kStatusTexts), std::end(kStatusTexts),
                                   [&](const StatusText& text) { return text.status == status; });
  return found == std::end(kStatusTexts) ? nullptr : found;
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  const auto append_line = [&](std::string_view text) {
    for (const char c : text) {
      if (c != '\r' && c != '\n' && c != '\0') out += c;
    }
  };
  append_line(name);
  out += ": ";
  append_line(value);
  out += "\r\n";
}

}  // namespace

std::string_view http_reason(int status) {
  const StatusText* text = find_text(status);
  return text ? text->reason : "Unknown";
}

HttpResponse http_error(int status, std::string_view message, std::string_view path) {
  const StatusText* text = find_text(status);
  nlohmann::json error = message;
  if (path != "/v2" && !path.starts_with("/v2/")) {
    error = {{"message", message},
             {"type", text && !text->error_type.empty() ? text->error_type : "server_error"},
             {"param", nullptr},
             {"code", status}};
  }
  const nlohmann::json body = {{"error", error}};
  // A message may quote what a client has sent.
  return {.status = status, .body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

std::string http_head(const HttpResponse& response, const HttpHead& head) {
  std::string out = "HTTP/1.1 " + std::to_string(response.status) + ' ';
  out += http_reason(response.status);
  out += "\r\n";
  append_field(out, "Date", head.date);
  if (!response.content_type.empty()) append_field(out, "Content-Type", response.content_type);
  switch (head.framing) {
    case HttpFraming::kLength:
      append_field(out, "Content-Length", std::to_string(head.num_body_bytes));
      break;
    case HttpFraming::kChunks:
      append_field(out, "Transfer-Encoding", "chunked");
      break;
    case HttpFraming::kClose:
      break;
  }
  append_field(out, "X-Request-Id", head.request_id);
  for (const auto& [name, value] : response.headers) append_field(out, name, value);
  if (head.closes) append_field(out, "Connection", "close");
  out += "\r\n";
  return out;
}

std::string http_date(std::time_t time) {
  std::tm parts = {};
  gmtime_r(&time, &parts);
  std::array<char, 64> text;
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

bool is_sane_request_id(std::string_view id) {
  constexpr size_t kMaxBytes = 128;
  return !id.empty() && id.size() <= kMaxBytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string make_request_id() {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) throw std::runtime_error("no random numbers");
  std::string id;
  for (const unsigned char byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  return id;
}

}  // namespace cohort
