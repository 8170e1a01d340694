#include "catalog/catalog_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/rules.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

constexpr int kMaxTries = 100;
constexpr int64_t kBlockBytes = 4096;                 // what even a small object takes up on disk
constexpr int64_t kWorthASnapshotBytes = 4 << 20;     // of copies, and at least twice the last snapshot

int64_t BytesOnDisk(int64_t size_bytes) { return (size_bytes / kBlockBytes + 1) * kBlockBytes; }

int64_t BytesOnDisk(const std::vector<ObjectInfo>& objects) {
  int64_t bytes = 0;
  for (const ObjectInfo& object : objects) bytes += BytesOnDisk(object.size_bytes);
  return bytes;
}

}  // namespace

Status CopiedSequence::Start() {
  MutexLock lock(mutex_);
  Status status = CatchUp();
  if (status.ok()) status = CheckNotBehind();
  if (status.code() == ErrorCode::kCorrupted && on_lost_) on_lost_(status);
  RETURN_IF_ERROR(status);
  if (sequence_ > 0 || snapshot_bytes_ > 0) return {};
  // Keys from before they had a sequence: the copies begin with them.
  ASSIGN_OR_RETURN(const RangeResult range, store_->Range(std::string(keys_.prefix)));
  return range.kvs.empty() ? Status() : Snapshot(range.revision);
}

// A change is in the meta store before it is copied: copies of later ones mean that the meta store has lost some. To go
// on would number two changes alike, and take the files of segments it no longer knows for garbage.
Status CopiedSequence::CheckNotBehind() {
  if (!listed_) {
    ASSIGN_OR_RETURN(listed_, ListCopies(objects_, keys_));
  }
  const Copies copies = *std::exchange(listed_, std::nullopt);
  snapshot_bytes_ = BytesOnDisk(copies.snapshots);
  log_bytes_ = BytesOnDisk(copies.changes);
  if (copies.up_to <= sequence_) return {};
  return {ErrorCode::kCorrupted,
          fmt::format("the meta store has {} keys up to change {}, but the object store has copies up to change {}: the meta "
                      "store is lost or an older one and has to be recovered from them",
                      keys_.prefix, sequence_, copies.up_to)};
}

// Reads what the last change was and makes sure that it is copied.
Status CopiedSequence::CatchUp() {
  auto kv = store_->Get(std::string(keys_.sequence_key));
  if (kv.status().code() == ErrorCode::kIoKeyNotFound) {
    sequence_ = 0;
    sequence_revision_ = 0;
    in_doubt_ = false;
    return {};
  }
  RETURN_IF_ERROR(kv.status());
  ASSIGN_OR_RETURN(const Sequence last, DecodeSequence(keys_.sequence_key, kv->value));
  RETURN_IF_ERROR(DecodeChanges(last.changes).status());
  sequence_ = last.number;
  sequence_revision_ = kv->mod_revision;
  if (RuleHolds(Rule::kCatchUpCopies)) RETURN_IF_ERROR(Copy(sequence_, last.changes));
  in_doubt_ = false;
  return {};
}

// A copy of something else under this number was made after the meta store was lost, or restored, and rebuilt: this change
// is no part of what there is now.
Status CopiedSequence::Copy(int64_t sequence, const std::string& changes) {
  const std::string name = CopyName(keys_.log_prefix, sequence);
  const Status status = objects_->PutIfAbsent(name, changes);
  if (status.ok()) log_bytes_ += BytesOnDisk(static_cast<int64_t>(changes.size()));
  if (status.code() != ErrorCode::kAlreadyExists) return status;
  ASSIGN_OR_RETURN(const std::string there, objects_->Get(name));
  if (there == changes) return {};
  const Status lost(ErrorCode::kCorrupted, fmt::format("object {} is not the change that the meta store has under this number: the "
                                                       "meta store is lost or an older one and has to be recovered",
                                                       name));
  if (on_lost_) on_lost_(lost);
  return on_lost_ ? Status(ErrorCode::kServiceUnavailable, lost.message() + "; retry") : lost;
}

Status CopiedSequence::Settle() {
  MutexLock lock(mutex_);
  return in_doubt_ ? CatchUp() : Status();
}

std::vector<MetaOp> CopiedSequence::Copied(const std::vector<MetaOp>& ops) const {
  std::vector<MetaOp> copied;
  for (const MetaOp& op : ops) {
    if (std::string_view(op.key).starts_with(keys_.prefix)) copied.push_back(op);
  }
  return copied;
}

Result<Revision> CopiedSequence::Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) {
  MutexLock lock(mutex_);
  for (int i = 0; i < kMaxTries; ++i) {
    if (in_doubt_) RETURN_IF_ERROR(CatchUp().WithContext("the catalog's last change can't be copied to the object store"));
    const int64_t known = sequence_;
    const auto revision = TryCommit(compares, ops);
    if (revision.ok()) {
      in_doubt_ = true;
      // Not acknowledged before the copy is safe. If it fails the change stands: whoever asked may ask again, and finds
      // it. No later change is made before the copy is.
      if (RuleHolds(Rule::kCopyFirst)) {
        RETURN_IF_ERROR(Copy(sequence_, EncodeChanges(Copied(ops))).WithContext("the change is made, but its copy in the object store failed"));
      }
      in_doubt_ = false;
      SnapshotIfWorthIt(*revision);
      return revision;
    }
    in_doubt_ = true;
    if (revision.status().code() != ErrorCode::kConflict) return revision;
    RETURN_IF_ERROR(CatchUp().WithContext("the catalog's last change can't be copied to the object store"));
    if (sequence_ == known) return revision;  // not the sequence: one of the caller's compares, or the leader's
  }
  return Status(ErrorCode::kServiceUnavailable, "the catalog is being changed by others all the time; retry");
}

