#include <algorithm>

#include "segment/delete_log.h"
#include "segment/growing_column.h"
#include "segment/primary_key_index.h"
#include "segment/segment.h"

namespace saker {
namespace {

// Readers take the number of published rows first and look at nothing beyond; everything below was written before it
// was published and never moves.
class GrowingRows final : public GrowingSegment {
 public:
  GrowingRows(SegmentId id, PartitionId partition, SchemaPtr schema)
      : id_(id), partition_(partition), schema_(std::move(schema)) {
    for (const FieldSchema& field : schema_->fields) columns_.push_back(std::make_unique<GrowingColumn>(field));
    key_column_ = ColumnOf(schema_->PrimaryKey().id);
    key_index_ = std::make_unique<GrowingKeyIndex>(key_column_);
  }

  SegmentId id() const override { return id_; }
  PartitionId partition() const override { return partition_; }
  const CollectionSchema& schema() const override { return *schema_; }
  int64_t rows() const override { return published_.load(std::memory_order_acquire); }
  Timestamp max_ts() const override { return max_ts_.load(std::memory_order_acquire); }
  Timestamp min_ts() const override { return min_ts_.load(std::memory_order_acquire); }
  int64_t size_bytes() const override { return size_bytes_.load(std::memory_order_relaxed); }
  int64_t deleted_rows() const override { return deletes_.count(); }
  bool may_repeat_keys() const override { return key_index_->has_repeated_keys(); }

  void Append(const RowBatch& batch, Timestamp ts) override;
  void Delete(const DeleteBatch& batch) override;
  std::optional<Chunk> ChunkAt(FieldId field, int64_t row) const override;
  Timestamp RowTimestamp(int64_t row) const override { return stamps_[StampOf(row)].ts; }
  bool AllVisible(Timestamp t, Timestamp expired_before) const override {
    return deletes_.NothingUntil(t) && max_ts() <= t && min_ts() >= expired_before;
  }
  bool ClearInvisible(Timestamp t, Timestamp expired_before, Bitmap& rows) const override;
  void ClearDeleted(Timestamp until, Bitmap& rows) const override { deletes_.Clear(until, rows); }
  Timestamp LastDeletion(Timestamp until) const override { return deletes_.LastUntil(until); }
  bool IsVisible(int64_t row, Timestamp t, Timestamp expired_before) const override {
    const Timestamp ts = RowTimestamp(row);
    return ts <= t && ts >= expired_before && !deletes_.IsDeleted(row, t);
  }
  void FindKeys(const PrimaryKeys& keys, std::vector<std::pair<int64_t, int64_t>>& out) const override;
  int64_t memory_bytes() const override;

 private:
  // Rows from first_row on, up to the next stamp's, were inserted at ts.
  struct Stamp {
    int64_t first_row = 0;
    Timestamp ts = 0;
  };
  GrowingColumn* ColumnOf(FieldId field) const;
  int64_t StampOf(int64_t row) const;
  void PublishRows(int64_t count, Timestamp ts);
  template <typename Visit>
  void ForEachRow(const PrimaryKeys& keys, int64_t i, int64_t published, Visit&& visit) const {
    if (keys.is_string) {
      key_index_->ForEach(std::string_view(keys.strings[i]), published, visit);
    } else {
      key_index_->ForEach(keys.ints[i], published, visit);
    }
  }
  bool IsKeyType(const PrimaryKeys& keys) const { return keys.is_string == IsString(key_column_->field().type); }

