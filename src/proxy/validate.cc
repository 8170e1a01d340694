#include "proxy/validate.h"

#include <fmt/format.h>

#include <charconv>
#include <set>

namespace saker {
namespace {

bool IsAlpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string_view Trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

// One byte of a name as a message shows it. Like Go, which makes a character of its number: half of a longer character
// would be no UTF-8, and clients could not read the answer.
std::string Shown(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  if (code < 0x80) return std::string(1, byte);
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

// What is wrong with a name: the shared core; the messages are the callers'.
enum class NameFault { kNone, kEmpty, kTooLong, kFirst, kOther };
NameFault FaultOf(std::string_view name, int64_t max_length, bool digit_first = false) {
  if (name.empty()) return NameFault::kEmpty;
  if (static_cast<int64_t>(name.size()) > max_length) return NameFault::kTooLong;
  if (name[0] != '_' && !IsAlpha(name[0]) && !(digit_first && IsDigit(name[0]))) return NameFault::kFirst;
  for (const char c : name.substr(1)) {
    if (c != '_' && !IsAlpha(c) && !IsDigit(c)) return NameFault::kOther;
  }
  return NameFault::kNone;
}

Status CheckCollectionEntity(std::string_view raw, std::string_view what, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  const auto bad = [&](std::string_view why) {
    return InvalidParameter(fmt::format("Invalid collection {}: {}. {}", what, name, why));
  };
  switch (FaultOf(name, limits.name_length)) {
    case NameFault::kNone: return {};
    case NameFault::kEmpty: return InvalidParameter(fmt::format("collection {} should not be empty", what));
    case NameFault::kTooLong:
      return bad(fmt::format("the length of a collection {} must be less than {} characters", what, limits.name_length));
    case NameFault::kFirst:
      return bad(fmt::format("the first character of a collection {} must be an underscore or letter", what));
    case NameFault::kOther:
      return bad(fmt::format("collection {} can only contain numbers, letters and underscores", what));
  }
  return {};
}

Status FieldNameInvalid(std::string_view name, std::string_view why) {
  return {ErrorCode::kFieldInvalidName, fmt::format("{}: field name invalid[field={}]", why, name)};
}

// A number of a type parameter, as Go's strconv.ParseInt reads it.
Result<int64_t> ParseInt(std::string_view text) {
  int64_t value = 0;
  std::string_view digits = text;
  if (!digits.empty() && digits[0] == '+') digits.remove_prefix(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range) {
    return Unexpected(fmt::format("strconv.ParseInt: parsing \"{}\": value out of range", text));
  }
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return Unexpected(fmt::format("strconv.ParseInt: parsing \"{}\": invalid syntax", text));
  }
  return value;
}

Status CheckDimension(FieldSchema& field, const ProxyLimits& limits) {
  if (field.type == DataType::kSparseFloatVector) {
    if (Find(field.type_params, "dim") != nullptr) {
      return Unexpected(fmt::format("dim should not be specified for sparse vector field {}({})", field.name, field.id.value));
    }
    return {};
  }
  const std::string* text = Find(field.type_params, "dim");
  if (text == nullptr) {
    return Unexpected("dimension is not defined in field type params, check type param `dim` for vector field");
  }
  ASSIGN_OR_RETURN(const int64_t dim, ParseInt(*text));
  if (dim <= 0 || dim > limits.dimension) {
    return Unexpected(fmt::format("invalid dimension: {}. should be in range 1 ~ {}", dim, limits.dimension));
  }
  if (field.type == DataType::kBinaryVector && dim % 8 != 0) {
    return Unexpected(fmt::format("invalid dimension: {}. should be multiple of 8. ", dim));
  }
  field.dim = static_cast<int>(dim);
  return {};
}

Status CheckMaxLength(FieldSchema& field, std::string_view collection, const ProxyLimits& limits) {
  const std::string* text = Find(field.type_params, "max_length");
  if (text == nullptr) {
    return Unexpected(fmt::format("type param(max_length) should be specified for varChar field of collection {}", collection));
  }
  ASSIGN_OR_RETURN(const int64_t length, ParseInt(*text));
  if (length <= 0 || length > limits.varchar_length) {
    return InvalidParameter(
        fmt::format("the maximum length specified for a VarChar should be in (0, {}]", limits.varchar_length));
  }
  field.max_length = static_cast<int>(length);
  return {};
}

Status CheckMaxCapacity(FieldSchema& field, std::string_view collection, const ProxyLimits& limits) {
  const std::string* text = Find(field.type_params, "max_capacity");
  if (text == nullptr) {
    return Unexpected(fmt::format("type param(max_capacity) should be specified for array field of collection {}", collection));
  }
  const auto capacity = ParseInt(*text);
  if (!capacity.ok()) return Unexpected("the value of max_capacity must be an integer");
  if (*capacity <= 0 || *capacity > limits.array_capacity) {
    return Unexpected(fmt::format("the maximum capacity specified for a Array should be in (0, {}]", limits.array_capacity));
  }
  field.max_capacity = static_cast<int>(*capacity);
  return {};
}

Status CheckElementType(DataType type) {
  switch (type) {
    case DataType::kBool:
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64:
    case DataType::kFloat:
    case DataType::kDouble:
    case DataType::kVarChar:
      return {};
    case DataType::kString:
      return Unexpected("string data type not supported yet, please use VarChar type instead");
    case DataType::kNone:
      return Unexpected("element data type None is not valid");
    default:
      return Unexpected(fmt::format("element type {} is not supported", Name(type)));
  }
}

Status CheckType(const FieldSchema& field) {
  switch (field.type) {
    case DataType::kBool:
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64:
    case DataType::kFloat:
    case DataType::kDouble:
    case DataType::kVarChar:
    case DataType::kJson:
    case DataType::kBinaryVector:
    case DataType::kFloatVector:
      return {};
    case DataType::kArray:
      return CheckElementType(field.element_type);
    case DataType::kString:
      return Unexpected("string data type not supported yet, please use VarChar type instead");
    case DataType::kNone:
      return Unexpected("data type None is not valid");
    default:
      return Unexpected(fmt::format("data type {} of field {} is not supported by this version", Name(field.type), field.name));
  }
}

Status CheckPrimaryKey(const CollectionSchema& schema) {
  const FieldSchema* key = nullptr;
  for (const FieldSchema& field : schema.fields) {
    if (!field.is_primary) continue;
    if (key != nullptr) {
      return Unexpected(fmt::format("there are more than one primary key, field name = {}, {}", key->name, field.name));
    }
    if (field.type != DataType::kInt64 && field.type != DataType::kVarChar) {
      return Unexpected("the data type of primary key should be Int64 or VarChar");
    }
    if (field.nullable) return InvalidParameter(fmt::format("primary field not support null, field name: {}", field.name));
    key = &field;
  }
  return key != nullptr ? Status() : Unexpected("primary key is not specified");
}

Status CheckAutoId(const CollectionSchema& schema) {
  const FieldSchema* first = nullptr;
  for (const FieldSchema& field : schema.fields) {
    if (!field.auto_id) continue;
    if (first != nullptr) {
      return Unexpected(
          fmt::format("only one field can speficy AutoID with true, field name = {}, {}", first->name, field.name));
    }
    first = &field;
    if (!field.is_primary) {
      return Unexpected(fmt::format("only primary field can speficy AutoID with true, field name = {}", field.name));
    }
  }
  return {};
}

Status CheckPartitionKey(CollectionDraft& draft, const ProxyLimits& limits) {
  const FieldSchema* key = nullptr;
  for (const FieldSchema& field : draft.schema.fields) {
    if (!field.is_partition_key) continue;
    if (key != nullptr) {
      return Unexpected(fmt::format("there are more than one partition key, field name = {}, {}", key->name, field.name));
    }
    if (field.is_primary) return Unexpected("the partition key field must not be primary field");
    if (field.type != DataType::kInt64 && field.type != DataType::kVarChar) {
      return Unexpected("the data type of partition key should be Int64 or VarChar");
    }
    if (field.nullable) return InvalidParameter(fmt::format("partition key field not support nullable: {}", field.name));
    if (draft.partitions < 0) {
      return Unexpected("the specified partitions should be greater than 0 if partition key is used");
    }
    if (draft.partitions == 0) draft.partitions = static_cast<int32_t>(limits.partition_key_partitions);
    if (draft.partitions > limits.partitions) {
      return Unexpected(fmt::format("partition number ({}) exceeds max configuration ({}), collection: {}", draft.partitions,
                                    limits.partitions, draft.schema.name));
    }
    key = &field;
  }
  if (key == nullptr && draft.partitions != 0) {
    return Unexpected("num_partitions should only be specified with partition key field enabled");
  }
  return {};
}

Status CheckVectorFields(const CollectionSchema& schema, const ProxyLimits& limits) {
  const auto vectors = schema.VectorFields();
  if (vectors.empty()) return InvalidParameter("schema does not contain vector field");
  if (static_cast<int64_t>(vectors.size()) > limits.vector_fields) {
    return Unexpected(fmt::format("maximum vector field's number should be limited to {}", limits.vector_fields));
  }
  return {};
}

// A default must be a value of the field's type: an unknown one of a newer protocol ends here, not in a crash.
Status CheckDefault(const FieldSchema& field) {
  if (!field.default_value.has_value()) return {};
  const auto mismatch = [&] {
    return InvalidParameter(fmt::format("type ({}) of field ({}) is not equal to the type of its default value",
                                        Name(field.type), field.name));
  };
  if (field.is_primary) return InvalidParameter("primary key can't be with default value");
  if (IsVector(field.type) || field.type == DataType::kArray || field.type == DataType::kJson) {
    return InvalidParameter(fmt::format("type ({}) of field ({}) does not support a default value", Name(field.type), field.name));
  }
  const Value& value = *field.default_value;
  if (std::holds_alternative<std::monostate>(value)) {
    return InvalidParameter(fmt::format("default value of field ({}) has a type that is not known here", field.name));
  }
  if (field.type == DataType::kBool) return std::holds_alternative<bool>(value) ? Status() : mismatch();
  if (IsString(field.type)) {
    const auto* text = std::get_if<std::string>(&value);
    if (text == nullptr) return mismatch();
    if (static_cast<int64_t>(text->size()) > field.max_length) {
      return InvalidParameter("valid length string", "string length exceeds max length",
                              fmt::format("the length ({}) of string exceeds max length ({})", text->size(), field.max_length));
    }
    return {};
  }
  if (!IsInteger(field.type)) return std::holds_alternative<double>(value) ? Status() : mismatch();
  const auto* number = std::get_if<int64_t>(&value);
  if (number == nullptr) return mismatch();
  const int bits = 8 * FixedWidth(field.type, 0);
  const int64_t high = bits == 64 ? INT64_MAX : (int64_t{1} << (bits - 1)) - 1;
  if (*number > high || *number < -high - 1) {
    return InvalidParameter("integer doesn't overflow", "out of range",
                            fmt::format("default value {} of field ({}) is out of range: [{}, {}]", *number, field.name,
                                        -high - 1, high));
  }
  return {};
}

// What sort of field it is.
Status CheckKind(const FieldSchema& field) {
  RETURN_IF_ERROR(CheckType(field));
  if (field.is_clustering_key) return InvalidParameter(fmt::format("clustering key is not supported, field name: {}", field.name));
  if (field.is_function_output) return InvalidParameter(fmt::format("function output field is not supported: {}", field.name));
  return {};
}

// Its name and the numbers that go with its type.
Status CheckField(FieldSchema& field, std::string_view collection, const ProxyLimits& limits) {
  RETURN_IF_ERROR(CheckFieldName(field.name, limits));
  if (IsVector(field.type)) RETURN_IF_ERROR(CheckDimension(field, limits));
  if (field.type == DataType::kVarChar || (field.type == DataType::kArray && field.element_type == DataType::kVarChar)) {
    RETURN_IF_ERROR(CheckMaxLength(field, collection, limits));
  }
  if (field.type == DataType::kArray) RETURN_IF_ERROR(CheckMaxCapacity(field, collection, limits));
  if (field.nullable && IsVector(field.type)) {
    return InvalidParameter(fmt::format("vector type not support null, field name: {}", field.name));
  }
  return CheckDefault(field);
}

// Names that Milvus keeps for itself.
Status CheckSystemNames(const CollectionSchema& schema) {
  for (const char* name : {"RowID", "Timestamp", "$meta"}) {
    if (schema.Find(name) != nullptr) {
      return InvalidParameter("schema don't contains system field", "contains", "schema contains system field: RowID, Timestamp, $meta");
    }
  }
  return {};
}

}  // namespace

Status InvalidParameter(std::string_view message) {
  return {ErrorCode::kParameterInvalid, fmt::format("{}: invalid parameter", message)};
}
Status InvalidParameter(std::string_view expected, std::string_view actual, std::string_view message) {
  return {ErrorCode::kParameterInvalid, fmt::format("{}: invalid parameter[expected={}][actual={}]", message, expected, actual)};
}
Status Unexpected(std::string message) { return {ErrorCode::kUnexpected, std::move(message)}; }

Status CheckCollectionName(std::string_view name, const ProxyLimits& limits) {
  return CheckCollectionEntity(name, "name", limits);
}
Status CheckAlias(std::string_view name, const ProxyLimits& limits) { return CheckCollectionEntity(name, "alias", limits); }

Status CheckDatabaseName(std::string_view name, const ProxyLimits& limits) {
  const auto bad = [&](std::string_view why) -> Status {
    return {ErrorCode::kDatabaseInvalidName, fmt::format("{}: invalid database name[database={}]", why, name)};
  };
  switch (FaultOf(name, limits.name_length)) {
    case NameFault::kNone: return {};
    case NameFault::kEmpty: return bad("database name couldn't be empty");
    case NameFault::kTooLong:
      return bad(fmt::format("the length of a database name must be less than {} characters", limits.name_length));
    case NameFault::kFirst: return bad("the first character of a database name must be an underscore or letter");
    case NameFault::kOther: return bad("database name can only contain numbers, letters and underscores");
  }
  return {};
}

Status CheckPartitionName(std::string_view raw, bool strict, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  const auto bad = [&](std::string_view why) { return Unexpected(fmt::format("Invalid partition name: {}. {}", name, why)); };
  switch (FaultOf(name, limits.name_length, /*digit_first=*/true)) {
    case NameFault::kNone: return {};
    case NameFault::kEmpty: return bad("Partition name should not be empty.");
    case NameFault::kTooLong:
      return bad(fmt::format("The length of a partition name must be less than {} characters.", limits.name_length));
    case NameFault::kFirst:
      return strict ? bad("The first character of a partition name must be an underscore or letter.") : Status();
    case NameFault::kOther:
      return strict ? bad("Partition name can only contain numbers, letters and underscores.") : Status();
  }
  return {};
}

Status CheckFieldName(std::string_view raw, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  const auto bad = [&](std::string_view why) {
    return FieldNameInvalid(name, fmt::format("Invalid field name: {}. {}", name, why));
  };
  switch (FaultOf(name, limits.name_length)) {
    case NameFault::kNone: return {};
    case NameFault::kEmpty: return FieldNameInvalid(name, "field name should not be empty");
    case NameFault::kTooLong:
      return bad(fmt::format("The length of a field name must be less than {} characters.", limits.name_length));
    case NameFault::kFirst: return bad("The first character of a field name must be an underscore or letter.");
    case NameFault::kOther: return bad("Field name cannot only contain numbers, letters, and underscores.");
  }
  return {};
}

Status CheckIndexName(std::string_view raw, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  const auto bad = [&](std::string_view why) { return Unexpected(fmt::format("Invalid index name: {}. {}", name, why)); };
  switch (FaultOf(name, limits.name_length)) {
    case NameFault::kNone:
    case NameFault::kEmpty: return {};
    case NameFault::kTooLong:
      return bad(fmt::format("The length of a index name must be less than {} characters.", limits.name_length));
    case NameFault::kFirst: return bad("The first character of a index name must be an underscore or letter.");
    case NameFault::kOther: return bad("Index name cannot only contain numbers, letters, and underscores.");
  }
  return {};
}

Status CheckUserName(std::string_view raw, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  if (name.empty()) return InvalidParameter("username must be not empty");
  if (static_cast<int64_t>(name.size()) > limits.user_name_length) {
    return InvalidParameter(fmt::format("invalid username {} with length {}, the length of username must be less than {}", name,
                                        name.size(), limits.user_name_length));
  }
  if (!IsAlpha(name[0])) {
    return InvalidParameter(fmt::format("invalid user name {}, the first character must be a letter, but got {}", name, Shown(name[0])));
  }
  for (const char c : name.substr(1)) {
    if (c != '_' && !IsAlpha(c) && !IsDigit(c)) {
      return InvalidParameter(fmt::format(
          "invalid user name {}, username must contain only numbers, letters and underscores, but got {}", name, Shown(c)));
    }
  }
  return {};
}

Status CheckEntityName(std::string_view raw, std::string_view what, const ProxyLimits& limits) {
  const std::string_view name = Trim(raw);
  if (name.empty()) return InvalidParameter("not empty", name, fmt::format("{} should be not empty", what));
  if (static_cast<int64_t>(name.size()) > limits.name_length) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("the length of {} must be not greater than limit: invalid parameter[{} out of range 0 <= value <= {}]",
                        what, name.size(), limits.name_length)};
  }
  if (name[0] != '_' && !IsAlpha(name[0])) {
    return InvalidParameter("95", std::to_string(static_cast<unsigned char>(name[0])),
                            fmt::format("the first character of {} must be an underscore or letter", what));
  }
  for (size_t i = 1; i < name.size(); ++i) {
    const char c = name[i];
    if (c != '_' && c != '$' && !IsAlpha(c) && !IsDigit(c)) {
      return InvalidParameter(
          fmt::format("{} can only contain numbers, letters, dollars and underscores, found {} at {}", what, Shown(c), i));
    }
  }
  return {};
}

