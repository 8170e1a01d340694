#include "transport/clients.h"

#include "base/log.h"

namespace saker {
namespace {

template <auto kMethod, typename... Args>
Status Report(const Link& link, const Args&... args) {
  return link.Wait<kMethod, Nothing>(args...).status();
}

template <typename Plan>
Status CheckFilter(const Plan& plan) {
  if (CanTravel(plan.filter)) return {};
  return {ErrorCode::kServiceInternal, "a filter that was not parsed from text can't be sent to another node"};
}

// A search leg, growing or sealed.
template <auto kMethod, typename Leg>
void SendSearch(const Link& link, const Leg& leg, const std::shared_ptr<const SearchPlan>& plan, Callback<SearchHits> done) {
  if (Status status = CheckFilter(*plan); !status.ok()) return done(status);
  link.Send<kMethod, SearchHits>(
      Link::DeadlineOf(kSpec<kMethod>, plan->deadline_us), nullptr,
      [plan, done = std::move(done)](Result<SearchHits> hits) {
        if (hits.ok()) {
          if (Status wrong = CheckAnswer(*plan, *hits); !wrong.ok()) return done(wrong);
        }
        done(std::move(hits));
      },
      leg, plan);
}

template <auto kMethod, typename Leg>
void SendQuery(const Link& link, const Leg& leg, const std::shared_ptr<const QueryPlan>& plan, Callback<QueryRows> done) {
  if (Status status = CheckFilter(*plan); !status.ok()) return done(status);
  link.Send<kMethod, QueryRows>(
      Link::DeadlineOf(kSpec<kMethod>, plan->deadline_us), nullptr,
      // The plan's budget may be another one by the time the rows are here.
      [plan, budget = plan->budget, done = std::move(done)](Result<QueryRows> rows) {
        if (!rows.ok()) return done(rows.status());
        if (Status wrong = CheckAnswer(*plan, *rows); !wrong.ok()) return done(wrong);
        if (budget != nullptr) {
          if (Status spent = budget->Take(rows->rows.size_bytes()); !spent.ok()) return done(spent);
        }
        done(std::move(rows));
      },
      leg, plan);
}

}  // namespace

// ---- rootcoord

Result<Revision> RootCoordClient::CreateDatabase(const std::string& name, const KeyValues& properties) {
  return link_->Wait<&RootCoord::CreateDatabase, Revision>(name, properties);
}
Result<Revision> RootCoordClient::DropDatabase(const std::string& name) {
  return link_->Wait<&RootCoord::DropDatabase, Revision>(name);
}
Result<Revision> RootCoordClient::AlterDatabase(const std::string& name, const KeyValues& set, const std::vector<std::string>& erase) {
  return link_->Wait<&RootCoord::AlterDatabase, Revision>(name, set, erase);
}
Result<Revision> RootCoordClient::CreateCollection(const CollectionDraft& draft) {
  return link_->Wait<&RootCoord::CreateCollection, Revision>(draft);
}
Result<Revision> RootCoordClient::DropCollection(const std::string& database, const std::string& name) {
  return link_->Wait<&RootCoord::DropCollection, Revision>(database, name);
}
Result<Revision> RootCoordClient::RenameCollection(const std::string& database, const std::string& from, const std::string& to_database,
                                                   const std::string& to) {
  return link_->Wait<&RootCoord::RenameCollection, Revision>(database, from, to_database, to);
}
Result<Revision> RootCoordClient::AlterCollection(CollectionId id, const KeyValues& set, const std::vector<std::string>& erase) {
  return link_->Wait<&RootCoord::AlterCollection, Revision>(id, set, erase);
}
Result<Revision> RootCoordClient::AlterField(CollectionId id, const std::string& field, const KeyValues& set,
                                             const std::vector<std::string>& erase) {
  return link_->Wait<&RootCoord::AlterField, Revision>(id, field, set, erase);
}
Result<Revision> RootCoordClient::AddField(CollectionId id, const FieldSchema& field) {
  return link_->Wait<&RootCoord::AddField, Revision>(id, field);
}
Result<Revision> RootCoordClient::CreatePartition(CollectionId id, const std::string& name) {
  return link_->Wait<&RootCoord::CreatePartition, Revision>(id, name);
}
Result<Revision> RootCoordClient::DropPartition(CollectionId id, const std::string& name) {
  return link_->Wait<&RootCoord::DropPartition, Revision>(id, name);
}
Result<Revision> RootCoordClient::CreateAlias(const std::string& database, const std::string& collection, const std::string& alias) {
  return link_->Wait<&RootCoord::CreateAlias, Revision>(database, collection, alias);
}
Result<Revision> RootCoordClient::DropAlias(const std::string& database, const std::string& alias) {
  return link_->Wait<&RootCoord::DropAlias, Revision>(database, alias);
}
Result<Revision> RootCoordClient::AlterAlias(const std::string& database, const std::string& collection, const std::string& alias) {
  return link_->Wait<&RootCoord::AlterAlias, Revision>(database, collection, alias);
}
Result<Revision> RootCoordClient::CreateUser(const User& user) { return link_->Wait<&RootCoord::CreateUser, Revision>(user); }
Result<Revision> RootCoordClient::UpdateUser(const User& user) { return link_->Wait<&RootCoord::UpdateUser, Revision>(user); }
Result<Revision> RootCoordClient::DropUser(const std::string& name) { return link_->Wait<&RootCoord::DropUser, Revision>(name); }
Result<Revision> RootCoordClient::CreateRole(const std::string& name) { return link_->Wait<&RootCoord::CreateRole, Revision>(name); }
Result<Revision> RootCoordClient::DropRole(const std::string& name, bool force) {
  return link_->Wait<&RootCoord::DropRole, Revision>(name, force);
}
Result<Revision> RootCoordClient::AddUserToRole(const std::string& user, const std::string& role) {
  return link_->Wait<&RootCoord::AddUserToRole, Revision>(user, role);
}
Result<Revision> RootCoordClient::RemoveUserFromRole(const std::string& user, const std::string& role) {
  return link_->Wait<&RootCoord::RemoveUserFromRole, Revision>(user, role);
}
Result<Revision> RootCoordClient::GrantPrivilege(const Grant& grant) {
  return link_->Wait<&RootCoord::GrantPrivilege, Revision>(grant);
}
Result<Revision> RootCoordClient::RevokePrivilege(const Grant& grant) {
  return link_->Wait<&RootCoord::RevokePrivilege, Revision>(grant);
}
Result<int64_t> RootCoordClient::AllocateIds(int64_t count) { return link_->Wait<&RootCoord::AllocateIds, int64_t>(count); }

// ---- datacoord

Result<FlushResult> DataCoordClient::Flush(CollectionId collection) { return link_->Wait<&DataCoord::Flush, FlushResult>(collection); }
Result<bool> DataCoordClient::IsFlushed(CollectionId collection, Timestamp flush_ts, const std::vector<SegmentId>& segments) {
  return link_->Wait<&DataCoord::IsFlushed, bool>(collection, flush_ts, segments);
}
Result<int64_t> DataCoordClient::Compact(CollectionId collection) { return link_->Wait<&DataCoord::Compact, int64_t>(collection); }
Result<CompactionState> DataCoordClient::GetCompactionState(int64_t compaction) {
  return link_->Wait<&DataCoord::GetCompactionState, CompactionState>(compaction);
}
Result<int64_t> DataCoordClient::RowCount(CollectionId collection, PartitionId partition) {
  return link_->Wait<&DataCoord::RowCount, int64_t>(collection, partition);
}
Result<std::vector<SegmentReport>> DataCoordClient::Segments(CollectionId collection) {
  return link_->Wait<&DataCoord::Segments, std::vector<SegmentReport>>(collection);
}
Result<Revision> DataCoordClient::CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) {
  return link_->Wait<&DataCoord::CommitFlush, Revision>(channel, epoch, segments);
}
Status DataCoordClient::ReportSealed(ChannelId channel, Epoch epoch, CollectionId collection, Timestamp sealed_before) {
  return link_->Wait<&DataCoord::ReportSealed, Nothing>(channel, epoch, collection, sealed_before).status();
}
Status DataCoordClient::ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) {
  return Report<&DataCoord::ReportChannelLost>(*link_, channel, owner, seen);
}
Status DataCoordClient::ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) {
  return Report<&DataCoord::ReportCheckpoint>(*link_, channel, epoch, checkpoint);
}
Status DataCoordClient::ReportCompaction(int64_t task, Result<SegmentMeta> output) {
  return link_->Wait<&DataCoord::ReportCompaction, Nothing>(task, output).status();
}

