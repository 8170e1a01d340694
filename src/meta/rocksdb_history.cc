#include "meta/rocksdb_history.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/snapshot.h>
#include <rocksdb/write_batch.h>

#include "meta/transaction.h"

namespace saker {
namespace {

constexpr int64_t kBatchBytes = 1 << 20;  // of one batch replayed to a watch

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
void Keep(rocksdb::Status& first, rocksdb::Status next) {
  if (first.ok()) first = std::move(next);
}

// Row keys from `begin` up to `end`, exclusive.
class RowScan {
 public:
  RowScan(rocksdb::DB& db, std::string begin, std::string end, bool fill_cache,
          const rocksdb::Snapshot* snapshot = nullptr)
      : begin_(std::move(begin)), end_(std::move(end)), bound_(end_) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;
    options.iterate_upper_bound = &bound_;
    options.fill_cache = fill_cache;
    it_.reset(db.NewIterator(options));
  }
  rocksdb::Iterator* operator->() const { return it_.get(); }
  void SeekToFirst() { it_->Seek(begin_); }
  std::string_view key() const { return View(it_->key()); }
  std::string_view value() const { return View(it_->value()); }

 private:
  const std::string begin_;
  const std::string end_;
  const rocksdb::Slice bound_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

KeyValue ValueOf(std::string_view key, Revision revision, HistoryRow row) {
  return {std::string(key), std::move(row.value), row.create_revision, revision, row.version, row.lease};
}

}  // namespace

Status FromRocksdb(const std::string& store, std::string_view action, const rocksdb::Status& status) {
  const std::string message = fmt::format("meta store {}: can't {}: {}", store, action, status.ToString());
  if (status.IsNoSpace()) return {ErrorCode::kDiskLimitExceeded, message + ": the disk is full, free some space on it"};
  if (status.IsCorruption()) return {ErrorCode::kCorrupted, message};
  return {ErrorCode::kIoFailed, message};
}

Status RocksdbHistory::Damaged(std::string_view what) const {
  return {ErrorCode::kCorrupted, fmt::format("meta store {}: {} does not decode", store_, what)};
}

// The newest row of each key that isn't a tombstone.
Status RocksdbHistory::Load(KeyIndex& keys, std::map<Revision, int64_t>& bytes) const {
  RowScan rows(db_, HistoryPrefix(""), PrefixEnd(HistoryPrefix("")), /*fill_cache=*/false);
  for (rows.SeekToFirst(); rows->Valid(); rows->Next()) {
    std::string_view key;
    Revision revision = 0;
    auto row = DecodeHistory(rows.value());
    if (!ParseHistoryKey(rows.key(), key, revision) || !row) return Damaged("a key's history");
    bytes[revision] += static_cast<int64_t>(rows.key().size() + rows.value().size());
    if (row->deleted) {
      if (const auto present = keys.find(key); present != keys.end()) keys.erase(present);
    } else {
      keys[std::string(key)] = ValueOf(key, revision, std::move(*row));
    }
  }
  return rows->status().ok() ? Status() : Failed(rows->status());
}

Result<std::vector<KeyValue>> RocksdbHistory::Range(const std::string& prefix, Revision at, const Check& check) const {
  RowScan rows(db_, HistoryPrefix(prefix), PrefixEnd(HistoryPrefix(prefix)), /*fill_cache=*/true);
  RETURN_IF_ERROR(check());
  std::vector<KeyValue> out;
  for (rows.SeekToFirst(); rows->Valid(); rows->Next()) {
    std::string_view key;
    Revision revision = 0;
    auto row = DecodeHistory(rows.value());
    if (!ParseHistoryKey(rows.key(), key, revision) || !row) return Damaged("a key's history");
    if (revision > at) continue;
    // A later row of the same key takes the place of the earlier.
    if (!out.empty() && out.back().key == key) out.pop_back();
    if (!row->deleted) out.push_back(ValueOf(key, revision, std::move(*row)));
  }
  if (!rows->status().ok()) return Failed(rows->status());
  return out;
}

Result<KeyValue> RocksdbHistory::Get(const std::string& key, Revision at, const Check& check) const {
  RowScan rows(db_, HistoryKey(key, 0), HistoryKey(key, at + 1), /*fill_cache=*/true);
  RETURN_IF_ERROR(check());
  rows->SeekForPrev(HistoryKey(key, at));
  if (!rows->status().ok()) return Failed(rows->status());
  if (rows->Valid()) {
    std::string_view found;
    Revision revision = 0;
    auto row = DecodeHistory(rows.value());
    if (!ParseHistoryKey(rows.key(), found, revision) || !row) return Damaged("a key's history");
    if (found == key && !row->deleted) return ValueOf(key, revision, std::move(*row));
  }
  return {ErrorCode::kIoKeyNotFound, fmt::format("key \"{}\" is not in the meta store at revision {}", key, at)};
}

Result<WatchHub::History> RocksdbHistory::Revisions(const std::string& prefix, Revision from, Revision until,
                                                    const Check& check) const {
  // The snapshot pins revisions and rows alike.
  rocksdb::ManagedSnapshot snapshot(&db_);
  rocksdb::ReadOptions points;
  points.snapshot = snapshot.snapshot();
  points.fill_cache = false;
  RowScan revisions(db_, RevisionKey(from), RevisionKey(until + 1), /*fill_cache=*/false, snapshot.snapshot());
  RETURN_IF_ERROR(check());
  WatchHub::History history;
  history.until = until;
  size_t counted = 0;
  int64_t bytes = 0;
  for (revisions.SeekToFirst(); revisions->Valid(); revisions->Next()) {
    Revision revision = 0;
    const auto keys = DecodeKeys(revisions.value());
    if (!ParseRevisionKey(revisions.key(), revision) || !keys) return Damaged("a revision");
    RETURN_IF_ERROR(Events(points, revision, *keys, prefix, history.events));
    for (; counted < history.events.size(); ++counted) {
      bytes += static_cast<int64_t>(history.events[counted].kv.key.size() + history.events[counted].kv.value.size());
    }
    if (bytes < kBatchBytes) continue;
    history.until = revision;
    break;
  }
  if (!revisions->status().ok()) return Failed(revisions->status());
  return history;
}

// What one revision did to the keys under `prefix`.
Status RocksdbHistory::Events(const rocksdb::ReadOptions& options, Revision revision, const std::vector<std::string>& keys,
                              const std::string& prefix, std::vector<WatchEvent>& out) const {
  for (const std::string& key : keys) {
    if (!key.starts_with(prefix)) continue;
    std::string bytes;
    const auto found = db_.Get(options, HistoryKey(key, revision), &bytes);
    if (!found.ok()) return Failed(found);
    auto row = DecodeHistory(bytes);
    if (!row) return Damaged("a key's history");
    const auto kind = row->deleted ? WatchEvent::Kind::kDelete : WatchEvent::Kind::kPut;
    out.push_back({kind, ValueOf(key, revision, std::move(*row))});
  }
  return {};
}

Status RocksdbHistory::Forget(Revision from, Revision to, rocksdb::WriteBatch& batch) const {
  std::map<std::string, Revision> newest;  // of each key written in these revisions
  rocksdb::Status put;
  RowScan revisions(db_, RevisionKey(from), RevisionKey(to + 1), /*fill_cache=*/false);
  for (revisions.SeekToFirst(); revisions->Valid(); revisions->Next()) {
    Revision revision = 0;
    const auto keys = DecodeKeys(revisions.value());
    if (!ParseRevisionKey(revisions.key(), revision) || !keys) return Damaged("a revision");
    for (const std::string& key : *keys) newest[key] = revision;
    if (revision < to) Keep(put, batch.Delete(revisions->key()));
  }
  Keep(put, revisions->status());
  if (!put.ok()) return Failed(put);
  for (const auto& [key, revision] : newest) RETURN_IF_ERROR(ForgetKey(key, revision, to, batch));
  return {};
}

// Rows of `key` older than its `newest` by `to`, and that one too if all it says is that the key was gone.
Status RocksdbHistory::ForgetKey(const std::string& key, Revision newest, Revision to, rocksdb::WriteBatch& batch) const {
  RowScan rows(db_, HistoryKey(key, 0), HistoryKey(key, newest + 1), /*fill_cache=*/false);
  rocksdb::Status put;
  for (rows.SeekToFirst(); rows->Valid(); rows->Next()) {
    std::string_view row_key;
    Revision revision = 0;
    const auto row = DecodeHistory(rows.value());
    if (!ParseHistoryKey(rows.key(), row_key, revision) || !row) return Damaged("a key's history");
    const bool needed = revision == newest && (!row->deleted || revision == to);
    if (!needed) Keep(put, batch.Delete(rows->key()));
  }
  Keep(put, rows->status());
  return put.ok() ? Status() : Failed(put);
}

}  // namespace saker
