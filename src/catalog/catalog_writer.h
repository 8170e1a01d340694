// CatalogWriter: the one way to change the catalog. protocol.md, rules 14 and 16.
//
// A change is one transaction that compares the leader's token and the catalog's sequence number, then a copy of it in
// the object store under that number ("catalog/log/<sequence>"); it is acknowledged after both. What is in the object
// store can rebuild a lost meta store: from time to time the whole catalog goes to "catalog/snapshot/<sequence>", and the
// copies up to it are deleted. A new leader, and one whose last change has an unknown fate, first copies what the meta
// store has and the object store lacks.
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

  // Reads the sequence, and copies its last change to the object store if it isn't there. kCorrupted if the object store
  // knows later changes than the meta store. Before the first Commit.
  Status Start();
  // Ops on catalog/… keys; `compares` beyond the sequence and the leader are the caller's. kConflict: one of the caller's
  // does not hold.
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops);
  // Reads the collection, lets `change` alter it (its version is raised), writes it back; again if somebody else was
  // faster. kCollectionNotFound if it is gone or a tombstone. `change` may run several times.
  using Change = std::function<Status(Collection&)>;
  Result<Revision> Update(CollectionId id, const Change& change, Collection* after = nullptr);
  // The same for two collections in one transaction.
  using ChangeBoth = std::function<Status(Collection& first, Collection& second)>;
  Result<Revision> UpdateBoth(CollectionId first, CollectionId second, const ChangeBoth& change);

  // Compared in every transaction: set by elections.
  void SetFence(std::function<std::vector<Compare>()> fence);

 private:
  struct Read {
    Collection collection;
    Compare unchanged;
  };
  Result<Read> ReadLiving(CollectionId id) const;
  Status CatchUp() REQUIRES(mutex_);
  Result<Revision> TryCommit(std::vector<Compare> compares, const std::vector<MetaOp>& ops) REQUIRES(mutex_);
  Status Copy(int64_t sequence, const std::vector<MetaOp>& ops) REQUIRES(mutex_);
  Status CheckNotBehind() REQUIRES(mutex_);
  void SnapshotIfWorthIt(Revision revision) REQUIRES(mutex_);
  Status Snapshot(Revision revision) REQUIRES(mutex_);

  MetaStore* const store_;
  ObjectStore* const objects_;
  Mutex mutex_;
  int64_t sequence_ GUARDED_BY(mutex_) = 0;
  Revision sequence_revision_ GUARDED_BY(mutex_) = 0;  // of its key; 0: there is none yet
  bool in_doubt_ GUARDED_BY(mutex_) = true;            // what the sequence is, or whether its change is copied
  int64_t log_bytes_ GUARDED_BY(mutex_) = 0;           // on disk, of the copies since the last snapshot
  int64_t snapshot_bytes_ GUARDED_BY(mutex_) = 0;
  std::function<std::vector<Compare>()> fence_ GUARDED_BY(mutex_);
};

// The changes of one catalog sequence number, as they are stored.
std::string EncodeChanges(const std::vector<MetaOp>& ops);
Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes);

}  // namespace saker
