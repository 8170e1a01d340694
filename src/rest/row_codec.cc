#include "rest/row_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "proxy/validate.h"
#include "rest/half.h"
#include "rest/json_input.h"
#include "security/password.h"

namespace saker {
namespace {

Status InvalidData(std::string_view message) {
  return {kInvalidInsertData, fmt::format("fail to deal the insert data, error: {}", message)};
}

// Messages of values: put into place by the caller.
Status Wrong(std::string message) { return {ErrorCode::kParameterInvalid, std::move(message)}; }

Status Expected(std::string_view what, Json value) { return Wrong(fmt::format("{} is expected, but is {}", what, Shown(value))); }

struct Range {
  int64_t low, high;
};
Range RangeOf(DataType type) {
  switch (type) {
    case DataType::kInt8: return {INT8_MIN, INT8_MAX};
    case DataType::kInt16: return {INT16_MIN, INT16_MAX};
    case DataType::kInt32: return {INT32_MIN, INT32_MAX};
    default: return {INT64_MIN, INT64_MAX};
  }
}

Result<int64_t> Integer(Json value, DataType type) {
  const auto number = WholeNumber(value);
  if (!number.has_value()) return Expected(fmt::format("an {}", Name(type)), value);
  const auto [low, high] = RangeOf(type);
  if (*number < low || *number > high) return Wrong(fmt::format("{} is out of the range of {}: [{}, {}]", *number, Name(type), low, high));
  return *number;
}

Result<double> Real(Json value, DataType type) {
  const auto number = RealNumber(value);
  if (!number.has_value()) return Expected(fmt::format("a {}", Name(type)), value);
  if (type != DataType::kDouble && std::fabs(*number) > FLT_MAX) return Wrong(fmt::format("{} is out of the range of Float", *number));
  return *number;
}

Result<bool> Truth(Json value) {
  bool yes = false;
  if (value.get_bool().get(yes) == simdjson::SUCCESS) return yes;
  const std::string text = value.is_object() || value.is_array() ? "" : TextOf(value);
  for (const char* word : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == word) return true;
  }
  for (const char* word : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == word) return false;
  }
  return Expected("true or false", value);
}

// Numbers and booleans are taken as they are written, as Milvus does.
Result<std::string> Characters(Json value) {
  if (value.is_object() || value.is_array() || value.is_null()) return Expected("a string", value);
  return TextOf(value);
}

Result<Value> Scalar(Json value, DataType type) {
  switch (type) {
    case DataType::kBool: {
      ASSIGN_OR_RETURN(const bool yes, Truth(value));
      return Value(yes);
    }
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
    case DataType::kInt64: {
      ASSIGN_OR_RETURN(const int64_t number, Integer(value, type));
      return Value(number);
    }
    case DataType::kFloat:
    case DataType::kDouble: {
      ASSIGN_OR_RETURN(const double number, Real(value, type));
      return Value(number);
    }
    case DataType::kVarChar:
    case DataType::kString:
    case DataType::kText: {
      ASSIGN_OR_RETURN(std::string text, Characters(value));
      return Value(std::move(text));
    }
    default: return Wrong(fmt::format("type {} is not supported here", Name(type)));
  }
}

Status CheckLength(size_t actual, int dim) {
  if (actual == static_cast<size_t>(dim)) return {};
  return Wrong(fmt::format("the vector has {} values, but dim is {}", actual, dim));
}

// Array.size() of simdjson stops counting at 2^24: the values are counted as they come.
Result<std::vector<float>> Floats(simdjson::dom::array array, int dim) {
  std::vector<float> floats;
  floats.reserve(static_cast<size_t>(dim));
  size_t count = 0;
  for (const Json value : array) {
    if (++count > static_cast<size_t>(dim)) continue;
    double number = 0;
    if (value.is_string() || value.get_double().get(number) != simdjson::SUCCESS) {
      return Wrong(fmt::format("a number is expected at position {}, but is {}", count - 1, Shown(value)));
    }
    if (std::fabs(number) > FLT_MAX) return Wrong(fmt::format("{} at position {} is out of the range of Float", number, count - 1));
    floats.push_back(static_cast<float>(number));
  }
  RETURN_IF_ERROR(CheckLength(count, dim));
  return floats;
}

