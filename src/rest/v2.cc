#include "rest/v2.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "rest/call.h"
#include "rest/row_writer.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

constexpr std::string_view kPrefix = "/v2/vectordb/";
constexpr int kOk = 200, kUnauthorized = 401, kForbidden = 403, kNotFound = 404;
constexpr std::chrono::seconds kLongestTimeout{600};

HttpResponse FailureResponse(int http, int32_t code, std::string_view message) {
  HttpResponse response;
  response.status = http;
  response.body = fmt::format("{{\"code\":{},\"message\":", code);
  WriteString(message, response.body);
  response.body += '}';
  return response;
}

HttpResponse FailureResponse(const Status& status) {
  switch (status.code()) {
    case ErrorCode::kNeedAuthenticate:
      return FailureResponse(kUnauthorized, ToWire(status.code()).code, status.message());
    case ErrorCode::kPrivilegeNotPermitted:
      return FailureResponse(kForbidden, ToWire(status.code()).code, status.message());
    default: return FailureResponse(kOk, ToWire(status.code()).code, status.message());
  }
}

bool IsTrue(std::string_view header) {
  for (const char* word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (header == word) return true;
  }
  return false;
}

// "Bearer user:password" or HTTP's "Basic …"; who it is.
Result<std::string> Authenticated(Proxy* proxy, std::string_view authorization) {
  constexpr std::string_view kBasic = "Basic ", kBearer = "Bearer ";
  std::string value(authorization);
  if (value.starts_with(kBasic)) {
    value.erase(0, kBasic.size());
  } else if (!value.starts_with(kBearer)) {
    value.insert(0, kBearer);  // Milvus takes the text without the word too
  }
  auto user = authorization.empty() ? Result<std::string>(Status(ErrorCode::kUnauthenticated, "")) : proxy->Authenticate(value);
  if (!user.ok()) return {ErrorCode::kNeedAuthenticate, "user hasn't authenticated"};
  return user;
}

// With authorization off the name is taken as it is, for what is noted down as the grantor.
std::string NamedUser(std::string_view authorization) {
  constexpr std::string_view kBearer = "Bearer ";
  if (!authorization.starts_with(kBearer)) return {};
  authorization.remove_prefix(kBearer.size());
  const size_t colon = authorization.find(':');
  return colon == std::string_view::npos ? std::string() : std::string(authorization.substr(0, colon));
}

class RestService {
 public:
  explicit RestService(Proxy* proxy) : proxy_(proxy) {
    AddCollectionEndpoints(endpoints_);
    AddEntityEndpoints(endpoints_);
    AddMetadataEndpoints(endpoints_);
    AddUserEndpoints(endpoints_);
    for (const Endpoint& endpoint : endpoints_) by_path_.emplace(endpoint.path, &endpoint);
  }

  void Handle(HttpRequest request, HttpRespond respond) const {
    std::string_view path = request.path;
    path.remove_prefix(std::min(path.size(), kPrefix.size()));
    const auto it = by_path_.find(path);
    if (it == by_path_.end()) {
      return respond(FailureResponse(kNotFound, kNotFound, fmt::format("404 page not found: there is no {} in this server", request.path)));
    }
    if (request.method != "POST") {
      return respond(FailureResponse(kNotFound, kNotFound, fmt::format("404 page not found: {} takes POST, not {}", request.path, request.method)));
    }
    auto call = std::make_shared<RestCall>();
    call->proxy = proxy_;
    call->respond = std::move(respond);
    const Status prepared = Prepare(*it->second, request, *call);
    if (!prepared.ok()) return call->Fail(prepared);
    if (it->second->later != nullptr) return it->second->later(std::move(call));
    const auto data = it->second->now(*call);
    if (!data.ok()) return call->Fail(data.status());
    call->Succeed(*data);
  }

 private:
  Status Prepare(const Endpoint& endpoint, const HttpRequest& request, RestCall& call) const {
    const std::string_view authorization = request.Header("authorization");
    if (proxy_->settings().authorization) {
      ASSIGN_OR_RETURN(call.context.user, Authenticated(proxy_, authorization));
    } else {
      call.context.user = NamedUser(authorization);
    }
    ASSIGN_OR_RETURN(call.body, Body::Parse(request.body));
    ASSIGN_OR_RETURN(call.context.database, call.members().Text("dbName"));
    if (call.context.database.empty()) call.context.database = request.Header("db-name");
    if (call.context.database.empty()) call.context.database = kDefaultDatabase;
    const ProxySettings& settings = proxy_->settings();
    const std::chrono::milliseconds usual(endpoint.data ? settings.timeout_ms : settings.ddl_timeout_ms);
    call.context.deadline = std::chrono::steady_clock::now() + RequestTimeout(request.Header("request-timeout"), usual);
    call.int64_as_number = IsTrue(request.Header("accept-type-allow-int64"));
    if (endpoint.needs != nullptr) RETURN_IF_ERROR(MayDo(call, endpoint.needs));
    if (endpoint.in_database && proxy_->catalog()->FindDatabase(call.context.database) == nullptr) {
      return {ErrorCode::kDatabaseNotFound, fmt::format("database not found, database: {}", call.context.database)};
    }
    return {};
  }

  Proxy* const proxy_;
  Endpoints endpoints_;
  std::unordered_map<std::string_view, const Endpoint*> by_path_;
};

}  // namespace

std::chrono::milliseconds RequestTimeout(std::string_view header, std::chrono::milliseconds otherwise) {
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(header.data(), header.data() + header.size(), seconds);
  if (header.empty() || error != std::errc() || end != header.data() + header.size() || seconds <= 0) return otherwise;
  return std::chrono::seconds(std::min<int64_t>(seconds, kLongestTimeout.count()));
}

void RestCall::Succeed(std::string_view data, std::string_view more) const {
  HttpResponse response;
  response.body.reserve(data.size() + more.size() + 32);
  response.body += "{\"code\":0,\"data\":";
  response.body += data;
  response.body += more;
  response.body += '}';
  respond(std::move(response));
}

void RestCall::Fail(const Status& status) const { respond(FailureResponse(status)); }

std::string ListJson(const std::vector<std::string>& names) {
  std::string out = "[";
  for (const std::string& name : names) {
    if (out.size() > 1) out += ',';
    WriteString(name, out);
  }
  return out + "]";
}

std::string PairsJson(const KeyValues& pairs) {
  std::string out = "[";
  for (const auto& [key, value] : pairs) {
    if (out.size() > 1) out += ',';
    out += "{\"key\":";
    WriteString(key, out);
    out += ",\"value\":";
    WriteString(value, out);
    out += '}';
  }
  return out + "]";
}

std::optional<ConsistencyLevel> ParseConsistency(std::string_view name) {
  if (name == "Strong") return ConsistencyLevel::kStrong;
  if (name == "Session") return ConsistencyLevel::kSession;
  if (name == "Bounded") return ConsistencyLevel::kBounded;
  if (name == "Eventually") return ConsistencyLevel::kEventually;
  if (name == "Customized") return ConsistencyLevel::kCustomized;
  return std::nullopt;
}

void AddRestRoutes(HttpRoutes* routes, Proxy* proxy) {
  auto service = std::make_shared<const RestService>(proxy);
  const HttpHandler handler = [service](HttpRequest request, HttpRespond respond) {
    service->Handle(std::move(request), std::move(respond));
  };
  routes->Add(std::string(kPrefix), proxy->control_pool(), handler);
  routes->Add(std::string(kPrefix) + "entities/", proxy->search_pool(), handler);
}

}  // namespace saker
