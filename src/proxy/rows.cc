// Rows of an insert or upsert: from the client's columns to a complete, checked batch. In Milvus's order, so that of
// several faults the same one is told.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "proxy/validate.h"

namespace saker {
namespace {

constexpr std::string_view kEmptyObject = "{}";

Status Mismatch(std::string_view carrier, const FieldSchema& field, std::string_view expected, std::string_view actual) {
  return InvalidParameter(expected, actual, fmt::format("{} '{}' is illegal, array type mismatch", carrier, field.name));
}

// What Milvus says of a column that came without values.
Status NothingGiven(const FieldSchema& field) {
  switch (field.type) {
    case DataType::kFloatVector: return Mismatch("float vector field", field, "need float vector", "got nil");
    case DataType::kBinaryVector: return Mismatch("binary vector field", field, "need bytes array", "got nil");
    case DataType::kVarChar: return Mismatch("varchar field", field, "need string array", "got nil");
    case DataType::kJson: return Mismatch("json field", field, "need json array", "got nil");
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32: return Mismatch("field", field, "need int array", "got nil");
    case DataType::kArray:
      return Mismatch("array field", field, fmt::format("need {} array", Name(field.element_type)), "got nil");
    default: return Mismatch("field", field, fmt::format("need {} array", CarrierName(field.type)), "got nil");
  }
}

Status CheckLengths(const FieldSchema& field, const ColumnView& column) {
  for (int64_t i = 0; i < column.rows; ++i) {
    const size_t length = column.Bytes(i).size();
    if (length > static_cast<size_t>(field.max_length)) {
      return InvalidParameter("valid length string", "string length exceeds max length",
                              fmt::format("the length ({}) of {}th string exceeds max length ({})", length, i, field.max_length));
    }
  }
  return {};
}

class JsonCheck {
 public:
  // Valid JSON; of an object also its keys are looked at.
  Status Check(std::string_view text, const FieldSchema& field, const ProxyLimits& limits) {
    if (static_cast<int64_t>(text.size()) > limits.json_length) {
      const std::string what = field.is_dynamic ? fmt::format("the length ({}) of dynamic field", text.size())
                                                : fmt::format("the length ({}) of json field ({})", text.size(), field.name);
      return InvalidParameter(field.is_dynamic ? "valid length dynamic field" : "valid length json string", "length exceeds max length",
                              fmt::format("{} exceeds max length ({})", what, limits.json_length));
    }
    if (text == kEmptyObject) return {};
    simdjson::dom::element root;
    padded_.assign(text);
    padded_.resize(text.size() + simdjson::SIMDJSON_PADDING, ' ');
    const auto error = parser_.parse(padded_.data(), text.size(), false).get(root);
    if (error != simdjson::SUCCESS) {
      return {ErrorCode::kIoFailed, fmt::format("IO failed: field ({}) has no valid JSON: {}", field.name, simdjson::error_message(error))};
    }
    if (!field.is_dynamic) return {};
    simdjson::dom::object object;
    if (root.get_object().get(object) != simdjson::SUCCESS) {
      return Unexpected("the dynamic field of a row must be a JSON object");
    }
    if (object.at_key(kDynamicFieldName).error() == simdjson::SUCCESS) {
      return Unexpected(fmt::format("cannot set json key to: {}", kDynamicFieldName));
    }
    return {};
  }

