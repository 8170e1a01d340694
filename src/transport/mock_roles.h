// All roles as gmock's mocks, for tests.
#pragma once

#include <gmock/gmock.h>

#include "roles/coordinators.h"
#include "roles/query_node.h"

namespace saker {

using Strings = std::vector<std::string>;

class MockRootCoord : public RootCoord {
 public:
  MOCK_METHOD(Result<Revision>, CreateDatabase, (const std::string&, const KeyValues&), (override));
  MOCK_METHOD(Result<Revision>, DropDatabase, (const std::string&), (override));
  MOCK_METHOD(Result<Revision>, AlterDatabase, (const std::string&, const KeyValues&, const Strings&), (override));
  MOCK_METHOD(Result<Revision>, CreateCollection, (const CollectionDraft&), (override));
  MOCK_METHOD(Result<Revision>, DropCollection, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, RenameCollection, (const std::string&, const std::string&, const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, AlterCollection, (CollectionId, const KeyValues&, const Strings&), (override));
  MOCK_METHOD(Result<Revision>, AlterField, (CollectionId, const std::string&, const KeyValues&, const Strings&), (override));
  MOCK_METHOD(Result<Revision>, AddField, (CollectionId, const FieldSchema&), (override));
  MOCK_METHOD(Result<Revision>, CreatePartition, (CollectionId, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, DropPartition, (CollectionId, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, CreateAlias, (const std::string&, const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, DropAlias, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, AlterAlias, (const std::string&, const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, CreateUser, (const User&), (override));
  MOCK_METHOD(Result<Revision>, UpdateUser, (const User&), (override));
  MOCK_METHOD(Result<Revision>, DropUser, (const std::string&), (override));
  MOCK_METHOD(Result<Revision>, CreateRole, (const std::string&), (override));
  MOCK_METHOD(Result<Revision>, DropRole, (const std::string&, bool), (override));
  MOCK_METHOD(Result<Revision>, AddUserToRole, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, RemoveUserFromRole, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, GrantPrivilege, (const Grant&), (override));
  MOCK_METHOD(Result<Revision>, RevokePrivilege, (const Grant&), (override));
  MOCK_METHOD(Result<int64_t>, AllocateIds, (int64_t), (override));
};

class MockDataCoord : public DataCoord {
 public:
  MOCK_METHOD(Result<FlushResult>, Flush, (CollectionId), (override));
  MOCK_METHOD(Result<bool>, IsFlushed, (CollectionId, Timestamp, const std::vector<SegmentId>&), (override));
  MOCK_METHOD(Result<int64_t>, Compact, (CollectionId), (override));
  MOCK_METHOD(Result<CompactionState>, GetCompactionState, (int64_t), (override));
  MOCK_METHOD(Result<int64_t>, RowCount, (CollectionId, PartitionId), (override));
  MOCK_METHOD(Result<std::vector<SegmentReport>>, Segments, (CollectionId), (override));
  MOCK_METHOD(Result<Revision>, CommitFlush, (ChannelId, Epoch, const std::vector<SegmentMeta>&), (override));
  MOCK_METHOD(Status, ReportSealed, (ChannelId, Epoch, CollectionId, Timestamp), (override));
  MOCK_METHOD(Status, ReportChannelLost, (ChannelId, NodeId, Epoch), (override));
  MOCK_METHOD(Status, ReportCheckpoint, (ChannelId, Epoch, int64_t), (override));
  MOCK_METHOD(Status, ReportCompaction, (int64_t, Result<SegmentMeta>), (override));
  MOCK_METHOD(Status, ReportHandedOver, (ChannelId, Epoch), (override));
  MOCK_METHOD(Status, DrainNode, (NodeId, bool), (override));
  MOCK_METHOD(Result<DrainProgress>, GetDrainProgress, (NodeId), (override));
};

class MockQueryCoord : public QueryCoord {
 public:
  MOCK_METHOD(Result<Revision>, Load, (CollectionId, const std::vector<PartitionId>&, int32_t, const std::vector<FieldId>&, const Strings&), (override));
  MOCK_METHOD(Result<Revision>, Release, (CollectionId, const std::vector<PartitionId>&), (override));
  MOCK_METHOD(Result<LoadProgress>, Progress, (CollectionId, const std::vector<PartitionId>&), (override));
  MOCK_METHOD(Status, ReportLoaded, (const LoadedReport&), (override));
  MOCK_METHOD(Status, ReportLoadFailed, (NodeId, CollectionId, SegmentId, const Status&), (override));
  MOCK_METHOD(Status, DrainNode, (NodeId, bool), (override));
  MOCK_METHOD(Result<DrainProgress>, GetDrainProgress, (NodeId), (override));
  MOCK_METHOD(Result<Revision>, CreateResourceGroup, (const std::string&, const ResourceGroupLimits&), (override));
  MOCK_METHOD(Result<Revision>, UpdateResourceGroups, ((const std::map<std::string, ResourceGroupLimits>&)), (override));
  MOCK_METHOD(Result<Revision>, DropResourceGroup, (const std::string&), (override));
  MOCK_METHOD(Result<Revision>, TransferNode, (const std::string&, const std::string&, int32_t), (override));
  MOCK_METHOD(Result<Revision>, TransferReplica, (const std::string&, const std::string&, CollectionId, int32_t), (override));
  MOCK_METHOD(Result<ResourceGroupState>, DescribeResourceGroup, (const std::string&), (override));
};

class MockIndexCoord : public IndexCoord {
 public:
  MOCK_METHOD(Result<Revision>, CreateIndex, (CollectionId, const IndexMeta&), (override));
  MOCK_METHOD(Result<Revision>, DropIndex, (CollectionId, const std::string&), (override));
  MOCK_METHOD(Result<Revision>, AlterIndex, (CollectionId, const std::string&, const KeyValues&, const Strings&), (override));
  MOCK_METHOD(Result<IndexProgress>, Progress, (CollectionId, IndexId), (override));
  MOCK_METHOD(Status, ReportIndex, (int64_t, Result<SegmentIndex>), (override));
  MOCK_METHOD(Status, DrainNode, (NodeId, bool), (override));
  MOCK_METHOD(Result<DrainProgress>, GetDrainProgress, (NodeId), (override));
};

class MockDataNode : public DataNode {
 public:
  MOCK_METHOD(void, Write, (WriteRequest, Callback<WriteResponse>), (override));
  MOCK_METHOD(void, BeginRead, (const ReadPointRequest&, Callback<ReadPoint>), (override));
  MOCK_METHOD(void, Search, (const GrowingLeg&, std::shared_ptr<const SearchPlan>, Callback<SearchHits>), (override));
  MOCK_METHOD(void, Query, (const GrowingLeg&, std::shared_ptr<const QueryPlan>, Callback<QueryRows>), (override));
  MOCK_METHOD(void, Fetch, (const FetchRequest&, Callback<RowBatch>), (override));
  MOCK_METHOD(Result<DeleteStream>, Deletes, (const DeleteStreamRequest&), (override));
  MOCK_METHOD(Result<std::vector<GrowingSegmentInfo>>, GrowingSegments, (CollectionId), (override));
  MOCK_METHOD(Result<Timestamp>, OldestPin, (CollectionId), (override));
  MOCK_METHOD(Status, BarrierCollection,
              (CollectionId, const std::vector<ChannelId>&, int64_t, bool, const std::vector<PartitionId>&), (override));
};

class MockQueryNode : public QueryNode {
 public:
  MOCK_METHOD(void, Search, (const SealedLeg&, std::shared_ptr<const SearchPlan>, Callback<SearchHits>), (override));
  MOCK_METHOD(void, Query, (const SealedLeg&, std::shared_ptr<const QueryPlan>, Callback<QueryRows>), (override));
  MOCK_METHOD(void, Fetch, (const FetchRequest&, Callback<RowBatch>), (override));
  MOCK_METHOD(Result<std::vector<LoadedSegmentInfo>>, LoadedSegments, (CollectionId), (override));
};

}  // namespace saker
