// MilvusService: one thin method per RPC. Protobuf is turned into calls of the proxy here and nowhere below.
#pragma once

#include "common.pb.h"
#include "milvus.pb.h"
#include "proxy/proxy.h"
#include "proxy/schema_codec.h"
#include "rpc/method_table.h"

namespace saker {

class MilvusService {
 public:
  explicit MilvusService(Proxy* proxy);
  void Register(MethodTable& table);

 private:
  template <typename Request, typename Response>
  using Method = void (MilvusService::*)(RequestContext&, const Request&, Responder<Response>);
  template <typename Request, typename Response>
  void Add(MethodTable& table, const char* name, ThreadPool* pool, Method<Request, Response> method, bool often_brief = false) {
    table.Register<Request, Response>(std::string("/milvus.proto.milvus.MilvusService/") + name, pool,
                                      [this, method](RequestContext& context, const Request& request, Responder<Response> respond) {
                                        (this->*method)(context, request, std::move(respond));
                                      }, often_brief);
  }
  void RegisterDdl(MethodTable& table);    // rpc_ddl.cc
  void RegisterData(MethodTable& table);   // rpc_data.cc
  void RegisterInfo(MethodTable& table);   // rpc_info.cc
  void RegisterUsers(MethodTable& table);  // rpc_users.cc
  void RegisterResourceGroups(MethodTable& table);  // rpc_resource_groups.cc

