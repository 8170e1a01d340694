// Which privilege a request needs stands in the definition of its gRPC twin; so the twin is made, with the names that
// the definition may point at, and asked.
#include <fmt/format.h>

#include "proxy/service.h"
#include "rest/call.h"

namespace saker {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void SetName(Message& message, const char* field_name, const std::string& value) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(field_name);
  if (field == nullptr) return;
  const auto* reflection = message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    field->is_repeated() ? reflection->AddString(&message, field, value) : reflection->SetString(&message, field, value);
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated()) {
    SetName(*reflection->MutableMessage(&message, field), "name", value);
  }
}

const google::protobuf::Descriptor* DescriptorOf(const char* message) {
  return google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(fmt::format("milvus.proto.milvus.{}", message));
}

}  // namespace

bool IsRequestMessage(const char* message) { return DescriptorOf(message) != nullptr; }

Status MayDo(const RestCall& call, const char* message_name) {
  if (!call.proxy->settings().authorization) return {};
  const auto* descriptor = DescriptorOf(message_name);
  SAKER_CHECK(descriptor != nullptr);
  const std::unique_ptr<Message> message(google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  const Members& body = call.members();
  ASSIGN_OR_RETURN(const std::string collection, body.Text("collectionName"));
  ASSIGN_OR_RETURN(const std::string user, body.Text("userName"));
  ASSIGN_OR_RETURN(const std::string role, body.Text("roleName"));
  ASSIGN_OR_RETURN(const std::string new_database, body.Text("newDbName"));
  SetName(*message, "newDBName", new_database);
  SetName(*message, "collection_name", collection);
  SetName(*message, "collection_names", collection);
  SetName(*message, "username", user);
  SetName(*message, "user", user);
  SetName(*message, "role_name", role);
  if (auto* select = dynamic_cast<wire::milvus::SelectGrantRequest*>(message.get())) select->mutable_entity()->mutable_role()->set_name(role);
  RequestContext context;
  context.user = call.context.user;
  context.db_name = call.context.database;
  return AuthorizeMessage(*call.proxy, context, *message);
}

}  // namespace saker
