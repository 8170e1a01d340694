// Objects: named, immutable byte strings. Implementations: a directory (embedded), S3 (cluster).
// Names are relative paths of [A-Za-z0-9._/-], unique and written once; see docs/format/objects.md for who names what.
// All calls are thread-safe and block on I/O: call them from the io or build pool.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace saker {

// An object mapped into memory for as long as this lives (a store that is remote fetches it to local disk first).
class MappedObject {
 public:
  virtual ~MappedObject() = default;
  virtual std::string_view bytes() const = 0;
  virtual const std::string& name() const = 0;
};

struct ObjectInfo {
  std::string name;
  int64_t size_bytes = 0;
  int64_t modified_unix_ms = 0;
};

// Streams an object's bytes in; the object appears, whole and durable, with Finish(), or never.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;  // without Finish: nothing is left behind
  virtual Status Append(std::string_view bytes) = 0;
  virtual int64_t size() const = 0;
  virtual Status Finish() = 0;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;
  // Atomic and durable when it returns; replaces an object of that name.
  virtual Status Put(const std::string& name, std::string_view bytes) = 0;
  // kAlreadyExists if there is one: then nothing is changed.
  virtual Status PutIfAbsent(const std::string& name, std::string_view bytes) = 0;
  virtual Result<std::unique_ptr<ObjectWriter>> Create(const std::string& name) = 0;
  // kIoKeyNotFound if there is none.
  virtual Result<std::string> Get(const std::string& name) = 0;
  // Fewer bytes than asked for only at the object's end.
  virtual Result<std::string> GetRange(const std::string& name, int64_t offset, int64_t length) = 0;
  virtual Result<std::shared_ptr<const MappedObject>> Map(const std::string& name) = 0;
  // All objects whose name starts with `prefix`, in name order.
  virtual Result<std::vector<ObjectInfo>> List(const std::string& prefix) = 0;
  // Deleting what isn't there is fine.
  virtual Status Delete(const std::string& name) = 0;
};

// Objects as files under `root`: written to root/.tmp, synced, renamed, directory synced. kDiskLimitExceeded when the
// disk is full. Left-overs in .tmp are removed at open.
Result<std::unique_ptr<ObjectStore>> OpenDirectoryStore(const std::string& root);

}  // namespace saker
