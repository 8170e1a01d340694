// users/…, roles/…
#include <set>

#include "rest/call.h"
#include "rest/row_writer.h"

namespace saker {
namespace {

Result<std::string> UserName(const RestCall& call) { return call.members().RequiredText("userName"); }
Result<std::string> RoleName(const RestCall& call) { return call.members().RequiredText("roleName"); }

Result<std::string> ListUsers(RestCall& call) {
  std::set<std::string> names;
  for (const auto& user : call.proxy->catalog()->Users()) names.insert(user->name);
  return ListJson({names.begin(), names.end()});
}

// The roles of the user; none of one that isn't there.
Result<std::string> DescribeUser(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, UserName(call));
  const auto user = call.proxy->catalog()->FindUser(name);
  return ListJson(user == nullptr ? std::vector<std::string>() : user->roles);
}

Result<std::string> CreateUser(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, UserName(call));
  ASSIGN_OR_RETURN(const std::string password, call.members().RequiredText("password"));
  return Done(call.proxy->CreateUser(call.context, name, password));
}

Result<std::string> UpdatePassword(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, UserName(call));
  ASSIGN_OR_RETURN(const std::string password, call.members().RequiredText("password"));
  ASSIGN_OR_RETURN(const std::string new_password, call.members().RequiredText("newPassword"));
  return Done(call.proxy->UpdatePassword(call.context, name, password, new_password));
}

Result<std::string> DropUser(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, UserName(call));
  return Done(call.proxy->DropUser(call.context, name));
}

Result<std::string> OperateUserRole(RestCall& call, bool add) {
  ASSIGN_OR_RETURN(const std::string user, UserName(call));
  ASSIGN_OR_RETURN(const std::string role, RoleName(call));
  return Done(call.proxy->OperateUserRole(call.context, user, role, add));
}
Result<std::string> GrantRole(RestCall& call) { return OperateUserRole(call, true); }
Result<std::string> RevokeRole(RestCall& call) { return OperateUserRole(call, false); }

Result<std::string> ListRoles(RestCall& call) {
  std::set<std::string> names{std::string(kAdminRole), std::string(kPublicRole)};
  for (const auto& role : call.proxy->catalog()->Roles()) names.insert(role->name);
  return ListJson({names.begin(), names.end()});
}

Result<std::string> DescribeRole(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string role, RoleName(call));
  ASSIGN_OR_RETURN(const std::vector<Grant> grants, call.proxy->SelectGrants(role, "", "", call.context.database));
  std::string out = "[";
  for (const Grant& grant : grants) {
    out += out.size() > 1 ? ",{\"objectType\":" : "{\"objectType\":";
    WriteString(grant.object_type, out);
    out += ",\"objectName\":";
    WriteString(grant.object, out);
    out += ",\"privilege\":";
    WriteString(grant.privilege, out);
    out += ",\"dbName\":";
    WriteString(grant.database, out);
    out += ",\"grantor\":";
    WriteString(grant.grantor, out);
    out += '}';
  }
  return out + "]";
}

Result<std::string> CreateRole(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string role, RoleName(call));
  return Done(call.proxy->CreateRole(call.context, role));
}

Result<std::string> DropRole(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string role, RoleName(call));
  return Done(call.proxy->DropRole(call.context, role, false));
}

Result<std::string> OperatePrivilege(RestCall& call, bool give) {
  Grant grant;
  ASSIGN_OR_RETURN(grant.role, RoleName(call));
  ASSIGN_OR_RETURN(grant.object_type, call.members().RequiredText("objectType"));
  ASSIGN_OR_RETURN(grant.object, call.members().RequiredText("objectName"));
  ASSIGN_OR_RETURN(grant.privilege, call.members().RequiredText("privilege"));
  grant.database = call.context.database;
  grant.grantor = call.context.user;
  return Done(call.proxy->OperatePrivilege(call.context, std::move(grant), give));
}
Result<std::string> GrantPrivilege(RestCall& call) { return OperatePrivilege(call, true); }
Result<std::string> RevokePrivilege(RestCall& call) { return OperatePrivilege(call, false); }

Result<std::string> OperatePrivilegeV2(RestCall& call, bool give) {
  ASSIGN_OR_RETURN(const std::string role, RoleName(call));
  ASSIGN_OR_RETURN(const std::string privilege, call.members().RequiredText("privilege"));
  ASSIGN_OR_RETURN(const std::string database, call.members().Text("dbName"));
  ASSIGN_OR_RETURN(const std::string collection, call.members().Text("collectionName"));
  return Done(call.proxy->OperatePrivilegeV2(call.context, role, privilege, database, collection, give));
}
Result<std::string> GrantPrivilegeV2(RestCall& call) { return OperatePrivilegeV2(call, true); }
Result<std::string> RevokePrivilegeV2(RestCall& call) { return OperatePrivilegeV2(call, false); }

}  // namespace

void AddUserEndpoints(Endpoints& endpoints) {
  endpoints.insert(endpoints.end(), {
      {"users/list", "ListCredUsersRequest", false, false, ListUsers, nullptr},
      {"users/describe", "SelectUserRequest", false, false, DescribeUser, nullptr},
      {"users/create", "CreateCredentialRequest", false, false, CreateUser, nullptr},
      {"users/update_password", "UpdateCredentialRequest", false, false, UpdatePassword, nullptr},
      {"users/drop", "DeleteCredentialRequest", false, false, DropUser, nullptr},
      {"users/grant_role", "OperateUserRoleRequest", false, false, GrantRole, nullptr},
      {"users/revoke_role", "OperateUserRoleRequest", false, false, RevokeRole, nullptr},
      {"roles/list", "SelectRoleRequest", false, false, ListRoles, nullptr},
      {"roles/describe", "SelectGrantRequest", false, false, DescribeRole, nullptr},
      {"roles/create", "CreateRoleRequest", false, false, CreateRole, nullptr},
      {"roles/drop", "DropRoleRequest", false, false, DropRole, nullptr},
      {"roles/grant_privilege", "OperatePrivilegeRequest", false, false, GrantPrivilege, nullptr},
      {"roles/revoke_privilege", "OperatePrivilegeRequest", false, false, RevokePrivilege, nullptr},
      {"roles/grant_privilege_v2", "OperatePrivilegeV2Request", false, false, GrantPrivilegeV2, nullptr},
      {"roles/revoke_privilege_v2", "OperatePrivilegeV2Request", false, false, RevokePrivilegeV2, nullptr},
  });
}

}  // namespace saker