// `count` bytes, from an array of numbers in [low, high].
Result<std::string> SmallNumbers(simdjson::dom::array array, int count, int low, int high) {
  std::string bytes;
  size_t seen = 0;
  for (const Json value : array) {
    if (++seen > static_cast<size_t>(count)) continue;
    int64_t number = 0;
    if (value.get_int64().get(number) != simdjson::SUCCESS || number < low || number > high) {
      return Wrong(fmt::format("a whole number in [{}, {}] is expected at position {}, but is {}", low, high, seen - 1, Shown(value)));
    }
    bytes += static_cast<char>(number);
  }
  if (seen != static_cast<size_t>(count)) return Wrong(fmt::format("the vector has {} elements, but should have {}", seen, count));
  return bytes;
}

Result<std::string> Base64Row(std::string_view text, int width) {
  std::string bytes;
  if (!Base64Decode(text, bytes)) return Wrong("the string is not valid base64");
  if (bytes.size() != static_cast<size_t>(width)) {
    return Wrong(fmt::format("the string holds {} bytes, but the vector should have {}", bytes.size(), width));
  }
  return bytes;
}

Status AppendDense(Json value, const FieldSchema& field, Column& column) {
  const int width = column.width();
  std::string_view text;
  if (field.type != DataType::kFloatVector && value.get_string().get(text) == simdjson::SUCCESS) {
    ASSIGN_OR_RETURN(const std::string bytes, Base64Row(text, width));
    column.AppendFixed(bytes.data());
    return {};
  }
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) {
    return Expected(field.type == DataType::kFloatVector ? "an array of numbers" : "an array of numbers, or base64", value);
  }
  if (field.type == DataType::kBinaryVector || field.type == DataType::kInt8Vector) {
    const bool binary = field.type == DataType::kBinaryVector;
    ASSIGN_OR_RETURN(const std::string bytes, SmallNumbers(array, width, binary ? 0 : INT8_MIN, binary ? UINT8_MAX : INT8_MAX));
    column.AppendFixed(bytes.data());
    return {};
  }
  ASSIGN_OR_RETURN(const std::vector<float> floats, Floats(array, field.dim));
  if (field.type == DataType::kFloatVector) {
    column.AppendFixed(floats.data());
    return {};
  }
  std::vector<uint16_t> halves;
  halves.reserve(floats.size());
  for (const float f : floats) {
    const bool float16 = field.type == DataType::kFloat16Vector;
    halves.push_back(float16 ? ToFloat16(f) : ToBFloat16(f));
    const int infinity = float16 ? 0x7C00 : 0x7F80;
    if ((halves.back() & infinity) == infinity) return Wrong(fmt::format("{} at position {} is out of the range of {}", f, halves.size() - 1, Name(field.type)));
  }
  column.AppendFixed(halves.data());
  return {};
}

using SparsePairs = std::vector<std::pair<uint32_t, float>>;

// index -1: what was given is none.
Status AddSparse(int64_t index, Json value, std::string_view shown_index, SparsePairs& pairs) {
  if (index < 0 || index >= UINT32_MAX) {
    return Wrong(fmt::format("an index in [0, {}) is expected, but is {}", UINT32_MAX, shown_index));
  }
  ASSIGN_OR_RETURN(const double number, Real(value, DataType::kFloat));
  pairs.emplace_back(static_cast<uint32_t>(index), static_cast<float>(number));
  return {};
}

