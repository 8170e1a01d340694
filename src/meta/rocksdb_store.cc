// The embedded meta store: all present keys in memory, every revision in RocksDB, one sync per group of transactions.
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <deque>

#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "meta/rocksdb_rows.h"
#include "meta/rocksdb_store_internal.h"
#include "meta/stage.h"
#include "meta/transaction.h"

namespace saker {
namespace {

constexpr size_t kMaxGroup = 128;                 // transactions made durable by one sync
constexpr int64_t kHistoryBatchBytes = 1 << 20;   // of one batch replayed to a watch
constexpr Revision kCompactStep = 512;            // revisions forgotten at once
constexpr int64_t kReserveBytes = 8 << 20;        // free disk below which nothing is written

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
rocksdb::Slice Slice(std::string_view text) { return {text.data(), text.size()}; }
void Keep(rocksdb::Status& first, rocksdb::Status next) {
  if (first.ok()) first = std::move(next);
}

// RocksDB's own log: what is wrong is worth a line of ours, the rest is not.
class ErrorLog : public rocksdb::Logger {
 public:
  ErrorLog() : Logger(rocksdb::ERROR_LEVEL) {}
  using Logger::Logv;
  void Logv(const char* format, va_list args) override {
    char line[512];
    std::vsnprintf(line, sizeof(line), format, args);
    LogWarn("meta store: {}", line);
  }
};

// Tells the store that RocksDB stopped writing. RocksDB's own recovery is not wanted: it polls for space, and fails for
// good if the disk fills up once more meanwhile. The store opens it anew instead.
class StopListener : public rocksdb::EventListener {
 public:
  explicit StopListener(std::atomic<bool>* stopped) : stopped_(stopped) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override { *stopped_ = true; }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    *auto_recovery = false;
  }

 private:
  std::atomic<bool>* const stopped_;
};

// Small, and silent when idle: the catalog is a few megabytes, and what is durable needs no flush at either end.
rocksdb::Options OptionsFor(rocksdb::Env* env, std::atomic<bool>* stopped) {
  rocksdb::Options options;
  if (env != nullptr) options.env = env;
  options.create_if_missing = true;
  options.info_log = std::make_shared<ErrorLog>();
  options.listeners.push_back(std::make_shared<StopListener>(stopped));
  options.write_buffer_size = 4 << 20;
  options.max_write_buffer_number = 2;
  options.max_total_wal_size = 16 << 20;
  options.target_file_size_base = 8 << 20;
  options.max_bytes_for_level_base = 32 << 20;
  options.level0_file_num_compaction_trigger = 4;
  options.max_background_jobs = 2;
  options.max_open_files = 64;
  options.max_file_opening_threads = 1;
  options.table_cache_numshardbits = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.periodic_compaction_seconds = 0;
  options.ttl = 0;
  options.delete_obsolete_files_period_micros = 0;
  options.skip_stats_update_on_db_open = true;
  options.skip_checking_sst_file_sizes_on_db_open = true;
  options.avoid_flush_during_recovery = true;
  options.avoid_flush_during_shutdown = true;
  options.enable_pipelined_write = false;
  options.allow_concurrent_memtable_write = false;
  options.enable_write_thread_adaptive_yield = false;
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(1 << 20, 0);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

class RocksdbStore : public MetaStore {
 public:
  static Result<std::unique_ptr<MetaStore>> Open(const RocksdbStoreSettings& settings, rocksdb::Env* env);
  ~RocksdbStore() override;

  Result<RangeResult> Range(const std::string& prefix, Revision at) override;
  Result<KeyValue> Get(const std::string& key, Revision at) override;
  Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) override;
  Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) override;
  Result<LeaseId> Grant(std::chrono::seconds ttl) override;
  Status KeepAlive(LeaseId lease) override;
  Status Revoke(LeaseId lease) override;
  bool LeasesExpire() const override { return false; }
  Result<Revision> CurrentRevision() override;
  Status Compact(Revision revision) override;

