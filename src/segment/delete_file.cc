// Delete segments: one object, docs/format/segment.md.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "segment/segment.h"

namespace saker {
namespace {

constexpr uint32_t kMagic = 0x44534b53;  // "SKSD"
constexpr uint32_t kVersion = 1;

}  // namespace

Result<SegmentFiles> WriteDeletes(ObjectStore* store, const std::string& prefix, SegmentId id,
                                  const std::vector<DeleteBatch>& batches) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.Put(kMagic);
  writer.Put(kVersion);
  writer.Put(id.value);
  writer.Put<uint64_t>(batches.size());
  SegmentFiles files;
  for (const DeleteBatch& batch : batches) {
    writer.Put(batch.ts);
    writer.Put(batch.partition.value);
    batch.keys.EncodeTo(bytes);
    files.rows += batch.keys.size();
    files.min_ts = files.min_ts == 0 ? batch.ts : std::min(files.min_ts, batch.ts);
    files.max_ts = std::max(files.max_ts, batch.ts);
  }
  writer.Put(Crc32c(bytes));
  files.manifest = prefix + "/deletes";
  files.size_bytes = static_cast<int64_t>(bytes.size());
  RETURN_IF_ERROR(store->Put(files.manifest, bytes));
  return files;
}

Result<std::vector<DeleteBatch>> ReadDeletes(ObjectStore* store, const SegmentMeta& meta) {
  ASSIGN_OR_RETURN(const std::string bytes, store->Get(meta.manifest));
  const auto corrupted = [&](std::string_view why) {
    return Status(ErrorCode::kCorrupted, fmt::format("delete file {} is damaged: {}", meta.manifest, why));
  };
  ByteReader reader(bytes);
  if (reader.Get<uint32_t>() != kMagic) return corrupted("it does not begin as one");
  if (const auto version = reader.Get<uint32_t>(); reader.ok() && version != kVersion) {
    return Status(ErrorCode::kUnimplemented, fmt::format("delete file {} has version {}, this build reads version {}",
                                                         meta.manifest, version, kVersion));
  }
  if (bytes.size() < 3 * sizeof(uint32_t)) return corrupted("it is cut short");
  const std::string_view body = std::string_view(bytes).substr(0, bytes.size() - sizeof(uint32_t));
  ByteReader trailer(std::string_view(bytes).substr(body.size()));
  if (trailer.Get<uint32_t>() != Crc32c(body)) return corrupted("its checksum does not match");
  reader.Get<int64_t>();  // the segment's id: for people who look into the file
  const auto count = reader.Get<uint64_t>();
  size_t position = reader.position();
  std::vector<DeleteBatch> batches;
  for (uint64_t i = 0; i < count; ++i) {
    ByteReader head(body.substr(position));
    DeleteBatch batch;
    batch.ts = head.Get<Timestamp>();
    batch.partition.value = head.Get<int64_t>();
    if (!head.ok()) return corrupted("it is cut short");
    position += head.position();
    ASSIGN_OR_RETURN(batch.keys, PrimaryKeys::Decode(body, position));
    batches.push_back(std::move(batch));
  }
  return batches;
}

}  // namespace saker
