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

std::string DatabaseIn(const Message& message, const RequestContext& context) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("db_name");
  if (field == nullptr) field = message.GetDescriptor()->FindFieldByName("dbName");
  std::string name;
  if (field != nullptr && !field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    name = message.GetReflection()->GetString(message, field);
  }
  if (name.empty()) name = context.db_name;
  return name.empty() ? std::string(kDefaultDatabase) : name;
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
  const auto check = [&](const std::string& object) { return proxy.Authorize(context.user, {type, object, database, privilege}); };
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
