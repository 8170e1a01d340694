// The meta store: a small, revisioned, watchable map of keys, with etcd's v3 semantics.
// Implementations: RocksDB (embedded), etcd (cluster). Session, election and watch-with-resync are recipes on top
// (meta/session.h, meta/election.h, meta/watch.h), not part of a driver.
//
// Every successful transaction that writes gets the next revision. All calls are thread-safe and may block.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace saker {

using Revision = int64_t;
using LeaseId = int64_t;

struct KeyValue {
  std::string key;
  std::string value;
  Revision create_revision = 0;
  Revision mod_revision = 0;
  int64_t version = 0;   // 1 when created, rises with each put
  LeaseId lease = 0;
};

struct Compare {
  enum class Target { kModRevision, kCreateRevision, kVersion, kValue };
  enum class Op { kEqual, kNotEqual, kLess, kGreater };
  std::string key;
  Target target = Target::kModRevision;
  Op op = Op::kEqual;
  int64_t number = 0;     // of revisions and versions; a key that isn't there has 0
  std::string value;      // of kValue
  static Compare Absent(std::string key) { return {std::move(key), Target::kVersion, Op::kEqual, 0, {}}; }
  static Compare Unchanged(std::string key, Revision mod_revision) {
    return {std::move(key), Target::kModRevision, Op::kEqual, mod_revision, {}};
  }
  static Compare CreatedAt(std::string key, Revision create_revision) {
    return {std::move(key), Target::kCreateRevision, Op::kEqual, create_revision, {}};
  }
};

struct MetaOp {
  enum class Kind { kPut, kDelete, kDeletePrefix };
  Kind kind = Kind::kPut;
  std::string key;
  std::string value;
  LeaseId lease = 0;
  static MetaOp Put(std::string key, std::string value, LeaseId lease = 0) {
    return {Kind::kPut, std::move(key), std::move(value), lease};
  }
  static MetaOp Delete(std::string key) { return {Kind::kDelete, std::move(key), {}, 0}; }
  static MetaOp DeletePrefix(std::string prefix) { return {Kind::kDeletePrefix, std::move(prefix), {}, 0}; }
};

// etcd's limits, held by every implementation so that what works embedded works in a cluster.
inline constexpr int kMaxTxnOps = 128;
inline constexpr int64_t kMaxTxnBytes = 1536 * 1024;

struct RangeResult {
  std::vector<KeyValue> kvs;   // in key order
  Revision revision = 0;       // the store's, when it was read
};

struct WatchEvent {
  enum class Kind { kPut, kDelete };
  Kind kind = Kind::kPut;
  KeyValue kv;  // of a delete: key and mod_revision only
};

// One batch: all events of one or more whole revisions, in order. A batch without events tells that nothing under the
// prefix happened up to `revision`: a watch learns of every revision of the store soon, its own or not. A non-ok status
// ends the watch: kCompacted – the revisions asked for are gone, read anew and watch from there; kServiceUnavailable –
// connection lost; kCorrupted – the store has lost data (etcd_store.h).
struct WatchBatch {
  Status status;
  Revision revision = 0;  // everything up to here has been delivered
  std::vector<WatchEvent> events;
  // The connection was lost in between and is back. The revision may be one that was told before. Whoever can't be sure of
  // who answers now looks: another store's revisions may continue ours.
  bool resumed = false;
};

class Watch {
 public:
  virtual ~Watch() = default;  // ends it; no callback runs after the destructor returned
};

class MetaStore {
 public:
  using OnWatch = std::function<void(WatchBatch)>;

  virtual ~MetaStore() = default;
  // Keys that start with `prefix`, as of `at` (0: now). kCompacted if that revision is gone, kParameterInvalid if it is
  // yet to come. Keys are not empty and hold no zero byte.
  virtual Result<RangeResult> Range(const std::string& prefix, Revision at = 0) = 0;
  // One key; kIoKeyNotFound if it isn't there.
  virtual Result<KeyValue> Get(const std::string& key, Revision at = 0) = 0;
  // Does all ops if all compares hold and returns the new revision; otherwise kConflict, and nothing is changed.
  // kDeadlineExceeded if its fate is unknown: it may have been made, or still be.
  // A key may be written once in a transaction. kParameterInvalid beyond kMaxTxnOps / kMaxTxnBytes; kIoKeyNotFound if a
  // put names a lease that is gone. A transaction that changes nothing (no ops, deletes of what isn't there) makes no
  // revision and returns the current one.
  virtual Result<Revision> Commit(const std::vector<Compare>& compares, const std::vector<MetaOp>& ops) = 0;
  // Events of keys under `prefix` from revision `from` on (inclusive; 0: from now on), in order; the callback runs on one
  // thread at a time and must be short. Nothing is delivered twice or left out.
  virtual Result<std::unique_ptr<Watch>> WatchPrefix(const std::string& prefix, Revision from, OnWatch on_batch) = 0;
  // A lease: keys put under it go when it ends. Embedded leases last as long as the process, without keepalives: a key
  // left by an earlier process is gone at open.
  virtual Result<LeaseId> Grant(std::chrono::seconds ttl) = 0;
  virtual Status KeepAlive(LeaseId lease) = 0;  // kIoKeyNotFound if it has ended
  virtual Status Revoke(LeaseId lease) = 0;
  // Whether a lease ends unless it is kept alive in time.
  virtual bool LeasesExpire() const { return true; }
  virtual Result<Revision> CurrentRevision() = 0;
  // Whose data this is: another name once all of it was exchanged, by a restored copy for instance. Known once a call has
  // been answered; empty: such a store can't tell.
  virtual std::string Identity() const { return {}; }
  // Forgets history before `revision`; watches and ranges further back then fail with kCompacted. A watch from just
  // `revision` may fail so too; from the next one on it doesn't.
  virtual Status Compact(Revision revision) = 0;
};

// RocksDB under `directory`; history is compacted by itself beyond `keep_revisions`, or beyond `keep_bytes` of them.
struct RocksdbStoreSettings {
  std::string directory;
  int64_t keep_revisions = 10'000;
  int64_t keep_bytes = 64 << 20;
};
Result<std::unique_ptr<MetaStore>> OpenRocksdbStore(const RocksdbStoreSettings& settings);
// The cluster's: OpenEtcdStore, meta/etcd_store.h.

}  // namespace saker
