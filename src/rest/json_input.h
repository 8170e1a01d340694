// The parts of row_codec.h that start from parsed JSON. Of this room only.
#pragma once

#include "rest/body.h"
#include "rest/row_codec.h"

namespace saker {

Result<RowsCall> ReadRows(const Members& body, const CollectionSchema& schema);

// Appends one value to a column of this field. The message says what is wrong, not where.
Status AppendJson(Json value, const FieldSchema& field, Column& column);

// The vectors of `data`: type, number, width and bytes of `part`. Code 1801.
Status ReadQueries(const Members& search, const CollectionSchema& schema, SearchPart& part);

// One key or a list of them. Code 1806.
Result<PrimaryKeys> ReadKeys(Json value, const FieldSchema& primary_key);

Result<TemplateValues> ReadTemplates(const Members& body, std::string_view name);

// A default value of a field.
Result<Value> ReadDefault(Json value, const FieldSchema& field);

}  // namespace saker