 private:
  simdjson::dom::parser parser_;
  std::string padded_;
};

Status CheckArrays(const FieldSchema& field, const ColumnView& column) {
  for (int64_t i = 0; i < column.rows; ++i) {
    if (column.IsNull(i)) continue;
    const int64_t length = ArrayLength(column.Bytes(i));
    if (length > field.max_capacity) {
      return InvalidParameter("valid length array", "array length exceeds max capacity",
                              fmt::format("the length ({}) of {}th array exceeds max capacity ({})", length, i, field.max_capacity));
    }
  }
  if (field.element_type != DataType::kVarChar) return {};
  for (int64_t i = 0; i < column.rows; ++i) {
    if (column.IsNull(i)) continue;
    int64_t k = 0;
    for (const Value& value : DecodeArray(field.element_type, column.Bytes(i))) {
      const size_t length = std::get<std::string>(value).size();
      if (length > static_cast<size_t>(field.max_length)) {
        return InvalidParameter("valid length string", "string length exceeds max length",
                                fmt::format("the length ({}) of {}th string exceeds max length ({})", length, k, field.max_length));
      }
      ++k;
    }
  }
  return {};
}

Status CheckFloats(const FieldSchema& field, const ColumnView& column) {
  const int64_t per_row = field.type == DataType::kFloatVector ? field.dim : 1;
  const auto* values = reinterpret_cast<const float*>(column.fixed);
  if (AllFinite(values, column.rows * per_row)) return {};
  for (int64_t i = 0; i < column.rows * per_row; ++i) {
    float value;
    std::memcpy(&value, values + i, sizeof(value));
    if (!std::isfinite(value)) {
      return Unexpected(fmt::format("value '{}' is not a number or infinity, field ({}), row {}", value, field.name, i / per_row));
    }
  }
  return {};
}

Status CheckDoubles(const FieldSchema& field, const ColumnView& column) {
  for (int64_t i = 0; i < column.rows; ++i) {
    if (!std::isfinite(column.At<double>(i))) {
      return Unexpected(fmt::format("value '{}' is not a number or infinity, field ({}), row {}", column.At<double>(i), field.name, i));
    }
  }
  return {};
}

Status CheckContent(const FieldSchema& field, const ColumnView& column, const ProxyLimits& limits) {
  switch (field.type) {
    case DataType::kVarChar: return field.auto_id ? Status() : CheckLengths(field, column);
    case DataType::kFloatVector:
    case DataType::kFloat: return CheckFloats(field, column);
    case DataType::kDouble: return CheckDoubles(field, column);
    case DataType::kArray: return CheckArrays(field, column);
    case DataType::kJson: {
      JsonCheck json;
      for (int64_t i = 0; i < column.rows; ++i) {
        if (!column.IsNull(i)) RETURN_IF_ERROR(json.Check(column.Bytes(i), field, limits));
      }
      return {};
    }
    case DataType::kSparseFloatVector:
      for (int64_t i = 0; i < column.rows; ++i) RETURN_IF_ERROR(CheckSparseRow(column.Bytes(i)));
      return {};
    default: return {};
  }
}

// Null rows take the default if there is one; then nulls are refused where the field can't have them.
Status FillNulls(const FieldSchema& field, Column& column) {
  if (!column.has_nulls()) return {};
  const ColumnView view = column.View();
  bool any = false;
  for (int64_t i = 0; i < view.rows && !any; ++i) any = view.IsNull(i);
  if (!any) return {};
  if (!field.default_value.has_value()) {
    if (field.nullable) return {};
    return InvalidParameter(fmt::format("field '{}' is illegal, a row has no value and the field is neither nullable nor has a default",
                                        field.name));
  }
  Column filled(field);
  filled.Reserve(view.rows);
  for (int64_t i = 0; i < view.rows; ++i) {
    if (view.IsNull(i)) {
      filled.AppendValue(*field.default_value);
    } else {
      filled.AppendFrom(view, i);
    }
  }
  column = std::move(filled);
  return {};
}

// A column the client left out: defaults, or nulls.
std::optional<Column> MissingColumn(const FieldSchema& field, int64_t rows) {
  if (!field.default_value.has_value() && !field.nullable && !field.is_dynamic) return std::nullopt;
  Column column(field);
  column.Reserve(rows, field.is_dynamic ? rows * static_cast<int64_t>(kEmptyObject.size()) : 0);
  for (int64_t i = 0; i < rows; ++i) {
    if (field.is_dynamic) {
      column.AppendBytes(kEmptyObject);
    } else if (field.default_value.has_value()) {
      column.AppendValue(*field.default_value);
    } else {
      column.AppendNull();
    }
  }
  return column;
}

Result<Column> AutoIds(const FieldSchema& field, int64_t rows, const IdSource& ids) {
  ASSIGN_OR_RETURN(const int64_t first, ids(rows));
  Column column(field);
  column.Reserve(rows, rows * 20);
  for (int64_t i = 0; i < rows; ++i) {
    if (field.type == DataType::kInt64) {
      column.Append<int64_t>(first + i);
    } else {
      column.AppendBytes(std::to_string(first + i));
    }
  }
  return column;
}

class Assembly {
 public:
  Assembly(const CollectionSchema& schema, RowsCall& call, bool upsert, const ProxyLimits& limits, const IdSource& ids)
      : schema_(schema), call_(call), upsert_(upsert), limits_(limits), ids_(ids) {}