Status ReadSparseLists(simdjson::dom::array indices, simdjson::dom::array values, SparsePairs& pairs) {
  auto value = values.begin();
  for (const Json index : indices) {
    if (!(value != values.end())) return Wrong("there are more indices than values");
    RETURN_IF_ERROR(AddSparse(WholeNumber(index).value_or(-1), *value, Shown(index), pairs));
    ++value;
  }
  return value != values.end() ? Wrong("there are more values than indices") : Status();
}

// {"7": 0.5, "9": 0.1} or {"indices": [7, 9], "values": [0.5, 0.1]}.
Status AppendSparse(Json value, Column& column) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return Expected("an object of indices and values", value);
  SparsePairs pairs;
  simdjson::dom::array indices, values;
  if (object.at_key("indices").get_array().get(indices) == simdjson::SUCCESS && object.at_key("values").get_array().get(values) == simdjson::SUCCESS) {
    RETURN_IF_ERROR(ReadSparseLists(indices, values, pairs));
  } else {
    for (const auto& [key, number] : object) {
      int64_t index = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
      const bool whole = error == std::errc() && end == key.data() + key.size();
      RETURN_IF_ERROR(AddSparse(whole ? index : -1, number, key.substr(0, 50), pairs));
    }
  }
  std::sort(pairs.begin(), pairs.end());
  std::string row;
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i > 0 && pairs[i].first == pairs[i - 1].first) return Wrong(fmt::format("index {} is there twice", pairs[i].first));
    row.append(reinterpret_cast<const char*>(&pairs[i].first), sizeof(uint32_t));
    row.append(reinterpret_cast<const char*>(&pairs[i].second), sizeof(float));
  }
  column.AppendBytes(row);
  return {};
}

// A string that holds an object or an array is taken for it: clients quote JSON twice.
Status AppendJsonField(Json value, Column& column) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    const size_t first = text.find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && (text[first] == '{' || text[first] == '[')) {
      simdjson::dom::parser parser;
      if (parser.parse(text.data(), text.size()).error() == simdjson::SUCCESS) {
        column.AppendBytes(text);
        return {};
      }
    }
  }
  column.AppendBytes(static_cast<std::string>(simdjson::minify(value)));
  return {};
}

Status AppendArray(Json value, const FieldSchema& field, Column& column) {
  simdjson::dom::array array;
  if (value.get_array().get(array) != simdjson::SUCCESS) return Expected(fmt::format("an array of {}", Name(field.element_type)), value);
  std::vector<Value> elements;
  for (const Json element : array) {
    auto scalar = Scalar(element, field.element_type);
    if (!scalar.ok()) return Wrong(fmt::format("element {}: {}", elements.size(), scalar.status().message()));
    elements.push_back(std::move(*scalar));
  }
  column.AppendBytes(EncodeArray(field.element_type, elements));
  return {};
}

template <typename T>
Status AppendInteger(Json value, DataType type, Column& column) {
  ASSIGN_OR_RETURN(const int64_t number, Integer(value, type));
  column.Append<T>(static_cast<T>(number));
  return {};
}

class RowReader {
 public:
  explicit RowReader(const CollectionSchema& schema) : schema_(schema) {
    slots_.reserve(schema.fields.size());
    for (const FieldSchema& field : schema.fields) {
      if (!field.is_dynamic) slots_.push_back({&field, Column(field)});
    }
    for (Slot& slot : slots_) by_name_.emplace(slot.field->name, &slot);
  }