Result<Revision> CopiedSequence::TryCommit(std::vector<Compare> compares, const std::vector<MetaOp>& ops) {
  compares.push_back(Compare::Unchanged(std::string(keys_.sequence_key), sequence_revision_));
  std::vector<MetaOp> with_sequence = ops;
  with_sequence.push_back(MetaOp::Put(std::string(keys_.sequence_key), Encode(Sequence{sequence_ + 1, EncodeChanges(Copied(ops))})));
  ASSIGN_OR_RETURN(const Revision revision, store_->Commit(compares, with_sequence));
  ++sequence_;
  sequence_revision_ = revision;
  return revision;
}

// ---- snapshots

// What is kept is at most about twice a snapshot, or a few megabytes, however long the catalog has been changed.
void CopiedSequence::SnapshotIfWorthIt(Revision revision) {
  if (log_bytes_ < std::max(kWorthASnapshotBytes, 2 * snapshot_bytes_)) return;
  if (const Status status = Snapshot(revision); !status.ok()) {
    LogWarn("a snapshot of the catalog failed, the next change tries again: {}", status.ToString());
  }
}

Status CopiedSequence::Snapshot(Revision revision) {
  ASSIGN_OR_RETURN(RangeResult range, store_->Range(std::string(keys_.prefix), revision));
  std::vector<MetaOp> puts;
  for (KeyValue& kv : range.kvs) {
    if (kv.key != keys_.sequence_key) puts.push_back(MetaOp::Put(std::move(kv.key), std::move(kv.value)));
  }
  const std::string bytes = EncodeChanges(puts);
  const std::string name = CopyName(keys_.snapshot_prefix, sequence_);
  RETURN_IF_ERROR(objects_->Put(name, bytes));
  snapshot_bytes_ = BytesOnDisk(static_cast<int64_t>(bytes.size()));
  log_bytes_ = 0;
  ASSIGN_OR_RETURN(const Copies copies, ListCopies(objects_, keys_));
  for (const auto* listed : {&copies.snapshots, &copies.changes}) {
    for (const ObjectInfo& object : *listed) {
      if (*IdInKey(object.name) > sequence_ || object.name == name) continue;
      ASSIGN_OR_RETURN(const bool keep, IsFence(objects_, keys_, object));
      if (!keep) RETURN_IF_ERROR(objects_->Delete(object.name));
    }
  }
  return {};
}

// ---- read, change, write

Result<Revision> CatalogWriter::Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) {
  if (fence_ && RuleHolds(Rule::kLeaderCompared)) {
    ASSIGN_OR_RETURN(Compare leads, fence_());
    compares.push_back(std::move(leads));
  }
  return sequence_->Commit(std::move(compares), std::move(ops));
}

Result<CatalogWriter::Read> CatalogWriter::ReadLiving(CollectionId id) const {
  const Status gone(ErrorCode::kCollectionNotFound, fmt::format("collection not found[collection={}]", id.value));
  auto kv = sequence_->store()->Get(CollectionKey(id));
  if (kv.status().code() == ErrorCode::kIoKeyNotFound) return gone;
  RETURN_IF_ERROR(kv.status());
  ASSIGN_OR_RETURN(Collection collection, DecodeCollection(kv->value));
  if (collection.dropped) return gone;
  return Read{std::move(collection), Compare::Unchanged(kv->key, kv->mod_revision)};
}

Result<Revision> CatalogWriter::Update(CollectionId id, const Change& change, Collection* after) {
  return UntilNoConflict("the collection", [&]() -> Result<Revision> {
    ASSIGN_OR_RETURN(Read read, ReadLiving(id));
    RETURN_IF_ERROR(change(read.collection));
    ++read.collection.version;
    auto revision = Commit({read.unchanged}, {MetaOp::Put(CollectionKey(id), Encode(read.collection))});
    if (revision.ok() && after != nullptr) *after = std::move(read.collection);
    return revision;
  });
}

Result<Revision> CatalogWriter::UpdateBoth(CollectionId first, CollectionId second, const ChangeBoth& change, Collection* first_after) {
  return UntilNoConflict("the collection", [&]() -> Result<Revision> {
    ASSIGN_OR_RETURN(Read a, ReadLiving(first));
    ASSIGN_OR_RETURN(Read b, ReadLiving(second));
    RETURN_IF_ERROR(change(a.collection, b.collection));
    ++a.collection.version;
    ++b.collection.version;
    auto revision = Commit({a.unchanged, b.unchanged}, {MetaOp::Put(CollectionKey(first), Encode(a.collection)),
                                                        MetaOp::Put(CollectionKey(second), Encode(b.collection))});
    if (revision.ok() && first_after != nullptr) *first_after = std::move(a.collection);
    return revision;
  });
}

}  // namespace saker
