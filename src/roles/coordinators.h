// What the four coordinators offer to proxies and nodes. Each is a control loop over the meta store; a change is one
// transaction that compares the leader's token. Calls block; they run on the control pool.
//
// Revision results: the meta store's revision of the change, so that who asked can wait until its own catalog view has
// seen it (a client that created a collection can use it at once).
#pragma once

#include <map>

#include "meta/meta_store.h"
#include "roles/data_node.h"

namespace saker {

// A draft of a collection: name, schema without ids, number of shards, consistency, properties.
struct CollectionDraft {
  std::string database;
  CollectionSchema schema;
  int32_t shards = 1;
  int32_t partitions = 0;            // with a partition key; 0: 16
  ConsistencyLevel consistency = ConsistencyLevel::kBounded;
  KeyValues properties;
};

// Metadata and life cycle. Errors are Milvus's (codes and texts).
class RootCoord {
 public:
  virtual ~RootCoord() = default;
  virtual Result<Revision> CreateDatabase(const std::string& name, const KeyValues& properties) = 0;
  virtual Result<Revision> DropDatabase(const std::string& name) = 0;
  virtual Result<Revision> AlterDatabase(const std::string& name, const KeyValues& set, const std::vector<std::string>& erase) = 0;

  virtual Result<Revision> CreateCollection(const CollectionDraft& draft) = 0;
  virtual Result<Revision> DropCollection(const std::string& database, const std::string& name) = 0;
  virtual Result<Revision> RenameCollection(const std::string& database, const std::string& from, const std::string& to_database,
                                            const std::string& to) = 0;
  virtual Result<Revision> AlterCollection(CollectionId id, const KeyValues& set, const std::vector<std::string>& erase) = 0;
  virtual Result<Revision> AlterField(CollectionId id, const std::string& field, const KeyValues& set,
                                      const std::vector<std::string>& erase) = 0;
  virtual Result<Revision> AddField(CollectionId id, const FieldSchema& field) = 0;

  virtual Result<Revision> CreatePartition(CollectionId id, const std::string& name) = 0;
  virtual Result<Revision> DropPartition(CollectionId id, const std::string& name) = 0;

  virtual Result<Revision> CreateAlias(const std::string& database, const std::string& collection, const std::string& alias) = 0;
  virtual Result<Revision> DropAlias(const std::string& database, const std::string& alias) = 0;
  virtual Result<Revision> AlterAlias(const std::string& database, const std::string& collection, const std::string& alias) = 0;

  // Users: passwords come hashed (security/password.h).
  virtual Result<Revision> CreateUser(const User& user) = 0;
  virtual Result<Revision> UpdateUser(const User& user) = 0;
  virtual Result<Revision> DropUser(const std::string& name) = 0;
  virtual Result<Revision> CreateRole(const std::string& name) = 0;
  virtual Result<Revision> DropRole(const std::string& name, bool force) = 0;
  virtual Result<Revision> AddUserToRole(const std::string& user, const std::string& role) = 0;
  virtual Result<Revision> RemoveUserFromRole(const std::string& user, const std::string& role) = 0;
  virtual Result<Revision> GrantPrivilege(const Grant& grant) = 0;
  virtual Result<Revision> RevokePrivilege(const Grant& grant) = 0;

  // Ids that are never handed out twice: the first of `count`.
  virtual Result<int64_t> AllocateIds(int64_t count) = 0;
};

// What a node still has of a coordinator's work. A drained node has nothing left and may be stopped.
struct DrainProgress {
  bool draining = false;
  int64_t channels = 0;      // owned; datacoord
  int64_t segments = 0;      // to be served or still held; querycoord
  int64_t tasks = 0;         // builds and compactions; indexcoord
  bool empty() const { return channels + segments + tasks == 0; }
};

struct FlushResult {
  Timestamp flush_ts = 0;
  std::vector<SegmentId> segments;         // growing ones that this flush seals
  std::vector<SegmentId> flushed_segments; // flushed before
};

struct CompactionState {
  bool completed = true;
  int64_t executing = 0;
  int64_t done = 0;
  int64_t failed = 0;
  std::vector<std::pair<std::vector<SegmentId>, SegmentId>> merges;  // inputs → output
};

struct SegmentReport {
  SegmentMeta meta;
  bool growing = false;
  bool sealing = false;
};

// Writes, flushing, compaction, garbage.
class DataCoord {
 public:
  virtual ~DataCoord() = default;
  virtual Result<FlushResult> Flush(CollectionId collection) = 0;
  // True once everything written at or before flush_ts is in committed segments.
  virtual Result<bool> IsFlushed(CollectionId collection, Timestamp flush_ts, const std::vector<SegmentId>& segments) = 0;
  virtual Result<int64_t> Compact(CollectionId collection) = 0;  // id to ask for its state
  virtual Result<CompactionState> GetCompactionState(int64_t compaction) = 0;
  // Rows written and not known to be gone: committed plus growing. partition 0: all.
  virtual Result<int64_t> RowCount(CollectionId collection, PartitionId partition) = 0;
  virtual Result<std::vector<SegmentReport>> Segments(CollectionId collection) = 0;

