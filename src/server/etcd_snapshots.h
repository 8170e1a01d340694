// Copies of etcd's whole database in the object store, taken by `saker ctl etcd snapshot` and by schedule, and what is
// needed to make an etcd of one again. docs/etcd.md says what they are for; docs/format/etcd_snapshot.md what is
// stored.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "meta/etcd_admin.h"
#include "storage/object_store.h"

namespace saker {

// What is known of a snapshot; stored beside it.
struct EtcdSnapshot {
  std::string name;      // "20261123T190000Z-<revision>": names sort by time
  std::string data;      // the object, or the file, that holds the bytes
  std::string cluster;   // Saker's id of the cluster; empty: not known
  std::string root;      // the prefix of its keys
  std::string version;   // of etcd
  std::string endpoint;  // of the member that it was taken from
  uint64_t etcd_cluster = 0;
  Revision revision = 0;  // it holds everything up to here, perhaps a little more
  int64_t bytes = 0;
  std::string sha256;  // hexadecimal: the sum it ends with, of all before
  int64_t taken_unix_ms = 0;
  std::vector<EtcdMember> members;  // as they were then
};
std::string Encode(const EtcdSnapshot& snapshot);
Result<EtcdSnapshot> DecodeEtcdSnapshot(std::string_view text);

// Where the bytes of a snapshot go; `finish` makes them durable.
struct SnapshotTarget {
  std::function<Status(std::string_view piece)> append;
  std::function<Status()> finish;
};
// Streams one member's database, the one that leads last, and checks its sum on the way. `open` is asked for the target
// once the name is known. kServiceUnavailable: no member can be reached; kCorrupted: the sum doesn't hold, nothing was
// finished.
using OpenTarget = std::function<Result<SnapshotTarget>(const EtcdSnapshot& snapshot)>;
Result<EtcdSnapshot> StreamEtcdSnapshot(EtcdAdmin* admin, EtcdSnapshot about, const OpenTarget& open);

// Into the object store: the data under a name of its own, then what is known of it, if absent. Blocks on I/O.
// `about` names cluster and root. `cancelled` is asked before each piece; kCancelled: it said so, nothing is left.
Result<EtcdSnapshot> TakeEtcdSnapshot(EtcdAdmin* admin, ObjectStore* objects, EtcdSnapshot about,
                                      const std::function<bool()>& cancelled = {});
// The whole ones, oldest first. What can't be read is passed over with a line of log.
Result<std::vector<EtcdSnapshot>> ListEtcdSnapshots(ObjectStore* objects);
// Leaves the newest `keep`, and deletes what broken-off attempts left a day ago. Returns how many were deleted.
Result<int> PruneEtcdSnapshots(ObjectStore* objects, int64_t keep);
// Copies it to `file`, which must not exist, and checks its size and sum.
Status FetchEtcdSnapshot(ObjectStore* objects, const EtcdSnapshot& snapshot, const std::string& file);
// kCorrupted if the file doesn't end with the SHA-256 of what comes before. Returns that sum.
Result<std::string> CheckEtcdSnapshotFile(const std::string& file);

// Takes them every so often, for as long as it lives, beginning `interval` after the newest there is: whoever leads
// goes on with the schedule of who led before. A database that has not changed since is not copied again. Failures are
// logged, counted and tried again after kRetry.
class EtcdSnapshotSchedule {
 public:
  struct Options {
    EtcdStoreSettings etcd;
    std::string cluster;
    std::chrono::milliseconds interval{};  // above 0
    int64_t keep = 0;                      // 0: all
    std::chrono::milliseconds retry = std::chrono::minutes(5);
  };
  // Objects, pool and timer outlive it.
  EtcdSnapshotSchedule(Options options, ObjectStore* objects, ThreadPool* io, Timer* timer);
  ~EtcdSnapshotSchedule();  // breaks off a copy under way
  EtcdSnapshotSchedule(const EtcdSnapshotSchedule&) = delete;

  // Ok while the last attempt succeeded, or none was due; otherwise why it failed, how often, and how old the newest
  // is.
  Status Health() const;
  // When the newest one was taken; 0: there is none, or it isn't known yet.
  int64_t newest_unix_ms() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::unique_ptr<ControlLoop> loop_;
};

}  // namespace saker
