// Index and search parameters as clients send them: strings, checked against Milvus's rules.
#pragma once

#include <optional>
#include <string_view>

#include "index/index_file.h"

namespace saker {

// The kind that serves an index type's name, nothing for a name no one knows. AUTOINDEX is HNSW, or BIN_IVF_FLAT for binary.
std::optional<IndexKind> KindOf(std::string_view index_type, DataType field_type);

// An integer of the parameters, as a number or a numeric string ("64", "64.0"); `fallback` if there is none or it is no number.
int64_t IntegerParam(const KeyValues& params, std::string_view key, int64_t fallback);

}  // namespace saker