  const SegmentId id_;
  const PartitionId partition_;
  const SchemaPtr schema_;
  std::vector<std::unique_ptr<GrowingColumn>> columns_;  // in the schema's order
  GrowingColumn* key_column_ = nullptr;
  std::unique_ptr<GrowingKeyIndex> key_index_;
  AppendArray<Stamp> stamps_;
  DeleteLog deletes_;
  std::atomic<int64_t> published_{0};
  std::atomic<Timestamp> min_ts_{0};
  std::atomic<Timestamp> max_ts_{0};
  std::atomic<int64_t> size_bytes_{0};
};

GrowingColumn* GrowingRows::ColumnOf(FieldId field) const {
  for (const auto& column : columns_) {
    if (column->field().id == field) return column.get();
  }
  return nullptr;
}

void GrowingRows::Append(const RowBatch& batch, Timestamp ts) {
  if (batch.rows == 0) return;
  SAKER_CHECK(ts >= max_ts_.load(std::memory_order_relaxed));
  const int64_t first = published_.load(std::memory_order_relaxed);
  for (const auto& column : columns_) {
    const Column* given = batch.Find(column->field().id);
    if (given == nullptr) {
      const Column missing = MissingColumn(column->field(), batch.rows);
      column->Append(missing.View());
      continue;
    }
    SAKER_CHECK(given->rows() == batch.rows && given->type() == column->field().type);
    column->Append(given->View());
  }
  key_index_->Add(first, batch.rows);
  size_bytes_.fetch_add(batch.size_bytes(), std::memory_order_relaxed);
  PublishRows(batch.rows, ts);
}

void GrowingRows::PublishRows(int64_t count, Timestamp ts) {
  const int64_t first = published_.load(std::memory_order_relaxed);
  if (first == 0) min_ts_.store(ts, std::memory_order_release);
  if (first == 0 || ts != max_ts_.load(std::memory_order_relaxed)) stamps_.PushBack({first, ts});
  // Readers take rows() first, max_ts() second: it is never too low for what they look at.
  max_ts_.store(ts, std::memory_order_release);
  published_.store(first + count, std::memory_order_release);
}

void GrowingRows::Delete(const DeleteBatch& batch) {
  if (batch.partition && batch.partition != partition_) return;
  if (!IsKeyType(batch.keys)) return;
  const int64_t published = rows();
  for (int64_t i = 0; i < batch.keys.size(); ++i) {
    ForEachRow(batch.keys, i, published, [&](int64_t row) {
      if (RowTimestamp(row) >= batch.ts) return true;
      // The rows older than one that is deleted are deleted too.
      if (deletes_.IsDeleted(row, batch.ts)) return false;
      deletes_.Add(batch.ts, row);
      return true;
    });
  }
}

std::optional<FilterSource::Chunk> GrowingRows::ChunkAt(FieldId field, int64_t row) const {
  const GrowingColumn* column = ColumnOf(field);
  if (column == nullptr) return std::nullopt;
  return column->ChunkAt(row, rows());
}

int64_t GrowingRows::StampOf(int64_t row) const {
  int64_t low = 0;
  int64_t high = stamps_.size();
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (stamps_[middle].first_row <= row ? low : high) = middle;
  }
  return low;
}

bool GrowingRows::ClearInvisible(Timestamp t, Timestamp expired_before, Bitmap& rows) const {
  bool cleared = false;
  // The first row of a stamp later than or at a time: stamps rise, so this is where a read of the past ends.
  const auto first_row_from = [&](auto&& is_before) {
    int64_t low = 0;
    int64_t high = stamps_.size();
    const int64_t count = high;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (is_before(stamps_[middle].ts)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < count ? stamps_[low].first_row : rows.size();
  };
  if (max_ts() > t) {
    const int64_t first = first_row_from([&](Timestamp ts) { return ts <= t; });
    cleared = first < rows.size();
    ClearRange(rows, first, rows.size());
  }
  if (min_ts() < expired_before) {
    ClearRange(rows, 0, first_row_from([&](Timestamp ts) { return ts < expired_before; }));
    cleared = true;
  }
  return deletes_.Clear(t, rows) || cleared;
}

void GrowingRows::FindKeys(const PrimaryKeys& keys, std::vector<std::pair<int64_t, int64_t>>& out) const {
  if (!IsKeyType(keys)) return;
  const int64_t published = rows();
  for (int64_t i = 0; i < keys.size(); ++i) {
    ForEachRow(keys, i, published, [&](int64_t row) {
      out.emplace_back(i, row);
      return true;
    });
  }
}

int64_t GrowingRows::memory_bytes() const {
  int64_t bytes = sizeof(*this) + key_index_->memory_bytes() + stamps_.memory_bytes() + deletes_.memory_bytes();
  for (const auto& column : columns_) bytes += column->memory_bytes() + static_cast<int64_t>(sizeof(GrowingColumn));
  return bytes;
}

}  // namespace

std::shared_ptr<GrowingSegment> NewGrowingSegment(SegmentId id, PartitionId partition, SchemaPtr schema) {
  return std::make_shared<GrowingRows>(id, partition, std::move(schema));
}

}  // namespace saker
