// What a datanode writes into its log records (docs/format/wal_record.md). The log adds offset, epoch and checksum.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/column.h"

namespace saker {

enum class RecordKind : uint8_t { kWrite = 1, kBarrier = 2, kCeiling = 3 };

struct InsertRecord {
  PartitionId partition;
  SegmentId segment;       // the growing segment these rows belong to
  RowBatch rows;
};

// The part of a write request that concerns one shard.
struct WriteRecord {
  uint64_t batch_id = 0;
  Timestamp ts = 0;
  CollectionId collection;
  int32_t shard = 0;
  PartitionId delete_partition;
  PrimaryKeys deletes;
  std::vector<InsertRecord> inserts;
};

// From here on requests against older versions of the collection are refused.
struct BarrierRecord {
  Timestamp ts = 0;
  CollectionId collection;
  int64_t version = 0;
  bool dropped = false;
  std::vector<PartitionId> dropped_partitions;
};

// What a batch had for one shard: logged, and stamped then.
struct LoggedBatch {
  uint64_t id = 0;
  int32_t shard = 0;
  Timestamp ts = 0;
  bool operator==(const LoggedBatch&) const = default;
};

// Reads were, or may have been, served at timestamps up to here. Also the payload of a fence.
struct CeilingRecord {
  Timestamp ceiling = 0;
  // Before the log is cut: batches whose records may be cut off, and which may be asked for again.
  std::vector<LoggedBatch> batches = {};
};

// A write is encoded before its timestamp and segments are known, so that the copying happens outside the lock that
// orders appends; the few bytes that depend on the order are filled in under it.
class EncodedWrite {
 public:
  explicit EncodedWrite(const WriteRecord& record);
  void SetTimestamp(Timestamp ts);
  void SetSegment(size_t insert, SegmentId segment);
  size_t size() const { return bytes_.size(); }
  std::string Take() { return std::move(bytes_); }

 private:
  void Patch(size_t at, int64_t value);
  std::string bytes_;
  size_t ts_at_ = 0;
  std::vector<size_t> segment_at_;
};

std::string Encode(const BarrierRecord& record);
std::string Encode(const CeilingRecord& record);

Result<RecordKind> KindOf(std::string_view payload);
Result<WriteRecord> DecodeWrite(std::string_view payload);
Result<BarrierRecord> DecodeBarrier(std::string_view payload);
Result<CeilingRecord> DecodeCeiling(std::string_view payload);

}  // namespace saker
