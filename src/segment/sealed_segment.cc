#include "segment/sealed_segment.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace saker {

// ---- MappedColumn

MappedColumn::MappedColumn(const ColumnFile& file, int64_t rows, std::shared_ptr<const MappedObject> object)
    : file_(file), object_(std::move(object)), bytes_(object_->bytes().substr(file.offset, file.length)) {
  view_.type = file.type;
  view_.element_type = file.element_type;
  view_.dim = file.dim;
  view_.width = file.width();
  view_.rows = rows;
  view_.fixed = reinterpret_cast<const uint8_t*>(bytes_.data());
  view_.bytes = bytes_.data();
  if (file.offsets_at != ColumnFile::kAbsent) {
    view_.offsets = reinterpret_cast<const uint64_t*>(bytes_.data() + file.offsets_at);
  }
  if (file.valid_at != ColumnFile::kAbsent) {
    view_.valid = reinterpret_cast<const uint8_t*>(bytes_.data() + file.valid_at);
  }
}

Status MappedColumn::Check() const {
  State state = state_.load(std::memory_order_acquire);
  if (state == State::kUnchecked) {
    std::lock_guard lock(checking_);
    state = state_.load(std::memory_order_relaxed);
    if (state == State::kUnchecked) {
      damage_ = CheckBlocks();
      if (damage_.ok()) damage_ = CheckOffsets();
      state = damage_.ok() ? State::kSound : State::kDamaged;
      state_.store(state, std::memory_order_release);
    }
  }
  return state == State::kSound ? Status() : damage_;
}

Status MappedColumn::CheckBlocks() const {
  for (size_t block = 0; block < file_.checksums.size(); ++block) {
    const size_t at = block * kChecksumBlockBytes;
    if (Crc32c(bytes_.substr(at, kChecksumBlockBytes)) == file_.checksums[block]) continue;
    return {ErrorCode::kCorrupted,
            fmt::format("object {} is damaged: checksum mismatch in {} bytes at {}", object_->name(),
                        std::min<size_t>(kChecksumBlockBytes, bytes_.size() - at), file_.offset + at)};
  }
  return {};
}

Status MappedColumn::CheckOffsets() const {
  if (view_.offsets == nullptr) return {};
  bool rising = view_.offsets[0] == 0 && view_.offsets[view_.rows] <= file_.data_length;
  for (int64_t row = 0; row < view_.rows; ++row) rising &= view_.offsets[row] <= view_.offsets[row + 1];
  if (rising) return {};
  return {ErrorCode::kCorrupted, fmt::format("object {} is damaged: offsets at {} do not rise", object_->name(),
                                             file_.offset + file_.offsets_at)};
}

// ---- SealedSegment: opening

Result<std::shared_ptr<SealedSegment>> SealedSegment::Open(ObjectStore* store, const std::string& manifest_name,
                                                           Manifest manifest) {
  auto segment = std::make_shared<SealedSegment>(std::move(manifest));
  RETURN_IF_ERROR(segment->MapColumns(store, manifest_name));
  RETURN_IF_ERROR(segment->ReadKeyIndex());
  return segment;
}

Status SealedSegment::MapColumns(ObjectStore* store, const std::string& manifest_name) {
  std::vector<std::shared_ptr<const MappedObject>> objects;
  for (const Manifest::Object& object : manifest_.objects) {
    ASSIGN_OR_RETURN(auto mapped, store->Map(Beside(manifest_name, object.name)));
    if (mapped->bytes().size() != object.size_bytes) {
      return {ErrorCode::kCorrupted, fmt::format("object {} is damaged: it has {} bytes, its manifest says {}",
                                                 mapped->name(), mapped->bytes().size(), object.size_bytes)};
    }
    objects.push_back(std::move(mapped));
  }
  for (const ColumnFile& file : manifest_.columns) {
    columns_.push_back(std::make_unique<MappedColumn>(file, manifest_.rows, objects[file.object]));
  }
  return {};
}

const MappedColumn* SealedSegment::PartOf(ColumnPart part) const {
  for (const auto& column : columns_) {
    if (column->file().part == part) return column.get();
  }
  return nullptr;
}

Status SealedSegment::ReadKeyIndex() {
  const MappedColumn* keys = ColumnOf(schema().PrimaryKey().id);
  RETURN_IF_ERROR(keys->Check());
  string_keys_ = keys->view().width == 0;
  if (const MappedColumn* column = PartOf(ColumnPart::kTimestamps)) {
    RETURN_IF_ERROR(column->Check());
    timestamps_ = reinterpret_cast<const Timestamp*>(column->data().data());
  }
  const uint32_t* order = nullptr;
  if (const MappedColumn* column = PartOf(ColumnPart::kKeyOrder)) {
    RETURN_IF_ERROR(column->Check());
    order = reinterpret_cast<const uint32_t*>(column->data().data());
    if (std::any_of(order, order + rows(), [this](uint32_t row) { return row >= rows(); })) {
      return {ErrorCode::kCorrupted, fmt::format("object {} is damaged: its key order names rows beyond {}",
                                                 column->object()->name(), rows())};
    }
  }
  KeyFilter filter;
  if (const MappedColumn* column = PartOf(ColumnPart::kKeyFilter)) {
    RETURN_IF_ERROR(column->Check());
    filter = KeyFilter(column->data());
  }
  keys_ = SealedKeyIndex(keys->view(), order, filter);
  return {};
}

