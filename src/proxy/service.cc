#include "proxy/service.h"

#include <fmt/format.h>

#include <unordered_map>

#include "rpc/status_codec.h"

namespace saker {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int64_t kLongestWaitUs = 60'000'000;

// The value of the field with this number as a name: a string, or the first field of a message ("" counts as any).
std::string NameIn(const Message& message, int32_t number) {
  if (number <= 0) return std::string(kAnyWord);
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(number);
  if (field == nullptr || field->is_repeated()) return std::string(kAnyWord);
  const auto* reflection = message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return reflection->GetString(message, field);
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return std::string(kAnyWord);
  const std::string inner = NameIn(reflection->GetMessage(message, field), 1);
  return inner.empty() ? std::string(kAnyWord) : inner;
}

std::vector<std::string> NamesIn(const Message& message, int32_t number) {
  std::vector<std::string> names;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(number);
  if (field == nullptr || !field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_STRING) return names;
  const auto* reflection = message.GetReflection();
  for (int i = 0; i < reflection->FieldSize(message, field); ++i) names.push_back(reflection->GetRepeatedString(message, field, i));
  return names;
}

// Databases are made and dropped from within another one, and that one's grants count, as in 2.3.5.
bool NamesItsObjectOnly(const Message& message) {
  const std::string& name = message.GetDescriptor()->name();
  return name == "CreateDatabaseRequest" || name == "DropDatabaseRequest";
}

std::string DatabaseIn(const Message& message, const RequestContext& context) {
  if (NamesItsObjectOnly(message)) return context.db_name.empty() ? std::string(kDefaultDatabase) : context.db_name;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("db_name");
  if (field == nullptr) field = message.GetDescriptor()->FindFieldByName("dbName");
  std::string name;
  if (field != nullptr && !field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    name = message.GetReflection()->GetString(message, field);
  }
  if (name.empty()) name = context.db_name;
  if (name.empty()) name = kDefaultDatabase;
  // Into another database: that takes a grant that isn't of one database only.
  const auto* rename = dynamic_cast<const wire::milvus::RenameCollectionRequest*>(&message);
  const bool leaves = rename != nullptr && !rename->newdbname().empty() && rename->newdbname() != name;
  return leaves ? std::string(kAnyWord) : name;
}

bool IsSelectOfOwnRole(const Proxy& proxy, std::string_view user, const Message& message) {
  const auto* select = dynamic_cast<const wire::milvus::SelectGrantRequest*>(&message);
  if (select == nullptr) return false;
  const std::string& role = select->entity().role().name();
  if (role == kPublicRole) return true;
  const auto found = proxy.catalog()->FindUser(user);
  return found != nullptr && std::find(found->roles.begin(), found->roles.end(), role) != found->roles.end();
}

}  // namespace

Status AuthorizeMessage(const Proxy& proxy, const RequestContext& context, const Message& request) {
  const auto& options = request.GetDescriptor()->options();
  if (!options.HasExtension(wire::common::privilege_ext_obj)) return {};
  const wire::common::PrivilegeExt& extension = options.GetExtension(wire::common::privilege_ext_obj);
  if (context.user == kRootUser || IsSelectOfOwnRole(proxy, context.user, request)) return {};
  constexpr std::string_view kPrefix = "Privilege";
  std::string privilege = wire::common::ObjectPrivilege_Name(extension.object_privilege());
  if (privilege.starts_with(kPrefix)) privilege.erase(0, kPrefix.size());
  const std::string type = wire::common::ObjectType_Name(extension.object_type());
  const std::string database = DatabaseIn(request, context);
  // 2.3.5 had a privilege of its own for this one, which roles of that time have.
  const std::string_view earlier = request.GetDescriptor()->name() == "GetLoadingProgressRequest" ? "GetLoadingProgress" : "";
  const auto check = [&](const std::string& object) {
    const Status status = proxy.Authorize(context.user, {type, object, database, privilege});
    const bool by_earlier = !status.ok() && !earlier.empty() && proxy.Authorize(context.user, {type, object, database, earlier}).ok();
    return by_earlier ? Status() : status;
  };
  if (extension.object_name_indexs() != 0) {
    const auto names = NamesIn(request, extension.object_name_indexs());
    for (const std::string& name : names) RETURN_IF_ERROR(check(name));
    if (!names.empty()) return {};
  }
  return check(NameIn(request, extension.object_name_index()));
}

void Answer(const Responder<wire::common::Status>& respond, const Status& status) {
  SetStatus(status, &respond.message());
  respond.Send();
}

MilvusService::MilvusService(Proxy* proxy) : p_(proxy) {}

CallContext MilvusService::Context(const RequestContext& context, const std::string& database, bool ddl) const {
  CallContext out;
  out.user = context.user;
  if (out.user.empty()) {
    if (auto named = Proxy::UserNamed(context.authorization); named.ok()) out.user = std::move(*named);
  }
  out.database = !database.empty() ? database : !context.db_name.empty() ? context.db_name : std::string(kDefaultDatabase);
  const ProxySettings& settings = p_->settings();
  const int64_t now = MonotonicUs();
  int64_t left = (ddl ? settings.ddl_timeout_ms : settings.timeout_ms) * 1000;
  if (context.deadline_us != RequestContext::kNoDeadline) left = std::min(context.deadline_us - now, kLongestWaitUs);
  out.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(left);
  return out;
}

void MilvusService::Register(MethodTable& table) {
  RegisterInfo(table);
  RegisterDdl(table);
  RegisterData(table);
  RegisterUsers(table);
  RegisterResourceGroups(table);
  if (!p_->settings().authorization) return;
  table.SetAuthenticator([this](RequestContext& context) {
    auto user = p_->Authenticate(context.authorization);
    if (!user.ok()) return user.status();
    context.user = std::move(*user);
    return Status();
  });
  table.SetAuthorizer([this](RequestContext& context, const Message& request) { return AuthorizeMessage(*p_, context, request); });
}

void Proxy::RegisterMethods(MethodTable& table) {
  auto service = std::make_shared<MilvusService>(this);
  service->Register(table);
  service_ = service;
}

}  // namespace saker
