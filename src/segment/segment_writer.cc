// Writing rows of other segments as a sealed one: column by column, streamed, the manifest last.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/bytes.h"
#include "segment/growing_column.h"
#include "segment/manifest.h"
#include "segment/primary_key_index.h"
#include "segment/segment.h"

namespace saker {
namespace {

constexpr std::string_view kColumnsObject = "columns";
constexpr std::string_view kVectorsObject = "vectors";
// Vectors of at least this size get an object of their own.
constexpr int64_t kOwnObjectBytes = 1 << 20;
constexpr size_t kBufferBytes = 1 << 20;
constexpr size_t kMaxBoundBytes = 256;
constexpr int64_t kMissingRowsAtOnce = 8192;

template <typename T>
std::string_view RawBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// The rows of a source that are to be written.
struct KeptRows {
  SegmentPtr source;
  Bitmap rows;
  int64_t count = 0;

  // Calls f(begin, end) for each run of kept rows.
  template <typename F>
  Status ForEachRun(F&& f) const {
    for (int64_t row = 0; row < rows.size();) {
      if (!rows.Test(row)) {
        ++row;
        continue;
      }
      const int64_t begin = row;
      while (row < rows.size() && rows.Test(row)) ++row;
      RETURN_IF_ERROR(f(begin, row));
    }
    return {};
  }
};

KeptRows Keep(const SegmentPtr& source, const SegmentWriteRequest& request) {
  KeptRows kept;
  kept.source = source;
  kept.rows.Reset(source->rows(), true);
  if (request.deletes_until != 0) source->ClearDeleted(request.deletes_until, kept.rows);
  for (int64_t row = 0; request.expired_before != 0 && row < kept.rows.size(); ++row) {
    if (source->RowTimestamp(row) < request.expired_before) kept.rows.Clear(row);
  }
  kept.count = kept.rows.Count();
  return kept;
}

// An object that columns are appended to; checksums are taken on the way.
class ColumnObject {
 public:
  static Result<std::unique_ptr<ColumnObject>> Create(ObjectStore* store, const std::string& name) {
    ASSIGN_OR_RETURN(auto writer, store->Create(name));
    return std::make_unique<ColumnObject>(std::move(writer));
  }
  explicit ColumnObject(std::unique_ptr<ObjectWriter> writer) : writer_(std::move(writer)) {}

  Status BeginColumn(ColumnFile* file) {
    file_ = nullptr;
    RETURN_IF_ERROR(Align());
    file_ = file;
    file_->offset = static_cast<uint64_t>(position_);
    crc_ = 0;
    block_bytes_ = 0;
    return {};
  }
  Status Append(std::string_view bytes) {
    position_ += static_cast<int64_t>(bytes.size());
    if (file_ != nullptr) Checksum(bytes);
    if (buffer_.size() + bytes.size() > kBufferBytes) RETURN_IF_ERROR(Flush());
    if (bytes.size() >= kBufferBytes) return writer_->Append(bytes);
    buffer_.append(bytes);
    return {};
  }
  // Zeroes up to the next place where a stretch may begin; returns its distance from the column's beginning.
  Result<uint64_t> BeginStretch() {
    RETURN_IF_ERROR(Align());
    return length();
  }
  uint64_t length() const { return static_cast<uint64_t>(position_) - file_->offset; }
  void EndColumn() {
    file_->length = length();
    if (block_bytes_ > 0) file_->checksums.push_back(crc_);
    file_ = nullptr;
  }
  Status Finish() {
    RETURN_IF_ERROR(Flush());
    return writer_->Finish();
  }
  int64_t size() const { return position_; }

