// Who asks, and may they.
#include <fmt/format.h>

#include "proxy/proxy.h"

namespace saker {
namespace {

Status Unauthenticated(std::string message) { return {ErrorCode::kUnauthenticated, std::move(message)}; }

}  // namespace

Result<std::string> Proxy::Authenticate(std::string_view authorization) {
  if (authorization.empty()) return Unauthenticated("missing authorization in header");
  constexpr std::string_view kBearer = "Bearer ";
  std::string token;
  if (authorization.starts_with(kBearer)) {  // REST: the text itself
    token = authorization.substr(kBearer.size());
  } else if (!Base64Decode(authorization, token)) {
    return Unauthenticated("invalid token format");
  }
  const size_t colon = token.find(':');
  if (colon == std::string::npos) return Unauthenticated("auth check failure, please check api key is correct");
  const std::string name = token.substr(0, colon);
  const auto user = catalog_->FindUser(name);
  if (user == nullptr || !passwords_.Verify(user->password_hash, std::string_view(token).substr(colon + 1))) {
    return Unauthenticated("auth check failure, please check username and password are correct");
  }
  return name;
}

Result<std::string> Proxy::UserNamed(std::string_view authorization) {
  if (authorization.empty()) {
    return {ErrorCode::kUnexpected, "fail to get authorization from the md, authorize:[authorization]"};
  }
  std::string token;
  if (!Base64Decode(authorization, token)) {
    return {ErrorCode::kUnexpected, fmt::format("fail to decode the token, token: {}", authorization)};
  }
  const size_t colon = token.find(':');
  if (colon == std::string::npos) {
    return {ErrorCode::kUnexpected, "fail to get user info from the raw token: it has no ':'"};
  }
  return token.substr(0, colon);
}

Status Proxy::Authorize(std::string_view name, const NeededPrivilege& needed) const {
  if (name == kRootUser) return {};
  // Users may look at themselves and change their own password.
  if (needed.object_type == "User" && needed.object == name) return {};
  if (IsPublicPrivilege(needed.object_type, needed.privilege)) return {};
  const auto allowed_by = [&](std::string_view role_name) {
    const auto role = catalog_->FindRole(role_name);
    if (role == nullptr) return false;
    for (const Grant& grant : role->grants) {
      if (Allows({grant.object_type, grant.object, grant.database, grant.privilege}, needed)) return true;
    }
    return false;
  };
  if (const auto user = catalog_->FindUser(name)) {
    for (const std::string& role : user->roles) {
      if (role == kAdminRole || allowed_by(role)) return {};
    }
  }
  if (allowed_by(kPublicRole)) return {};
  return {ErrorCode::kPrivilegeNotPermitted, fmt::format("Privilege{}: permission deny to {}", needed.privilege, name)};
}

}  // namespace saker
