// Milvus's rules for names, schemas and rows, with its messages. Pure functions on model types.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "proxy/core.h"
#include "proxy/limits.h"
#include "roles/coordinators.h"

namespace saker {

// Milvus's two shapes of "invalid parameter".
Status InvalidParameter(std::string_view message);
Status InvalidParameter(std::string_view expected, std::string_view actual, std::string_view message);
Status Unexpected(std::string message);  // code 65535

Status CheckCollectionName(std::string_view name, const ProxyLimits& limits);
Status CheckAlias(std::string_view name, const ProxyLimits& limits);
Status CheckDatabaseName(std::string_view name, const ProxyLimits& limits);
Status CheckPartitionName(std::string_view name, bool strict, const ProxyLimits& limits);
Status CheckFieldName(std::string_view name, const ProxyLimits& limits);
Status CheckIndexName(std::string_view name, const ProxyLimits& limits);
Status CheckUserName(std::string_view name, const ProxyLimits& limits);
Status CheckPassword(std::string_view password, const ProxyLimits& limits);
// `what` is told in the message: "role name", "Privilege", …
Status CheckEntityName(std::string_view name, std::string_view what, const ProxyLimits& limits);

// A new collection: fills dim, max_length, max_capacity from the type parameters, adds $meta, sets partitions' default.
Status CheckNewCollection(CollectionDraft& draft, const ProxyLimits& limits);
// A field added later.
Status CheckAddedField(FieldSchema& field, const CollectionSchema& schema, const ProxyLimits& limits);
// Properties of a field that are to be set or erased.
Status CheckFieldChange(const FieldSchema& field, const KeyValues& set, const std::vector<std::string>& erase, const ProxyLimits& limits);

// ---- rows

// `count` ids that nobody else gets; the first of them.
using IdSource = std::function<Result<int64_t>(int64_t count)>;

// The client's columns as a complete batch in the schema's order: ids, defaults and $meta filled, everything checked.
Result<RowBatch> AssembleRows(const CollectionSchema& schema, RowsCall& call, bool upsert, const ProxyLimits& limits,
                              const IdSource& ids);

// "bool", "int", "int64", "float", "double", "string", "json", "array" or the vector's type: as Milvus names carriers.
std::string_view CarrierName(DataType type);
// Looks at every byte: sorted, finite, non-empty pairs.
Status CheckSparseRow(std::string_view row);
bool AllFinite(const float* values, int64_t count);

}  // namespace saker