Status DataCoordClient::ReportHandedOver(ChannelId channel, Epoch epoch) {
  return Report<&DataCoord::ReportHandedOver>(*link_, channel, epoch);
}
Status DataCoordClient::DrainNode(NodeId node, bool drain) { return Report<&DataCoord::DrainNode>(*link_, node, drain); }
Result<DrainProgress> DataCoordClient::GetDrainProgress(NodeId node) {
  return link_->Wait<&DataCoord::GetDrainProgress, DrainProgress>(node);
}

// ---- querycoord

Result<Revision> QueryCoordClient::Load(CollectionId collection, const std::vector<PartitionId>& partitions, int32_t replicas,
                                        const std::vector<FieldId>& fields, const std::vector<std::string>& groups) {
  return link_->Wait<&QueryCoord::Load, Revision>(collection, partitions, replicas, fields, groups);
}
Result<Revision> QueryCoordClient::Release(CollectionId collection, const std::vector<PartitionId>& partitions) {
  return link_->Wait<&QueryCoord::Release, Revision>(collection, partitions);
}
Result<LoadProgress> QueryCoordClient::Progress(CollectionId collection, const std::vector<PartitionId>& partitions) {
  return link_->Wait<&QueryCoord::Progress, LoadProgress>(collection, partitions);
}
Status QueryCoordClient::ReportLoaded(const LoadedReport& report) { return Report<&QueryCoord::ReportLoaded>(*link_, report); }
Status QueryCoordClient::ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) {
  return Report<&QueryCoord::ReportLoadFailed>(*link_, node, collection, segment, why);
}

