// RPCs of users, roles and grants. Each has an old code of its own for its failures.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "proxy/service.h"
#include "proxy/validate.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

// Failures of the operation itself carry the operation's old code; those of its parameters keep their own.
void AnswerAs(const Responder<wire::common::Status>& respond, const Status& status, wire::common::ErrorCode legacy) {
  if (status.code() == ErrorCode::kUnexpected) {
    SetStatus(status, legacy, &respond.message());
    return respond.Send();
  }
  Answer(respond, status);
}

std::vector<std::string> RoleNames(const Catalog& catalog) {
  std::set<std::string> names{std::string(kAdminRole), std::string(kPublicRole)};
  for (const auto& role : catalog.Roles()) names.insert(role->name);
  return {names.begin(), names.end()};
}

// A type of a newer protocol must not be read as a revocation.
Status CheckGrantType(wire::milvus::OperatePrivilegeType type) {
  if (type == wire::milvus::Grant || type == wire::milvus::Revoke) return {};
  return Unexpected(fmt::format("invalid operate privilege type, current type: {}", static_cast<int>(type)));
}

void FillGrant(const Grant& grant, wire::milvus::GrantEntity* out) {
  out->mutable_role()->set_name(grant.role);
  out->mutable_object()->set_name(grant.object_type);
  out->set_object_name(grant.object);
  out->mutable_grantor()->mutable_user()->set_name(grant.grantor);
  out->mutable_grantor()->mutable_privilege()->set_name(grant.privilege);
  out->set_db_name(grant.database);
}

}  // namespace

void MilvusService::RegisterUsers(MethodTable& table) {
  ThreadPool* pool = p_->control_pool();
#define ADD(name) Add(table, #name, pool, &MilvusService::name)
  ADD(CreateCredential);
  ADD(UpdateCredential);
  ADD(DeleteCredential);
  ADD(ListCredUsers);
  ADD(CreateRole);
  ADD(DropRole);
  ADD(OperateUserRole);
  ADD(SelectRole);
  ADD(SelectUser);
  ADD(OperatePrivilege);
  ADD(OperatePrivilegeV2);
  ADD(SelectGrant);
#undef ADD
}

void MilvusService::CreateCredential(RequestContext& context, const wire::milvus::CreateCredentialRequest& r,
                                     Responder<wire::common::Status> respond) {
  std::string password;
  if (Status bad = CheckUserName(r.username(), p_->limits()); !bad.ok()) return Answer(respond, bad);
  if (!Base64Decode(r.password(), password)) return Answer(respond, Unexpected("decode password fail: it is not valid base64"));
  AnswerAs(respond, p_->CreateUser(Context(context, {}, true), r.username(), password), wire::common::CreateCredentialFailure);
}

void MilvusService::UpdateCredential(RequestContext& context, const wire::milvus::UpdateCredentialRequest& r,
                                     Responder<wire::common::Status> respond) {
  std::string old_password, password;
  if (!Base64Decode(r.oldpassword(), old_password)) return Answer(respond, Unexpected("decode old password failed: it is not valid base64"));
  if (!Base64Decode(r.newpassword(), password)) return Answer(respond, Unexpected("decode password failed: it is not valid base64"));
  AnswerAs(respond, p_->UpdatePassword(Context(context, {}, true), r.username(), old_password, password), wire::common::UpdateCredentialFailure);
}

void MilvusService::DeleteCredential(RequestContext& context, const wire::milvus::DeleteCredentialRequest& r,
                                     Responder<wire::common::Status> respond) {
  AnswerAs(respond, p_->DropUser(Context(context, {}, true), r.username()), wire::common::DeleteCredentialFailure);
}

void MilvusService::ListCredUsers(RequestContext& context, const wire::milvus::ListCredUsersRequest& r,
                                  Responder<wire::milvus::ListCredUsersResponse> respond) {
  std::set<std::string> names;
  for (const auto& user : p_->catalog()->Users()) names.insert(user->name);
  for (const std::string& name : names) respond.message().add_usernames(name);
  respond.Send();
}

void MilvusService::CreateRole(RequestContext& context, const wire::milvus::CreateRoleRequest& r, Responder<wire::common::Status> respond) {
  AnswerAs(respond, p_->CreateRole(Context(context, {}, true), r.entity().name()), wire::common::CreateRoleFailure);
}
void MilvusService::DropRole(RequestContext& context, const wire::milvus::DropRoleRequest& r, Responder<wire::common::Status> respond) {
  AnswerAs(respond, p_->DropRole(Context(context, {}, true), r.role_name(), r.force_drop()), wire::common::DropRoleFailure);
}
void MilvusService::OperateUserRole(RequestContext& context, const wire::milvus::OperateUserRoleRequest& r, Responder<wire::common::Status> respond) {
  const bool add = r.type() == wire::milvus::AddUserToRole;
  if (!add && r.type() != wire::milvus::RemoveUserFromRole) {
    return AnswerAs(respond, Unexpected(fmt::format("invalid operate user role type, operate type: {}", static_cast<int>(r.type()))),
                    wire::common::OperateUserRoleFailure);
  }
  AnswerAs(respond, p_->OperateUserRole(Context(context, {}, true), r.username(), r.role_name(), add), wire::common::OperateUserRoleFailure);
}

