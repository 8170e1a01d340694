// The query vectors of a search request: a serialized PlaceholderGroup inside bytes, from anybody.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "model/types.h"

namespace saker {

struct Queries {
  DataType type = DataType::kNone;
  int64_t nq = 0;
  int row_bytes = 0;     // 0: rows of different lengths (sparse); then nothing is supported yet
  std::string bytes;     // nq rows one after another
};
// What the bytes hold, checked in itself (one placeholder, known type, equal rows), not against a field.
Result<Queries> DecodePlaceholders(std::string_view bytes);
// How many queries there are, without copying them.
Result<int64_t> CountPlaceholders(std::string_view bytes);

}  // namespace saker
