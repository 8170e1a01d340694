// What an operator asks etcd and has it do: state of its members, alarms, snapshots, defragmentation, compaction.
// For `saker ctl etcd …` and health; the metadata itself is read and written through EtcdStore.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "meta/etcd_store.h"

namespace saker {

struct EtcdMemberStatus {
  std::string endpoint;
  Status reached;  // if not ok nothing below is known
  // It answers, but tells its status to users of its role "root" alone: below, only ids of cluster and member, revision and
  // term are known.
  bool withheld = false;
  std::string version;
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  uint64_t leader_id = 0;  // 0: it knows of none
  bool is_learner = false;
  int64_t db_bytes = 0;         // of the file
  int64_t db_in_use_bytes = 0;  // what a defragmentation would leave
  int64_t quota_bytes = 0;      // 0: not told (before 3.6), or etcd's default of 2 GiB
  bool quota_exceeded = false;  // its NOSPACE alarm is on: etcd refuses writes
  Revision revision = 0;        // up to which it has applied changes
  uint64_t raft_term = 0;
  uint64_t raft_index = 0;
  uint64_t raft_applied_index = 0;
  std::vector<std::string> errors;  // in etcd's words
  bool is_leader() const { return leader_id != 0 && leader_id == member_id; }
};

struct EtcdAlarm {
  enum class Kind { kNoSpace, kCorrupt };
  uint64_t member_id = 0;
  Kind kind = Kind::kNoSpace;
};

struct EtcdMember {
  uint64_t id = 0;
  std::string name;  // empty: not started yet
  std::vector<std::string> peer_urls;
  std::vector<std::string> client_urls;
  bool is_learner = false;
};

struct EtcdHistory {
  Revision revision = 0;   // the present
  Revision compacted = 0;  // history before it is gone; 0: none is
};

// Thread-safe. Answers come within request_timeout unless a method says otherwise; errors are EtcdStore's. Where etcd
// has authentication, a member's status, defragmentation and snapshots need its role "root".
class EtcdAdmin {
 public:
  virtual ~EtcdAdmin() = default;
  // Of each endpoint, in the order of the settings, whatever the others do.
  virtual std::vector<EtcdMemberStatus> Members() = 0;
  virtual Result<std::vector<EtcdMember>> MemberList() = 0;
  virtual Result<std::vector<EtcdAlarm>> Alarms() = 0;
  // How much history is kept. Needs read permission of the root's prefix alone.
  virtual Result<EtcdHistory> History() = 0;
  // Turns an alarm off; for NOSPACE once space was made, else it is raised again with the next write.
  virtual Status Disarm(const EtcdAlarm& alarm) = 0;
  // Gives free pages of the endpoint's file back to the disk. The member answers nobody meanwhile (about a second for
  // 100 MB): one member at a time, the leader last. Waits up to `timeout`; kDeadlineExceeded: it may still be running.
  virtual Status Defragment(const std::string& endpoint, std::chrono::milliseconds timeout) = 0;
  // Forgets history before `revision` (0: all but the present) and waits up to `timeout` until its pages are free.
  // Returns the revision.
  virtual Result<Revision> Compact(Revision revision, std::chrono::milliseconds timeout) = 0;
  // The endpoint's whole database in pieces to `sink`, as `etcdutl snapshot restore` takes it: the file, then its
  // SHA-256, which is checked on the way. Returns the bytes. kCorrupted if the sum is wrong or missing; `sink`'s error
  // if it has one. Waits up to `timeout` for each piece.
  using Sink = std::function<Status(std::string_view piece)>;
  virtual Result<int64_t> Snapshot(const std::string& endpoint, std::chrono::milliseconds timeout,
                                   const Sink& sink) = 0;
};

// The SHA-256 of a snapshot's stream but for its last 32 bytes, which are that sum. Not thread-safe.
class EtcdSnapshotSum {
 public:
  EtcdSnapshotSum();
  ~EtcdSnapshotSum();
  EtcdSnapshotSum(const EtcdSnapshotSum&) = delete;
  EtcdSnapshotSum& operator=(const EtcdSnapshotSum&) = delete;

  void Add(std::string_view piece);
  // Whether what was added ends with its sum. The last call.
  bool Holds();
  std::string hex() const;  // the sum it ends with

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

Result<std::unique_ptr<EtcdAdmin>> OpenEtcdAdmin(const EtcdStoreSettings& settings);

}  // namespace saker