  Status Read(Json value) {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) {
      return InvalidData(fmt::format("row {} should be an object, but is {}", rows_, Shown(value)));
    }
    dynamic_.assign("{");
    for (const auto& [key, member] : object) RETURN_IF_ERROR(Take(key, member));
    for (Slot& slot : slots_) {
      if (slot.rows <= rows_) RETURN_IF_ERROR(Missing(slot));
    }
    dynamic_ += "}";
    if (schema_.enable_dynamic_field) meta_.AppendBytes(dynamic_);
    ++rows_;
    return {};
  }

  RowsCall Finish() && {
    RowsCall call;
    call.rows = rows_;
    for (Slot& slot : slots_) {
      if (slot.field->is_primary && slot.field->auto_id && !slot.given) continue;
      InputColumn input;
      input.name = slot.field->name;
      input.column = std::move(slot.column);
      call.columns.push_back(std::move(input));
    }
    if (schema_.enable_dynamic_field) {
      InputColumn input;
      input.name = std::string(kDynamicFieldName);
      input.is_dynamic = true;
      input.column = std::move(meta_);
      call.columns.push_back(std::move(input));
    }
    return call;
  }

 private:
  struct Slot {
    const FieldSchema* field;
    Column column;
    int64_t rows = 0;     // it has values of
    bool given = false;   // in any row
  };

  Status At(std::string_view field, std::string_view message) const {
    return InvalidData(fmt::format("row {}, field {}: {}", rows_, field, message));
  }

  Status Take(std::string_view key, Json value) {
    const auto it = by_name_.find(key);
    if (it == by_name_.end()) return TakeDynamic(key, value);
    Slot& slot = *it->second;
    const FieldSchema& field = *slot.field;
    if (slot.rows > rows_) return At(key, "it is there twice");
    if (value.is_null() || (field.auto_id && value.is_string() && TextOf(value).empty())) return Missing(slot);
    if (field.auto_id && slot.rows < rows_) return At(key, "it is given here, but not in the rows before");
    const Status appended = AppendJson(value, field, slot.column);
    if (!appended.ok()) return At(key, appended.message());
    slot.given = true;
    ++slot.rows;
    return {};
  }

  Status TakeDynamic(std::string_view key, Json value) {
    if (!schema_.enable_dynamic_field) {
      return InvalidData(fmt::format("row {}: has pass more field without dynamic schema, please check it: {} is no field of the collection",
                                     rows_, key.substr(0, 100)));
    }
    if (key == kDynamicFieldName) {
      return InvalidData(fmt::format("row {}: use the invalid field name({}) when enable dynamicField", rows_, kDynamicFieldName));
    }
    if (value.is_null()) return {};
    if (dynamic_.size() > 1) dynamic_ += ',';
    AppendQuoted(key);
    dynamic_ += ':';
    dynamic_ += simdjson::minify(value);
    return {};
  }

  void AppendQuoted(std::string_view key) {
    dynamic_ += '"';
    for (const char c : key) {
      const auto byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        dynamic_ += '\\';
        dynamic_ += c;
      } else if (byte < 0x20) {
        dynamic_ += fmt::format("\\u{:04x}", byte);
      } else {
        dynamic_ += c;
      }
    }
    dynamic_ += '"';
  }

  Status Missing(Slot& slot) {
    const FieldSchema& field = *slot.field;
    if (field.auto_id) return slot.given ? At(field.name, "it is missing, but given in other rows") : Status();
    if (field.nullable || field.default_value.has_value()) {
      slot.column.AppendNull();
      slot.given = true;
      ++slot.rows;
      return {};
    }
    return At(field.name, IsVector(field.type) ? "missing vector field" : "it has no value, and is neither nullable nor has a default");
  }

  const CollectionSchema& schema_;
  std::vector<Slot> slots_;
  std::unordered_map<std::string_view, Slot*> by_name_;
  Column meta_{DataType::kJson, 0};
  std::string dynamic_;
  int64_t rows_ = 0;
};

Result<const FieldSchema*> VectorField(const CollectionSchema& schema, const std::string& name) {
  const auto vectors = schema.VectorFields();
  if (name.empty()) {
    if (vectors.size() == 1) return vectors.front();
    if (vectors.empty()) return WrongFormat("cannot find a vector field named: ");
    return WrongFormat(fmt::format("search without annsField, but already found multiple vector fields: [{}, {},,,]", vectors[0]->name,
                                   vectors[1]->name));
  }
  for (const FieldSchema* field : vectors) {
    if (field->name == name) return field;
  }
  return WrongFormat(fmt::format("cannot find a vector field named: {}", name));
}

