// HttpRouter: which handler answers a request, or with what it is refused before its body is read.
//
// Immutable; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "launcher/gateway/http.h"
#include "launcher/gateway/http_api_keys.h"

namespace cohort {

class HttpRouter {
 public:
  // Of two routes that fit a path the exact one is taken, then the one with the longest path.
  HttpRouter(std::vector<HttpRoute> routes, ApiKeys keys);

  struct Admission {
    const HttpRoute* route = nullptr;     // null: refused
    std::string tenant;                   // of the key it came with
    std::optional<HttpResponse> refusal;  // 401, 404 or 405
  };
  // By method, path and headers. With keys, what needs none is only a route that says so: whoever has no key is not
  // told which other paths there are.
  Admission admit(const HttpRequest& request) const;

 private:
  // The routes of one path.
  using Methods = std::vector<HttpRoute>;
  const Methods* find(std::string_view path) const;

  std::unordered_map<std::string, Methods> exact_;
  std::vector<std::pair<std::string, Methods>> prefixes_;  // "/v1/models/", the longest first
  ApiKeys keys_;
};

}  // namespace cohort
