// A segment: rows of one partition of one shard. Growing ones live in memory at the shard's owner; sealed ones are
// immutable files, mapped. Both are read through this interface; rows are numbered from 0 in order of insertion.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bitmap.h"
#include "expr/filter.h"
#include "index/vector_index.h"
#include "model/column.h"
#include "storage/object_store.h"

namespace saker {

// Deletes of one shard at one timestamp (a batch has one).
struct DeleteBatch {
  Timestamp ts = 0;
  PartitionId partition;   // 0: all partitions of the collection
  PrimaryKeys keys;
};

class Segment : public FilterSource {
 public:
  virtual SegmentId id() const = 0;
  virtual PartitionId partition() const = 0;
  virtual const CollectionSchema& schema() const = 0;  // as of writing; fields added later are absent
  // rows() of FilterSource: rows that may be read now. Of a growing segment it rises.
  virtual Timestamp max_ts() const = 0;
  // Insert timestamp of a row.
  virtual Timestamp RowTimestamp(int64_t row) const = 0;
  // Clears from `rows` (of rows() bits, or fewer for a growing segment that grew since) what is not visible at `t`:
  // inserted later, deleted at or before, or inserted before `expired_before` (TTL; 0 = none). Returns false, leaving
  // `rows` alone, if everything is visible: the common case costs nothing.
  virtual bool ClearInvisible(Timestamp t, Timestamp expired_before, Bitmap& rows) const = 0;
  virtual bool IsVisible(int64_t row, Timestamp t, Timestamp expired_before) const = 0;
  // True if every row is visible at `t`, found out without looking at rows; false: perhaps not.
  virtual bool AllVisible(Timestamp t, Timestamp expired_before) const {
    (void)t, (void)expired_before;
    return false;
  }
  // Clears from `rows` what is deleted at or before `until`, whenever it was inserted.
  virtual void ClearDeleted(Timestamp until, Bitmap& rows) const;
  // The last deletion of one of its rows at or before `until`; 0: none.
  virtual Timestamp LastDeletion(Timestamp until) const = 0;
  // The last deletion whose row was left out when this segment was written: a read before it would miss that row.
  virtual Timestamp dropped_until() const { return 0; }
  // Checks the files behind these fields (fields it lacks are skipped) the first time it is asked, then remembers:
  // kCorrupted names the object. Searching, querying and fetching ask it before they read columns; so must whoever
  // reads chunks of a sealed segment by ChunkAt, which of a damaged column knows nothing but nullopt.
  virtual Status Check(std::span<const FieldId> fields) const {
    (void)fields;
    return {};
  }
  // False if no two rows share a key.
  virtual bool may_repeat_keys() const { return true; }
  // The row with the i-th smallest key; -1 if this segment keeps no order (growing).
  virtual int64_t RowInKeyOrder(int64_t i) const {
    (void)i;
    return -1;
  }
  // Between which values a field lies, if that is known.
  struct Bounds {
    Value min;
    Value max;
  };
  virtual std::optional<Bounds> BoundsOf(FieldId field) const {
    (void)field;
    return std::nullopt;
  }
  // Rows with these keys, any version, appended as (index into keys, row), through the key index; a key's rows in no
  // particular order. Rows above the rows() of an earlier moment may be among them.
  virtual void FindKeys(const PrimaryKeys& keys, std::vector<std::pair<int64_t, int64_t>>& out) const = 0;
  // Applies deletes: rows of these keys inserted before batch.ts are gone from batch.ts on. Batches come in rising ts;
  // one that was applied before is harmless. Thread-safe against readers.
  virtual void Delete(const DeleteBatch& batch) = 0;
  virtual int64_t deleted_rows() const = 0;
  // The vector index on a field; null: none (yet), search is exact. Held while searching.
  virtual std::shared_ptr<const VectorIndex> VectorIndexOn(FieldId field) const { (void)field; return nullptr; }
  // The scalar index on a field, held while filtering. IndexOn gives the same one, for as long as it stays attached.
  virtual std::shared_ptr<const ScalarIndex> ScalarIndexOn(FieldId field) const { (void)field; return nullptr; }
  virtual int64_t memory_bytes() const = 0;
};
using SegmentPtr = std::shared_ptr<Segment>;

// Rows appended to a growing segment: the batch's columns, found by field id, all at one timestamp. Timestamps rise from
// batch to batch. A column the batch lacks gets its default or null; one that the segment's schema lacks is dropped, so
// that after a schema change the owner begins a new segment.
class GrowingSegment : public Segment {
 public:
  // One writer at a time; readers see whole batches only.
  virtual void Append(const RowBatch& batch, Timestamp ts) = 0;
  virtual int64_t size_bytes() const = 0;
  virtual Timestamp min_ts() const = 0;
};
std::shared_ptr<GrowingSegment> NewGrowingSegment(SegmentId id, PartitionId partition, SchemaPtr schema);

// What a written segment consists of: the content of its manifest (docs/format/segment.md).
struct SegmentFiles {
  std::string manifest;   // object name; the columns' names are in it
  int64_t rows = 0;
  int64_t size_bytes = 0;
  Timestamp min_ts = 0;
  Timestamp max_ts = 0;
  Timestamp dropped_until = 0;  // the last deletion of a row left out here or in a source; 0: none was
};

// Writes rows as a sealed segment under `prefix` (unique: "segments/<collection>/<segment>/<epoch-or-job>"). Rows whose
// deletion is at or before `deletes_until` are left out; later deletes are the delete stream's business. Manifest last.
// Sources are written one after another (compaction gives several); of a growing one the rows it has at the call. Fields
// of `schema` that a source lacks are written with their default or null.
struct SegmentWriteRequest {
  ObjectStore* store = nullptr;
  std::string prefix;
  SegmentId id;
  PartitionId partition;
  SchemaPtr schema;
  std::vector<SegmentPtr> sources;
  Timestamp deletes_until = 0;      // 0: keep every row
  Timestamp expired_before = 0;
};
Result<SegmentFiles> WriteSegment(const SegmentWriteRequest& request);

// Opens a sealed segment by mapping its files; checks the manifest's checksum and each block's when it is first used
// (VerifySegment reads all). kCorrupted names the file.
Result<SegmentPtr> OpenSegment(ObjectStore* store, const SegmentMeta& meta);
Status VerifySegment(ObjectStore* store, const SegmentMeta& meta);
// Adds an index to an open sealed segment; searches under way keep what they hold.
Status AttachIndex(const SegmentPtr& segment, ObjectStore* store, const IndexMeta& index, const SegmentIndex& built);
void DetachIndex(const SegmentPtr& segment, FieldId field);

// Delete segments (SegmentKind::kDeletes): batches in rising ts.
Result<SegmentFiles> WriteDeletes(ObjectStore* store, const std::string& prefix, SegmentId id, const std::vector<DeleteBatch>& batches);
Result<std::vector<DeleteBatch>> ReadDeletes(ObjectStore* store, const SegmentMeta& meta);

// All object names a segment consists of (garbage collection, backup): from its manifest and its indexes.
Result<std::vector<std::string>> ObjectsOf(ObjectStore* store, const SegmentMeta& meta);

// The vectors of one field of an open sealed segment, for index building. Null rows are zero vectors.
Result<VectorView> VectorsOf(const Segment& segment, FieldId field);

}  // namespace saker