Status CheckPassword(std::string_view password, const ProxyLimits& limits) {
  if (password.find('\0') != std::string_view::npos) return InvalidParameter("a password must not contain a zero byte");
  const int64_t length = static_cast<int64_t>(password.size());
  if (length >= limits.password_min && length <= limits.password_max) return {};
  return {ErrorCode::kParameterInvalid,
          fmt::format("invalid password length: invalid parameter[{} out of range {} <= value <= {}]", length,
                      limits.password_min, limits.password_max)};
}

Status CheckAddedField(FieldSchema& field, const CollectionSchema& schema, const ProxyLimits& limits) {
  if (schema.Find(field.name) != nullptr) return InvalidParameter(fmt::format("duplicate field name: {}", field.name));
  if (!field.nullable) return InvalidParameter(fmt::format("added field must be nullable, please check it, field name = {}", field.name));
  if (field.is_primary || field.auto_id || field.is_partition_key || field.is_dynamic) {
    return InvalidParameter(
        fmt::format("an added field can be neither primary key nor partition key nor the dynamic field, field name = {}", field.name));
  }
  if (static_cast<int64_t>(schema.fields.size()) >= limits.fields) {
    return InvalidParameter(fmt::format("The number of fields has reached the maximum value {}", limits.fields));
  }
  RETURN_IF_ERROR(CheckKind(field));
  return CheckField(field, schema.name, limits);
}