 private:
  Status Align() {
    static constexpr char kZeroes[kColumnAlignment] = {};
    const auto over = static_cast<uint64_t>(position_) % kColumnAlignment;
    return over == 0 ? Status() : Append({kZeroes, kColumnAlignment - over});
  }
  void Checksum(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto piece = std::min(bytes.size(), static_cast<size_t>(kChecksumBlockBytes - block_bytes_));
      crc_ = Crc32c(bytes.substr(0, piece), crc_);
      block_bytes_ += static_cast<int64_t>(piece);
      bytes.remove_prefix(piece);
      if (block_bytes_ < kChecksumBlockBytes) continue;
      file_->checksums.push_back(crc_);
      crc_ = 0;
      block_bytes_ = 0;
    }
  }
  Status Flush() {
    if (buffer_.empty()) return {};
    RETURN_IF_ERROR(writer_->Append(buffer_));
    buffer_.clear();
    return {};
  }
  std::unique_ptr<ObjectWriter> writer_;
  std::string buffer_;
  int64_t position_ = 0;
  ColumnFile* file_ = nullptr;  // the column being written
  uint32_t crc_ = 0;
  int64_t block_bytes_ = 0;
};

// The smallest and largest value of a scalar column, as rows pass by.
class BoundsScan {
 public:
  explicit BoundsScan(DataType type) : type_(type) {}
  void Add(const ColumnView& column, int64_t begin, int64_t end) {
    if (IsString(type_)) {
      for (int64_t row = begin; row < end; ++row) {
        if (!column.IsNull(row)) AddString(column.Bytes(row));
      }
    } else if (IsInteger(type_)) {
      for (int64_t row = begin; row < end; ++row) {
        if (!column.IsNull(row)) AddNumber(column.IntAt(row), min_int_, max_int_);
      }
    } else if (type_ == DataType::kFloat || type_ == DataType::kDouble) {
      for (int64_t row = begin; row < end; ++row) {
        if (!column.IsNull(row)) AddNumber(column.NumberAt(row), min_double_, max_double_);
      }
    }
  }
  void Store(ColumnFile& file) const {
    if (!any_ || unknown_) return;
    if (IsString(type_)) {
      file.min = min_string_;
      file.max = max_string_;
    } else if (IsInteger(type_)) {
      file.min = min_int_;
      file.max = max_int_;
    } else {
      file.min = min_double_;
      file.max = max_double_;
    }
  }

 private:
  template <typename T>
  void AddNumber(T value, T& min, T& max) {
    if constexpr (std::is_floating_point_v<T>) unknown_ |= std::isnan(value);
    min = any_ ? std::min(min, value) : value;
    max = any_ ? std::max(max, value) : value;
    any_ = true;
  }
  void AddString(std::string_view value) {
    unknown_ |= value.size() > kMaxBoundBytes;
    if (unknown_) return;
    if (!any_ || value < min_string_) min_string_ = value;
    if (!any_ || value > max_string_) max_string_ = value;
    any_ = true;
  }
  const DataType type_;
  bool any_ = false;
  bool unknown_ = false;
  int64_t min_int_ = 0;
  int64_t max_int_ = 0;
  double min_double_ = 0;
  double max_double_ = 0;
  std::string min_string_;
  std::string max_string_;
};

class SegmentWriter {
 public:
  explicit SegmentWriter(const SegmentWriteRequest& request) : request_(request) {}
  Result<SegmentFiles> Write();

 private:
  Status ChooseRows();
  Status WriteFields();
  Status WriteField(const FieldSchema& field, ColumnObject& object, ColumnFile& file);
  Status WriteTimestamps();
  Status WriteKeys();
  Status WritePart(ColumnPart part, std::string_view bytes);
  Status FinishObject(ColumnObject& object, std::string_view name);
  bool HasOwnObject(const FieldSchema& field) const;
  // Calls f(view, begin, end) for stretches of contiguous kept rows of a field, in the order they are written.
  template <typename F>
  Status ForEachStretch(const FieldSchema& field, F&& f) const;

