// JSON → columns: rows to insert, query vectors, keys, template values. Whatever comes in, a message says which row and
// which field is wrong and why.
#pragma once

#include "proxy/core.h"

namespace saker {

// The `data` of an insert's or upsert's body. Members that are no field go to $meta where the schema is dynamic.
// Without collection and partition.
Result<RowsCall> ReadRows(std::string_view body, const CollectionSchema& schema);

}  // namespace saker
