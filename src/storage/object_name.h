// What may be an object's name, the same for every store, so that what works in a directory works in S3.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace saker {

inline constexpr size_t kMaxObjectNameBytes = 1000;      // S3 allows 1024
inline constexpr size_t kMaxObjectNamePartBytes = 200;   // file systems allow 255

// Parts of [A-Za-z0-9._-] between slashes; no part is empty, "." or "..", and the first doesn't begin with a dot.
Status CheckObjectName(std::string_view name);
// The start of such a name; may be empty or end with a slash.
Status CheckObjectPrefix(std::string_view prefix);

}  // namespace saker
