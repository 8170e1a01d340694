#include "wal/kafka_record.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace saker {
namespace {

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    out += kDigits[static_cast<uint8_t>(c) >> 4];
    out += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return out;
}

KafkaRecordHeader Example() { return {KafkaRecordType::kData, 0x0102030405060708, 0xa1a2a3a4a5a6a7a8, 9, 2, 5, 0}; }

// docs/format/kafka_log.md
TEST(KafkaRecordTest, BytesAreAsDocumented) {
  KafkaRecordHeader header = Example();
  const std::string key = EncodeKafkaHeader(header, Crc32c("payload"));
  EXPECT_EQ(Hex(key.substr(0, 40)),
            "534b4b52"  // magic
            "01"
            "00"
            "0000"              // version, type
            "0807060504030201"  // epoch
            "a8a7a6a5a4a3a2a1"  // incarnation
            "0900000000000000"  // sequence
            "02000000"
            "05000000"  // piece, pieces
  );
  EXPECT_EQ(key.size(), kKafkaHeaderBytes);
  EXPECT_EQ(header.checksum, Crc32c(key.substr(0, 40), Crc32c("payload")));
  KafkaRecordHeader read;
  ASSERT_EQ(DecodeKafkaHeader(key, "payload", &read), KafkaRecordKind::kOurs);
  EXPECT_EQ(read, header);
  const KafkaCheckpoint checkpoint{1, 2, -1, 3, 4, 5};
  const std::string value = EncodeKafkaCheckpoint(checkpoint);
  EXPECT_EQ(Hex(value),
            "0100000000000000"
            "0200000000000000"
            "ffffffffffffffff"
            "0300000000000000"
            "0400000000000000"
            "0500000000000000");
  KafkaCheckpoint again;
  ASSERT_TRUE(DecodeKafkaCheckpoint(value, &again));
  EXPECT_EQ(again, checkpoint);
  EXPECT_FALSE(DecodeKafkaCheckpoint(value.substr(1), &again));
}

TEST(KafkaRecordTest, EveryFlippedBitIsNoticed) {
  KafkaRecordHeader header = Example();
  const std::string key = EncodeKafkaHeader(header, Crc32c("payload"));
  KafkaRecordHeader read;
  for (size_t bit = 0; bit < key.size() * 8; ++bit) {
    std::string bad = key;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(DecodeKafkaHeader(bad, "payload", &read), KafkaRecordKind::kOurs) << bit;
  }
  for (size_t bit = 0; bit < 7 * 8; ++bit) {
    std::string bad = "payload";
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(DecodeKafkaHeader(key, bad, &read), KafkaRecordKind::kDamaged) << bit;
  }
  EXPECT_EQ(DecodeKafkaHeader(key.substr(0, 43), "payload", &read), KafkaRecordKind::kDamaged);
  EXPECT_EQ(DecodeKafkaHeader(key + "x", "payload", &read), KafkaRecordKind::kDamaged);
}

TEST(KafkaRecordTest, StrangersAndLaterVersions) {
  KafkaRecordHeader header = Example();
  std::string key = EncodeKafkaHeader(header, 0);
  KafkaRecordHeader read;
  EXPECT_EQ(DecodeKafkaHeader("", "", &read), KafkaRecordKind::kForeign);
  EXPECT_EQ(DecodeKafkaHeader("user-17", "{}", &read), KafkaRecordKind::kForeign);
  key[4] = 2;
  EXPECT_EQ(DecodeKafkaHeader(key, "", &read), KafkaRecordKind::kLater);
}

}  // namespace
}  // namespace saker
