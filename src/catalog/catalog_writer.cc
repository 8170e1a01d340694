#include "catalog/catalog_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/log.h"
#include "base/rules.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x314c4353;  // "SCL1"
constexpr int kMaxTries = 100;
constexpr int64_t kBlockBytes = 4096;                 // what even a small object takes up on disk
constexpr int64_t kWorthASnapshotBytes = 4 << 20;     // of copies, and at least twice the last snapshot

std::string Numbered(std::string_view prefix, int64_t sequence) { return fmt::format("{}{:020}", prefix, sequence); }

int64_t BytesOnDisk(int64_t size_bytes) { return (size_bytes / kBlockBytes + 1) * kBlockBytes; }

// The value of a family's sequence key: the number, then the changes it stands for, so that a new leader can copy them.
std::string SequenceValue(int64_t sequence, const std::vector<MetaOp>& ops) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(sequence);
  out.PutRaw(EncodeChanges(ops));
  return bytes;
}

}  // namespace

std::string EncodeChanges(const std::vector<MetaOp>& ops) {
  std::string body;
  ByteWriter out(body);
  out.Put<uint32_t>(static_cast<uint32_t>(ops.size()));
  for (const MetaOp& op : ops) {
    out.Put<uint8_t>(static_cast<uint8_t>(op.kind));
    out.PutBytes(op.key);
    out.PutBytes(op.value);
  }
  std::string bytes;
  ByteWriter framed(bytes);
  framed.Put(kMagic);
  framed.Put(Crc32c(body));
  framed.PutBytes(body);
  return bytes;
}

Result<std::vector<MetaOp>> DecodeChanges(std::string_view bytes) {
  ByteReader in(bytes);
  const auto magic = in.Get<uint32_t>();
  const auto crc = in.Get<uint32_t>();
  const std::string_view body = in.GetBytes();
  if (!in.ok() || magic != kMagic || Crc32c(body) != crc) {
    return Status(ErrorCode::kCorrupted, "a copy of a catalog change is damaged");
  }
  ByteReader ops_in(body);
  std::vector<MetaOp> ops;
  const auto count = ops_in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && ops_in.ok(); ++i) {
    MetaOp op;
    op.kind = static_cast<MetaOp::Kind>(ops_in.Get<uint8_t>());
    op.key = ops_in.GetBytes();
    op.value = ops_in.GetBytes();
    ops.push_back(std::move(op));
  }
  if (!ops_in.ok()) return Status(ErrorCode::kCorrupted, "a copy of a catalog change is shorter than it says");
  return ops;
}

Status CopiedSequence::Start() {
  MutexLock lock(mutex_);
  RETURN_IF_ERROR(CatchUp());
  RETURN_IF_ERROR(CheckNotBehind());
  if (sequence_ > 0 || snapshot_bytes_ > 0) return {};
  // Keys from before they had a sequence: the copies begin with them.
  ASSIGN_OR_RETURN(const RangeResult range, store_->Range(std::string(keys_.prefix)));
  return range.kvs.empty() ? Status() : Snapshot(range.revision);
}

// A change is in the meta store before it is copied: copies of later ones mean that the meta store has lost some. To go
// on would number two changes alike, and take the files of segments it no longer knows for garbage.
Status CopiedSequence::CheckNotBehind() {
  log_bytes_ = snapshot_bytes_ = 0;
  int64_t copied = 0;
  for (const std::string_view prefix : {keys_.snapshot_prefix, keys_.log_prefix}) {
    int64_t& bytes = prefix == keys_.log_prefix ? log_bytes_ : snapshot_bytes_;
    ASSIGN_OR_RETURN(const std::vector<ObjectInfo> objects, objects_->List(std::string(prefix)));
    for (const ObjectInfo& object : objects) {
      bytes += BytesOnDisk(object.size_bytes);
      if (const auto number = IdInKey(object.name)) copied = std::max(copied, *number);
    }
  }
  if (copied <= sequence_) return {};
  return {ErrorCode::kCorrupted,
          fmt::format("the meta store has {} keys up to change {}, but the object store has copies up to change {}: the meta "
                      "store is lost or an older one and has to be recovered from them",
                      keys_.prefix, sequence_, copied)};
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
  ByteReader in(kv->value);
  const auto sequence = in.Get<int64_t>();
  if (!in.ok()) return {ErrorCode::kCorrupted, fmt::format("meta store key {} is damaged", keys_.sequence_key)};
  ASSIGN_OR_RETURN(const std::vector<MetaOp> last, DecodeChanges(std::string_view(kv->value).substr(sizeof(int64_t))));
  sequence_ = sequence;
  sequence_revision_ = kv->mod_revision;
  if (RuleHolds(Rule::kCatchUpCopies)) RETURN_IF_ERROR(Copy(sequence_, last));
  in_doubt_ = false;
  return {};
}

Status CopiedSequence::Copy(int64_t sequence, const std::vector<MetaOp>& ops) {
  const std::string bytes = EncodeChanges(ops);
  const Status status = objects_->PutIfAbsent(Numbered(keys_.log_prefix, sequence), bytes);
  if (status.ok()) log_bytes_ += BytesOnDisk(static_cast<int64_t>(bytes.size()));
  return status.code() == ErrorCode::kAlreadyExists ? Status() : status;
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
      if (RuleHolds(Rule::kCopyFirst)) RETURN_IF_ERROR(Copy(sequence_, Copied(ops)).WithContext("the change is made, but its copy in the object store failed"));
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
  with_sequence.push_back(MetaOp::Put(std::string(keys_.sequence_key), SequenceValue(sequence_ + 1, Copied(ops))));
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
  const std::string name = Numbered(keys_.snapshot_prefix, sequence_);
  RETURN_IF_ERROR(objects_->Put(name, bytes));
  snapshot_bytes_ = BytesOnDisk(static_cast<int64_t>(bytes.size()));
  log_bytes_ = 0;
  for (const std::string_view prefix : {keys_.snapshot_prefix, keys_.log_prefix}) {
    ASSIGN_OR_RETURN(const std::vector<ObjectInfo> objects, objects_->List(std::string(prefix)));
    for (const ObjectInfo& object : objects) {
      const auto number = IdInKey(object.name);
      if (!number || *number > sequence_ || object.name == name) continue;
      RETURN_IF_ERROR(objects_->Delete(object.name));
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

Result<Revision> CatalogWriter::UpdateBoth(CollectionId first, CollectionId second, const ChangeBoth& change) {
  return UntilNoConflict("the collection", [&]() -> Result<Revision> {
    ASSIGN_OR_RETURN(Read a, ReadLiving(first));
    ASSIGN_OR_RETURN(Read b, ReadLiving(second));
    RETURN_IF_ERROR(change(a.collection, b.collection));
    ++a.collection.version;
    ++b.collection.version;
    return Commit({a.unchanged, b.unchanged}, {MetaOp::Put(CollectionKey(first), Encode(a.collection)),
                                               MetaOp::Put(CollectionKey(second), Encode(b.collection))});
  });
}

}  // namespace saker
