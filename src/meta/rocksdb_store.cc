// The embedded meta store: all present keys in memory, every revision in RocksDB, one sync per group of transactions.
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <algorithm>
#include <atomic>
#include <deque>

#include "base/file.h"
#include "base/log.h"
#include "base/mutex.h"
#include "meta/rocksdb_history.h"
#include "meta/rocksdb_options.h"
#include "meta/rocksdb_store_internal.h"
#include "meta/stage.h"
#include "meta/transaction.h"

namespace saker {
namespace {

constexpr size_t kMaxGroup = 128;                 // transactions made durable by one sync
constexpr Revision kCompactStep = 512;            // revisions forgotten at once
constexpr Revision kKeepAtLeast = 16;             // revisions, however large they are
constexpr int64_t kReserveBytes = 8 << 20;        // free disk below which nothing is written

rocksdb::Slice Slice(std::string_view text) { return {text.data(), text.size()}; }
void Keep(rocksdb::Status& first, rocksdb::Status next) {
  if (first.ok()) first = std::move(next);
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
  // Before anybody else has the store.
  Status Load() SAKER_TSA(no_thread_safety_analysis);
  Status Format() SAKER_TSA(no_thread_safety_analysis);

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
  Revision OldestToKeep() const;

  Status CheckKept(Revision at) const EXCLUDES(index_mutex_);
  Status CheckReadable(Revision at) const EXCLUDES(index_mutex_);
  Result<WatchHub::History> ReadHistory(const std::string& prefix, Revision from, Revision until) const;
  // The leader, or who holds db_mutex_.
  RocksdbHistory History() const { return RocksdbHistory(db_.get(), settings_.directory); }
  Status Failed(std::string_view action, const rocksdb::Status& status) const {
    return FromRocksdb(settings_.directory, action, status);
  }
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
  // The leader's.
  Revision swept_ = 0;    // rows of history before it are gone; behind state_.compacted only after a failed write
  std::map<Revision, int64_t> written_;  // bytes of the rows of each revision not swept
  int64_t written_bytes_ = 0;            // of all of them

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
  {
    WriterLock lock(store->db_mutex_);
    RETURN_IF_ERROR(store->OpenDb());
  }
  RETURN_IF_ERROR(store->Load());
  return std::unique_ptr<MetaStore>(std::move(store));
}

Status RocksdbStore::OpenDb() {
  rocksdb::DB* db = nullptr;
  const auto opened = rocksdb::DB::Open(RocksdbOptions(env_, &stopped_), settings_.directory + "/rocksdb", &db);
  if (!opened.ok()) return Failed("open", opened);
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
  if (!found.ok() && !found.IsNotFound()) return Failed("open", found);
  if (found.ok()) {
    Result<StateRow> state = DecodeState(bytes);
    if (!state.ok()) return state.status().WithContext(settings_.directory);
    state_ = *state;
    swept_ = state_.compacted;
  } else {
    RETURN_IF_ERROR(Format());
  }
  RETURN_IF_ERROR(History().Load(keys_, written_));
  std::erase_if(written_, [this](const auto& entry) { return entry.first < swept_; });
  for (const auto& [revision, bytes] : written_) written_bytes_ += bytes;
  hub_ = std::make_unique<WatchHub>(state_.revision, [this](const std::string& prefix, Revision from, Revision until) {
    return ReadHistory(prefix, from, until);
  });
  std::vector<std::string> leased;
  for (const auto& [key, kv] : keys_) {
    if (kv.lease != 0) leased.push_back(key);
  }
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
  if (!put.ok()) return Failed("open", put);
  return Write(&batch, true);
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
    queue_changed_.Wait(lock, [&]() REQUIRES(queue_mutex_) { return change.done || !led_; });
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
  if (!put.ok()) return Failed("write", put);
  return Write(&batch, true);
}

Status RocksdbStore::Write(rocksdb::WriteBatch* batch, bool sync) {
  rocksdb::WriteOptions options;
  options.sync = sync;
  const auto written = db_->Write(options, batch);
  if (written.ok()) return {};
  stopped_ = true;
  return Failed("write", written);
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
  if (!found.ok()) return Failed("read", found);
  ASSIGN_OR_RETURN(const StateRow durable, DecodeState(bytes));
  Stage stage = [&] {
    ReaderLock lock(index_mutex_);
    return Stage(keys_, leases_, state_.revision);
  }();
  for (Revision revision = stage.revision() + 1; revision <= durable.revision; ++revision) {
    ASSIGN_OR_RETURN(WatchHub::History history, History().Revisions("", revision, revision, [] { return Status(); }));
    ReaderLock lock(index_mutex_);
    stage.Replay({revision, std::move(history.events)});
  }
  if (durable.revision < stage.revision()) {
    return {ErrorCode::kCorrupted, fmt::format("meta store {}: it ends at revision {}, though {} was written: it lost data",
                                               settings_.directory, durable.revision, stage.revision())};
  }
  swept_ = durable.compacted;
  Show(std::move(stage));
  return {};
}

// Makes a durable stage visible: to readers, then to watches.
void RocksdbStore::Show(Stage stage) {
  std::vector<CommittedRevision> revisions = stage.TakeRevisions();
  for (const CommittedRevision& revision : revisions) {
    int64_t& bytes = written_[revision.revision];
    for (const WatchEvent& event : revision.events) {
      bytes += static_cast<int64_t>(event.kv.key.size() + event.kv.value.size());
    }
    written_bytes_ += bytes;
  }
  {
    WriterLock lock(index_mutex_);
    state_.revision = stage.revision();
    std::move(stage).ApplyTo(keys_, leases_);
  }
  hub_->Publish(std::move(revisions));
}

// ---- forgetting

// By number of revisions, and by what they take up: large values changed often fill the disk long before.
Revision RocksdbStore::OldestToKeep() const {
  Revision current = 0;
  {
    ReaderLock lock(index_mutex_);
    current = state_.revision;
  }
  const Revision keep = std::max<Revision>(settings_.keep_revisions, 1);
  const Revision slack = std::clamp<Revision>(keep / 8, 1, kCompactStep / 2);
  Revision oldest = current - keep + 1 - swept_ < slack ? swept_ : current - keep + 1;
  if (written_bytes_ <= settings_.keep_bytes) return oldest;
  int64_t left = written_bytes_;
  for (const auto& [revision, bytes] : written_) {
    if (left <= settings_.keep_bytes * 7 / 8 || revision >= current - kKeepAtLeast) break;
    left -= bytes;
    oldest = std::max(oldest, revision + 1);
  }
  return oldest;
}

// A little with every write once there is more history than is to be kept.
void RocksdbStore::CompactWhatIsOld() {
  const Revision oldest = OldestToKeep();
  if (oldest <= swept_) return;
  const Status done = CompactTo(std::min(oldest, swept_ + kCompactStep));
  if (!done.ok()) LogWarn("meta store: history before revision {} was not forgotten: {}", oldest, done.message());
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
  RETURN_IF_ERROR(History().Forget(swept_, to, batch));
  const auto put = batch.Put(Slice(kStateRow), EncodeState({state.revision, to}));
  if (!put.ok()) return Failed("write", put);
  RETURN_IF_ERROR(Write(&batch, false));
  swept_ = to;
  while (!written_.empty() && written_.begin()->first < to) {
    written_bytes_ -= written_.begin()->second;
    written_.erase(written_.begin());
  }
  return {};
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
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  RangeResult result;
  ASSIGN_OR_RETURN(result.kvs, History().Range(prefix, at, [&] { return CheckReadable(at); }));
  ReaderLock lock(index_mutex_);
  result.revision = state_.revision;
  return result;
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
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  return History().Get(key, at, [&] { return CheckReadable(at); });
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

// ---- watching

Result<std::unique_ptr<Watch>> RocksdbStore::WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) {
  return hub_->Add(prefix, from, std::move(on_batch));
}

Result<WatchHub::History> RocksdbStore::ReadHistory(const std::string& prefix, Revision from, Revision until) const {
  ReaderLock open(db_mutex_);
  if (db_ == nullptr) return NotOpen();
  return History().Revisions(prefix, from, until, [&] { return CheckKept(from); });
}

// ---- errors

Status RocksdbStore::NotOpen() const {
  return {ErrorCode::kServiceUnavailable,
          fmt::format("meta store {}: its history can't be read until a write succeeds again", settings_.directory)};
}

}  // namespace

Result<std::unique_ptr<MetaStore>> OpenRocksdbStore(const RocksdbStoreSettings& settings) {
  return RocksdbStore::Open(settings, nullptr);
}

Result<std::unique_ptr<MetaStore>> TEST_OpenRocksdbStore(const RocksdbStoreSettings& settings, rocksdb::Env* env) {
  return RocksdbStore::Open(settings, env);
}

}  // namespace saker
