#include "rest/schema_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "proxy/validate.h"
#include "rest/call.h"
#include "rest/json_input.h"
#include "rest/row_writer.h"

namespace saker {
namespace {

constexpr std::string_view kDefaultMetric = "COSINE";
constexpr std::string_view kLevels = "consistencyLevel can only be [Strong, Session, Bounded, Eventually, Customized], default: Bounded";

std::optional<DataType> ParseType(std::string_view name) {
  constexpr std::array kTypes{DataType::kBool,         DataType::kInt8,          DataType::kInt16,          DataType::kInt32,
                              DataType::kInt64,        DataType::kFloat,         DataType::kDouble,         DataType::kString,
                              DataType::kVarChar,      DataType::kArray,         DataType::kJson,           DataType::kGeometry,
                              DataType::kText,         DataType::kTimestamptz,   DataType::kBinaryVector,   DataType::kFloatVector,
                              DataType::kFloat16Vector, DataType::kBFloat16Vector, DataType::kSparseFloatVector, DataType::kInt8Vector,
                              DataType::kArrayOfVector, DataType::kArrayOfStruct};
  const auto it = std::find_if(kTypes.begin(), kTypes.end(), [name](DataType type) { return Name(type) == name; });
  return it == kTypes.end() ? std::nullopt : std::optional(*it);
}

Result<DataType> ReadType(const Members& field, std::string_view member, std::string_view what) {
  ASSIGN_OR_RETURN(const std::string name, field.RequiredText(member));
  const auto type = ParseType(name);
  if (type.has_value()) return *type;
  return Status(ErrorCode::kParameterInvalid, fmt::format("invalid parameter, {} {} is invalid(case sensitive).", what, name));
}

// Whole numbers come as numbers or as text.
Result<int64_t> Count(const Members& params, std::string_view name, int64_t otherwise, int64_t most) {
  const auto value = params.Find(name);
  if (!value.has_value()) return otherwise;
  const auto number = WholeNumber(*value);
  if (!number.has_value() || *number < 1 || *number > most) {
    return InvalidParameter(fmt::format("a whole number in [1, {}]", most), Shown(*value), fmt::format("{} is wrong", params.At(name)));
  }
  return *number;
}

Result<FieldSchema> ReadField(const Members& member, bool auto_id) {
  FieldSchema field;
  ASSIGN_OR_RETURN(field.name, member.RequiredText("fieldName"));
  ASSIGN_OR_RETURN(field.type, ReadType(member, "dataType", "data type"));
  if (field.type == DataType::kArray) {
    ASSIGN_OR_RETURN(field.element_type, ReadType(member, "elementDataType", "element data type"));
  }
  ASSIGN_OR_RETURN(field.description, member.Text("description"));
  ASSIGN_OR_RETURN(field.is_primary, member.Bool("isPrimary", false));
  ASSIGN_OR_RETURN(field.is_partition_key, member.Bool("isPartitionKey", false));
  ASSIGN_OR_RETURN(field.is_clustering_key, member.Bool("isClusteringKey", false));
  ASSIGN_OR_RETURN(field.nullable, member.Bool("nullable", false));
  ASSIGN_OR_RETURN(const bool own_auto_id, member.Bool("autoId", false));
  field.auto_id = own_auto_id || (field.is_primary && auto_id);
  ASSIGN_OR_RETURN(field.type_params, member.Pairs("elementTypeParams"));
  if (const auto value = member.Find("defaultValue")) {
    ASSIGN_OR_RETURN(field.default_value, ReadDefault(*value, field));
  }
  return field;
}

// collectionName, dimension and little else.
Status ReadQuick(const Members& body, const Members& params, CreateWish& wish) {
  CollectionSchema& schema = wish.draft.schema;
  if (!body.Find("dimension").has_value()) {
    return InvalidParameter("collectionName & dimension", "collectionName",
                            fmt::format("dimension is required for quickly create collection(default metric type: {})", kDefaultMetric));
  }
  ASSIGN_OR_RETURN(const int64_t dimension, body.Int("dimension", 0));
  ASSIGN_OR_RETURN(const std::string id_type, body.Text("idType"));
  FieldSchema key;
  key.is_primary = true;
  ASSIGN_OR_RETURN(key.name, body.Text("primaryFieldName"));
  if (key.name.empty()) key.name = "id";
  ASSIGN_OR_RETURN(key.auto_id, body.Bool("autoId", false));
  if (id_type == "VarChar" || id_type == "Varchar") {
    key.type = DataType::kVarChar;
    if (const auto length = params.Find("max_length")) key.type_params.emplace_back("max_length", TextOf(*length));
  } else if (id_type.empty() || id_type == "Int64" || id_type == "int64") {
    key.type = DataType::kInt64;
  } else {
    return InvalidParameter("Int64, Varchar", id_type, "idType can only be [Int64, VarChar], default: Int64");
  }
  FieldSchema vector;
  vector.type = DataType::kFloatVector;
  ASSIGN_OR_RETURN(vector.name, body.Text("vectorFieldName"));
  if (vector.name.empty()) vector.name = "vector";
  vector.type_params.emplace_back("dim", std::to_string(dimension));
  ASSIGN_OR_RETURN(schema.enable_dynamic_field, params.Bool("enableDynamicField", true));

  IndexCall index;
  index.field = vector.name;
  index.index_name = vector.name;
  ASSIGN_OR_RETURN(std::string metric, body.Text("metricType"));
  index.params.emplace_back("metric_type", metric.empty() ? std::string(kDefaultMetric) : std::move(metric));
  schema.fields.push_back(std::move(key));
  schema.fields.push_back(std::move(vector));
  wish.indexes.push_back(std::move(index));
  wish.load = true;
  return {};
}

Status ReadIndexes(const Members& body, CreateWish& wish) {
  ASSIGN_OR_RETURN(const auto list, body.Array("indexParams"));
  if (!list.has_value()) return {};
  for (const Json value : *list) {
    const std::string where = fmt::format("indexParams[{}]", wish.indexes.size());
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return WrongFormat(fmt::format("{} should be an object, but is {}", where, Shown(value)));
    ASSIGN_OR_RETURN(IndexCall index, ReadIndex(Members(object, where + ".")));
    if (wish.draft.schema.Find(index.field) == nullptr) return MissingParameter(fmt::format("`{}` hasn't defined in schema", index.field));
    wish.indexes.push_back(std::move(index));
  }
  wish.load = !wish.indexes.empty();
  return {};
}

Status ReadSchema(const Members& body, const Members& schema_json, simdjson::dom::array fields, CreateWish& wish) {
  CollectionSchema& schema = wish.draft.schema;
  ASSIGN_OR_RETURN(const bool auto_id, schema_json.Bool("autoId", false));
  ASSIGN_OR_RETURN(schema.enable_dynamic_field, schema_json.Bool("enableDynamicField", false));
  for (const Json value : fields) {
    const std::string where = fmt::format("schema.fields[{}]", schema.fields.size());
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return WrongFormat(fmt::format("{} should be an object, but is {}", where, Shown(value)));
    ASSIGN_OR_RETURN(FieldSchema field, ReadField(Members(object, where + "."), auto_id));
    schema.fields.push_back(std::move(field));
  }
  return ReadIndexes(body, wish);
}

Status ReadParams(const Members& params, CreateWish& wish) {
  CollectionDraft& draft = wish.draft;
  ASSIGN_OR_RETURN(const int64_t shards, Count(params, "shardsNum", 1, INT32_MAX));
  draft.shards = static_cast<int32_t>(shards);
  if (const auto level = params.Find("consistencyLevel")) {
    const auto parsed = ParseConsistency(TextOf(*level));
    if (!parsed.has_value()) return InvalidParameter("Strong, Session, Bounded, Eventually, Customized", TextOf(*level), kLevels);
    draft.consistency = *parsed;
  }
  const auto& fields = draft.schema.fields;
  if (std::any_of(fields.begin(), fields.end(), [](const FieldSchema& f) { return f.is_partition_key; })) {
    ASSIGN_OR_RETURN(const int64_t partitions, Count(params, "partitionsNum", 0, INT32_MAX));
    draft.partitions = static_cast<int32_t>(partitions);
  }
  for (const auto& [name, property] : {std::pair{"ttlSeconds", "collection.ttl.seconds"}, {"partitionKeyIsolation", "partitionkey.isolation"},
                                       {"mmap.enabled", "mmap.enabled"}}) {
    if (const auto value = params.Find(name)) draft.properties.emplace_back(property, TextOf(*value));
  }
  return {};
}

// As Go prints the protocol's value: the kind, then the value.
void WriteDefault(DataType type, const Value& value, std::string& out) {
  const auto kind = [&](std::string_view name) { out += fmt::format("{{\"Data\":{{\"{}\":", name); };
  if (const auto* yes = std::get_if<bool>(&value)) {
    kind("BoolData");
    out += *yes ? "true" : "false";
  } else if (const auto* whole = std::get_if<int64_t>(&value)) {
    kind(type == DataType::kInt64 ? "LongData" : "IntData");
    out += std::to_string(*whole);
  } else if (const auto* real = std::get_if<double>(&value)) {
    kind(type == DataType::kFloat ? "FloatData" : "DoubleData");
    type == DataType::kFloat ? WriteNumber(static_cast<float>(*real), out) : WriteNumber(*real, out);
  } else {
    kind("StringData");
    const auto* text = std::get_if<std::string>(&value);
    WriteString(text == nullptr ? "" : *text, out);
  }
  out += "}}";
}

}  // namespace

Result<IndexCall> ReadIndex(const Members& index) {
  IndexCall call;
  ASSIGN_OR_RETURN(call.field, index.RequiredText("fieldName"));
  ASSIGN_OR_RETURN(call.index_name, index.Text("indexName"));
  ASSIGN_OR_RETURN(std::string type, index.Text("indexType"));
  ASSIGN_OR_RETURN(std::string metric, index.Text("metricType"));
  ASSIGN_OR_RETURN(const Members params, index.Object("params"));
  // Earlier clients say the type among the parameters.
  if (type.empty()) {
    ASSIGN_OR_RETURN(type, params.Text("index_type"));
  }
  if (!type.empty()) call.params.emplace_back("index_type", std::move(type));
  if (!metric.empty()) call.params.emplace_back("metric_type", std::move(metric));
  if (!params.empty()) call.params.emplace_back("params", static_cast<std::string>(simdjson::minify(*params.object())));
  return call;
}

Result<CreateWish> ReadCreate(const Members& body) {
  CreateWish wish;
  CollectionSchema& schema = wish.draft.schema;
  ASSIGN_OR_RETURN(schema.name, body.RequiredText("collectionName"));
  ASSIGN_OR_RETURN(schema.description, body.Text("description"));
  ASSIGN_OR_RETURN(const Members params, body.Object("params"));
  ASSIGN_OR_RETURN(const Members schema_json, body.Object("schema"));
  ASSIGN_OR_RETURN(const auto functions, schema_json.Array("functions"));
  if (functions.has_value() && functions->begin() != functions->end()) {
    return InvalidParameter("schema", "functions", "functions in a collection's schema are not supported by this version");
  }
  ASSIGN_OR_RETURN(const auto fields, schema_json.Array("fields"));
  if (fields.has_value() && fields->begin() != fields->end()) {
    RETURN_IF_ERROR(ReadSchema(body, schema_json, *fields, wish));
  } else {
    RETURN_IF_ERROR(ReadQuick(body, params, wish));
  }
  RETURN_IF_ERROR(ReadParams(params, wish));
  return wish;
}

std::string FieldsJson(const CollectionSchema& schema) {
  const auto yes_or_no = [](bool yes) { return yes ? "true" : "false"; };
  std::string out = "[";
  for (const FieldSchema& field : schema.fields) {
    if (field.is_dynamic) continue;
    if (out.size() > 1) out += ',';
    out += "{\"name\":";
    WriteString(field.name, out);
    out += fmt::format(",\"type\":\"{}\",\"id\":{},\"primaryKey\":{},\"partitionKey\":{},\"clusteringKey\":{},\"autoId\":{},\"nullable\":{}",
                       Name(field.type), field.id.value, yes_or_no(field.is_primary), yes_or_no(field.is_partition_key),
                       yes_or_no(field.is_clustering_key), yes_or_no(field.auto_id), yes_or_no(field.nullable));
    out += ",\"description\":";
    WriteString(field.description, out);
    if (!field.type_params.empty()) out += ",\"params\":" + PairsJson(field.type_params);
    if (field.type == DataType::kArray) out += fmt::format(",\"elementType\":\"{}\"", Name(field.element_type));
    if (field.default_value.has_value()) {
      out += ",\"defaultValue\":";
      WriteDefault(field.type, *field.default_value, out);
    }
    out += '}';
  }
  return out + "]";
}

}  // namespace saker
