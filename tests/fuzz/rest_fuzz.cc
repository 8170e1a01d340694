// REST's body → columns: any bytes end in rows or in a message, and rows that were taken come back as JSON.
#include <cstdlib>
#include <string_view>

#include "rest/row_codec.h"
#include "rest/row_writer.h"

namespace {

saker::CollectionSchema Schema() {
  using saker::DataType;
  saker::CollectionSchema schema;
  const auto add = [&schema](const char* name, DataType type, int dim = 0, DataType element = DataType::kNone) -> saker::FieldSchema& {
    saker::FieldSchema field;
    field.name = name;
    field.type = type;
    field.dim = dim;
    field.element_type = element;
    field.nullable = true;
    schema.fields.push_back(field);
    return schema.fields.back();
  };
  auto& key = add("id", DataType::kInt64);
  key.is_primary = true;
  key.nullable = false;
  add("b", DataType::kBool);
  add("i", DataType::kInt8);
  add("f", DataType::kFloat);
  add("d", DataType::kDouble);
  add("s", DataType::kVarChar);
  add("j", DataType::kJson);
  add("a", DataType::kArray, 0, DataType::kInt16);
  add("t", DataType::kArray, 0, DataType::kVarChar);
  add("v", DataType::kFloatVector, 2);
  add("x", DataType::kBinaryVector, 8);
  add("h", DataType::kFloat16Vector, 2);
  add("w", DataType::kSparseFloatVector);
  add("c", DataType::kInt8Vector, 2);
  schema.enable_dynamic_field = true;
  auto& meta = add("$meta", DataType::kJson);
  meta.is_dynamic = true;
  return schema;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const saker::CollectionSchema schema = Schema();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto call = saker::ReadRows(bytes, schema);
  if (!call.ok()) {
    // Most inputs are no whole body: try them as the rows of one.
    call = saker::ReadRows("{\"data\":[{\"id\":1," + std::string(bytes) + "}]}", schema);
  }
  if (!call.ok()) return call.status().message().empty() ? (std::abort(), 0) : 0;
  std::vector<saker::Column> columns;
  std::vector<std::string> names;
  for (saker::InputColumn& input : call->columns) {
    if (input.column->rows() != call->rows) std::abort();
    columns.push_back(std::move(*input.column));
    columns.back().name = input.name;
    columns.back().is_dynamic = input.is_dynamic;
    names.push_back(input.name);
  }
  saker::RowsToWrite rows;
  rows.columns = &columns;
  rows.output_fields = &names;
  rows.rows = call->rows;
  std::string out;
  saker::WriteRows(rows, out);
  return 0;
}
