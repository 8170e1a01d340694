#include "datanode/record.h"

#include <gtest/gtest.h>

#include "segment/segment_fixture.h"

namespace saker {
namespace {

ModelRow Row(int64_t key) {
  ModelRow row;
  row.key = key;
  row.text = "text " + std::to_string(key);
  row.vector.assign(kModelDim, static_cast<float>(key));
  return row;
}

WriteRecord Sample(const CollectionSchema& schema) {
  WriteRecord record;
  record.batch_id = 77;
  record.collection = CollectionId(5);
  record.shard = 1;
  record.delete_partition = PartitionId(9);
  record.deletes = KeysOf({1, 2}, false);
  const ModelRow rows[] = {Row(1), Row(2)};
  record.inserts.push_back({PartitionId(9), SegmentId(), BatchOf(schema, rows)});
  record.inserts.push_back({PartitionId(10), SegmentId(), BatchOf(schema, std::span(rows, 1))});
  return record;
}

TEST(Record, AWriteIsFilledInUnderTheLockAndReadBack) {
  const SchemaPtr schema = ModelSchema(false);
  EncodedWrite encoded(Sample(*schema));
  encoded.SetTimestamp(1234);
  encoded.SetSegment(0, SegmentId(31));
  encoded.SetSegment(1, SegmentId(32));
  const std::string bytes = encoded.Take();
  EXPECT_EQ(*KindOf(bytes), RecordKind::kWrite);
  const auto record = DecodeWrite(bytes);
  ASSERT_TRUE(record.ok()) << record.status().ToString();
  EXPECT_EQ(record->batch_id, 77u);
  EXPECT_EQ(record->ts, 1234u);
  EXPECT_EQ(record->collection, CollectionId(5));
  EXPECT_EQ(record->shard, 1);
  EXPECT_EQ(record->delete_partition, PartitionId(9));
  EXPECT_EQ(record->deletes.ints, (std::vector<int64_t>{1, 2}));
  ASSERT_EQ(record->inserts.size(), 2u);
  EXPECT_EQ(record->inserts[0].segment, SegmentId(31));
  EXPECT_EQ(record->inserts[1].segment, SegmentId(32));
  EXPECT_EQ(record->inserts[1].partition, PartitionId(10));
  ASSERT_EQ(record->inserts[0].rows.rows, 2);
  EXPECT_EQ(record->inserts[0].rows.Find(kTextField)->View().Bytes(1), "text 2");
}

TEST(Record, WhatIsCutOffIsNotTakenForARecord) {
  const SchemaPtr schema = ModelSchema(true);
  WriteRecord sample = Sample(*ModelSchema(false));
  const std::string write = EncodedWrite(sample).Take();
  for (size_t cut = 0; cut < write.size(); ++cut) EXPECT_FALSE(DecodeWrite(write.substr(0, cut)).ok()) << cut;
  const std::string barrier = Encode(BarrierRecord{5, CollectionId(6), 7, true, {PartitionId(8), PartitionId(9)}});
  for (size_t cut = 0; cut < barrier.size(); ++cut) EXPECT_FALSE(DecodeBarrier(barrier.substr(0, cut)).ok()) << cut;
  const std::string ceiling = Encode(CeilingRecord{5});
  for (size_t cut = 0; cut < ceiling.size(); ++cut) EXPECT_FALSE(DecodeCeiling(ceiling.substr(0, cut)).ok()) << cut;
  EXPECT_EQ(KindOf("").status().code(), ErrorCode::kCorrupted);
  EXPECT_EQ(KindOf(std::string(1, '\x63')).status().code(), ErrorCode::kCorrupted);
}

TEST(Record, BarriersAndCeilingsSurviveTheirCodec) {
  const auto barrier = DecodeBarrier(Encode(BarrierRecord{5, CollectionId(6), 7, true, {PartitionId(8)}}));
  ASSERT_TRUE(barrier.ok());
  EXPECT_EQ(barrier->ts, 5u);
  EXPECT_EQ(barrier->collection, CollectionId(6));
  EXPECT_EQ(barrier->version, 7);
  EXPECT_TRUE(barrier->dropped);
  EXPECT_EQ(barrier->dropped_partitions, std::vector<PartitionId>{PartitionId(8)});
  EXPECT_EQ(DecodeCeiling(Encode(CeilingRecord{99}))->ceiling, 99u);
  const CeilingRecord summary{99, {{1, 2, 3}, {4, 5, 6}}};
  EXPECT_EQ(DecodeCeiling(Encode(summary))->batches, summary.batches);
  for (size_t cut = 10; cut < Encode(summary).size(); ++cut) EXPECT_FALSE(DecodeCeiling(Encode(summary).substr(0, cut)).ok()) << cut;
}

}  // namespace
}  // namespace saker
