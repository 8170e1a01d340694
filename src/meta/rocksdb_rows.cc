#include "meta/rocksdb_rows.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace saker {
namespace {

constexpr uint8_t kVersion = 1;
constexpr std::string_view kHistory = "k/";
constexpr std::string_view kRevisions = "r/";
constexpr size_t kRevisionBytes = 8;

// Big endian, so that rows sort by revision.
void AppendRevision(std::string& out, Revision revision) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(revision >> shift));
}
Revision ReadRevision(std::string_view bytes) {
  uint64_t revision = 0;
  for (const char byte : bytes) revision = revision << 8 | static_cast<unsigned char>(byte);
  return static_cast<Revision>(revision);
}

}  // namespace

std::string HistoryPrefix(std::string_view key_prefix) { return std::string(kHistory).append(key_prefix); }

std::string HistoryKey(std::string_view key, Revision revision) {
  std::string out = HistoryPrefix(key);
  out.push_back('\0');
  AppendRevision(out, revision);
  return out;
}

bool ParseHistoryKey(std::string_view row_key, std::string_view& key, Revision& revision) {
  if (!row_key.starts_with(kHistory) || row_key.size() < kHistory.size() + 1 + kRevisionBytes) return false;
  revision = ReadRevision(row_key.substr(row_key.size() - kRevisionBytes));
  key = row_key.substr(kHistory.size(), row_key.size() - kHistory.size() - 1 - kRevisionBytes);
  return true;
}

std::string EncodeHistory(const HistoryRow& row) {
  std::string out;
  ByteWriter writer(out);
  writer.Put(kVersion);
  writer.Put(row.deleted);
  writer.Put(row.create_revision);
  writer.Put(row.version);
  writer.Put(row.lease);
  writer.PutRaw(row.value);
  return out;
}

std::optional<HistoryRow> DecodeHistory(std::string_view bytes) {
  ByteReader reader(bytes);
  HistoryRow row;
  if (reader.Get<uint8_t>() != kVersion) return std::nullopt;
  row.deleted = reader.Get<uint8_t>() != 0;
  row.create_revision = reader.Get<Revision>();
  row.version = reader.Get<int64_t>();
  row.lease = reader.Get<LeaseId>();
  row.value = reader.GetRaw(reader.remaining());
  return reader.ok() ? std::optional(std::move(row)) : std::nullopt;
}

std::string RevisionKey(Revision revision) {
  std::string out(kRevisions);
  AppendRevision(out, revision);
  return out;
}

bool ParseRevisionKey(std::string_view row_key, Revision& revision) {
  if (!row_key.starts_with(kRevisions) || row_key.size() != kRevisions.size() + kRevisionBytes) return false;
  revision = ReadRevision(row_key.substr(kRevisions.size()));
  return true;
}

std::string EncodeKeys(const std::vector<WatchEvent>& events) {
  std::string out;
  ByteWriter writer(out);
  for (const WatchEvent& event : events) writer.PutBytes(event.kv.key);
  return out;
}

std::optional<std::vector<std::string>> DecodeKeys(std::string_view bytes) {
  ByteReader reader(bytes);
  std::vector<std::string> keys;
  while (reader.ok() && !reader.done()) keys.emplace_back(reader.GetBytes());
  return reader.ok() ? std::optional(std::move(keys)) : std::nullopt;
}

std::string EncodeState(const StateRow& state) {
  std::string out;
  ByteWriter writer(out);
  writer.Put(kVersion);
  writer.Put(state.revision);
  writer.Put(state.compacted);
  return out;
}

Result<StateRow> DecodeState(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto version = reader.Get<uint8_t>();
  StateRow state;
  state.revision = reader.Get<Revision>();
  state.compacted = reader.Get<Revision>();
  if (version != kVersion) {
    return {ErrorCode::kCorrupted, fmt::format("the meta store has format version {}, this build reads {}: use the build "
                                               "that wrote it or a later one", version, kVersion)};
  }
  if (!reader.ok()) return {ErrorCode::kCorrupted, "the meta store's state row is damaged"};
  return state;
}

}  // namespace saker