 private:
  // What waits to be staged.
  struct Change {
    enum class Kind { kTransaction, kRevoke, kCompact };
    Kind kind = Kind::kTransaction;
    const std::vector<Compare>* compares = nullptr;
    const std::vector<MetaOp>* ops = nullptr;
    LeaseId lease = 0;
    Revision compact_to = 0;
    Result<Revision> result = Revision{0};
    bool done = false;
  };

  RocksdbStore(const RocksdbStoreSettings& settings, rocksdb::Env* env) : settings_(settings), env_(env) {}
  Status OpenDb() REQUIRES(db_mutex_);
  Status Load();
  Status LoadKeys(std::vector<std::string>& leased);
  Status Format();

  Result<Revision> Run(Change change);
  void Settle(const std::vector<Change*>& group);
  Status MakeWritable();
  Status Reopen();
  Status CatchUp();
  Status WriteStage(Stage& stage);
  void Show(Stage stage);
  Status Write(rocksdb::WriteBatch* batch, bool sync);

  void CompactWhatIsOld();
  Status CompactTo(Revision revision);
  Status CompactStep(Revision to);
  Status DropHistory(const std::string& key, Revision newest, Revision to, rocksdb::WriteBatch& batch);

  Status CheckKept(Revision at) const EXCLUDES(index_mutex_);
  Status CheckReadable(Revision at) const EXCLUDES(index_mutex_);
  Result<RangeResult> RangeAt(const std::string& prefix, Revision at) const;
  Result<KeyValue> GetAt(const std::string& key, Revision at) const;
  Result<WatchHub::History> ReadHistory(const std::string& prefix, Revision from, Revision until) const;
  Result<WatchHub::History> ReadRevisions(const std::string& prefix, Revision from, Revision until) const;
  Status ReadEvents(const rocksdb::ReadOptions& options, Revision revision, const std::vector<std::string>& keys,
                    const std::string& prefix, std::vector<WatchEvent>& out) const;

  Status FromRocksdb(const rocksdb::Status& status, std::string_view action) const;
  Status Damaged(std::string_view what) const;

  Status NotOpen() const;

  const RocksdbStoreSettings settings_;
  rocksdb::Env* const env_;
  File lock_;
  std::atomic<bool> stopped_{false};  // RocksDB failed to write and has to be opened anew
  // Held by readers of history, and exclusively by the leader while it opens RocksDB anew. The leader reads without.
  mutable SharedMutex db_mutex_;
  std::unique_ptr<rocksdb::DB> db_;  // null: could not be opened anew yet

  // One thread at a time leads: it stages, writes and shows a group while the others wait.
  Mutex queue_mutex_;
  CondVar queue_changed_;
  std::deque<Change*> queue_ GUARDED_BY(queue_mutex_);
  bool led_ GUARDED_BY(queue_mutex_) = false;
  Revision swept_ = 0;    // rows of history before it are gone; behind state_.compacted only after a failed write. The leader's

  // Changed by the leader alone.
  mutable SharedMutex index_mutex_;
  KeyIndex keys_ GUARDED_BY(index_mutex_);
  LeaseIndex leases_ GUARDED_BY(index_mutex_);
  StateRow state_ GUARDED_BY(index_mutex_);
  LeaseId next_lease_ GUARDED_BY(index_mutex_) = 1;

  std::unique_ptr<WatchHub> hub_;
};

// ---- opening

Result<std::unique_ptr<MetaStore>> RocksdbStore::Open(const RocksdbStoreSettings& settings, rocksdb::Env* env) {
  RETURN_IF_ERROR(MakeDirectories(settings.directory + "/rocksdb"));
  std::unique_ptr<RocksdbStore> store(new RocksdbStore(settings, env));
  ASSIGN_OR_RETURN(store->lock_, LockDirectory(settings.directory));
  RETURN_IF_ERROR(store->OpenDb());
  RETURN_IF_ERROR(store->Load());
  return std::unique_ptr<MetaStore>(std::move(store));
}

Status RocksdbStore::OpenDb() {
  rocksdb::DB* db = nullptr;
  const auto opened = rocksdb::DB::Open(OptionsFor(env_, &stopped_), settings_.directory + "/rocksdb", &db);
  if (!opened.ok()) return FromRocksdb(opened, "open");
  db_.reset(db);
  return {};
}

