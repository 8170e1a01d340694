#include "proxy/schema_codec.h"

#include <fmt/format.h>

#include "proxy/validate.h"

namespace saker {
namespace {

Result<TemplateValue> ToTemplate(const std::string& name, const wire::schema::TemplateValue& value) {
  TemplateValue out;
  using Kind = wire::schema::TemplateValue;
  switch (value.val_case()) {
    case Kind::kBoolVal: out.scalar = Value(value.bool_val()); return out;
    case Kind::kInt64Val: out.scalar = Value(static_cast<int64_t>(value.int64_val())); return out;
    case Kind::kFloatVal: out.scalar = Value(value.float_val()); return out;
    case Kind::kStringVal: out.scalar = Value(value.string_val()); return out;
    case Kind::kArrayVal: break;
    default: return InvalidParameter(fmt::format("the value of expression template variable name {{{}}} has an unknown type", name));
  }
  out.is_list = true;
  const wire::schema::TemplateArrayValue& list = value.array_val();
  using List = wire::schema::TemplateArrayValue;
  switch (list.data_case()) {
    case List::kBoolData:
      for (const bool v : list.bool_data().data()) out.list.emplace_back(v);
      break;
    case List::kLongData:
      for (const int64_t v : list.long_data().data()) out.list.emplace_back(v);
      break;
    case List::kDoubleData:
      for (const double v : list.double_data().data()) out.list.emplace_back(v);
      break;
    case List::kStringData:
      for (const std::string& v : list.string_data().data()) out.list.emplace_back(v);
      break;
    case List::DATA_NOT_SET: break;  // an empty list
    default:
      return InvalidParameter(fmt::format("the list of expression template variable name {{{}}} has elements of a type that is not "
                                          "supported: use bools, integers, floats or strings", name));
  }
  return out;
}

}  // namespace

KeyValues ToKeyValues(const google::protobuf::RepeatedPtrField<wire::common::KeyValuePair>& pairs) {
  KeyValues out;
  out.reserve(static_cast<size_t>(pairs.size()));
  for (const auto& pair : pairs) out.emplace_back(pair.key(), pair.value());
  return out;
}

void FromKeyValues(const KeyValues& pairs, google::protobuf::RepeatedPtrField<wire::common::KeyValuePair>* out) {
  for (const auto& [key, value] : pairs) {
    auto* pair = out->Add();
    pair->set_key(key);
    pair->set_value(value);
  }
}

Value ToValue(const wire::schema::ValueField& value) {
  using Kind = wire::schema::ValueField;
  switch (value.data_case()) {
    case Kind::kBoolData: return value.bool_data();
    case Kind::kIntData: return static_cast<int64_t>(value.int_data());
    case Kind::kLongData: return static_cast<int64_t>(value.long_data());
    case Kind::kFloatData: return static_cast<double>(value.float_data());
    case Kind::kDoubleData: return value.double_data();
    case Kind::kStringData: return value.string_data();
    default: return std::monostate{};
  }
}

void FromValue(DataType type, const Value& value, wire::schema::ValueField* out) {
  if (const auto* b = std::get_if<bool>(&value)) return out->set_bool_data(*b);
  if (const auto* s = std::get_if<std::string>(&value)) return out->set_string_data(*s);
  if (const auto* i = std::get_if<int64_t>(&value)) {
    return type == DataType::kInt64 ? out->set_long_data(*i) : out->set_int_data(static_cast<int32_t>(*i));
  }
  if (const auto* d = std::get_if<double>(&value)) {
    return type == DataType::kFloat ? out->set_float_data(static_cast<float>(*d)) : out->set_double_data(*d);
  }
}

FieldSchema ToField(const wire::schema::FieldSchema& field) {
  FieldSchema out;
  out.name = field.name();
  out.description = field.description();
  out.type = static_cast<DataType>(field.data_type());
  out.element_type = static_cast<DataType>(field.element_type());
  out.is_primary = field.is_primary_key();
  out.auto_id = field.autoid();
  out.is_partition_key = field.is_partition_key();
  out.is_clustering_key = field.is_clustering_key();
  out.is_dynamic = field.is_dynamic();
  out.nullable = field.nullable();
  out.is_function_output = field.is_function_output();
  if (field.has_default_value()) out.default_value = ToValue(field.default_value());
  out.type_params = ToKeyValues(field.type_params());
  out.index_params = ToKeyValues(field.index_params());
  return out;
}

Result<CollectionSchema> ToSchema(const wire::schema::CollectionSchema& schema) {
  if (schema.functions_size() > 0) return InvalidParameter("functions in a collection's schema are not supported by this version");
  if (schema.struct_array_fields_size() > 0) {
    return InvalidParameter("struct array fields in a collection's schema are not supported by this version");
  }
  if (!schema.external_source().empty()) return InvalidParameter("external collections are not supported by this version");
  CollectionSchema out;
  out.name = schema.name();
  out.description = schema.description();
  out.auto_id = schema.autoid();
  out.enable_dynamic_field = schema.enable_dynamic_field();
  out.properties = ToKeyValues(schema.properties());
  out.fields.reserve(static_cast<size_t>(schema.fields_size()));
  for (const auto& field : schema.fields()) out.fields.push_back(ToField(field));
  return out;
}

void FromField(const FieldSchema& field, wire::schema::FieldSchema* out) {
  out->set_fieldid(field.id.value);
  out->set_name(field.name);
  out->set_description(field.description);
  out->set_data_type(static_cast<wire::schema::DataType>(field.type));
  out->set_element_type(static_cast<wire::schema::DataType>(field.element_type));
  out->set_is_primary_key(field.is_primary);
  out->set_autoid(field.auto_id);
  out->set_is_partition_key(field.is_partition_key);
  out->set_is_clustering_key(field.is_clustering_key);
  out->set_is_dynamic(field.is_dynamic);
  out->set_nullable(field.nullable);
  out->set_is_function_output(field.is_function_output);
  if (field.default_value.has_value()) FromValue(field.type, *field.default_value, out->mutable_default_value());
  FromKeyValues(field.type_params, out->mutable_type_params());
  FromKeyValues(field.index_params, out->mutable_index_params());
}

void FromSchema(const CollectionSchema& schema, wire::schema::CollectionSchema* out) {
  out->set_name(schema.name);
  out->set_description(schema.description);
  out->set_autoid(schema.auto_id);
  out->set_enable_dynamic_field(schema.enable_dynamic_field);
  for (const FieldSchema& field : schema.fields) {
    if (!field.is_dynamic) FromField(field, out->add_fields());
  }
}

Result<TemplateValues> ToTemplates(const google::protobuf::Map<std::string, wire::schema::TemplateValue>& templates) {
  TemplateValues out;
  for (const auto& [name, value] : templates) {
    ASSIGN_OR_RETURN(TemplateValue converted, ToTemplate(name, value));
    out.emplace(name, std::move(converted));
  }
  return out;
}

}  // namespace saker