void MilvusService::SelectRole(RequestContext& context, const wire::milvus::SelectRoleRequest& r, Responder<wire::milvus::SelectRoleResponse> respond) {
  if (r.has_role()) {
    if (Status bad = CheckEntityName(r.role().name(), "role name", p_->limits()); !bad.ok()) return respond.Fail(bad);
  }
  for (const std::string& name : RoleNames(*p_->catalog())) {
    if (r.has_role() && r.role().name() != name) continue;
    auto* result = respond.message().add_results();
    result->mutable_role()->set_name(name);
    if (!r.include_user_info()) continue;
    for (const auto& user : p_->catalog()->Users()) {
      if (std::find(user->roles.begin(), user->roles.end(), name) != user->roles.end()) result->add_users()->set_name(user->name);
    }
  }
  respond.Send();
}

void MilvusService::SelectUser(RequestContext& context, const wire::milvus::SelectUserRequest& r, Responder<wire::milvus::SelectUserResponse> respond) {
  if (r.has_user()) {
    if (Status bad = CheckUserName(r.user().name(), p_->limits()); !bad.ok()) return respond.Fail(bad);
  }
  for (const auto& user : p_->catalog()->Users()) {
    if (r.has_user() && r.user().name() != user->name) continue;
    auto* result = respond.message().add_results();
    result->mutable_user()->set_name(user->name);
    if (!r.include_role_info()) continue;
    for (const std::string& role : user->roles) result->add_roles()->set_name(role);
  }
  respond.Send();
}

void MilvusService::OperatePrivilege(RequestContext& context, const wire::milvus::OperatePrivilegeRequest& r,
                                     Responder<wire::common::Status> respond) {
  const auto& entity = r.entity();
  if (!r.has_entity()) return Answer(respond, Unexpected("the entity in the request is nil"));
  if (!entity.has_grantor()) return Answer(respond, Unexpected("the grantor entity in the grant entity is nil"));
  if (!entity.grantor().has_privilege()) return Answer(respond, Unexpected("the privilege entity in the grantor entity is nil"));
  if (!entity.has_object()) return Answer(respond, Unexpected("the resource entity in the grant entity is nil"));
  if (!entity.has_role()) return Answer(respond, Unexpected("the object entity in the grant entity is nil"));
  if (Status bad = CheckGrantType(r.type()); !bad.ok()) return AnswerAs(respond, bad, wire::common::OperatePrivilegeFailure);
  if (context.user.empty()) {
    if (auto named = Proxy::UserNamed(context.authorization); !named.ok()) return Answer(respond, named.status());
  }
  const CallContext call = Context(context, {}, true);
  Grant grant;
  grant.role = entity.role().name();
  grant.object_type = entity.object().name();
  grant.object = entity.object_name();
  grant.database = entity.db_name();
  grant.privilege = entity.grantor().privilege().name();
  grant.grantor = call.user;
  AnswerAs(respond, p_->OperatePrivilege(call, std::move(grant), r.type() == wire::milvus::Grant), wire::common::OperatePrivilegeFailure);
}

void MilvusService::OperatePrivilegeV2(RequestContext& context, const wire::milvus::OperatePrivilegeV2Request& r,
                                       Responder<wire::common::Status> respond) {
  if (Status bad = CheckGrantType(r.type()); !bad.ok()) return AnswerAs(respond, bad, wire::common::OperatePrivilegeFailure);
  const Status status = p_->OperatePrivilegeV2(Context(context, {}, true), r.role().name(), r.grantor().privilege().name(), r.db_name(),
                                               r.collection_name(), r.type() == wire::milvus::Grant);
  AnswerAs(respond, status, wire::common::OperatePrivilegeFailure);
}

void MilvusService::SelectGrant(RequestContext& context, const wire::milvus::SelectGrantRequest& r,
                                Responder<wire::milvus::SelectGrantResponse> respond) {
  const auto& entity = r.entity();
  if (!r.has_entity()) return respond.Fail(InvalidParameter("the grant entity in the request is nil"));
  if (!entity.has_role()) return respond.Fail(InvalidParameter("the role entity in the grant entity is nil"));
  const auto grants = p_->SelectGrants(entity.role().name(), entity.has_object() ? entity.object().name() : "", entity.object_name(),
                                       Context(context, entity.db_name(), true).database);
  if (!grants.ok()) {
    const bool own = grants.status().code() == ErrorCode::kUnexpected;
    SetStatus(grants.status(), own ? wire::common::SelectGrantFailure : ToWire(grants.status().code()).legacy, respond.message().mutable_status());
    return respond.Send();
  }
  for (const Grant& grant : *grants) FillGrant(grant, respond.message().add_entities());
  respond.Send();
}

}  // namespace saker
