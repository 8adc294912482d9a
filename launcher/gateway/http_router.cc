#include "launcher/gateway/http_router.h"

#include <algorithm>
#include <utility>

#include "launcher/gateway/http_response.h"

namespace cohort {
namespace {

// The key of "Authorization: Bearer KEY" (RFC 6750; the scheme in any case).
std::string_view bearer_key(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != kScheme[i]) return {};
  }
  authorization.remove_prefix(kScheme.size());
  authorization.remove_prefix(std::min(authorization.find_first_not_of(' '), authorization.size()));
  return authorization;
}

HttpResponse no_key(std::string_view path) {
  HttpResponse response = http_error(401, "expected an API key: Authorization: Bearer KEY", path);
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

HttpResponse wrong_method(const std::string& method, std::string_view path, const std::string& allowed) {
  HttpResponse response = http_error(405, method + " " + std::string(path) + ": expected " + allowed, path);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

}  // namespace

HttpRouter::HttpRouter(std::vector<HttpRoute> routes, ApiKeys keys) : keys_(std::move(keys)) {
  for (HttpRoute& route : routes) {
    if (!route.path.ends_with("/*")) {
      exact_[route.path].push_back(std::move(route));
      continue;
    }
    const std::string prefix = route.path.substr(0, route.path.size() - 1);
    auto found =
        std::find_if(prefixes_.begin(), prefixes_.end(), [&](const auto& known) { return known.first == prefix; });
    if (found == prefixes_.end()) found = prefixes_.insert(prefixes_.end(), {prefix, {}});
    found->second.push_back(std::move(route));
  }
  std::stable_sort(prefixes_.begin(), prefixes_.end(),
                   [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
}

const HttpRouter::Methods* HttpRouter::find(std::string_view path) const {
  if (const auto found = exact_.find(std::string(path)); found != exact_.end()) return &found->second;
  for (const auto& [prefix, methods] : prefixes_) {
    if (path.starts_with(prefix)) return &methods;
  }
  return nullptr;
}

HttpRouter::Admission HttpRouter::admit(const HttpRequest& request) const {
  Admission admission;
  const Methods* methods = find(request.path);
  const HttpRoute* route = nullptr;
  bool is_open = false;
  std::string allowed;
  if (methods) {
    for (const HttpRoute& candidate : *methods) {
      if (candidate.method == request.method) route = &candidate;
      is_open |= !candidate.needs_key;
      allowed += (allowed.empty() ? "" : ", ") + candidate.method;
    }
  }
  if (route) is_open = !route->needs_key;
  if (!keys_.empty() && !is_open) {
    auto tenant = keys_.find(bearer_key(request.header("authorization")));
    if (!tenant) {
      admission.refusal = no_key(request.path);
      return admission;
    }
    admission.tenant = *std::move(tenant);
  }
  if (route) {
    admission.route = route;
  } else if (methods) {
    admission.refusal = wrong_method(request.method, request.path, allowed);
  } else if (request.path == "*") {
    admission.refusal = wrong_method(request.method, request.path, "GET, POST");
  } else {
    admission.refusal = http_error(404, request.method + " " + request.path + ": there is no such path", request.path);
  }
  return admission;
}

}  // namespace cohort