RocksdbStore::~RocksdbStore() {
  hub_.reset();
  if (db_ != nullptr) db_->Close().PermitUncheckedError();
}

Status RocksdbStore::Load() {
  std::string bytes;
  const auto found = db_->Get(rocksdb::ReadOptions(), Slice(kStateRow), &bytes);
  if (!found.ok() && !found.IsNotFound()) return FromRocksdb(found, "open");
  if (found.ok()) {
    Result<StateRow> state = DecodeState(bytes);
    if (!state.ok()) return state.status().WithContext(settings_.directory);
    state_ = *state;
    swept_ = state_.compacted;
  } else {
    RETURN_IF_ERROR(Format());
  }
  std::vector<std::string> leased;
  RETURN_IF_ERROR(LoadKeys(leased));
  hub_ = std::make_unique<WatchHub>(state_.revision, [this](const std::string& prefix, Revision from, Revision until) {
    return ReadHistory(prefix, from, until);
  });
  if (leased.empty()) return {};
  // Leases end with the process that held them.
  Stage stage(keys_, leases_, state_.revision);
  stage.Delete(leased);
  RETURN_IF_ERROR(WriteStage(stage));
  Show(std::move(stage));
  return {};
}

Status RocksdbStore::Format() {
  rocksdb::WriteBatch batch;
  const auto put = batch.Put(Slice(kStateRow), EncodeState(state_));
  if (!put.ok()) return FromRocksdb(put, "open");
  return Write(&batch, true);
}

// The newest row of each key that isn't a tombstone.
Status RocksdbStore::LoadKeys(std::vector<std::string>& leased) {
  const std::string begin = HistoryPrefix("");
  const std::string end = PrefixEnd(begin);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(begin); it->Valid(); it->Next()) {
    std::string_view key;
    Revision revision = 0;
    auto row = DecodeHistory(View(it->value()));
    if (!ParseHistoryKey(View(it->key()), key, revision) || !row) return Damaged("a key's history");
    if (row->deleted) {
      if (const auto present = keys_.find(key); present != keys_.end()) keys_.erase(present);
      continue;
    }
    keys_[std::string(key)] = KeyValue{std::string(key), std::move(row->value), row->create_revision, revision,
                                       row->version, row->lease};
  }
  if (!it->status().ok()) return FromRocksdb(it->status(), "read");
  for (const auto& [key, kv] : keys_) {
    if (kv.lease != 0) leased.push_back(key);
  }
  return {};
}

// ---- writing

Result<Revision> RocksdbStore::Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) {
  RETURN_IF_ERROR(CheckTransaction(compares, ops));
  Change change;
  change.compares = &compares;
  change.ops = &ops;
  return Run(std::move(change));
}

Result<LeaseId> RocksdbStore::Grant(std::chrono::seconds) {
  WriterLock lock(index_mutex_);
  const LeaseId lease = next_lease_++;
  leases_[lease];
  return lease;
}

Status RocksdbStore::KeepAlive(LeaseId lease) {
  ReaderLock lock(index_mutex_);
  if (leases_.contains(lease)) return {};
  return {ErrorCode::kIoKeyNotFound, fmt::format("lease {} of the meta store has ended: grant a new one", lease)};
}

Status RocksdbStore::Revoke(LeaseId lease) {
  Change change;
  change.kind = Change::Kind::kRevoke;
  change.lease = lease;
  return Run(std::move(change)).status();
}

Status RocksdbStore::Compact(Revision revision) {
  Change change;
  change.kind = Change::Kind::kCompact;
  change.compact_to = revision;
  return Run(std::move(change)).status();
}

// Waits for a turn: either a leader settles this change along with its own, or this thread leads.
Result<Revision> RocksdbStore::Run(Change change) {
  MutexLock lock(queue_mutex_);
  queue_.push_back(&change);
  while (true) {
    queue_changed_.Wait(lock, [&] { return change.done || !led_; });
    if (change.done) return std::move(change.result);
    led_ = true;
    const size_t count = std::min(queue_.size(), kMaxGroup);
    const std::vector<Change*> group(queue_.begin(), queue_.begin() + static_cast<int64_t>(count));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<int64_t>(count));
    lock.Unlock();
    Settle(group);
    lock.Lock();
    for (Change* settled : group) settled->done = true;
    led_ = false;
    queue_changed_.NotifyAll();
  }
}

