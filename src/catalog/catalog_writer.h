// CatalogWriter: the one way to change the catalog. protocol.md, rules 14 and 16.
//
// A change is one transaction that compares the leader's token and the catalog's sequence number, then a copy of it in
// the object store under that number ("catalog/log/<sequence>"); it is acknowledged after both. What is in the object
// store can rebuild a lost meta store. A new leader first copies what the meta store has and the object store lacks.
#pragma once

#include <functional>

#include "base/mutex.h"
#include "catalog/catalog.h"
#include "storage/object_store.h"

namespace saker {

// Thread-safe.
class CatalogWriter {
 public:
  CatalogWriter(MetaStore* store, ObjectStore* objects) : store_(store), objects_(objects) {}

  // Reads the sequence, checks that the object store has its last change (copies it if not). Before the first Commit.
  Status Start();
  // Ops on catalog/… keys; `compares` beyond the sequence and the leader are the caller's. kConflict: read anew.
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops);
  // Reads the collection, lets `change` alter it (its version is raised), writes it back; again if somebody else was
  // faster. kCollectionNotFound if it is gone or a tombstone. `change` may run several times.
  using Change = std::function<Status(Collection&)>;
  Result<Revision> Update(CollectionId id, const Change& change, Collection* after = nullptr);

  // Compared in every transaction: set by elections.
  void SetFence(std::function<std::vector<Compare>()> fence);

 private:
  Status Copy(int64_t sequence, const std::vector<MetaOp>& ops);

  MetaStore* const store_;
  ObjectStore* const objects_;
  Mutex mutex_;
  int64_t sequence_ GUARDED_BY(mutex_) = 0;
  std::function<std::vector<Compare>()> fence_ GUARDED_BY(mutex_);
};

// The changes of one catalog sequence number, as they are stored.
std::string EncodeChanges(const std::vector<MetaOp>& ops);
Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes);

}  // namespace saker
