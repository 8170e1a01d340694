#include "datanode/record.h"

#include <cstring>

#include "base/bytes.h"

namespace saker {
namespace {

Status Damaged(const char* what) {
  return {ErrorCode::kCorrupted, std::string("a log record is not a valid ") + what + " record"};
}

}  // namespace

EncodedWrite::EncodedWrite(const WriteRecord& record) {
  size_t bytes = 64 + static_cast<size_t>(record.deletes.size()) * 16;
  for (const auto& insert : record.inserts) bytes += static_cast<size_t>(insert.rows.size_bytes()) + 1024;
  bytes_.reserve(bytes);
  ByteWriter out(bytes_);
  out.Put(RecordKind::kWrite);
  out.Put(record.batch_id);
  ts_at_ = out.size();
  out.Put(record.ts);
  out.Put(record.collection.value);
  out.Put(record.shard);
  out.Put(record.delete_partition.value);
  record.deletes.EncodeTo(bytes_);
  out.Put<uint32_t>(static_cast<uint32_t>(record.inserts.size()));
  for (const auto& insert : record.inserts) {
    out.Put(insert.partition.value);
    segment_at_.push_back(out.size());
    out.Put(insert.segment.value);
    insert.rows.EncodeTo(bytes_);
  }
}

void EncodedWrite::SetTimestamp(Timestamp ts) { Patch(ts_at_, static_cast<int64_t>(ts)); }
void EncodedWrite::SetSegment(size_t insert, SegmentId segment) { Patch(segment_at_[insert], segment.value); }
void EncodedWrite::Patch(size_t at, int64_t value) { std::memcpy(bytes_.data() + at, &value, sizeof(value)); }

std::string Encode(const BarrierRecord& record) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(RecordKind::kBarrier);
  out.Put(record.ts);
  out.Put(record.collection.value);
  out.Put(record.version);
  out.Put<uint8_t>(record.dropped);
  out.Put<uint32_t>(static_cast<uint32_t>(record.dropped_partitions.size()));
  for (const auto partition : record.dropped_partitions) out.Put(partition.value);
  return bytes;
}

std::string Encode(const CeilingRecord& record) {
  std::string bytes;
  ByteWriter out(bytes);
  out.Put(RecordKind::kCeiling);
  out.Put(record.ceiling);
  if (record.batches.empty()) return bytes;
  out.Put(static_cast<uint32_t>(record.batches.size()));
  for (const LoggedBatch& batch : record.batches) {
    out.Put(batch.id);
    out.Put(batch.shard);
    out.Put(batch.ts);
  }
  return bytes;
}

Result<RecordKind> KindOf(std::string_view payload) {
  ByteReader in(payload);
  const auto kind = in.Get<RecordKind>();
  if (!in.ok() || kind < RecordKind::kWrite || kind > RecordKind::kCeiling) {
    return Status(ErrorCode::kCorrupted, "a log record is of unknown kind " + std::to_string(static_cast<int>(kind)));
  }
  return kind;
}

Result<WriteRecord> DecodeWrite(std::string_view payload) {
  ByteReader in(payload);
  WriteRecord record;
  in.Get<RecordKind>();
  record.batch_id = in.Get<uint64_t>();
  record.ts = in.Get<Timestamp>();
  record.collection = CollectionId(in.Get<int64_t>());
  record.shard = in.Get<int32_t>();
  record.delete_partition = PartitionId(in.Get<int64_t>());
  if (!in.ok()) return Damaged("write");
  size_t position = in.position();
  ASSIGN_OR_RETURN(record.deletes, PrimaryKeys::Decode(payload, position));
  ByteReader tail(payload);
  tail.GetRaw(position);
  const auto count = tail.Get<uint32_t>();
  for (uint32_t i = 0; i < count && tail.ok(); ++i) {
    InsertRecord insert;
    insert.partition = PartitionId(tail.Get<int64_t>());
    insert.segment = SegmentId(tail.Get<int64_t>());
    if (!tail.ok()) break;
    position = tail.position();
    ASSIGN_OR_RETURN(insert.rows, RowBatch::Decode(payload, position));
    tail.GetRaw(position - tail.position());
    record.inserts.push_back(std::move(insert));
  }
  if (!tail.ok()) return Damaged("write");
  return record;
}

Result<BarrierRecord> DecodeBarrier(std::string_view payload) {
  ByteReader in(payload);
  BarrierRecord record;
  in.Get<RecordKind>();
  record.ts = in.Get<Timestamp>();
  record.collection = CollectionId(in.Get<int64_t>());
  record.version = in.Get<int64_t>();
  record.dropped = in.Get<uint8_t>() != 0;
  const auto count = in.Get<uint32_t>();
  for (uint32_t i = 0; i < count && in.ok(); ++i) record.dropped_partitions.emplace_back(in.Get<int64_t>());
  if (!in.ok()) return Damaged("barrier");
  return record;
}

Result<CeilingRecord> DecodeCeiling(std::string_view payload) {
  ByteReader in(payload);
  in.Get<RecordKind>();
  CeilingRecord record{in.Get<Timestamp>()};
  const auto batches = in.ok() && in.remaining() > 0 ? in.Get<uint32_t>() : 0;
  for (uint32_t i = 0; i < batches && in.ok(); ++i) {
    LoggedBatch& batch = record.batches.emplace_back();
    batch.id = in.Get<uint64_t>();
    batch.shard = in.Get<int32_t>();
    batch.ts = in.Get<Timestamp>();
  }
  if (!in.ok()) return Damaged("ceiling");
  return record;
}

}  // namespace saker
