// Objects of a remote store as files of a local directory, to be mapped. Bounded in bytes: what was used longest ago
// goes first, what nobody has mapped before what somebody has. A mapped object stays whole after its file went, and is
// shared with whoever maps it again.
//
// Files outlive the process: a later one takes them up, after checking what it can (size and CRC-32C are in the file's
// name), if they belong to the same store. Torn and foreign ones are removed.
//
// Thread-safe. Threads that want the same object wait for one fetch.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/mutex.h"
#include "base/status.h"
#include "storage/object_store.h"

namespace saker {

class ObjectCache {
 public:
  // `store_id`: whose objects these are; files of another store are removed. `directory` is this cache's alone:
  // kServiceUnavailable, naming who holds it, if another one uses it.
  static Result<std::unique_ptr<ObjectCache>> Open(const std::string& directory, int64_t max_bytes,
                                                   const std::string& store_id);

  // Calls reserve(size) once it knows the object's size, then writes the object into the file.
  using Reserve = std::function<Status(int64_t)>;
  using Fetch = std::function<Status(const File& file, const Reserve& reserve)>;
  // Fails as `fetch` does; kDiskLimitExceeded naming the directory when its disk is full even without what can be
  // spared.
  Result<std::shared_ptr<const MappedObject>> Map(const std::string& name, const Fetch& fetch);

  // The object has changed or is gone: the next Map() fetches it. What is mapped stays as it is.
  void Forget(const std::string& name);

  int64_t bytes() const;  // of the files kept

 private:
  using Mapping = std::shared_ptr<const MappedObject>;

  // A fetch, or the reading of a kept file, that others may wait for.
  struct Flight {
    bool done = false;
    bool forgotten = false;  // the object changed meanwhile: its file isn't kept
    Status status;
    Mapping mapping;
  };
  // A file of the directory: its path, and what is in its name.
  struct Kept {
    std::string path;
    int64_t bytes = 0;
    uint32_t crc = 0;
    bool checked = false;  // this process fetched it, or compared its checksum
  };
  struct Entry {
    Kept kept;  // path empty: there is none
    std::weak_ptr<const MappedObject> mapped;
    std::shared_ptr<Flight> flight;
    std::list<std::string>::iterator used;  // valid if there is a file
  };

  ObjectCache(std::string directory, int64_t max_bytes, File lock)
      : directory_(std::move(directory)), max_bytes_(max_bytes), lock_(std::move(lock)) {}

  Status TakeUp(const std::string& store_id);
  Status CheckOwner(const std::string& store_id, std::vector<std::string>& files) const;
  Result<Mapping> Load(const std::string& key, const std::string& name, const Kept& kept, const Fetch& fetch,
                       Flight& flight);
  Mapping OpenKept(const std::string& key, const std::string& name, const Kept& kept);
  Result<Mapping> FetchNew(const std::string& key, const std::string& name, const Fetch& fetch, Flight& flight);
  Status FetchInto(const File& file, const Fetch& fetch, int64_t& reserved);
  Result<Mapping> Keep(const std::string& key, const std::string& name, const File& file, const Flight& flight);
  Status Grow(int64_t bytes, int64_t& reserved);
  bool SpareUnmapped();

  void Add(const std::string& key, Kept kept) REQUIRES(mutex_);
  void EvictDownTo(int64_t bytes) REQUIRES(mutex_);
  bool EvictOne(bool mapped_too) REQUIRES(mutex_);
  void DropFile(Entry& entry) REQUIRES(mutex_);
  void SweepExpired() REQUIRES(mutex_);

  const std::string directory_;
  const int64_t max_bytes_;
  const File lock_;
  mutable Mutex mutex_;
  CondVar flight_done_;
  std::unordered_map<std::string, Entry> entries_ GUARDED_BY(mutex_);  // by the hash of the name
  std::list<std::string> used_ GUARDED_BY(mutex_);                     // keys of files, the last used first
  int64_t bytes_ GUARDED_BY(mutex_) = 0;                               // of files
  int64_t reserved_ GUARDED_BY(mutex_) = 0;                            // of fetches going on
  uint64_t next_temporary_ GUARDED_BY(mutex_) = 0;
};

}  // namespace saker
