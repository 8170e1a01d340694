// Rows from anybody: the bytes of an InsertRequest, decoded, checked against a schema of every type, routed and encoded.
// The first byte chooses insert or upsert; schemas of collections come the same way.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "proxy/column_codec.h"
#include "proxy/route_rows.h"
#include "proxy/validate.h"

namespace saker {
namespace {

const ProxyLimits kLimits;

FieldSchema Field(const char* name, DataType type, KeyValues params = {}) {
  FieldSchema field;
  field.name = name;
  field.type = type;
  field.type_params = std::move(params);
  return field;
}

Collection MakeCollection() {
  CollectionDraft draft;
  draft.schema.name = "c";
  draft.schema.enable_dynamic_field = true;
  auto& fields = draft.schema.fields;
  fields.push_back(Field("id", DataType::kInt64));
  fields.back().is_primary = true;
  fields.push_back(Field("v", DataType::kFloatVector, {{"dim", "2"}}));
  fields.push_back(Field("x", DataType::kBinaryVector, {{"dim", "8"}}));
  fields.push_back(Field("b", DataType::kBool));
  fields.push_back(Field("i", DataType::kInt8));
  fields.push_back(Field("d", DataType::kDouble));
  fields.push_back(Field("t", DataType::kVarChar, {{"max_length", "8"}}));
  fields.push_back(Field("j", DataType::kJson));
  fields.push_back(Field("a", DataType::kArray, {{"max_capacity", "4"}, {"max_length", "4"}}));
  fields.back().element_type = DataType::kVarChar;
  fields.push_back(Field("n", DataType::kArray, {{"max_capacity", "4"}}));
  fields.back().element_type = DataType::kInt16;
  for (size_t i = 2; i < fields.size(); ++i) fields[i].nullable = fields[i].type != DataType::kBinaryVector;
  if (!CheckNewCollection(draft, kLimits).ok()) std::abort();
  int64_t id = kFirstUserField;
  for (FieldSchema& field : draft.schema.fields) field.id = FieldId(id++);
  Collection collection;
  collection.shards = {0, 1};
  collection.partitions.push_back({PartitionId(1), "_default", 0});
  collection.schema = std::make_shared<CollectionSchema>(draft.schema);
  return collection;
}

void Rows(const Collection& collection, std::string_view bytes, bool upsert) {
  wire::milvus::InsertRequest request;
  if (!request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  RowsCall call;
  call.rows = request.num_rows();
  for (const auto& field : request.fields_data()) call.columns.push_back(DecodeColumn(field, *collection.schema, call.rows));
  auto batch = AssembleRows(*collection.schema, call, upsert, kLimits, [](int64_t) -> Result<int64_t> { return int64_t{1}; });
  if (!batch.ok()) return;
  const int64_t rows = batch->rows;
  for (const Column& column : batch->columns) {
    if (column.rows() != rows) std::abort();
    wire::schema::FieldData out;
    EncodeColumn(column, &out);
  }
  int64_t routed = 0;
  for (const ShardWrite& write : RouteInserts(collection, PartitionId(1), std::move(*batch), nullptr)) {
    for (const auto& [partition, part] : write.inserts) routed += part.rows;
  }
  if (routed != rows) std::abort();
}

void Schema(std::string_view bytes) {
  wire::schema::CollectionSchema schema;
  if (!schema.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  auto converted = ToSchema(schema);
  if (!converted.ok()) return;
  CollectionDraft draft;
  draft.schema = std::move(*converted);
  if (!CheckNewCollection(draft, kLimits).ok()) return;
  for (const FieldSchema& field : draft.schema.fields) Column column(field);  // every accepted field can be stored
  wire::schema::CollectionSchema out;
  FromSchema(draft.schema, &out);
}

}  // namespace
}  // namespace saker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const saker::Collection collection = saker::MakeCollection();
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0: saker::Rows(collection, bytes, false); break;
    case 1: saker::Rows(collection, bytes, true); break;
    default: saker::Schema(bytes);
  }
  return 0;
}