Result<Value> TemplateScalar(Json value, const std::string& where) {
  bool yes = false;
  if (value.get_bool().get(yes) == simdjson::SUCCESS) return Value(yes);
  int64_t whole = 0;
  if (value.get_int64().get(whole) == simdjson::SUCCESS) return Value(whole);
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) return Value(std::string(text));
  double real = 0;
  if (value.get_double().get(real) == simdjson::SUCCESS) return Value(real);
  return WrongFormat(fmt::format("{} should be a boolean, a number, a string or a list of one of these, but is {}", where, Shown(value)));
}

// A list has elements of one kind: whole numbers among others become floating point.
Status Unify(std::vector<Value>& list, const std::string& where) {
  const auto any = [&list](size_t kind) { return std::any_of(list.begin(), list.end(), [kind](const Value& v) { return v.index() == kind; }); };
  constexpr size_t kInt = 2, kReal = 3;
  if (any(kInt) && any(kReal)) {
    for (Value& value : list) {
      if (const auto* whole = std::get_if<int64_t>(&value)) value = static_cast<double>(*whole);
    }
  }
  for (const Value& value : list) {
    if (value.index() != list.front().index()) return WrongFormat(fmt::format("{} should have elements of one type", where));
  }
  return {};
}

}  // namespace

Status AppendJson(Json value, const FieldSchema& field, Column& column) {
  switch (field.type) {
    case DataType::kBool: {
      ASSIGN_OR_RETURN(const bool yes, Truth(value));
      column.Append<uint8_t>(yes ? 1 : 0);
      return {};
    }
    case DataType::kInt8: return AppendInteger<int8_t>(value, field.type, column);
    case DataType::kInt16: return AppendInteger<int16_t>(value, field.type, column);
    case DataType::kInt32: return AppendInteger<int32_t>(value, field.type, column);
    case DataType::kInt64: return AppendInteger<int64_t>(value, field.type, column);
    case DataType::kFloat: {
      ASSIGN_OR_RETURN(const double number, Real(value, field.type));
      column.Append<float>(static_cast<float>(number));
      return {};
    }
    case DataType::kDouble: {
      ASSIGN_OR_RETURN(const double number, Real(value, field.type));
      column.Append<double>(number);
      return {};
    }
    case DataType::kString:
    case DataType::kText:
    case DataType::kVarChar: {
      ASSIGN_OR_RETURN(const std::string text, Characters(value));
      column.AppendBytes(text);
      return {};
    }
    case DataType::kJson: return AppendJsonField(value, column);
    case DataType::kArray: return AppendArray(value, field, column);
    case DataType::kSparseFloatVector: return AppendSparse(value, column);
    case DataType::kBinaryVector:
    case DataType::kFloatVector:
    case DataType::kFloat16Vector:
    case DataType::kBFloat16Vector:
    case DataType::kInt8Vector: return AppendDense(value, field, column);
    default: return Wrong(fmt::format("fields of type {} are not supported over REST", Name(field.type)));
  }
}

Result<RowsCall> ReadRows(const Members& body, const CollectionSchema& schema) {
  const auto data = body.Find("data");
  if (!data.has_value()) return MissingParameter("data is required");
  RowReader reader(schema);
  simdjson::dom::array rows;
  if (data->get_array().get(rows) == simdjson::SUCCESS) {
    if (rows.begin() == rows.end()) return MissingParameter("data should have at least one row");
    for (const Json row : rows) RETURN_IF_ERROR(reader.Read(row));
  } else if (data->is_object()) {  // a single row
    RETURN_IF_ERROR(reader.Read(*data));
  } else {
    return WrongFormat(fmt::format("data should be an array of objects, but is {}", Shown(*data)));
  }
  return std::move(reader).Finish();
}

