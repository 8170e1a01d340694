// Protobuf ↔ model: schemas, key-value pairs, values, templates.
#pragma once

#include "expr/filter.h"
#include "milvus.pb.h"
#include "model/schema.h"

namespace saker {

namespace wire {
using namespace milvus::proto;  // wire::schema::FieldData, wire::milvus::SearchRequest, wire::common::Status
}

KeyValues ToKeyValues(const google::protobuf::RepeatedPtrField<wire::common::KeyValuePair>& pairs);
void FromKeyValues(const KeyValues& pairs, google::protobuf::RepeatedPtrField<wire::common::KeyValuePair>* out);

// Takes what the model knows; fails with a message for what it can't carry (functions, structs).
Result<CollectionSchema> ToSchema(const wire::schema::CollectionSchema& schema);
FieldSchema ToField(const wire::schema::FieldSchema& field);
// As DescribeCollection shows it: without $meta.
void FromSchema(const CollectionSchema& schema, wire::schema::CollectionSchema* out);
void FromField(const FieldSchema& field, wire::schema::FieldSchema* out);

// Fields (17) of the newest protocol keep a value of an unknown kind: monostate then, never nothing.
Value ToValue(const wire::schema::ValueField& value);
void FromValue(DataType type, const Value& value, wire::schema::ValueField* out);

Result<TemplateValues> ToTemplates(const google::protobuf::Map<std::string, wire::schema::TemplateValue>& templates);

}  // namespace saker