void RocksdbStore::Settle(const std::vector<Change*>& group) {
  if (const Status ready = MakeWritable(); !ready.ok()) {
    for (Change* change : group) change->result = ready;
    return;
  }
  Revision before = 0;
  Status written;
  {
    // Only a leader changes the index, so what the stage looks at stays; Grant() may add leases meanwhile.
    ReaderLock lock(index_mutex_);
    before = state_.revision;
  }
  Stage stage = [&] {
    ReaderLock lock(index_mutex_);
    Stage staged(keys_, leases_, before);
    for (Change* change : group) {
      if (change->kind == Change::Kind::kTransaction) change->result = staged.Add(*change->compares, *change->ops);
      if (change->kind == Change::Kind::kRevoke) change->result = staged.End(change->lease);
    }
    return staged;
  }();
  if (stage.revision() != before) written = WriteStage(stage);
  if (written.ok()) {
    Show(std::move(stage));
  } else {
    // Whether a compare failed only because of a neighbour that came to nothing doesn't matter: nobody got anything.
    for (Change* change : group) change->result = written;
  }
  for (Change* change : group) {
    if (change->kind != Change::Kind::kCompact) continue;
    if (Status compacted = CompactTo(change->compact_to); !compacted.ok()) change->result = compacted;
  }
  if (written.ok()) CompactWhatIsOld();
}

Status RocksdbStore::WriteStage(Stage& stage) {
  rocksdb::WriteBatch batch;
  rocksdb::Status put;
  for (const CommittedRevision& revision : stage.revisions()) {
    Keep(put, batch.Put(RevisionKey(revision.revision), EncodeKeys(revision.events)));
    for (const WatchEvent& event : revision.events) {
      HistoryRow row;
      row.deleted = event.kind == WatchEvent::Kind::kDelete;
      row.create_revision = event.kv.create_revision;
      row.version = event.kv.version;
      row.lease = event.kv.lease;
      row.value = event.kv.value;
      Keep(put, batch.Put(HistoryKey(event.kv.key, revision.revision), EncodeHistory(row)));
    }
  }
  Keep(put, batch.Put(Slice(kStateRow), EncodeState({stage.revision(), swept_})));
  if (!put.ok()) return FromRocksdb(put, "write");
  return Write(&batch, true);
}

Status RocksdbStore::Write(rocksdb::WriteBatch* batch, bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  const auto written = db_->Write(options, batch);
  if (written.ok()) return {};
  stopped_ = true;
  return FromRocksdb(written, "write");
}

// Refuses before anything is written when space runs out, and gets RocksDB going again after a write, also one in the
// background, has failed: that is tried with each transaction.
Status RocksdbStore::MakeWritable() {
  const Result<int64_t> free = FreeDiskBytes(settings_.directory);
  if (free.ok() && *free < kReserveBytes) {
    return {ErrorCode::kDiskLimitExceeded,
            fmt::format("meta store {}: the disk has {} bytes left, at least {} are needed: free some space on it",
                        settings_.directory, *free, kReserveBytes)};
  }
  return stopped_ ? Reopen() : Status();
}

Status RocksdbStore::Reopen() {
  {
    WriterLock lock(db_mutex_);
    db_.reset();
    stopped_ = false;
    if (Status opened = OpenDb(); !opened.ok()) {
      stopped_ = true;
      return opened;
    }
  }
  LogInfo("meta store {} can be written again", settings_.directory);
  Status caught_up = CatchUp();
  if (!caught_up.ok()) stopped_ = true;
  return caught_up;
}

