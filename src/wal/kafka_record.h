// What a record of the log is in Kafka: docs/format/kafka_log.md is the page about it.
//
// The key of a Kafka record is a header of 44 bytes, its value the payload or a piece of it. A payload longer than a
// piece takes several records, with rising sequence numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "wal/log.h"

namespace saker {

enum class KafkaRecordType : uint8_t { kData = 0, kFence = 1, kCheckpoint = 2 };

struct KafkaRecordHeader {
  KafkaRecordType type = KafkaRecordType::kData;
  Epoch epoch = 0;
  uint64_t incarnation = 0;  // of the writer: random, drawn when a log is opened
  uint64_t sequence = 0;     // a fence has 0; what its owner appends after it has 1, 2, 3, …
  uint32_t piece = 0;        // of so many pieces of one payload
  uint32_t pieces = 1;
  uint32_t checksum = 0;  // CRC-32C of what precedes it, seeded with that of the value
  bool operator==(const KafkaRecordHeader&) const = default;
};
inline constexpr size_t kKafkaHeaderBytes = 44;

// Fills in the checksum, and returns the key. `value_checksum` is Crc32c(value).
std::string EncodeKafkaHeader(KafkaRecordHeader& header, uint32_t value_checksum);

enum class KafkaRecordKind { kOurs, kForeign, kDamaged, kLater };
// kForeign: somebody else's record, which is not in our format. kLater: of a later version of the format.
KafkaRecordKind DecodeKafkaHeader(std::string_view key, std::string_view value, KafkaRecordHeader* header);

// The value of a checkpoint: where the channel begins from now on, and what a reader who starts there has to know.
struct KafkaCheckpoint {
  LogOffset before = 0;         // the channel's new begin
  LogOffset resume = 0;         // `before`, or the end of the payload that it lies within
  LogOffset fence_offset = -1;  // the fence in force at `resume`
  Epoch epoch = 0;
  uint64_t incarnation = 0;
  uint64_t sequence = 1;  // of the next record that counts, at `resume`
  bool operator==(const KafkaCheckpoint&) const = default;
};
std::string EncodeKafkaCheckpoint(const KafkaCheckpoint& checkpoint);
bool DecodeKafkaCheckpoint(std::string_view value, KafkaCheckpoint* checkpoint);

}  // namespace saker
