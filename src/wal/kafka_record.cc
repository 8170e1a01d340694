#include "wal/kafka_record.h"

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x524b4b53;  // "SKKR"
constexpr uint8_t kVersion = 1;

}  // namespace

std::string EncodeKafkaHeader(KafkaRecordHeader& header, uint32_t value_checksum) {
  std::string key;
  key.reserve(kKafkaHeaderBytes);
  ByteWriter out(key);
  out.Put(kMagic);
  out.Put(kVersion);
  out.Put(header.type);
  out.Put<uint16_t>(0);
  out.Put(header.epoch);
  out.Put(header.incarnation);
  out.Put(header.sequence);
  out.Put(header.piece);
  out.Put(header.pieces);
  header.checksum = Crc32c(key, value_checksum);
  out.Put(header.checksum);
  return key;
}

KafkaRecordKind DecodeKafkaHeader(std::string_view key, std::string_view value, KafkaRecordHeader* header) {
  ByteReader in(key);
  if (in.Get<uint32_t>() != kMagic || !in.ok()) return KafkaRecordKind::kForeign;
  if (in.Get<uint8_t>() > kVersion) return KafkaRecordKind::kLater;
  header->type = in.Get<KafkaRecordType>();
  in.Get<uint16_t>();
  header->epoch = in.Get<Epoch>();
  header->incarnation = in.Get<uint64_t>();
  header->sequence = in.Get<uint64_t>();
  header->piece = in.Get<uint32_t>();
  header->pieces = in.Get<uint32_t>();
  header->checksum = in.Get<uint32_t>();
  if (!in.ok() || !in.done() || header->piece >= header->pieces) return KafkaRecordKind::kDamaged;
  if (header->type > KafkaRecordType::kCheckpoint) return KafkaRecordKind::kDamaged;
  const bool whole = header->checksum == Crc32c(key.substr(0, kKafkaHeaderBytes - sizeof(uint32_t)), Crc32c(value));
  return whole ? KafkaRecordKind::kOurs : KafkaRecordKind::kDamaged;
}

std::string EncodeKafkaCheckpoint(const KafkaCheckpoint& checkpoint) {
  std::string value;
  ByteWriter out(value);
  out.Put(checkpoint.before);
  out.Put(checkpoint.resume);
  out.Put(checkpoint.fence_offset);
  out.Put(checkpoint.epoch);
  out.Put(checkpoint.incarnation);
  out.Put(checkpoint.sequence);
  return value;
}

bool DecodeKafkaCheckpoint(std::string_view value, KafkaCheckpoint* checkpoint) {
  ByteReader in(value);
  checkpoint->before = in.Get<LogOffset>();
  checkpoint->resume = in.Get<LogOffset>();
  checkpoint->fence_offset = in.Get<LogOffset>();
  checkpoint->epoch = in.Get<Epoch>();
  checkpoint->incarnation = in.Get<uint64_t>();
  checkpoint->sequence = in.Get<uint64_t>();
  return in.ok() && in.done();
}

}  // namespace saker