// A transaction whose write failed may be in the log nevertheless: then it has happened.
Status RocksdbStore::CatchUp() {
  std::string bytes;
  const auto found = db_->Get(rocksdb::ReadOptions(), Slice(kStateRow), &bytes);
  if (!found.ok()) return FromRocksdb(found, "read");
  ASSIGN_OR_RETURN(const StateRow durable, DecodeState(bytes));
  Stage stage = [&] {
    ReaderLock lock(index_mutex_);
    return Stage(keys_, leases_, state_.revision);
  }();
  for (Revision revision = stage.revision() + 1; revision <= durable.revision; ++revision) {
    ASSIGN_OR_RETURN(WatchHub::History history, ReadRevisions("", revision, revision));
    ReaderLock lock(index_mutex_);
    stage.Replay({revision, std::move(history.events)});
  }
  if (durable.revision < stage.revision()) return Damaged(fmt::format("revision {} is lost: what follows {}", stage.revision(), durable.revision));
  swept_ = durable.compacted;
  Show(std::move(stage));
  return {};
}

// Makes a durable stage visible: to readers, then to watches.
void RocksdbStore::Show(Stage stage) {
  std::vector<CommittedRevision> revisions = stage.TakeRevisions();
  {
    WriterLock lock(index_mutex_);
    state_.revision = stage.revision();
    std::move(stage).ApplyTo(keys_, leases_);
  }
  hub_->Publish(std::move(revisions));
}

// ---- forgetting

// A little with every write once there is more history than is to be kept.
void RocksdbStore::CompactWhatIsOld() {
  const Revision keep = std::max<Revision>(settings_.keep_revisions, 1);
  const Revision slack = std::clamp<Revision>(keep / 8, 1, kCompactStep / 2);
  Revision oldest_kept = 0;
  {
    ReaderLock lock(index_mutex_);
    oldest_kept = state_.revision - keep + 1;
  }
  if (oldest_kept - swept_ < slack) return;
  const Status done = CompactTo(std::min(oldest_kept, swept_ + kCompactStep));
  if (!done.ok()) LogWarn("meta store: history before revision {} was not forgotten: {}", oldest_kept, done.message());
}

Status RocksdbStore::CompactTo(Revision revision) {
  {
    ReaderLock lock(index_mutex_);
    if (revision > state_.revision) {
      return {ErrorCode::kParameterInvalid, fmt::format("revision {} of the meta store can't be compacted: the current one is {}",
                                                        revision, state_.revision)};
    }
  }
  while (swept_ < revision) RETURN_IF_ERROR(CompactStep(std::min(revision, swept_ + kCompactStep)));
  return {};
}

// Forgets what was superseded by the revisions [swept, to]. Readers learn of it before rows go.
Status RocksdbStore::CompactStep(Revision to) {
  StateRow state;
  {
    WriterLock lock(index_mutex_);
    state_.compacted = std::max(state_.compacted, to);
    state = state_;
  }
  rocksdb::WriteBatch batch;
  std::map<std::string, Revision> newest;  // of each key written in these revisions
  const std::string end = RevisionKey(to + 1);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  options.fill_cache = false;
  rocksdb::Status put;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  for (it->Seek(RevisionKey(swept_)); it->Valid(); it->Next()) {
    Revision revision = 0;
    const auto keys = DecodeKeys(View(it->value()));
    if (!ParseRevisionKey(View(it->key()), revision) || !keys) return Damaged("a revision");
    for (const std::string& key : *keys) newest[key] = revision;
    if (revision < to) Keep(put, batch.Delete(it->key()));
  }
  if (!it->status().ok()) return FromRocksdb(it->status(), "read");
  for (const auto& [key, revision] : newest) RETURN_IF_ERROR(DropHistory(key, revision, to, batch));
  Keep(put, batch.Put(Slice(kStateRow), EncodeState({state.revision, to})));
  if (!put.ok()) return FromRocksdb(put, "write");
  RETURN_IF_ERROR(Write(&batch, false));
  swept_ = to;
  return {};
}