  Result<RowBatch> Run() {
    if (call_.rows <= 0) {
      return InvalidParameter("invalid num_rows", std::to_string(call_.rows), "num_rows should be greater than 0");
    }
    RETURN_IF_ERROR(IndexColumns());
    RETURN_IF_ERROR(CountFields());
    if (schema_.PartitionKey() != nullptr && !call_.partition.empty()) {
      return Unexpected("not support manually specifying the partition names if partition key mode is used");
    }
    RETURN_IF_ERROR(CheckClaim());
    RowBatch batch;
    batch.rows = call_.rows;
    batch.columns.reserve(schema_.fields.size());
    for (const FieldSchema& field : schema_.fields) {
      ASSIGN_OR_RETURN(Column column, Take(field));
      batch.columns.push_back(std::move(column));
    }
    RETURN_IF_ERROR(CheckAligned(batch));
    return batch;
  }

 private:
  Status IndexColumns() {
    for (InputColumn& column : call_.columns) {
      if (column.is_dynamic || column.name == kDynamicFieldName) {
        if (!schema_.enable_dynamic_field) {
          return Unexpected(
              fmt::format("without dynamic schema enabled, the field name cannot be set to {}", kDynamicFieldName));
        }
        column.name = kDynamicFieldName;
      }
      if (!by_name_.emplace(column.name, &column).second) {
        return InvalidParameter(fmt::format("duplicated field {} found", column.name));
      }
    }
    return {};
  }

  // Milvus counts before it looks: fields given, plus those it will fill, against those the schema needs.
  Status CountFields() {
    const FieldSchema& key = schema_.PrimaryKey();
    if (upsert_ && key.auto_id) {
      return InvalidParameter(fmt::format("upsert can not assign primary field data when auto id enabled {}", key.name));
    }
    size_t needed = 0;
    size_t given = call_.columns.size();
    for (const FieldSchema& field : schema_.fields) {
      if (!field.auto_id) ++needed;
      if (!field.is_primary && !by_name_.contains(field.name)) ++given;
    }
    if (given != needed) {
      return InvalidParameter(std::to_string(needed), std::to_string(given), "the number of fields is less than needed");
    }
    if (key.auto_id && by_name_.contains(key.name)) {
      return Unexpected(fmt::format("can not assign primary field data when auto id enabled {}", key.name));
    }
    for (const InputColumn& column : call_.columns) {
      if (schema_.Find(column.name) == nullptr) {
        return Unexpected(fmt::format("fieldName {} not exist in collection schema", column.name));
      }
    }
    return {};
  }

  // Ids and defaults are made for as many rows as the client claims: some column must have them, or a few bytes would
  // ask for gigabytes.
  Status CheckClaim() const {
    const auto has_rows = [this](const InputColumn& c) { return c.column.has_value() && c.column->rows() == call_.rows; };
    if (std::any_of(call_.columns.begin(), call_.columns.end(), has_rows)) return {};
    for (const FieldSchema& field : schema_.fields) {
      const auto it = by_name_.find(field.name);
      if (it == by_name_.end()) continue;
      if (!it->second->error.ok()) return it->second->error;
      if (it->second->column.has_value()) return NotAligned(it->second->column->rows(), field.name);
    }
    for (const FieldSchema& field : schema_.fields) {
      if (!field.auto_id && !field.is_dynamic) return NothingGiven(field);
    }
    return {};
  }