Result<RowsCall> ReadRows(std::string_view body, const CollectionSchema& schema) {
  ASSIGN_OR_RETURN(const auto parsed, Body::Parse(body));
  return ReadRows(parsed->members(), schema);
}

Status ReadQueries(const Members& search, const CollectionSchema& schema, SearchPart& part) {
  ASSIGN_OR_RETURN(const FieldSchema* field, VectorField(schema, part.vector_field));
  ASSIGN_OR_RETURN(const auto data, search.Array("data"));
  if (!data.has_value()) return MissingParameter(fmt::format("{} is required", search.At("data")));
  Column vectors(*field);
  for (const Json vector : *data) {
    const Status appended = AppendJson(vector, *field, vectors);
    if (!appended.ok()) {
      return WrongFormat(fmt::format("{}[{}], for field {}: {}", search.At("data"), vectors.rows(), field->name, appended.message()));
    }
  }
  if (vectors.rows() == 0) return MissingParameter(fmt::format("{} should have at least one vector", search.At("data")));
  const ColumnView view = vectors.View();
  part.query_type = field->type;
  part.nq = view.rows;
  part.row_bytes = view.width;
  if (view.width > 0) {
    part.queries.assign(reinterpret_cast<const char*>(view.fixed), static_cast<size_t>(view.rows) * static_cast<size_t>(view.width));
  } else {
    for (int64_t i = 0; i < view.rows; ++i) part.queries += view.Bytes(i);
  }
  return {};
}

Result<PrimaryKeys> ReadKeys(Json value, const FieldSchema& primary_key) {
  PrimaryKeys keys;
  keys.is_string = IsString(primary_key.type);
  const auto add = [&](Json key) -> Status {
    const auto fail = [&](std::string_view why) -> Status {
      return {kCheckPrimaryKey,
              fmt::format("please check the primary key and its' type can only in [int, string], error: id[{}]: {}", keys.size(), why)};
    };
    if (keys.is_string) {
      std::string_view text;
      if (key.get_string().get(text) != simdjson::SUCCESS) return fail(fmt::format("a string is expected, but is {}", Shown(key)));
      keys.strings.emplace_back(text);
      return {};
    }
    const auto number = WholeNumber(key);
    if (!number.has_value()) return fail(fmt::format("an Int64 is expected, but is {}", Shown(key)));
    keys.ints.push_back(*number);
    return {};
  };
  simdjson::dom::array array;
  if (value.get_array().get(array) == simdjson::SUCCESS) {
    for (const Json key : array) RETURN_IF_ERROR(add(key));
  } else {
    RETURN_IF_ERROR(add(value));
  }
  return keys;
}

Result<TemplateValues> ReadTemplates(const Members& body, std::string_view name) {
  TemplateValues templates;
  ASSIGN_OR_RETURN(const Members values, body.Object(name));
  if (!values.object().has_value()) return templates;
  for (const auto& [key, value] : *values.object()) {
    const std::string where = values.At(key);
    TemplateValue out;
    simdjson::dom::array array;
    if (value.get_array().get(array) == simdjson::SUCCESS) {
      out.is_list = true;
      for (const Json element : array) {
        ASSIGN_OR_RETURN(Value scalar, TemplateScalar(element, where));
        out.list.push_back(std::move(scalar));
      }
      RETURN_IF_ERROR(Unify(out.list, where));
    } else {
      ASSIGN_OR_RETURN(out.scalar, TemplateScalar(value, where));
    }
    templates[std::string(key)] = std::move(out);
  }
  return templates;
}

Result<Value> ReadDefault(Json value, const FieldSchema& field) {
  auto scalar = Scalar(value, field.type);
  if (scalar.ok()) return scalar;
  return InvalidParameter(fmt::format("convert defaultValue fail, err: default value of field {}: {}", field.name, scalar.status().message()));
}

}  // namespace saker