// Rows of `key` older than its `newest` by `to`, and that one too if all it says is that the key was gone.
Status RocksdbStore::DropHistory(const std::string& key, Revision newest, Revision to, rocksdb::WriteBatch& batch) {
  const std::string end = HistoryKey(key, newest + 1);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  rocksdb::Status put;
  for (it->Seek(HistoryKey(key, 0)); it->Valid(); it->Next()) {
    std::string_view row_key;
    Revision revision = 0;
    const auto row = DecodeHistory(View(it->value()));
    if (!ParseHistoryKey(View(it->key()), row_key, revision) || !row) return Damaged("a key's history");
    const bool needed = revision == newest && (!row->deleted || revision == to);
    if (!needed) Keep(put, batch.Delete(it->key()));
  }
  Keep(put, it->status());
  return put.ok() ? Status() : FromRocksdb(put, "read");
}

// ---- reading

Result<Revision> RocksdbStore::CurrentRevision() {
  ReaderLock lock(index_mutex_);
  return state_.revision;
}

Result<RangeResult> RocksdbStore::Range(const std::string& prefix, Revision at) {
  {
    ReaderLock lock(index_mutex_);
    if (at == 0 || at == state_.revision) {
      RangeResult result;
      result.revision = state_.revision;
      for (auto it = keys_.lower_bound(prefix); it != keys_.end() && it->first.starts_with(prefix); ++it) {
        result.kvs.push_back(it->second);
      }
      return result;
    }
  }
  return RangeAt(prefix, at);
}

Result<KeyValue> RocksdbStore::Get(const std::string& key, Revision at) {
  RETURN_IF_ERROR(CheckKey(key));
  {
    ReaderLock lock(index_mutex_);
    if (at == 0 || at == state_.revision) {
      if (const auto it = keys_.find(key); it != keys_.end()) return it->second;
      return {ErrorCode::kIoKeyNotFound, fmt::format("key \"{}\" is not in the meta store", key)};
    }
  }
  return GetAt(key, at);
}

// To be asked after the rows to read were pinned: whatever is compacted later does not touch them.
Status RocksdbStore::CheckKept(Revision at) const {
  ReaderLock lock(index_mutex_);
  if (at >= state_.compacted) return {};
  return {ErrorCode::kCompacted,
          fmt::format("revision {} of the meta store was compacted: history begins at {}", at, state_.compacted)};
}

Status RocksdbStore::CheckReadable(Revision at) const {
  RETURN_IF_ERROR(CheckKept(at));
  ReaderLock lock(index_mutex_);
  if (at <= state_.revision) return {};
  return {ErrorCode::kParameterInvalid,
          fmt::format("revision {} of the meta store is yet to come: the current one is {}", at, state_.revision)};
}

Result<RangeResult> RocksdbStore::RangeAt(const std::string& prefix, Revision at) const {
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  const std::string begin = HistoryPrefix(prefix);
  const std::string end = PrefixEnd(begin);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  RETURN_IF_ERROR(CheckReadable(at));
  RangeResult result;
  for (it->Seek(begin); it->Valid(); it->Next()) {
    std::string_view key;
    Revision revision = 0;
    auto row = DecodeHistory(View(it->value()));
    if (!ParseHistoryKey(View(it->key()), key, revision) || !row) return Damaged("a key's history");
    if (revision > at) continue;
    // A later row of the same key takes the place of the earlier.
    if (!result.kvs.empty() && result.kvs.back().key == key) result.kvs.pop_back();
    if (row->deleted) continue;
    result.kvs.push_back({std::string(key), std::move(row->value), row->create_revision, revision, row->version, row->lease});
  }
  if (!it->status().ok()) return FromRocksdb(it->status(), "read");
  ReaderLock lock(index_mutex_);
  result.revision = state_.revision;
  return result;
}

Result<KeyValue> RocksdbStore::GetAt(const std::string& key, Revision at) const {
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  const std::string begin = HistoryKey(key, 0);
  const rocksdb::Slice bound(begin);
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  RETURN_IF_ERROR(CheckReadable(at));
  it->SeekForPrev(HistoryKey(key, at));
  if (!it->status().ok()) return FromRocksdb(it->status(), "read");
  if (it->Valid()) {
    std::string_view found;
    Revision revision = 0;
    auto row = DecodeHistory(View(it->value()));
    if (!ParseHistoryKey(View(it->key()), found, revision) || !row) return Damaged("a key's history");
    if (found == key && !row->deleted) {
      return KeyValue{key, std::move(row->value), row->create_revision, revision, row->version, row->lease};
    }
  }
  return {ErrorCode::kIoKeyNotFound, fmt::format("key \"{}\" is not in the meta store at revision {}", key, at)};
}

