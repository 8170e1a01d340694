#include "wal/kafka_channel.h"

#include <gtest/gtest.h>

namespace saker {
namespace {

KafkaRecordHeader Header(KafkaRecordType type, uint64_t sequence, uint32_t checksum) {
  return {type, /*epoch=*/1, /*incarnation=*/7, sequence, /*piece=*/0, /*pieces=*/1, checksum};
}

// A writer recognizes its own records by what is visited, to the last bit.
TEST(KafkaChannelScanTest, VisitsTheHeadersThatWereAdded) {
  std::vector<KafkaRecordHeader> added = {Header(KafkaRecordType::kFence, 0, 100)};
  for (uint32_t i = 1; i <= 5; ++i) added.push_back(Header(KafkaRecordType::kData, i, 100 + i * i));
  KafkaChannelScan scan(0);
  for (const KafkaRecordHeader& header : added) scan.Add(header, "value", 5);
  std::vector<KafkaRecordHeader> visited;
  ASSERT_TRUE(scan.Finish([&](LogOffset offset, const KafkaRecordHeader& header, bool counts) {
    EXPECT_EQ(offset, static_cast<LogOffset>(visited.size()));
    EXPECT_TRUE(counts);
    visited.push_back(header);
  }));
  EXPECT_EQ(visited, added);
}

}  // namespace
}  // namespace saker
