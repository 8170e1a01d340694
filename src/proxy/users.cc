// Users, roles, grants.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/proxy.h"
#include "proxy/validate.h"

namespace saker {
namespace {

constexpr char kNoRole[] = "not found the role, maybe the role isn't existed or internal system error";
constexpr char kNoUser[] = "not found the user, maybe the user isn't existed or internal system error";

Status CheckGrant(const Grant& grant, const ProxyLimits& limits) {
  if (grant.privilege != kAnyWord) RETURN_IF_ERROR(CheckEntityName(grant.privilege, "Privilege", limits));
  RETURN_IF_ERROR(CheckEntityName(grant.object_type, "ObjectType", limits));
  if (grant.object != kAnyWord) RETURN_IF_ERROR(CheckEntityName(grant.object, "role name", limits));
  return CheckEntityName(grant.role, "role name", limits);
}

}  // namespace

Status Proxy::CreateUser(const CallContext& context, const std::string& name, const std::string& password) {
  RETURN_IF_ERROR(CheckUserName(name, limits()));
  RETURN_IF_ERROR(CheckPassword(password, limits()));
  if (catalog_->FindUser(name) != nullptr) return Unexpected(fmt::format("user already exists: {}", name));
  if (static_cast<int64_t>(catalog_->Users().size()) >= limits().users) {
    return Unexpected("unable to add user because the number of users has reached the limit");
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  User user;
  user.name = name;
  ASSIGN_OR_RETURN(user.password_hash, HashPassword(password));
  return Seen(context, root->CreateUser(user));
}

Status Proxy::UpdatePassword(const CallContext& context, const std::string& name, const std::string& old_password,
                             const std::string& password) {
  RETURN_IF_ERROR(CheckPassword(password, limits()));
  const auto user = catalog_->FindUser(name);
  const auto& supers = settings_.super_users;
  const bool is_super = !context.user.empty() && std::find(supers.begin(), supers.end(), context.user) != supers.end();
  if (user == nullptr || (!is_super && !passwords_.Verify(user->password_hash, old_password))) {
    return {ErrorCode::kPrivilegeNotAuthenticated, fmt::format("old password not correct for {}: not authenticated", name)};
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  User changed = *user;
  ASSIGN_OR_RETURN(changed.password_hash, HashPassword(password));
  return Seen(context, root->UpdateUser(changed));
}

Status Proxy::DropUser(const CallContext& context, const std::string& name) {
  if (name == kRootUser) {
    return {ErrorCode::kPrivilegeNotPermitted, "root user cannot be deleted: privilege not permitted"};
  }
  if (catalog_->FindUser(name) == nullptr) return {};
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->DropUser(name));
}

Status Proxy::CreateRole(const CallContext& context, const std::string& name) {
  RETURN_IF_ERROR(CheckEntityName(name, "role name", limits()));
  if (catalog_->FindRole(name) != nullptr || IsDefaultRole(name)) return Unexpected(fmt::format("role [name:\"{}\"] already exists", name));
  if (static_cast<int64_t>(catalog_->Roles().size()) >= limits().roles) {
    return Unexpected("unable to create role because the number of roles has reached the limit");
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->CreateRole(name));
}

Status Proxy::DropRole(const CallContext& context, const std::string& name, bool force) {
  RETURN_IF_ERROR(CheckEntityName(name, "role name", limits()));
  if (IsDefaultRole(name)) {
    return {ErrorCode::kPrivilegeNotPermitted,
            fmt::format("the role[{}] is a default role, which can't be dropped: privilege not permitted", name)};
  }
  const auto role = catalog_->FindRole(name);
  if (role == nullptr) return Unexpected(kNoRole);
  // As 2.3.5, which looks at grants in the default database (or in all) only.
  const bool in_use = std::any_of(role->grants.begin(), role->grants.end(), [](const Grant& grant) {
    return grant.database == kDefaultDatabase || grant.database == kAnyWord;
  });
  if (!force && in_use) {
    return Unexpected("fail to drop the role that it has privileges. Use REVOKE API to revoke privileges");
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, root->DropRole(name, /*force=*/true));
}

Status Proxy::OperateUserRole(const CallContext& context, const std::string& user, const std::string& role, bool add) {
  RETURN_IF_ERROR(CheckUserName(user, limits()));
  RETURN_IF_ERROR(CheckEntityName(role, "role name", limits()));
  if (catalog_->FindRole(role) == nullptr && !IsDefaultRole(role)) return Unexpected(kNoRole);
  if (add && catalog_->FindUser(user) == nullptr) return Unexpected(kNoUser);
  if (!add) {
    const auto found = catalog_->FindUser(user);
    if (found == nullptr || std::find(found->roles.begin(), found->roles.end(), role) == found->roles.end()) return {};
  }
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, add ? root->AddUserToRole(user, role) : root->RemoveUserFromRole(user, role));
}

Status Proxy::OperatePrivilege(const CallContext& context, Grant grant, bool give) {
  RETURN_IF_ERROR(CheckGrant(grant, limits()));
  if (!IsObjectType(grant.object_type)) {
    return Unexpected(fmt::format("not found the object type[name: {}], supported the object types: [Collection Global User]", grant.object_type));
  }
  if (catalog_->FindRole(grant.role) == nullptr && !IsDefaultRole(grant.role)) return Unexpected(kNoRole);
  if (catalog_->FindUser(grant.grantor) == nullptr) return Unexpected(kNoUser);
  if (grant.privilege != kAnyWord && !IsPrivilegeOf(grant.object_type, grant.privilege)) {
    return Unexpected(fmt::format("not found the privilege name[{}]", grant.privilege));
  }
  if (grant.object_type == "Global") grant.object = std::string(kAnyWord);
  if (grant.database.empty()) grant.database = context.database;
  RootCoord* root = peers_->root_coord();
  if (root == nullptr) return CoordinatorAway("rootcoord");
  return Seen(context, give ? root->GrantPrivilege(grant) : root->RevokePrivilege(grant));
}

Status Proxy::OperatePrivilegeV2(const CallContext& context, const std::string& role, const std::string& privilege,
                                 const std::string& database, const std::string& collection, bool give) {
  std::vector<std::string_view> privileges = PrivilegesOfGroup(privilege);
  if (privileges.empty()) privileges.push_back(privilege);
  for (const std::string_view name : privileges) {
    Grant grant;
    grant.role = role;
    grant.privilege = std::string(name);
    grant.object_type = std::string(name == kAnyWord ? "Collection" : ObjectTypeOf(name));
    if (grant.object_type.empty()) return Unexpected(fmt::format("not found the privilege name[{}]", privilege));
    grant.object = grant.object_type == "Collection" && !collection.empty() ? collection : std::string(kAnyWord);
    grant.database = database.empty() ? context.database : database;
    grant.grantor = context.user.empty() ? std::string(kRootUser) : context.user;
    RETURN_IF_ERROR(OperatePrivilege(context, std::move(grant), give));
  }
  return {};
}

Result<std::vector<Grant>> Proxy::SelectGrants(const std::string& role_name, const std::string& object_type, const std::string& object,
                                               const std::string& database) const {
  if (!object_type.empty()) {
    RETURN_IF_ERROR(CheckEntityName(object_type, "ObjectType", limits()));
    if (object != kAnyWord) RETURN_IF_ERROR(CheckEntityName(object, "role name", limits()));
  }
  RETURN_IF_ERROR(CheckEntityName(role_name, "role name", limits()));
  const auto role = catalog_->FindRole(role_name);
  if (role == nullptr && !IsDefaultRole(role_name)) return Unexpected(kNoRole);
  if (!object_type.empty() && !IsObjectType(object_type)) {
    return Unexpected(fmt::format("not found the object type[name: {}], supported the object types: [Collection Global User]", object_type));
  }
  std::vector<Grant> grants;
  if (role == nullptr) return grants;
  for (const Grant& grant : role->grants) {
    if (!database.empty() && database != kAnyWord && grant.database != database && grant.database != kAnyWord) continue;
    if (!object_type.empty() && (grant.object_type != object_type || grant.object != object)) continue;
    grants.push_back(grant);
  }
  return grants;
}

}  // namespace saker