  // From a channel's owner: makes flushed segments known, in one transaction that compares the channel's epoch
  // (kSuperseded if it isn't the owner any more) and the collection's tombstone (kCollectionNotFound: forget the rows).
  virtual Result<Revision> CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) = 0;
  // From a channel's owner: the seal requests up to these timestamps are done; nothing before log offset `checkpoint`
  // is needed any more.
  virtual Status ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) = 0;
  // The owner could not fence the channel at its epoch, or lost track of what the log holds: it needs an epoch above
  // `seen`, as the same owner or another.
  virtual Status ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) = 0;
  virtual Status ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) = 0;
  // The owner has flushed what it had of a channel that is to go to its successor: it may go now.
  virtual Status ReportHandedOver(ChannelId channel, Epoch epoch) = 0;
  // A datanode is to give its channels away, or (drain: false) gets some again. Recorded when it returns; it survives a
  // change of the coordinator, not a start of the node. kNodeNotFound: there is no such datanode.
  virtual Status DrainNode(NodeId node, bool drain) = 0;
  virtual Result<DrainProgress> GetDrainProgress(NodeId node) = 0;
  // From an indexnode. `output` has rows == 0 if nothing was left.
  virtual Status ReportCompaction(int64_t task, Result<SegmentMeta> output) = 0;
};

struct ResourceGroupLimits {
  int32_t nodes = 0;         // that it is to have
  int32_t limit = 0;         // and may have; 0: as many as it is to have
};
struct ResourceGroupState {
  std::string name;
  int32_t capacity = 0;
  int32_t limit = 0;
  std::vector<NodeId> nodes;                    // that are there
  std::map<CollectionId, int32_t> replicas;     // loaded in it
  std::map<CollectionId, int32_t> outgoing;     // nodes of other groups that serve its replicas
  std::map<CollectionId, int32_t> incoming;     // its nodes that serve other groups' replicas
};

struct LoadProgress {
  bool exists = false;
  bool loading = false;      // asked for and not yet complete
  int percent = 0;           // 100: loaded
};

// A querynode's memory, as far as segments may take it.
struct NodeMemory {
  int64_t used_bytes = 0;    // by the segments it holds
  int64_t limit_bytes = 0;   // 0: unknown
};
struct HeldSegment {
  SegmentId segment;
  int64_t bytes = 0;         // of memory
};
struct LoadedReport {
  NodeId node;
  CollectionId collection;
  std::vector<HeldSegment> segments;   // all that it holds of the collection
  NodeMemory memory;
};

// Loading, placement, routes.
class QueryCoord {
 public:
  virtual ~QueryCoord() = default;
  // partitions empty: the whole collection. Returns when the desire is recorded; progress tells when it is true.
  // `groups`: one for each replica, one for all, or none: the default group.
  virtual Result<Revision> Load(CollectionId collection, const std::vector<PartitionId>& partitions, int32_t replicas,
                                const std::vector<FieldId>& fields, const std::vector<std::string>& groups) = 0;
  virtual Result<Revision> Release(CollectionId collection, const std::vector<PartitionId>& partitions) = 0;
  virtual Result<LoadProgress> Progress(CollectionId collection, const std::vector<PartitionId>& partitions) = 0;
  // From a querynode: what it holds of this collection now. A report that fails is to be repeated.
  virtual Status ReportLoaded(const LoadedReport& report) = 0;
  virtual Status ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) = 0;
  // As DataCoord's, of a querynode: its segments go to others.
  virtual Status DrainNode(NodeId node, bool drain) = 0;
  virtual Result<DrainProgress> GetDrainProgress(NodeId node) = 0;

  // Resource groups; errors are Milvus 2.3's.
  virtual Result<Revision> CreateResourceGroup(const std::string& name, const ResourceGroupLimits& limits) = 0;
  virtual Result<Revision> UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>& limits) = 0;
  virtual Result<Revision> DropResourceGroup(const std::string& name) = 0;
  virtual Result<Revision> TransferNode(const std::string& from, const std::string& to, int32_t nodes) = 0;
  virtual Result<Revision> TransferReplica(const std::string& from, const std::string& to, CollectionId collection, int32_t replicas) = 0;
  virtual Result<ResourceGroupState> DescribeResourceGroup(const std::string& name) = 0;
};

struct IndexProgress {
  int64_t total_rows = 0;
  int64_t indexed_rows = 0;
  int64_t pending_rows = 0;
  bool finished = false;
  std::string failure;       // why the last build failed, if it did
};

// Indexes.
class IndexCoord {
 public:
  virtual ~IndexCoord() = default;
  virtual Result<Revision> CreateIndex(CollectionId collection, const IndexMeta& index) = 0;  // id is allotted here
  virtual Result<Revision> DropIndex(CollectionId collection, const std::string& index_name) = 0;  // "": all
  virtual Result<Revision> AlterIndex(CollectionId collection, const std::string& index_name, const KeyValues& set,
                                      const std::vector<std::string>& erase) = 0;
  virtual Result<IndexProgress> Progress(CollectionId collection, IndexId index) = 0;
  // From an indexnode.
  virtual Status ReportIndex(int64_t task, Result<SegmentIndex> built) = 0;
  // As DataCoord's, of an indexnode: it finishes what it has.
  virtual Status DrainNode(NodeId node, bool drain) = 0;
  virtual Result<DrainProgress> GetDrainProgress(NodeId node) = 0;
};

}  // namespace saker