Status CheckFieldChange(const FieldSchema& field, const KeyValues& set, const std::vector<std::string>& erase, const ProxyLimits& limits) {
  FieldSchema changed = field;
  for (const auto& [key, value] : set) {
    const bool text = field.type == DataType::kVarChar || (field.type == DataType::kArray && field.element_type == DataType::kVarChar);
    if (key == "max_length" && !text) return InvalidParameter(fmt::format("{} can not modify the maxlength for non-string types", field.name));
    if (key == "max_capacity" && field.type != DataType::kArray) {
      return InvalidParameter(fmt::format("{} can not modify the maxcapacity for non-array types", field.name));
    }
    if (key == "mmap.enabled" && value != "true" && value != "false" && value != "True" && value != "False") {
      return InvalidParameter(fmt::format("invalid {} value: {}, expected: true, false", key, value));
    }
    if (key != "max_length" && key != "max_capacity" && key != "mmap.enabled") {
      return InvalidParameter(fmt::format("{} does not allow update in collection field param", key));
    }
    Assign(changed.type_params, key, value);
    if (key == "max_length") RETURN_IF_ERROR(CheckMaxLength(changed, field.name, limits));
    if (key == "max_capacity") RETURN_IF_ERROR(CheckMaxCapacity(changed, field.name, limits));
  }
  for (const std::string& key : erase) {
    if (key != "mmap.enabled") return InvalidParameter(fmt::format("{} is not allowed to drop in collection field param", key));
  }
  return {};
}

