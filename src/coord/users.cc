// Users, roles and grants. Errors are Milvus 2.3's.
#include <algorithm>
#include <utility>

#include "coord/root_coord_role.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr size_t kOpsPerStep = 100;  // of a transaction's 128

Status Unexpected(std::string message) { return {ErrorCode::kUnexpected, std::move(message)}; }

bool IsBuiltIn(const std::string& role) { return role == "admin" || role == "public"; }

bool SameGrant(const Grant& a, const Grant& b) {
  return a.role == b.role && a.object_type == b.object_type && a.object == b.object && a.database == b.database &&
         a.privilege == b.privilege;
}

}  // namespace

Result<Revision> RootCoordRole::CreateUser(const User& user) {
  MutexLock lock(mutex_);
  if (deps_.catalog->FindUser(user.name) != nullptr) return Unexpected("user already exists:" + user.name);
  return Change({Compare::Absent(UserKey(user.name))}, {MetaOp::Put(UserKey(user.name), Encode(user))});
}

Result<Revision> RootCoordRole::UpdateUser(const User& user) {
  MutexLock lock(mutex_);
  const auto existing = deps_.catalog->FindUser(user.name);
  if (existing == nullptr) return Unexpected("found no user:" + user.name);
  User changed = *existing;
  changed.password_hash = user.password_hash;
  return Change({}, {MetaOp::Put(UserKey(user.name), Encode(changed))});
}

Result<Revision> RootCoordRole::DropUser(const std::string& name) {
  MutexLock lock(mutex_);
  if (name == "root") return Unexpected("user root cannot be deleted");
  if (deps_.catalog->FindUser(name) == nullptr) return SoAlready();
  return Change({}, {MetaOp::Delete(UserKey(name))});
}

Result<Revision> RootCoordRole::CreateRole(const std::string& name) {
  MutexLock lock(mutex_);
  if (deps_.catalog->FindRole(name) != nullptr) return Unexpected("role [name:\"" + name + "\"] already exists");
  const Role role{name, {}};
  return Change({Compare::Absent(RoleKey(name))}, {MetaOp::Put(RoleKey(name), Encode(role))});
}

Result<Revision> RootCoordRole::DropRole(const std::string& name, bool force) {
  MutexLock lock(mutex_);
  const auto role = deps_.catalog->FindRole(name);
  if (role == nullptr) return Unexpected("not found the role, maybe the role isn't existed or internal system error");
  if (IsBuiltIn(name)) return Unexpected("the role[" + name + "] is a default role, which can't be dropped");
  if (!role->grants.empty() && !force) {
    return Unexpected("fail to drop the role that it has privileges. Use REVOKE API to revoke privileges");
  }
  // The users first, in steps that a transaction can hold: a crash in between leaves a role with fewer users, never a
  // user with a role that is gone.
  std::vector<MetaOp> ops;
  for (const auto& user : deps_.catalog->Users()) {
    User changed = *user;
    if (std::erase(changed.roles, name) > 0) ops.push_back(MetaOp::Put(UserKey(changed.name), Encode(changed)));
    if (ops.size() < kOpsPerStep) continue;
    RETURN_IF_ERROR(Change({}, std::exchange(ops, {})).status());
  }
  ops.push_back(MetaOp::Delete(RoleKey(name)));
  return Change({}, std::move(ops));
}

Result<Revision> RootCoordRole::AddUserToRole(const std::string& user, const std::string& role) {
  MutexLock lock(mutex_);
  if (deps_.catalog->FindRole(role) == nullptr) {
    return Unexpected("not found the role, maybe the role isn't existed or internal system error");
  }
  const auto existing = deps_.catalog->FindUser(user);
  if (existing == nullptr) return Unexpected("not found the user, maybe the user isn't existed or internal system error");
  User changed = *existing;
  if (std::find(changed.roles.begin(), changed.roles.end(), role) != changed.roles.end()) return SoAlready();
  changed.roles.push_back(role);
  return Change({}, {MetaOp::Put(UserKey(user), Encode(changed))});
}

Result<Revision> RootCoordRole::RemoveUserFromRole(const std::string& user, const std::string& role) {
  MutexLock lock(mutex_);
  if (deps_.catalog->FindRole(role) == nullptr) {
    return Unexpected("not found the role, maybe the role isn't existed or internal system error");
  }
  const auto existing = deps_.catalog->FindUser(user);
  if (existing == nullptr) return SoAlready();
  User changed = *existing;
  if (std::erase(changed.roles, role) == 0) return SoAlready();
  return Change({}, {MetaOp::Put(UserKey(user), Encode(changed))});
}

Result<Revision> RootCoordRole::GrantPrivilege(const Grant& grant) {
  MutexLock lock(mutex_);
  const auto role = deps_.catalog->FindRole(grant.role);
  if (role == nullptr) return Unexpected("not found the role, maybe the role isn't existed or internal system error");
  Role changed = *role;
  const bool has = std::any_of(changed.grants.begin(), changed.grants.end(), [&](const Grant& g) { return SameGrant(g, grant); });
  if (has) return SoAlready();
  changed.grants.push_back(grant);
  return Change({}, {MetaOp::Put(RoleKey(changed.name), Encode(changed))});
}

Result<Revision> RootCoordRole::RevokePrivilege(const Grant& grant) {
  MutexLock lock(mutex_);
  const auto role = deps_.catalog->FindRole(grant.role);
  if (role == nullptr) return Unexpected("not found the role, maybe the role isn't existed or internal system error");
  Role changed = *role;
  if (std::erase_if(changed.grants, [&](const Grant& g) { return SameGrant(g, grant); }) == 0) return SoAlready();
  return Change({}, {MetaOp::Put(RoleKey(changed.name), Encode(changed))});
}

}  // namespace saker