  // The call's context, with the database named by the body before the one in the metadata.
  CallContext Context(const RequestContext& context, const std::string& database, bool ddl) const;
  template <typename Request>
  CallContext Ddl(const RequestContext& context, const Request& request) const {
    return Context(context, request.db_name(), true);
  }
  template <typename Request>
  CallContext Data(const RequestContext& context, const Request& request) const {
    return Context(context, request.db_name(), false);
  }

#define SAKER_RPC(name, request, response) \
  void name(RequestContext& context, const wire::milvus::request& r, Responder<wire::response> respond)
  // rpc_ddl.cc
  SAKER_RPC(CreateDatabase, CreateDatabaseRequest, common::Status);
  SAKER_RPC(DropDatabase, DropDatabaseRequest, common::Status);
  SAKER_RPC(ListDatabases, ListDatabasesRequest, milvus::ListDatabasesResponse);
  SAKER_RPC(AlterDatabase, AlterDatabaseRequest, common::Status);
  SAKER_RPC(DescribeDatabase, DescribeDatabaseRequest, milvus::DescribeDatabaseResponse);
  SAKER_RPC(CreateCollection, CreateCollectionRequest, common::Status);
  SAKER_RPC(DropCollection, DropCollectionRequest, common::Status);
  SAKER_RPC(HasCollection, HasCollectionRequest, milvus::BoolResponse);
  SAKER_RPC(DescribeCollection, DescribeCollectionRequest, milvus::DescribeCollectionResponse);
  SAKER_RPC(BatchDescribeCollection, BatchDescribeCollectionRequest, milvus::BatchDescribeCollectionResponse);
  SAKER_RPC(ShowCollections, ShowCollectionsRequest, milvus::ShowCollectionsResponse);
  SAKER_RPC(AlterCollection, AlterCollectionRequest, common::Status);
  SAKER_RPC(AlterCollectionField, AlterCollectionFieldRequest, common::Status);
  SAKER_RPC(AddCollectionField, AddCollectionFieldRequest, common::Status);
  SAKER_RPC(RenameCollection, RenameCollectionRequest, common::Status);
  SAKER_RPC(CreatePartition, CreatePartitionRequest, common::Status);
  SAKER_RPC(DropPartition, DropPartitionRequest, common::Status);
  SAKER_RPC(HasPartition, HasPartitionRequest, milvus::BoolResponse);
  SAKER_RPC(ShowPartitions, ShowPartitionsRequest, milvus::ShowPartitionsResponse);
  SAKER_RPC(CreateAlias, CreateAliasRequest, common::Status);
  SAKER_RPC(DropAlias, DropAliasRequest, common::Status);
  SAKER_RPC(AlterAlias, AlterAliasRequest, common::Status);
  SAKER_RPC(DescribeAlias, DescribeAliasRequest, milvus::DescribeAliasResponse);
  SAKER_RPC(ListAliases, ListAliasesRequest, milvus::ListAliasesResponse);
  SAKER_RPC(CreateIndex, CreateIndexRequest, common::Status);
  SAKER_RPC(DropIndex, DropIndexRequest, common::Status);
  SAKER_RPC(AlterIndex, AlterIndexRequest, common::Status);
  SAKER_RPC(DescribeIndex, DescribeIndexRequest, milvus::DescribeIndexResponse);
  SAKER_RPC(GetIndexState, GetIndexStateRequest, milvus::GetIndexStateResponse);
  SAKER_RPC(GetIndexBuildProgress, GetIndexBuildProgressRequest, milvus::GetIndexBuildProgressResponse);
  SAKER_RPC(GetIndexStatistics, GetIndexStatisticsRequest, milvus::GetIndexStatisticsResponse);
  SAKER_RPC(LoadCollection, LoadCollectionRequest, common::Status);
  SAKER_RPC(ReleaseCollection, ReleaseCollectionRequest, common::Status);
  SAKER_RPC(LoadPartitions, LoadPartitionsRequest, common::Status);
  SAKER_RPC(ReleasePartitions, ReleasePartitionsRequest, common::Status);
  SAKER_RPC(GetLoadingProgress, GetLoadingProgressRequest, milvus::GetLoadingProgressResponse);
  SAKER_RPC(GetLoadState, GetLoadStateRequest, milvus::GetLoadStateResponse);
  // rpc_data.cc
  SAKER_RPC(Insert, InsertRequest, milvus::MutationResult);
  SAKER_RPC(Upsert, UpsertRequest, milvus::MutationResult);
  SAKER_RPC(Delete, DeleteRequest, milvus::MutationResult);
  SAKER_RPC(Search, SearchRequest, milvus::SearchResults);
  SAKER_RPC(HybridSearch, HybridSearchRequest, milvus::SearchResults);
  SAKER_RPC(Query, QueryRequest, milvus::QueryResults);
  // rpc_info.cc
  SAKER_RPC(Connect, ConnectRequest, milvus::ConnectResponse);
  SAKER_RPC(GetVersion, GetVersionRequest, milvus::GetVersionResponse);
  SAKER_RPC(CheckHealth, CheckHealthRequest, milvus::CheckHealthResponse);
  SAKER_RPC(AllocTimestamp, AllocTimestampRequest, milvus::AllocTimestampResponse);
  SAKER_RPC(GetComponentStates, GetComponentStatesRequest, milvus::ComponentStates);
  SAKER_RPC(GetMetrics, GetMetricsRequest, milvus::GetMetricsResponse);
  SAKER_RPC(GetCollectionStatistics, GetCollectionStatisticsRequest, milvus::GetCollectionStatisticsResponse);
  SAKER_RPC(GetPartitionStatistics, GetPartitionStatisticsRequest, milvus::GetPartitionStatisticsResponse);
  SAKER_RPC(Flush, FlushRequest, milvus::FlushResponse);
  SAKER_RPC(GetFlushState, GetFlushStateRequest, milvus::GetFlushStateResponse);
  SAKER_RPC(FlushAll, FlushAllRequest, milvus::FlushAllResponse);
  SAKER_RPC(GetFlushAllState, GetFlushAllStateRequest, milvus::GetFlushAllStateResponse);
  SAKER_RPC(GetPersistentSegmentInfo, GetPersistentSegmentInfoRequest, milvus::GetPersistentSegmentInfoResponse);
  SAKER_RPC(GetQuerySegmentInfo, GetQuerySegmentInfoRequest, milvus::GetQuerySegmentInfoResponse);
  SAKER_RPC(ManualCompaction, ManualCompactionRequest, milvus::ManualCompactionResponse);
  SAKER_RPC(GetCompactionState, GetCompactionStateRequest, milvus::GetCompactionStateResponse);
  SAKER_RPC(GetCompactionStateWithPlans, GetCompactionPlansRequest, milvus::GetCompactionPlansResponse);
  // rpc_users.cc
  SAKER_RPC(CreateCredential, CreateCredentialRequest, common::Status);
  SAKER_RPC(UpdateCredential, UpdateCredentialRequest, common::Status);
  SAKER_RPC(DeleteCredential, DeleteCredentialRequest, common::Status);
  SAKER_RPC(ListCredUsers, ListCredUsersRequest, milvus::ListCredUsersResponse);
  SAKER_RPC(CreateRole, CreateRoleRequest, common::Status);
  SAKER_RPC(DropRole, DropRoleRequest, common::Status);
  SAKER_RPC(OperateUserRole, OperateUserRoleRequest, common::Status);
  SAKER_RPC(SelectRole, SelectRoleRequest, milvus::SelectRoleResponse);
  SAKER_RPC(SelectUser, SelectUserRequest, milvus::SelectUserResponse);
  SAKER_RPC(OperatePrivilege, OperatePrivilegeRequest, common::Status);
  SAKER_RPC(OperatePrivilegeV2, OperatePrivilegeV2Request, common::Status);
  SAKER_RPC(SelectGrant, SelectGrantRequest, milvus::SelectGrantResponse);
  // rpc_resource_groups.cc
  SAKER_RPC(CreateResourceGroup, CreateResourceGroupRequest, common::Status);
  SAKER_RPC(UpdateResourceGroups, UpdateResourceGroupsRequest, common::Status);
  SAKER_RPC(DropResourceGroup, DropResourceGroupRequest, common::Status);
  SAKER_RPC(TransferNode, TransferNodeRequest, common::Status);
  SAKER_RPC(TransferReplica, TransferReplicaRequest, common::Status);
  SAKER_RPC(ListResourceGroups, ListResourceGroupsRequest, milvus::ListResourceGroupsResponse);
  SAKER_RPC(DescribeResourceGroup, DescribeResourceGroupRequest, milvus::DescribeResourceGroupResponse);
  SAKER_RPC(GetReplicas, GetReplicasRequest, milvus::GetReplicasResponse);
#undef SAKER_RPC
  void ChangeGroups(const RequestContext& context, const Responder<wire::common::Status>& respond,
                    const std::function<Result<Revision>(QueryCoord&)>& change);

  Proxy* const p_;
};

// What a request's message says it needs (the descriptor's privilege_ext_obj), checked for the caller.
Status AuthorizeMessage(const Proxy& proxy, const RequestContext& context, const google::protobuf::Message& request);

// Answers with an error in the response's own status, never as a gRPC error.
void Answer(const Responder<wire::common::Status>& respond, const Status& status);

}  // namespace saker