Status QueryCoordClient::DrainNode(NodeId node, bool drain) { return Report<&QueryCoord::DrainNode>(*link_, node, drain); }
Result<DrainProgress> QueryCoordClient::GetDrainProgress(NodeId node) {
  return link_->Wait<&QueryCoord::GetDrainProgress, DrainProgress>(node);
}
Result<Revision> QueryCoordClient::CreateResourceGroup(const std::string& name, const ResourceGroupLimits& limits) {
  return link_->Wait<&QueryCoord::CreateResourceGroup, Revision>(name, limits);
}
Result<Revision> QueryCoordClient::UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>& limits) {
  return link_->Wait<&QueryCoord::UpdateResourceGroups, Revision>(limits);
}
Result<Revision> QueryCoordClient::DropResourceGroup(const std::string& name) {
  return link_->Wait<&QueryCoord::DropResourceGroup, Revision>(name);
}
Result<Revision> QueryCoordClient::TransferNode(const std::string& from, const std::string& to, int32_t nodes) {
  return link_->Wait<&QueryCoord::TransferNode, Revision>(from, to, nodes);
}
Result<Revision> QueryCoordClient::TransferReplica(const std::string& from, const std::string& to, CollectionId collection, int32_t replicas) {
  return link_->Wait<&QueryCoord::TransferReplica, Revision>(from, to, collection, replicas);
}
Result<ResourceGroupState> QueryCoordClient::DescribeResourceGroup(const std::string& name) {
  return link_->Wait<&QueryCoord::DescribeResourceGroup, ResourceGroupState>(name);
}

// ---- indexcoord

