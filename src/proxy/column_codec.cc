#include "proxy/column_codec.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>

#include "proxy/validate.h"

namespace saker {
namespace {

using wire::schema::FieldData;
using wire::schema::ScalarField;
using wire::schema::VectorField;

std::string_view CarrierOf(const ScalarField& scalars) {
  switch (scalars.data_case()) {
    case ScalarField::kBoolData: return "bool";
    case ScalarField::kIntData: return "int";
    case ScalarField::kLongData: return "int64";
    case ScalarField::kFloatData: return "float";
    case ScalarField::kDoubleData: return "double";
    case ScalarField::kStringData: return "string";
    case ScalarField::kBytesData: return "bytes";
    case ScalarField::kArrayData: return "array";
    case ScalarField::kJsonData: return "json";
    case ScalarField::DATA_NOT_SET: return "nil";
    default: return "unknown";
  }
}

Status WrongCarrier(const FieldSchema& field, std::string_view actual) {
  return InvalidParameter(fmt::format("need {} array", CarrierName(field.type)), fmt::format("got {} array", actual),
                          fmt::format("field '{}' is illegal, array type mismatch", field.name));
}

template <typename T>
Status CheckRange(const google::protobuf::RepeatedField<int32_t>& values) {
  constexpr int32_t kLow = std::numeric_limits<T>::min(), kHigh = std::numeric_limits<T>::max();
  for (int i = 0; i < values.size(); ++i) {
    if (values[i] < kLow || values[i] > kHigh) {
      return InvalidParameter("integer doesn't overflow", "out of range",
                              fmt::format("the {}th element ({}) out of range: [{}, {}]", i, values[i], kLow, kHigh));
    }
  }
  return {};
}

template <typename T>
Status AppendNarrowed(const google::protobuf::RepeatedField<int32_t>& values, Column& column) {
  RETURN_IF_ERROR(CheckRange<T>(values));
  std::vector<T> narrow(values.begin(), values.end());
  column.AppendFixed(narrow.data(), static_cast<int64_t>(narrow.size()));
  return {};
}

template <typename Strings>
void AppendStrings(const Strings& rows, Column& column) {
  int64_t bytes = 0;
  for (const std::string& row : rows) bytes += static_cast<int64_t>(row.size());
  column.Reserve(rows.size(), bytes);
  for (const std::string& row : rows) column.AppendBytes(row);
}

Status CheckArrayCarrier(const ScalarField& row, const FieldSchema& field) {
  const auto mismatch = [&](std::string_view expected) -> Status {
    return InvalidParameter(fmt::format("{} array", expected), fmt::format("{} array", CarrierOf(row)), "insert data does not match");
  };
  const auto want = [&](ScalarField::DataCase kind, std::string_view name) {
    // An empty array may come without its kind.
    return row.data_case() == kind || row.data_case() == ScalarField::DATA_NOT_SET ? Status() : mismatch(name);
  };
  switch (field.element_type) {
    case DataType::kBool: return want(ScalarField::kBoolData, "bool");
    case DataType::kInt8:
      RETURN_IF_ERROR(want(ScalarField::kIntData, "int"));
      return CheckRange<int8_t>(row.int_data().data());
    case DataType::kInt16:
      RETURN_IF_ERROR(want(ScalarField::kIntData, "int"));
      return CheckRange<int16_t>(row.int_data().data());
    case DataType::kInt32: return want(ScalarField::kIntData, "int");
    case DataType::kInt64: return want(ScalarField::kLongData, "int64");
    case DataType::kFloat: return want(ScalarField::kFloatData, "float");
    case DataType::kDouble: return want(ScalarField::kDoubleData, "double");
    case DataType::kVarChar: return want(ScalarField::kStringData, "string");
    default: return mismatch(Name(field.element_type));
  }
}

void ValuesOf(const ScalarField& row, std::vector<Value>& out) {
  out.clear();
  switch (row.data_case()) {
    case ScalarField::kBoolData:
      for (const bool v : row.bool_data().data()) out.emplace_back(v);
      break;
    case ScalarField::kIntData:
      for (const int32_t v : row.int_data().data()) out.emplace_back(static_cast<int64_t>(v));
      break;
    case ScalarField::kLongData:
      for (const int64_t v : row.long_data().data()) out.emplace_back(v);
      break;
    case ScalarField::kFloatData:
      for (const float v : row.float_data().data()) out.emplace_back(static_cast<double>(v));
      break;
    case ScalarField::kDoubleData:
      for (const double v : row.double_data().data()) out.emplace_back(v);
      break;
    case ScalarField::kStringData:
      for (const std::string& v : row.string_data().data()) out.emplace_back(v);
      break;
    default: break;
  }
}

Status AppendArrays(const ScalarField& scalars, const FieldSchema& field, Column& column) {
  std::vector<Value> values;
  for (const ScalarField& row : scalars.array_data().data()) {
    RETURN_IF_ERROR(CheckArrayCarrier(row, field));
    ValuesOf(row, values);
    column.AppendBytes(EncodeArray(field.element_type, values));
  }
  return {};
}

Status AppendScalars(const ScalarField& scalars, const FieldSchema& field, Column& column) {
  const auto carrier = scalars.data_case();
  const auto wrong = [&] { return WrongCarrier(field, CarrierOf(scalars)); };
  switch (field.type) {
    case DataType::kBool: {
      if (carrier != ScalarField::kBoolData) return wrong();
      static_assert(sizeof(bool) == 1);
      column.AppendFixed(scalars.bool_data().data().data(), scalars.bool_data().data_size());
      return {};
    }
    case DataType::kInt8: return carrier == ScalarField::kIntData ? AppendNarrowed<int8_t>(scalars.int_data().data(), column) : wrong();
    case DataType::kInt16: return carrier == ScalarField::kIntData ? AppendNarrowed<int16_t>(scalars.int_data().data(), column) : wrong();
    case DataType::kInt32:
      if (carrier != ScalarField::kIntData) return wrong();
      column.AppendFixed(scalars.int_data().data().data(), scalars.int_data().data_size());
      return {};
    case DataType::kInt64:
      if (carrier != ScalarField::kLongData) return wrong();
      column.AppendFixed(scalars.long_data().data().data(), scalars.long_data().data_size());
      return {};
    case DataType::kFloat:
      if (carrier != ScalarField::kFloatData) return wrong();
      column.AppendFixed(scalars.float_data().data().data(), scalars.float_data().data_size());
      return {};
    case DataType::kDouble:
      if (carrier != ScalarField::kDoubleData) return wrong();
      column.AppendFixed(scalars.double_data().data().data(), scalars.double_data().data_size());
      return {};
    case DataType::kVarChar:
      if (carrier != ScalarField::kStringData) return wrong();
      AppendStrings(scalars.string_data().data(), column);
      return {};
    case DataType::kJson:
      if (carrier != ScalarField::kJsonData) return wrong();
      AppendStrings(scalars.json_data().data(), column);
      return {};
    case DataType::kArray:
      if (carrier != ScalarField::kArrayData) return wrong();
      return AppendArrays(scalars, field, column);
    default: return wrong();
  }
}

// Vectors that come as one string of bytes.
Status AppendBlock(std::string_view bytes, const FieldSchema& field, Column& column) {
  if (bytes.size() % static_cast<size_t>(column.width()) != 0) {
    if (field.type == DataType::kBinaryVector) {
      return Unexpected(fmt::format("the length({}) of all binary data should divide the dim({})", bytes.size() * 8, field.dim));
    }
    return Unexpected(fmt::format("the length({}) of {} data should divide the dim({})", bytes.size(), Name(field.type), field.dim));
  }
  column.AppendFixed(bytes.data(), static_cast<int64_t>(bytes.size()) / column.width());
  return {};
}

Status AppendVectors(const VectorField& vectors, const FieldSchema& field, Column& column) {
  const auto carrier = vectors.data_case();
  const auto wrong = [&] { return WrongCarrier(field, "another vector"); };
  switch (field.type) {
    case DataType::kFloatVector: {
      if (carrier != VectorField::kFloatVector) return wrong();
      const auto& floats = vectors.float_vector().data();
      if (floats.size() % field.dim != 0) {
        return Unexpected(fmt::format("the length({}) of float data should divide the dim({})", floats.size(), field.dim));
      }
      column.AppendFixed(floats.data(), floats.size() / field.dim);
      return {};
    }
    case DataType::kBinaryVector: return carrier == VectorField::kBinaryVector ? AppendBlock(vectors.binary_vector(), field, column) : wrong();
    case DataType::kFloat16Vector: return carrier == VectorField::kFloat16Vector ? AppendBlock(vectors.float16_vector(), field, column) : wrong();
    case DataType::kBFloat16Vector:
      return carrier == VectorField::kBfloat16Vector ? AppendBlock(vectors.bfloat16_vector(), field, column) : wrong();
    case DataType::kInt8Vector: return carrier == VectorField::kInt8Vector ? AppendBlock(vectors.int8_vector(), field, column) : wrong();
    case DataType::kSparseFloatVector:
      if (carrier != VectorField::kSparseFloatVector) return wrong();
      AppendStrings(vectors.sparse_float_vector().contents(), column);
      return {};
    default: return wrong();
  }
}

Status AppendData(const FieldData& data, const FieldSchema& field, Column& column) {
  if (IsVector(field.type)) {
    return data.has_vectors() ? AppendVectors(data.vectors(), field, column) : WrongCarrier(field, "scalar");
  }
  return data.has_scalars() ? AppendScalars(data.scalars(), field, column) : WrongCarrier(field, "vector");
}

// valid_data marks rows without a value; the values may be there as placeholders for all rows, or only for valid ones.
Status ApplyValidity(const FieldData& data, const FieldSchema& field, Column& column) {
  const auto& valid = data.valid_data();
  if (valid.empty()) return {};
  int64_t given = 0;
  for (const bool v : valid) given += v ? 1 : 0;
  if (given == valid.size() && column.rows() == valid.size()) return {};
  const bool placeholders = column.rows() == valid.size();
  if (!placeholders && column.rows() != given) {
    return InvalidParameter(std::to_string(given), std::to_string(column.rows()),
                            fmt::format("the length of valid_data of field({}) is wrong", field.name));
  }
  const ColumnView values = column.View();
  Column spread(field);
  spread.Reserve(valid.size());
  int64_t next = 0;
  for (int i = 0; i < valid.size(); ++i) {
    if (valid[i]) {
      spread.AppendFrom(values, placeholders ? i : next++);
    } else {
      spread.AppendNull();
    }
  }
  column = std::move(spread);
  return {};
}

bool HasValues(const FieldData& data) {
  if (data.valid_data_size() > 0) return true;
  if (data.has_scalars()) return data.scalars().data_case() != ScalarField::DATA_NOT_SET;
  if (data.has_vectors()) return data.vectors().data_case() != VectorField::DATA_NOT_SET;
  return data.has_struct_arrays();
}

template <typename T, typename Out>
void PutNumbers(const ColumnView& column, Out* out) {
  out->Reserve(static_cast<int>(column.rows));
  if constexpr (std::is_same_v<T, typename Out::value_type>) {
    if (column.rows > 0) {
      out->AddNAlreadyReserved(static_cast<int>(column.rows));
      std::memcpy(out->mutable_data(), column.fixed, static_cast<size_t>(column.rows) * sizeof(T));
    }
  } else {
    for (int64_t i = 0; i < column.rows; ++i) out->AddAlreadyReserved(column.At<T>(i));
  }
}

void EncodeArrayRow(DataType element_type, std::string_view bytes, ScalarField* out) {
  const std::vector<Value> values = DecodeArray(element_type, bytes);
  switch (element_type) {
    case DataType::kBool: {
      auto* data = out->mutable_bool_data();
      for (const Value& v : values) data->add_data(std::get<bool>(v));
      return;
    }
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32: {
      auto* data = out->mutable_int_data();
      for (const Value& v : values) data->add_data(static_cast<int32_t>(std::get<int64_t>(v)));
      return;
    }
    case DataType::kInt64: {
      auto* data = out->mutable_long_data();
      for (const Value& v : values) data->add_data(std::get<int64_t>(v));
      return;
    }
    case DataType::kFloat: {
      auto* data = out->mutable_float_data();
      for (const Value& v : values) data->add_data(static_cast<float>(std::get<double>(v)));
      return;
    }
    case DataType::kDouble: {
      auto* data = out->mutable_double_data();
      for (const Value& v : values) data->add_data(std::get<double>(v));
      return;
    }
    default: {
      auto* data = out->mutable_string_data();
      for (const Value& v : values) {
        const auto* text = std::get_if<std::string>(&v);
        data->add_data(text != nullptr ? *text : std::string());
      }
    }
  }
}

void EncodeScalars(const ColumnView& column, ScalarField* out) {
  switch (column.type) {
    case DataType::kBool: {
      auto* data = out->mutable_bool_data()->mutable_data();
      data->Reserve(static_cast<int>(column.rows));
      for (int64_t i = 0; i < column.rows; ++i) data->AddAlreadyReserved(*column.Row(i) != 0);
      return;
    }
    case DataType::kInt8: return PutNumbers<int8_t>(column, out->mutable_int_data()->mutable_data());
    case DataType::kInt16: return PutNumbers<int16_t>(column, out->mutable_int_data()->mutable_data());
    case DataType::kInt32: return PutNumbers<int32_t>(column, out->mutable_int_data()->mutable_data());
    case DataType::kInt64: return PutNumbers<int64_t>(column, out->mutable_long_data()->mutable_data());
    case DataType::kFloat: return PutNumbers<float>(column, out->mutable_float_data()->mutable_data());
    case DataType::kDouble: return PutNumbers<double>(column, out->mutable_double_data()->mutable_data());
    case DataType::kJson: {
      auto* data = out->mutable_json_data()->mutable_data();
      data->Reserve(static_cast<int>(column.rows));
      for (int64_t i = 0; i < column.rows; ++i) data->Add(std::string(column.Bytes(i)));
      return;
    }
    case DataType::kArray: {
      auto* arrays = out->mutable_array_data();
      arrays->set_element_type(static_cast<wire::schema::DataType>(column.element_type));
      arrays->mutable_data()->Reserve(static_cast<int>(column.rows));
      for (int64_t i = 0; i < column.rows; ++i) EncodeArrayRow(column.element_type, column.Bytes(i), arrays->add_data());
      return;
    }
    default: {
      auto* data = out->mutable_string_data()->mutable_data();
      data->Reserve(static_cast<int>(column.rows));
      for (int64_t i = 0; i < column.rows; ++i) data->Add(std::string(column.Bytes(i)));
    }
  }
}

void EncodeVectors(const ColumnView& column, VectorField* out) {
  out->set_dim(column.dim);
  const auto block = [&column] {
    return std::string(reinterpret_cast<const char*>(column.fixed), static_cast<size_t>(column.rows) * column.width);
  };
  switch (column.type) {
    case DataType::kFloatVector: {
      auto* data = out->mutable_float_vector()->mutable_data();
      const int count = static_cast<int>(column.rows) * column.dim;
      if (count == 0) return;
      data->Reserve(count);
      data->AddNAlreadyReserved(count);
      std::memcpy(data->mutable_data(), column.fixed, static_cast<size_t>(count) * sizeof(float));
      return;
    }
    case DataType::kBinaryVector: return out->set_binary_vector(block());
    case DataType::kFloat16Vector: return out->set_float16_vector(block());
    case DataType::kBFloat16Vector: return out->set_bfloat16_vector(block());
    case DataType::kInt8Vector: return out->set_int8_vector(block());
    case DataType::kSparseFloatVector: {
      auto* sparse = out->mutable_sparse_float_vector();
      uint32_t dim = 0;
      for (int64_t i = 0; i < column.rows; ++i) {
        const std::string_view row = column.Bytes(i);
        if (row.size() >= 8) {
          uint32_t last;
          std::memcpy(&last, row.data() + row.size() - 8, sizeof(last));
          dim = std::max(dim, last + 1);
        }
        sparse->add_contents(std::string(row));
      }
      sparse->set_dim(dim);
      out->set_dim(dim);
      return;
    }
    default: return;
  }
}

}  // namespace

InputColumn DecodeColumn(const FieldData& data, const CollectionSchema& schema, int64_t rows) {
  InputColumn out;
  out.is_dynamic = data.is_dynamic();
  out.name = data.is_dynamic() ? std::string(kDynamicFieldName) : data.field_name();
  const FieldSchema* field = schema.Find(out.name);
  if (field == nullptr || !HasValues(data)) return out;  // told by name, or filled
  Column column(*field);
  // A claimed number of rows reserves nothing: only what is there counts.
  out.error = AppendData(data, *field, column);
  if (out.error.ok()) out.error = ApplyValidity(data, *field, column);
  if (out.error.ok()) out.column = std::move(column);
  (void)rows;
  return out;
}

void EncodeColumn(const ColumnView& column, FieldData* out) {
  out->set_type(static_cast<wire::schema::DataType>(column.type));
  if (IsVector(column.type)) {
    EncodeVectors(column, out->mutable_vectors());
  } else {
    EncodeScalars(column, out->mutable_scalars());
  }
  if (column.valid == nullptr) return;
  auto* valid = out->mutable_valid_data();
  valid->Reserve(static_cast<int>(column.rows));
  for (int64_t i = 0; i < column.rows; ++i) valid->AddAlreadyReserved(!column.IsNull(i));
}

void EncodeColumn(const Column& column, FieldData* out) {
  EncodeColumn(column.View(), out);
  out->set_field_name(column.name);
  out->set_field_id(column.field.value);
  out->set_is_dynamic(column.is_dynamic);
}

void EncodeKeys(const PrimaryKeys& keys, wire::schema::IDs* out) {
  if (keys.is_string) {
    auto* data = out->mutable_str_id()->mutable_data();
    data->Reserve(static_cast<int>(keys.strings.size()));
    for (const std::string& key : keys.strings) data->Add(std::string(key));
    return;
  }
  auto* data = out->mutable_int_id()->mutable_data();
  data->Add(keys.ints.begin(), keys.ints.end());
}

PrimaryKeys DecodeKeys(const wire::schema::IDs& ids) {
  PrimaryKeys keys;
  keys.is_string = ids.has_str_id();
  if (keys.is_string) {
    keys.strings.assign(ids.str_id().data().begin(), ids.str_id().data().end());
  } else {
    keys.ints.assign(ids.int_id().data().begin(), ids.int_id().data().end());
  }
  return keys;
}

Column ColumnOf(const FieldSchema& field, const std::vector<Value>& values) {
  Column column(field);
  for (const Value& value : values) column.AppendValue(value);
  return column;
}

}  // namespace saker