// ---- columns

const MappedColumn* SealedSegment::ColumnOf(FieldId field) const {
  for (const auto& column : columns_) {
    if (column->file().part == ColumnPart::kField && column->file().field == field) return column.get();
  }
  return nullptr;
}

std::optional<FilterSource::Chunk> SealedSegment::ChunkAt(FieldId field, int64_t row) const {
  (void)row;
  const MappedColumn* column = ColumnOf(field);
  if (column == nullptr || !column->Check().ok()) return std::nullopt;
  return Chunk{0, column->view()};
}

Status SealedSegment::Check(std::span<const FieldId> fields) const {
  for (const FieldId field : fields) {
    const MappedColumn* column = ColumnOf(field);
    if (column != nullptr) RETURN_IF_ERROR(column->Check());
  }
  return {};
}

Status SealedSegment::CheckAll() const {
  for (const auto& column : columns_) RETURN_IF_ERROR(column->Check());
  return {};
}

std::optional<Segment::Bounds> SealedSegment::BoundsOf(FieldId field) const {
  const MappedColumn* column = ColumnOf(field);
  if (column == nullptr || std::holds_alternative<std::monostate>(column->file().min)) return std::nullopt;
  return Bounds{column->file().min, column->file().max};
}

// ---- visibility

bool SealedSegment::ClearInvisible(Timestamp t, Timestamp expired_before, Bitmap& rows) const {
  bool cleared = false;
  if (manifest_.max_ts > t || manifest_.min_ts < expired_before) {
    for (int64_t row = 0; row < rows.size(); ++row) {
      const Timestamp ts = RowTimestamp(row);
      if (ts > t || ts < expired_before) rows.Clear(row);
    }
    cleared = true;
  }
  return deletes_.Clear(t, rows) || cleared;
}

bool SealedSegment::IsVisible(int64_t row, Timestamp t, Timestamp expired_before) const {
  const Timestamp ts = RowTimestamp(row);
  return ts <= t && ts >= expired_before && !deletes_.IsDeleted(row, t);
}

// ---- keys and deletes

void SealedSegment::FindKeys(const PrimaryKeys& keys, std::vector<std::pair<int64_t, int64_t>>& out) const {
  if (keys.is_string != string_keys_) return;
  for (int64_t i = 0; i < keys.size(); ++i) {
    const auto found = [&](int64_t row) { out.emplace_back(i, row); };
    if (string_keys_) {
      keys_.ForEach(std::string_view(keys.strings[i]), found);
    } else {
      keys_.ForEach(keys.ints[i], found);
    }
  }
}

void SealedSegment::Delete(const DeleteBatch& batch) {
  if (batch.partition && batch.partition != partition()) return;
  if (batch.ts <= manifest_.min_ts) return;
  std::vector<std::pair<int64_t, int64_t>> found;
  FindKeys(batch.keys, found);
  for (const auto& [key, row] : found) {
    if (RowTimestamp(row) < batch.ts) deletes_.Add(batch.ts, row);
  }
}

// ---- indexes

std::shared_ptr<const ScalarIndex> SealedSegment::ScalarIndexOn(FieldId field) const {
  ReaderLock lock(indexes_mutex_);
  const auto found = scalar_indexes_.find(field);
  return found == scalar_indexes_.end() ? nullptr : found->second;
}

std::shared_ptr<const VectorIndex> SealedSegment::VectorIndexOn(FieldId field) const {
  ReaderLock lock(indexes_mutex_);
  const auto found = vector_indexes_.find(field);
  return found == vector_indexes_.end() ? nullptr : found->second;
}

void SealedSegment::SetVectorIndex(FieldId field, std::shared_ptr<const VectorIndex> index) {
  WriterLock lock(indexes_mutex_);
  vector_indexes_[field].swap(index);  // what it replaces dies after the lock
}

void SealedSegment::SetScalarIndex(FieldId field, std::shared_ptr<const ScalarIndex> index) {
  WriterLock lock(indexes_mutex_);
  scalar_indexes_[field].swap(index);
}

void SealedSegment::DropIndexes(FieldId field) {
  WriterLock lock(indexes_mutex_);
  vector_indexes_.erase(field);
  scalar_indexes_.erase(field);
}

int64_t SealedSegment::memory_bytes() const {
  int64_t bytes = sizeof(*this) + deletes_.memory_bytes();
  ReaderLock lock(indexes_mutex_);
  for (const auto& [field, index] : vector_indexes_) bytes += index->memory_bytes();
  for (const auto& [field, index] : scalar_indexes_) bytes += index->memory_bytes();
  return bytes;
}

}  // namespace saker