  Status NotAligned(int64_t rows, std::string_view name) const {
    return InvalidParameter(std::to_string(call_.rows), std::to_string(call_.rows),
                            fmt::format("the num_rows ({}) of field ({}) is not equal to passed num_rows ({})", rows, name, call_.rows));
  }

  Result<Column> Take(const FieldSchema& field) {
    if (field.auto_id) return AutoIds(field, call_.rows, ids_);
    const auto it = by_name_.find(field.name);
    InputColumn* input = it == by_name_.end() ? nullptr : it->second;
    if (input != nullptr && !input->error.ok()) return input->error;
    const bool nothing = input == nullptr || !input->column.has_value() || input->column->rows() == 0;
    if (nothing) {
      auto filled = MissingColumn(field, call_.rows);
      if (filled.has_value()) return std::move(*filled);
      return NothingGiven(field);
    }
    Column& column = *input->column;
    if (column.type() != field.type || (field.type == DataType::kArray && column.element_type() != field.element_type)) {
      return Mismatch("field", field, fmt::format("need {} array", CarrierName(field.type)),
                      fmt::format("got {} array", CarrierName(column.type())));
    }
    RETURN_IF_ERROR(FillNulls(field, column));
    RETURN_IF_ERROR(CheckContent(field, column.View(), limits_));
    column.field = field.id;
    column.name = field.name;
    column.is_dynamic = field.is_dynamic;
    return std::move(column);
  }

  Status CheckAligned(const RowBatch& batch) const {
    for (const Column& column : batch.columns) {
      if (column.rows() != call_.rows) return NotAligned(column.rows(), column.name);
    }
    return {};
  }

  const CollectionSchema& schema_;
  RowsCall& call_;
  const bool upsert_;
  const ProxyLimits& limits_;
  const IdSource& ids_;
  std::unordered_map<std::string_view, InputColumn*> by_name_;
};

}  // namespace

std::string_view CarrierName(DataType type) {
  switch (type) {
    case DataType::kBool: return "bool";
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32: return "int";
    case DataType::kInt64: return "int64";
    case DataType::kFloat: return "float";
    case DataType::kDouble: return "double";
    case DataType::kVarChar:
    case DataType::kString:
    case DataType::kText: return "string";
    case DataType::kJson: return "json";
    default: return Name(type);
  }
}

bool AllFinite(const float* values, int64_t count) {
  // All exponent bits set is NaN or infinity; or-ing the verdicts keeps the loop free of branches, hence vectorized.
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    bad |= static_cast<uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
  }
  return bad == 0;
}

Status CheckSparseRow(std::string_view row) {
  constexpr size_t kPair = sizeof(uint32_t) + sizeof(float);
  if (row.size() % kPair != 0) {
    return InvalidParameter(fmt::format("invalid data length in sparse float vector: {}", row.size()));
  }
  uint32_t previous = 0;
  for (size_t i = 0; i < row.size(); i += kPair) {
    uint32_t index;
    float value;
    std::memcpy(&index, row.data() + i, sizeof(index));
    std::memcpy(&value, row.data() + i + sizeof(index), sizeof(value));
    if (i > 0 && index <= previous) return InvalidParameter("unsorted or same indices in sparse float vector");
    if (!std::isfinite(value)) return InvalidParameter(fmt::format("value '{}' of a sparse float vector is not a number", value));
    if (value < 0) return InvalidParameter(fmt::format("negative value '{}' in sparse float vector", value));
    previous = index;
  }
  return {};
}

Result<RowBatch> AssembleRows(const CollectionSchema& schema, RowsCall& call, bool upsert, const ProxyLimits& limits,
                              const IdSource& ids) {
  return Assembly(schema, call, upsert, limits, ids).Run();
}

}  // namespace saker
