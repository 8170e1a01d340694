// A sealed segment as it is open: mapped columns, checked when first used, deletes and indexes in memory.
#pragma once

#include <atomic>
#include <mutex>
#include <unordered_map>

#include "base/mutex.h"
#include "segment/delete_log.h"
#include "segment/manifest.h"
#include "segment/primary_key_index.h"
#include "segment/segment.h"

namespace saker {

// A column in a mapped object. Its checksums are compared once, at its first use; thread-safe.
class MappedColumn {
 public:
  MappedColumn(const ColumnFile& file, int64_t rows, std::shared_ptr<const MappedObject> object);

  // kCorrupted names the object and the place.
  Status Check() const;
  const ColumnFile& file() const { return file_; }
  std::string_view data() const { return bytes_.substr(0, file_.data_length); }
  // Of a kField column; readable after Check() said so.
  const ColumnView& view() const { return view_; }
  const std::shared_ptr<const MappedObject>& object() const { return object_; }

 private:
  enum class State : int { kUnchecked, kSound, kDamaged };
  Status CheckBlocks() const;
  Status CheckOffsets() const;

  const ColumnFile file_;
  const std::shared_ptr<const MappedObject> object_;
  const std::string_view bytes_;  // the column's stretch of the object
  ColumnView view_;
  mutable std::atomic<State> state_{State::kUnchecked};
  mutable std::mutex checking_;
  mutable Status damage_;         // written once, before state_ says kDamaged
};

class SealedSegment final : public Segment {
 public:
  // Maps the manifest's objects, which lie beside `manifest_name`; checks the columns that reads take for granted
  // (keys, timestamps).
  static Result<std::shared_ptr<SealedSegment>> Open(ObjectStore* store, const std::string& manifest_name,
                                                     Manifest manifest);

  SegmentId id() const override { return manifest_.id; }
  PartitionId partition() const override { return manifest_.partition; }
  const CollectionSchema& schema() const override { return *manifest_.schema; }
  int64_t rows() const override { return manifest_.rows; }
  Timestamp max_ts() const override { return manifest_.max_ts; }
  int64_t deleted_rows() const override { return deletes_.count(); }
  bool may_repeat_keys() const override { return manifest_.repeats_keys; }
  int64_t RowInKeyOrder(int64_t i) const override { return keys_.RowAt(i); }

  std::optional<Chunk> ChunkAt(FieldId field, int64_t row) const override;
  Status Check(std::span<const FieldId> fields) const override;
  Status CheckAll() const;
  Timestamp RowTimestamp(int64_t row) const override {
    return timestamps_ == nullptr ? manifest_.max_ts : timestamps_[row];
  }
  bool AllVisible(Timestamp t, Timestamp expired_before) const override {
    return deletes_.NothingUntil(t) && manifest_.max_ts <= t && manifest_.min_ts >= expired_before;
  }
  bool ClearInvisible(Timestamp t, Timestamp expired_before, Bitmap& rows) const override;
  void ClearDeleted(Timestamp until, Bitmap& rows) const override { deletes_.Clear(until, rows); }
  Timestamp LastDeletion(Timestamp until) const override { return deletes_.LastUntil(until); }
  Timestamp dropped_until() const override { return dropped_until_; }
  void SetDroppedUntil(Timestamp ts) { dropped_until_ = ts; }  // before it is shared
  bool IsVisible(int64_t row, Timestamp t, Timestamp expired_before) const override;
  std::optional<Bounds> BoundsOf(FieldId field) const override;
  void FindKeys(const PrimaryKeys& keys, std::vector<std::pair<int64_t, int64_t>>& out) const override;
  void Delete(const DeleteBatch& batch) override;
  const ScalarIndex* IndexOn(FieldId field) const override { return ScalarIndexOn(field).get(); }
  std::shared_ptr<const ScalarIndex> ScalarIndexOn(FieldId field) const override;
  std::shared_ptr<const VectorIndex> VectorIndexOn(FieldId field) const override;
  int64_t memory_bytes() const override;

  // Null: none on this field.
  const MappedColumn* ColumnOf(FieldId field) const;
  void SetVectorIndex(FieldId field, std::shared_ptr<const VectorIndex> index) EXCLUDES(indexes_mutex_);
  void SetScalarIndex(FieldId field, std::shared_ptr<const ScalarIndex> index) EXCLUDES(indexes_mutex_);
  void DropIndexes(FieldId field) EXCLUDES(indexes_mutex_);

  explicit SealedSegment(Manifest manifest) : manifest_(std::move(manifest)) {}

 private:
  Status MapColumns(ObjectStore* store, const std::string& manifest_name);
  Status ReadKeyIndex();
  const MappedColumn* PartOf(ColumnPart part) const;

  Timestamp dropped_until_ = 0;
  const Manifest manifest_;
  std::vector<std::unique_ptr<MappedColumn>> columns_;
  const Timestamp* timestamps_ = nullptr;  // null: all rows are of max_ts
  SealedKeyIndex keys_;
  bool string_keys_ = false;
  DeleteLog deletes_;
  mutable SharedMutex indexes_mutex_;
  std::unordered_map<FieldId, std::shared_ptr<const VectorIndex>> vector_indexes_ GUARDED_BY(indexes_mutex_);
  std::unordered_map<FieldId, std::shared_ptr<const ScalarIndex>> scalar_indexes_ GUARDED_BY(indexes_mutex_);
};

}  // namespace saker
