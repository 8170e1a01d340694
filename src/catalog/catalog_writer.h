// CatalogWriter: the one way to change what the object store can bring back: the catalog, and which segments there are.
// protocol.md, rules 14 and 16.
//
// A change is one transaction that compares the leader's token and a sequence number, then a copy of it in the object
// store under that number ("catalog/log/<sequence>"); it is acknowledged after both. From time to time all keys go to
// "catalog/snapshot/<sequence>", and the copies up to it are deleted. A new leader, and one whose last change has an
// unknown fate, first copies what the meta store has and the object store lacks.
//
// A meta store that lacks what the object store has copies of was lost, or is an older one: recovery.h.
#pragma once

#include <functional>
#include <memory>

#include "base/mutex.h"
#include "catalog/catalog.h"
#include "catalog/copies.h"

namespace saker {

// The sequence of one family, and its copies: shared by all writers of a process. Thread-safe.
class CopiedSequence {
 public:
  // `on_lost` is told when the copies and the meta store turn out not to belong together; short, from any thread.
  // `listed`: which copies there are, for the first Start, if that is known already.
  CopiedSequence(MetaStore* store, ObjectStore* objects, const CopiedKeys& keys, std::function<void(const Status&)> on_lost = {},
                 std::optional<Copies> listed = std::nullopt)
      : keys_(keys), store_(store), objects_(objects), on_lost_(std::move(on_lost)), listed_(std::move(listed)) {}

  // Reads the sequence, and copies its last change to the object store if it isn't there. kCorrupted if the object store
  // knows later changes than the meta store: see recovery.h. Before the first Commit; again does no harm.
  Status Start();
  // Ops on the family's keys, which are copied, and on others, which are not. kConflict: one of the compares does not hold.
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops);
  // All changes that were made here are copied: they may be acknowledged, and what rests on them be deleted for good.
  Status Settle();
  MetaStore* store() const { return store_; }

 private:
  Status CatchUp() REQUIRES(mutex_);
  Result<Revision> TryCommit(std::vector<Compare> compares, const std::vector<MetaOp>& ops) REQUIRES(mutex_);
  Status Copy(int64_t sequence, const std::string& changes) REQUIRES(mutex_);
  Status CheckNotBehind() REQUIRES(mutex_);
  std::vector<MetaOp> Copied(const std::vector<MetaOp>& ops) const;
  void SnapshotIfWorthIt(Revision revision) REQUIRES(mutex_);
  Status Snapshot(Revision revision) REQUIRES(mutex_);

  const CopiedKeys keys_;
  MetaStore* const store_;
  ObjectStore* const objects_;
  const std::function<void(const Status&)> on_lost_;
  Mutex mutex_;
  std::optional<Copies> listed_ GUARDED_BY(mutex_);
  int64_t sequence_ GUARDED_BY(mutex_) = 0;
  Revision sequence_revision_ GUARDED_BY(mutex_) = 0;  // of its key; 0: there is none yet
  bool in_doubt_ GUARDED_BY(mutex_) = true;            // what the sequence is, or whether its change is copied
  int64_t log_bytes_ GUARDED_BY(mutex_) = 0;           // on disk, of the copies since the last snapshot
  int64_t snapshot_bytes_ GUARDED_BY(mutex_) = 0;
};

// One leader's way to change a family's keys. Thread-safe.
class CatalogWriter {
 public:
  // What every transaction of a leader compares; an error if it may not begin one any more (protocol.md, rule 16).
  using Fence = std::function<Result<Compare>()>;

  explicit CatalogWriter(std::shared_ptr<CopiedSequence> sequence, Fence fence = {})
      : sequence_(std::move(sequence)), fence_(std::move(fence)) {}
  // With a sequence of its own.
  CatalogWriter(MetaStore* store, ObjectStore* objects, const CopiedKeys& keys = kCatalogKeys)
      : CatalogWriter(std::make_shared<CopiedSequence>(store, objects, keys)) {}

  Status Start() { return sequence_->Start(); }
  Status Settle() { return sequence_->Settle(); }
  // `compares` beyond the sequence and the leader are the caller's. kConflict: one of the caller's or the leader's does
  // not hold.
  Result<Revision> Commit(std::vector<Compare> compares, std::vector<MetaOp> ops);
  // Reads the collection, lets `change` alter it (its version is raised), writes it back; again if somebody else was
  // faster. kCollectionNotFound if it is gone or a tombstone. `change` may run several times.
  using Change = std::function<Status(Collection&)>;
  Result<Revision> Update(CollectionId id, const Change& change, Collection* after = nullptr);
  // The same for two collections in one transaction.
  using ChangeBoth = std::function<Status(Collection& first, Collection& second)>;
  Result<Revision> UpdateBoth(CollectionId first, CollectionId second, const ChangeBoth& change, Collection* first_after = nullptr);

 private:
  struct Read {
    Collection collection;
    Compare unchanged;
  };
  Result<Read> ReadLiving(CollectionId id) const;

  const std::shared_ptr<CopiedSequence> sequence_;
  const Fence fence_;
};

}  // namespace saker
