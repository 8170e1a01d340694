// The roles of another process, behind the interfaces of src/roles: each call is a message to the node (methods.h says
// how long it may take) and fails as PeerChannel says if the node doesn't answer. Thread-safe. Calls that return wait on
// the caller's thread; callbacks come on gRPC's threads or the channel's pool, or before the call returns.
//
// The link outlives its clients.
#pragma once

#include "roles/coordinators.h"
#include "roles/query_node.h"
#include "transport/link.h"

namespace saker {

class RootCoordClient final : public RootCoord {
 public:
  explicit RootCoordClient(const Link* link) : link_(link) {}
  Result<Revision> CreateDatabase(const std::string& name, const KeyValues& properties) override;
  Result<Revision> DropDatabase(const std::string& name) override;
  Result<Revision> AlterDatabase(const std::string& name, const KeyValues& set, const std::vector<std::string>& erase) override;
  Result<Revision> CreateCollection(const CollectionDraft& draft) override;
  Result<Revision> DropCollection(const std::string& database, const std::string& name) override;
  Result<Revision> RenameCollection(const std::string& database, const std::string& from, const std::string& to_database,
                                    const std::string& to) override;
  Result<Revision> AlterCollection(CollectionId id, const KeyValues& set, const std::vector<std::string>& erase) override;
  Result<Revision> AlterField(CollectionId id, const std::string& field, const KeyValues& set,
                              const std::vector<std::string>& erase) override;
  Result<Revision> AddField(CollectionId id, const FieldSchema& field) override;
  Result<Revision> CreatePartition(CollectionId id, const std::string& name) override;
  Result<Revision> DropPartition(CollectionId id, const std::string& name) override;
  Result<Revision> CreateAlias(const std::string& database, const std::string& collection, const std::string& alias) override;
  Result<Revision> DropAlias(const std::string& database, const std::string& alias) override;
  Result<Revision> AlterAlias(const std::string& database, const std::string& collection, const std::string& alias) override;
  Result<Revision> CreateUser(const User& user) override;
  Result<Revision> UpdateUser(const User& user) override;
  Result<Revision> DropUser(const std::string& name) override;
  Result<Revision> CreateRole(const std::string& name) override;
  Result<Revision> DropRole(const std::string& name, bool force) override;
  Result<Revision> AddUserToRole(const std::string& user, const std::string& role) override;
  Result<Revision> RemoveUserFromRole(const std::string& user, const std::string& role) override;
  Result<Revision> GrantPrivilege(const Grant& grant) override;
  Result<Revision> RevokePrivilege(const Grant& grant) override;
  Result<int64_t> AllocateIds(int64_t count) override;

 private:
  const Link* const link_;
};

class DataCoordClient final : public DataCoord {
 public:
  explicit DataCoordClient(const Link* link) : link_(link) {}
  Result<FlushResult> Flush(CollectionId collection) override;
  Result<bool> IsFlushed(CollectionId collection, Timestamp flush_ts, const std::vector<SegmentId>& segments) override;
  Result<int64_t> Compact(CollectionId collection) override;
  Result<CompactionState> GetCompactionState(int64_t compaction) override;
  Result<int64_t> RowCount(CollectionId collection, PartitionId partition) override;
  Result<std::vector<SegmentReport>> Segments(CollectionId collection) override;
  Result<Revision> CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) override;
  Status ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) override;
  Status ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) override;
  Status ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) override;
  Status ReportCompaction(int64_t task, Result<SegmentMeta> output) override;
  Status ReportHandedOver(ChannelId channel, Epoch epoch) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;

 private:
  const Link* const link_;
};

class QueryCoordClient final : public QueryCoord {
 public:
  explicit QueryCoordClient(const Link* link) : link_(link) {}
  Result<Revision> Load(CollectionId collection, const std::vector<PartitionId>& partitions, int32_t replicas,
                        const std::vector<FieldId>& fields, const std::vector<std::string>& groups) override;
  Result<Revision> Release(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  Result<LoadProgress> Progress(CollectionId collection, const std::vector<PartitionId>& partitions) override;
  Status ReportLoaded(const LoadedReport& report) override;
  Status ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;
  Result<Revision> CreateResourceGroup(const std::string& name, const ResourceGroupLimits& limits) override;
  Result<Revision> UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>& limits) override;
  Result<Revision> DropResourceGroup(const std::string& name) override;
  Result<Revision> TransferNode(const std::string& from, const std::string& to, int32_t nodes) override;
  Result<Revision> TransferReplica(const std::string& from, const std::string& to, CollectionId collection, int32_t replicas) override;
  Result<ResourceGroupState> DescribeResourceGroup(const std::string& name) override;

 private:
  const Link* const link_;
};

class IndexCoordClient final : public IndexCoord {
 public:
  explicit IndexCoordClient(const Link* link) : link_(link) {}
  Result<Revision> CreateIndex(CollectionId collection, const IndexMeta& index) override;
  Result<Revision> DropIndex(CollectionId collection, const std::string& index_name) override;
  Result<Revision> AlterIndex(CollectionId collection, const std::string& index_name, const KeyValues& set,
                              const std::vector<std::string>& erase) override;
  Result<IndexProgress> Progress(CollectionId collection, IndexId index) override;
  Status ReportIndex(int64_t task, Result<SegmentIndex> built) override;
  Status DrainNode(NodeId node, bool drain) override;
  Result<DrainProgress> GetDrainProgress(NodeId node) override;

 private:
  const Link* const link_;
};

// A plan whose filter did not come from ParseFilter is refused with kServiceInternal. Rows that a query brings are taken
// from the plan's budget when they arrive.
class DataNodeClient final : public DataNode {
 public:
  explicit DataNodeClient(const Link* link) : link_(link) {}
  void Write(WriteRequest request, Callback<WriteResponse> done) override;
  void BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) override;
  void Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override;
  void Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override;
  void Fetch(const FetchRequest& request, Callback<RowBatch> done) override;
  Result<DeleteStream> Deletes(const DeleteStreamRequest& request) override;
  Result<std::vector<GrowingSegmentInfo>> GrowingSegments(CollectionId collection) override;
  Result<Timestamp> OldestPin(CollectionId collection) override;
  Status BarrierCollection(CollectionId collection, const std::vector<ChannelId>& channels, int64_t version, bool dropped,
                           const std::vector<PartitionId>& dropped_partitions) override;

 private:
  const Link* const link_;
};

class QueryNodeClient final : public QueryNode {
 public:
  explicit QueryNodeClient(const Link* link) : link_(link) {}
  void Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) override;
  void Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) override;
  void Fetch(const FetchRequest& request, Callback<RowBatch> done) override;
  Result<std::vector<LoadedSegmentInfo>> LoadedSegments(CollectionId collection) override;

 private:
  const Link* const link_;
};

}  // namespace saker
