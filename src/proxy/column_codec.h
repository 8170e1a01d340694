// Protobuf FieldData ↔ Column. Fixed-width data is copied once, as a block.
#pragma once

#include "proxy/core.h"
#include "proxy/schema_codec.h"

namespace saker {

// What a client sent for one field; `schema` decides which type the values are read as. A fault is put into the result's
// `error`, to be told when this field's turn comes. `rows` is what the request says it has.
InputColumn DecodeColumn(const wire::schema::FieldData& data, const CollectionSchema& schema, int64_t rows);

// `type` by name only: a column's own type decides.
void EncodeColumn(const ColumnView& column, wire::schema::FieldData* out);
// With name, id and is_dynamic of the column.
void EncodeColumn(const Column& column, wire::schema::FieldData* out);

void EncodeKeys(const PrimaryKeys& keys, wire::schema::IDs* out);
PrimaryKeys DecodeKeys(const wire::schema::IDs& ids);

// Values of one kind as a column (the group of each row of a grouped search).
Column ColumnOf(const FieldSchema& field, const std::vector<Value>& values);

}  // namespace saker