// ---- watching

Result<std::unique_ptr<Watch>> RocksdbStore::WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) {
  return hub_->Add(prefix, from, std::move(on_batch));
}

Result<WatchHub::History> RocksdbStore::ReadHistory(const std::string& prefix, Revision from, Revision until) const {
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  return ReadRevisions(prefix, from, until);
}

Result<WatchHub::History> RocksdbStore::ReadRevisions(const std::string& prefix, Revision from, Revision until) const {
  const std::string end = RevisionKey(until + 1);
  const rocksdb::Slice bound(end);
  // The snapshot pins revisions and rows alike.
  rocksdb::ManagedSnapshot snapshot(db_.get());
  rocksdb::ReadOptions points;
  points.snapshot = snapshot.snapshot();
  points.fill_cache = false;
  rocksdb::ReadOptions options = points;
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  RETURN_IF_ERROR(CheckKept(from));
  WatchHub::History history;
  history.until = until;
  size_t counted = 0;
  int64_t bytes = 0;
  for (it->Seek(RevisionKey(from)); it->Valid(); it->Next()) {
    Revision revision = 0;
    const auto keys = DecodeKeys(View(it->value()));
    if (!ParseRevisionKey(View(it->key()), revision) || !keys) return Damaged("a revision");
    RETURN_IF_ERROR(ReadEvents(points, revision, *keys, prefix, history.events));
    for (; counted < history.events.size(); ++counted) {
      bytes += static_cast<int64_t>(history.events[counted].kv.key.size() + history.events[counted].kv.value.size());
    }
    if (bytes < kHistoryBatchBytes) continue;
    history.until = revision;
    break;
  }
  if (!it->status().ok()) return FromRocksdb(it->status(), "read");
  return history;
}

// What one revision did to the keys under `prefix`.
Status RocksdbStore::ReadEvents(const rocksdb::ReadOptions& options, Revision revision, const std::vector<std::string>& keys,
                                const std::string& prefix, std::vector<WatchEvent>& out) const {
  for (const std::string& key : keys) {
    if (!key.starts_with(prefix)) continue;
    std::string bytes;
    const auto found = db_->Get(options, HistoryKey(key, revision), &bytes);
    if (!found.ok()) return FromRocksdb(found, "read");
    auto row = DecodeHistory(bytes);
    if (!row) return Damaged("a key's history");
    WatchEvent event;
    event.kind = row->deleted ? WatchEvent::Kind::kDelete : WatchEvent::Kind::kPut;
    event.kv = {key, std::move(row->value), row->create_revision, revision, row->version, row->lease};
    out.push_back(std::move(event));
  }
  return {};
}

// ---- errors

Status RocksdbStore::FromRocksdb(const rocksdb::Status& status, std::string_view action) const {
  const std::string message = fmt::format("meta store {}: can't {}: {}", settings_.directory, action, status.ToString());
  if (status.IsNoSpace()) {
    return {ErrorCode::kDiskLimitExceeded, message + ": the disk is full, free some space on it"};
  }
  if (status.IsCorruption()) return {ErrorCode::kCorrupted, message};
  return {ErrorCode::kIoFailed, message};
}

Status RocksdbStore::NotOpen() const {
  return {ErrorCode::kServiceUnavailable,
          fmt::format("meta store {}: its history can't be read until a write succeeds again", settings_.directory)};
}

Status RocksdbStore::Damaged(std::string_view what) const {
  return {ErrorCode::kCorrupted, fmt::format("meta store {}: {} does not decode", settings_.directory, what)};
}

}  // namespace

Result<std::unique_ptr<MetaStore>> OpenRocksdbStore(const RocksdbStoreSettings& settings) {
  return RocksdbStore::Open(settings, nullptr);
}

Result<std::unique_ptr<MetaStore>> TEST_OpenRocksdbStore(const RocksdbStoreSettings& settings, rocksdb::Env* env) {
  return RocksdbStore::Open(settings, env);
}

}  // namespace saker
