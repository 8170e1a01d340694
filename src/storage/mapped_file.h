// A file mapped into memory as an object.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "storage/object_store.h"

namespace saker {

// The whole file, read-only. It may be unlinked and `file` closed afterwards: the bytes stay. kIoFailed if the system
// refuses. Nothing may truncate the file while it is mapped.
Result<std::shared_ptr<const MappedObject>> MapFile(const std::string& name, const File& file);

}  // namespace saker