Status CheckNewCollection(CollectionDraft& draft, const ProxyLimits& limits) {
  CollectionSchema& schema = draft.schema;
  if (draft.shards > limits.shards) {
    return Unexpected(fmt::format("maximum shards's number should be limited to {}", limits.shards));
  }
  if (draft.shards <= 0) draft.shards = 1;
  if (static_cast<int64_t>(schema.fields.size()) > limits.fields) {
    return Unexpected(fmt::format("maximum field's number should be limited to {}", limits.fields));
  }
  RETURN_IF_ERROR(CheckCollectionName(schema.name, limits));
  std::set<std::string_view> names;
  for (const FieldSchema& field : schema.fields) {
    if (!names.insert(field.name).second) return Unexpected("duplicated field name");
  }
  RETURN_IF_ERROR(CheckPrimaryKey(schema));
  for (const FieldSchema& field : schema.fields) {
    if (field.is_dynamic) return Unexpected("cannot explicitly set a field as a dynamic field");
  }
  RETURN_IF_ERROR(CheckAutoId(schema));
  for (const FieldSchema& field : schema.fields) {
    RETURN_IF_ERROR(CheckKind(field));
  }
  RETURN_IF_ERROR(CheckPartitionKey(draft, limits));
  for (FieldSchema& field : schema.fields) RETURN_IF_ERROR(CheckField(field, schema.name, limits));
  RETURN_IF_ERROR(CheckVectorFields(schema, limits));
  RETURN_IF_ERROR(CheckSystemNames(schema));
  schema.auto_id = false;
  if (schema.enable_dynamic_field) {
    FieldSchema meta;
    meta.name = std::string(kDynamicFieldName);
    meta.description = "dynamic schema";
    meta.type = DataType::kJson;
    meta.is_dynamic = true;
    schema.fields.push_back(std::move(meta));
  }
  return {};
}

}  // namespace saker