Result<Revision> IndexCoordClient::CreateIndex(CollectionId collection, const IndexMeta& index) {
  return link_->Wait<&IndexCoord::CreateIndex, Revision>(collection, index);
}
Result<Revision> IndexCoordClient::DropIndex(CollectionId collection, const std::string& index_name) {
  return link_->Wait<&IndexCoord::DropIndex, Revision>(collection, index_name);
}
Result<Revision> IndexCoordClient::AlterIndex(CollectionId collection, const std::string& index_name, const KeyValues& set,
                                              const std::vector<std::string>& erase) {
  return link_->Wait<&IndexCoord::AlterIndex, Revision>(collection, index_name, set, erase);
}
Result<IndexProgress> IndexCoordClient::Progress(CollectionId collection, IndexId index) {
  return link_->Wait<&IndexCoord::Progress, IndexProgress>(collection, index);
}
Status IndexCoordClient::ReportIndex(int64_t task, Result<SegmentIndex> built) {
  return link_->Wait<&IndexCoord::ReportIndex, Nothing>(task, built).status();
}

Status IndexCoordClient::DrainNode(NodeId node, bool drain) { return Report<&IndexCoord::DrainNode>(*link_, node, drain); }
Result<DrainProgress> IndexCoordClient::GetDrainProgress(NodeId node) {
  return link_->Wait<&IndexCoord::GetDrainProgress, DrainProgress>(node);
}

// ---- datanode

void DataNodeClient::Write(WriteRequest request, Callback<WriteResponse> done) {
  const auto owned = std::make_shared<const WriteRequest>(std::move(request));
  link_->Send<&DataNode::Write, WriteResponse>(Link::DeadlineOf(kSpec<&DataNode::Write>), owned, std::move(done), *owned);
}
void DataNodeClient::BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) {
  link_->Send<&DataNode::BeginRead, ReadPoint>(Link::DeadlineOf(kSpec<&DataNode::BeginRead>), nullptr, std::move(done), request);
}
void DataNodeClient::Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) {
  SendSearch<&DataNode::Search>(*link_, leg, plan, std::move(done));
}
void DataNodeClient::Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) {
  SendQuery<&DataNode::Query>(*link_, leg, plan, std::move(done));
}
void DataNodeClient::Fetch(const FetchRequest& request, Callback<RowBatch> done) {
  link_->Send<&DataNode::Fetch, RowBatch>(Link::DeadlineOf(kSpec<&DataNode::Fetch>), nullptr, std::move(done), request);
}
Result<DeleteStream> DataNodeClient::Deletes(const DeleteStreamRequest& request) {
  return link_->Wait<&DataNode::Deletes, DeleteStream>(request);
}
Result<std::vector<GrowingSegmentInfo>> DataNodeClient::GrowingSegments(CollectionId collection) {
  return link_->Wait<&DataNode::GrowingSegments, std::vector<GrowingSegmentInfo>>(collection);
}
Result<Timestamp> DataNodeClient::OldestPin(CollectionId collection) {
  return link_->Wait<&DataNode::OldestPin, Timestamp>(collection);
}
Status DataNodeClient::BarrierCollection(CollectionId collection, const std::vector<ChannelId>& channels, int64_t version, bool dropped,
                                         const std::vector<PartitionId>& dropped_partitions) {
  return link_->Wait<&DataNode::BarrierCollection, Nothing>(collection, channels, version, dropped, dropped_partitions).status();
}

// ---- querynode

void QueryNodeClient::Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) {
  SendSearch<&QueryNode::Search>(*link_, leg, plan, std::move(done));
}
void QueryNodeClient::Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) {
  SendQuery<&QueryNode::Query>(*link_, leg, plan, std::move(done));
}
void QueryNodeClient::Fetch(const FetchRequest& request, Callback<RowBatch> done) {
  link_->Send<&QueryNode::Fetch, RowBatch>(Link::DeadlineOf(kSpec<&QueryNode::Fetch>), nullptr, std::move(done), request);
}
Result<std::vector<LoadedSegmentInfo>> QueryNodeClient::LoadedSegments(CollectionId collection) {
  return link_->Wait<&QueryNode::LoadedSegments, std::vector<LoadedSegmentInfo>>(collection);
}

}  // namespace saker