  const SegmentWriteRequest& request_;
  std::vector<KeptRows> sources_;
  Manifest manifest_;
  std::unique_ptr<ColumnObject> columns_;
  int64_t size_bytes_ = 0;
  Timestamp dropped_until_ = 0;
};

Status SegmentWriter::ChooseRows() {
  bool any = false;
  for (const SegmentPtr& source : request_.sources) {
    std::vector<FieldId> fields;
    for (const FieldSchema& field : request_.schema->fields) fields.push_back(field.id);
    RETURN_IF_ERROR(source->Check(fields));
    sources_.push_back(Keep(source, request_));
    dropped_until_ = std::max({dropped_until_, source->dropped_until(), source->LastDeletion(request_.deletes_until)});
    const KeptRows& kept = sources_.back();
    manifest_.rows += kept.count;
    kept.rows.ForEach([&](int64_t row) {
      const Timestamp ts = source->RowTimestamp(row);
      manifest_.min_ts = any ? std::min(manifest_.min_ts, ts) : ts;
      manifest_.max_ts = any ? std::max(manifest_.max_ts, ts) : ts;
      any = true;
    });
  }
  if (manifest_.rows >= int64_t{1} << 32) {
    return {ErrorCode::kParameterInvalid,
            fmt::format("segment {} would have {} rows, at most 4294967295 are possible", request_.id.value, manifest_.rows)};
  }
  return {};
}

template <typename F>
Status SegmentWriter::ForEachStretch(const FieldSchema& field, F&& f) const {
  for (const KeptRows& kept : sources_) {
    RETURN_IF_ERROR(kept.ForEachRun([&](int64_t begin, int64_t end) -> Status {
      while (begin < end) {
        const auto chunk = kept.source->ChunkAt(field.id, begin);
        int64_t stop = end;
        if (chunk) {
          stop = std::min(end, chunk->first_row + chunk->column.rows);
          RETURN_IF_ERROR(f(chunk->column, begin - chunk->first_row, stop - chunk->first_row));
        } else {
          stop = std::min(end, begin + kMissingRowsAtOnce);
          const Column missing = MissingColumn(field, stop - begin);
          RETURN_IF_ERROR(f(missing.View(), 0, stop - begin));
        }
        begin = stop;
      }
      return {};
    }));
  }
  return {};
}

Status SegmentWriter::WriteField(const FieldSchema& field, ColumnObject& object, ColumnFile& file) {
  file.part = ColumnPart::kField;
  file.field = field.id;
  file.type = field.type;
  file.element_type = field.element_type;
  file.dim = field.dim;
  const bool is_fixed = IsFixedWidth(field.type);
  BoundsScan bounds(field.type);
  std::vector<uint64_t> offsets(is_fixed ? 0 : 1);
  std::vector<uint8_t> valid;
  bool has_nulls = false;
  RETURN_IF_ERROR(object.BeginColumn(&file));
  RETURN_IF_ERROR(ForEachStretch(field, [&](const ColumnView& column, int64_t begin, int64_t end) -> Status {
    bounds.Add(column, begin, end);
    if (field.nullable) {
      for (int64_t row = begin; row < end; ++row) {
        valid.push_back(column.IsNull(row) ? 0 : 1);
        has_nulls |= column.IsNull(row);
      }
    }
    if (is_fixed) {
      return object.Append({reinterpret_cast<const char*>(column.Row(begin)), static_cast<size_t>((end - begin) * column.width)});
    }
    const uint64_t from = column.offsets[begin];
    for (int64_t row = begin; row < end; ++row) {
      offsets.push_back(offsets.back() + (column.offsets[row + 1] - column.offsets[row]));
    }
    return object.Append({column.bytes + from, static_cast<size_t>(column.offsets[end] - from)});
  }));
  file.data_length = object.length();
  if (!is_fixed) {
    ASSIGN_OR_RETURN(file.offsets_at, object.BeginStretch());
    RETURN_IF_ERROR(object.Append(RawBytes(offsets)));
  }
  if (has_nulls) {
    ASSIGN_OR_RETURN(file.valid_at, object.BeginStretch());
    RETURN_IF_ERROR(object.Append(RawBytes(valid)));
  }
  object.EndColumn();
  bounds.Store(file);
  return {};
}

bool SegmentWriter::HasOwnObject(const FieldSchema& field) const {
  return IsVector(field.type) && IsFixedWidth(field.type) &&
         FixedWidth(field.type, field.dim) * manifest_.rows >= kOwnObjectBytes;
}

Status SegmentWriter::FinishObject(ColumnObject& object, std::string_view name) {
  RETURN_IF_ERROR(object.Finish());
  size_bytes_ += object.size();
  manifest_.objects.push_back({std::string(name), static_cast<uint64_t>(object.size())});
  return {};
}

Status SegmentWriter::WriteFields() {
  std::unique_ptr<ColumnObject> vectors;
  for (const FieldSchema& field : request_.schema->fields) {
    const bool own = HasOwnObject(field);
    if (own && vectors == nullptr) {
      ASSIGN_OR_RETURN(vectors, ColumnObject::Create(request_.store, fmt::format("{}/{}", request_.prefix, kVectorsObject)));
    }
    ColumnFile& file = manifest_.columns.emplace_back();
    file.object = own ? 1 : 0;
    RETURN_IF_ERROR(WriteField(field, own ? *vectors : *columns_, file));
  }
  RETURN_IF_ERROR(WriteTimestamps());
  RETURN_IF_ERROR(WriteKeys());
  RETURN_IF_ERROR(FinishObject(*columns_, kColumnsObject));
  return vectors == nullptr ? Status() : FinishObject(*vectors, kVectorsObject);
}

Status SegmentWriter::WritePart(ColumnPart part, std::string_view bytes) {
  ColumnFile& file = manifest_.columns.emplace_back();
  file.part = part;
  RETURN_IF_ERROR(columns_->BeginColumn(&file));
  RETURN_IF_ERROR(columns_->Append(bytes));
  file.data_length = columns_->length();
  columns_->EndColumn();
  return {};
}

Status SegmentWriter::WriteTimestamps() {
  if (manifest_.min_ts == manifest_.max_ts) return {};
  std::vector<Timestamp> stamps;
  stamps.reserve(static_cast<size_t>(manifest_.rows));
  for (const KeptRows& kept : sources_) {
    kept.rows.ForEach([&](int64_t row) { stamps.push_back(kept.source->RowTimestamp(row)); });
  }
  return WritePart(ColumnPart::kTimestamps, RawBytes(stamps));
}

// Rows by rising (key, row); empty if they lie in that order. Sets `repeats` if two are alike.
template <typename Key>
std::vector<uint32_t> KeyOrder(const std::vector<Key>& keys, bool& repeats) {
  repeats = false;
  if (std::is_sorted(keys.begin(), keys.end())) {
    repeats = std::adjacent_find(keys.begin(), keys.end()) != keys.end();
    return {};
  }
  std::vector<std::pair<Key, uint32_t>> sorted(keys.size());
  for (size_t row = 0; row < keys.size(); ++row) sorted[row] = {keys[row], static_cast<uint32_t>(row)};
  std::sort(sorted.begin(), sorted.end());
  std::vector<uint32_t> order(keys.size());
  for (size_t i = 0; i < sorted.size(); ++i) {
    order[i] = sorted[i].second;
    repeats |= i > 0 && sorted[i].first == sorted[i - 1].first;
  }
  return order;
}

Status SegmentWriter::WriteKeys() {
  const FieldSchema& field = request_.schema->PrimaryKey();
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
  std::vector<uint64_t> hashes;
  hashes.reserve(static_cast<size_t>(manifest_.rows));
  RETURN_IF_ERROR(ForEachStretch(field, [&](const ColumnView& column, int64_t begin, int64_t end) -> Status {
    for (int64_t row = begin; row < end; ++row) {
      if (IsString(field.type)) {
        strings.push_back(column.Bytes(row));
        hashes.push_back(KeyHash(strings.back()));
      } else {
        ints.push_back(column.At<int64_t>(row));
        hashes.push_back(KeyHash(ints.back()));
      }
    }
    return {};
  }));
  const std::vector<uint32_t> order =
      IsString(field.type) ? KeyOrder(strings, manifest_.repeats_keys) : KeyOrder(ints, manifest_.repeats_keys);
  if (!order.empty()) RETURN_IF_ERROR(WritePart(ColumnPart::kKeyOrder, RawBytes(order)));
  return WritePart(ColumnPart::kKeyFilter, KeyFilter::Build(hashes));
}

Result<SegmentFiles> SegmentWriter::Write() {
  manifest_.id = request_.id;
  manifest_.partition = request_.partition;
  manifest_.deletes_until = request_.deletes_until;
  manifest_.schema = request_.schema;
  RETURN_IF_ERROR(ChooseRows());
  manifest_.columns.reserve(request_.schema->fields.size() + 3);
  ASSIGN_OR_RETURN(columns_, ColumnObject::Create(request_.store, fmt::format("{}/{}", request_.prefix, kColumnsObject)));
  RETURN_IF_ERROR(WriteFields());
  SegmentFiles files;
  files.manifest = fmt::format("{}/manifest", request_.prefix);
  const std::string manifest = EncodeManifest(manifest_);
  RETURN_IF_ERROR(request_.store->Put(files.manifest, manifest));
  files.rows = manifest_.rows;
  files.size_bytes = size_bytes_ + static_cast<int64_t>(manifest.size());
  files.min_ts = manifest_.min_ts;
  files.max_ts = manifest_.max_ts;
  files.dropped_until = dropped_until_;
  return files;
}

}  // namespace

Result<SegmentFiles> WriteSegment(const SegmentWriteRequest& request) { return SegmentWriter(request).Write(); }

}  // namespace saker
