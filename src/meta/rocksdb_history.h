// Reading and forgetting the rows of the RocksDB meta store (docs/format/meta_store.md): what keys were from which
// revision on, and which keys a revision wrote.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "meta/rocksdb_rows.h"
#include "meta/stage.h"
#include "meta/watch_hub.h"

namespace rocksdb {
class DB;
class Status;
class WriteBatch;
struct ReadOptions;
}  // namespace rocksdb

namespace saker {

// `store` is where it lies, for the message.
Status FromRocksdb(const std::string& store, std::string_view action, const rocksdb::Status& status);

// Holds no state of its own: made for each use, while the database is open.
class RocksdbHistory {
 public:
  RocksdbHistory(rocksdb::DB* db, const std::string& store) : db_(*db), store_(store) {}

  // Asked once the rows to be read are pinned, so that what is forgotten later does not matter.
  using Check = std::function<Status()>;

  // All present keys, and how many bytes each revision wrote.
  Status Load(KeyIndex& keys, std::map<Revision, int64_t>& bytes) const;
  Result<std::vector<KeyValue>> Range(const std::string& prefix, Revision at, const Check& check) const;
  Result<KeyValue> Get(const std::string& key, Revision at, const Check& check) const;
  // What the revisions [from, until] did to the keys under `prefix`, as much as makes one batch.
  Result<WatchHub::History> Revisions(const std::string& prefix, Revision from, Revision until, const Check& check) const;
  // Adds to `batch` the deletion of what was superseded by the revisions [from, to].
  Status Forget(Revision from, Revision to, rocksdb::WriteBatch& batch) const;

 private:
  Status ForgetKey(const std::string& key, Revision newest, Revision to, rocksdb::WriteBatch& batch) const;
  Status Events(const rocksdb::ReadOptions& options, Revision revision, const std::vector<std::string>& keys,
                const std::string& prefix, std::vector<WatchEvent>& out) const;
  Status Failed(const rocksdb::Status& status) const { return FromRocksdb(store_, "read", status); }
  Status Damaged(std::string_view what) const;

  rocksdb::DB& db_;
  const std::string& store_;
};

}  // namespace saker
