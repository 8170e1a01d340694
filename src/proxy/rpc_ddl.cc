// RPCs of databases, collections, partitions, aliases, indexes, loading.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/service.h"
#include "proxy/validate.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& list) { return {list.begin(), list.end()}; }

uint64_t UtcMs(Timestamp ts) { return static_cast<uint64_t>(UnixMs(ts)); }

// Databases are asked for by metadata alone in a call that has no collection.
Status UnknownDatabase(const std::string& name) { return {ErrorCode::kDatabaseNotFound, fmt::format("database not found[database={}]", name)}; }

void Describe(const Proxy& proxy, const CollectionPtr& collection, const std::string& asked, wire::milvus::DescribeCollectionResponse* out) {
  FromSchema(*collection->schema, out->mutable_schema());
  out->mutable_schema()->set_name(collection->name);
  out->set_collectionid(collection->id.value);
  for (size_t shard = 0; shard < collection->shards.size(); ++shard) {
    out->add_virtual_channel_names(collection->VirtualChannel(static_cast<int>(shard)));
    out->add_physical_channel_names(Collection::PhysicalChannel(collection->shards[shard]));
  }
  out->set_created_timestamp(collection->created);
  out->set_created_utc_timestamp(UtcMs(collection->created));
  out->set_shards_num(static_cast<int32_t>(collection->shards.size()));
  for (const std::string& alias : collection->aliases) out->add_aliases(alias);
  out->set_consistency_level(static_cast<wire::common::ConsistencyLevel>(collection->consistency));
  out->set_collection_name(asked.empty() ? collection->name : asked);
  FromKeyValues(collection->properties, out->mutable_properties());
  if (const auto database = proxy.catalog()->GetDatabase(collection->database)) out->set_db_name(database->name);
  out->set_num_partitions(static_cast<int64_t>(collection->partitions.size()));
  out->set_db_id(collection->database.value);
  out->set_update_timestamp(collection->updated);
  out->set_update_timestamp_str(std::to_string(collection->updated));
}

// pymilvus knows a missing collection by this text and the old code.
void SetNotDescribed(const Status& status, wire::common::Status* out) {
  if (status.code() != ErrorCode::kCollectionNotFound) return SetStatus(status, out);
  SetStatus(Status(status.code(), "can't find collection " + status.message()), wire::common::UnexpectedError, out);
}

void FillIndex(const IndexReply& reply, wire::milvus::IndexDescription* out) {
  out->set_index_name(reply.index.name);
  out->set_indexid(reply.index.id.value);
  FromKeyValues(reply.index.params, out->mutable_params());
  out->set_field_name(reply.field_name);
  out->set_indexed_rows(reply.indexed_rows);
  out->set_total_rows(reply.total_rows);
  out->set_pending_index_rows(reply.pending_rows);
  out->set_state(reply.finished ? wire::common::Finished : reply.failure.empty() ? wire::common::InProgress : wire::common::Failed);
  out->set_index_state_fail_reason(reply.failure);
}

}  // namespace

void MilvusService::RegisterDdl(MethodTable& table) {
  ThreadPool* pool = p_->control_pool();
#define ADD(name) Add(table, #name, pool, &MilvusService::name)
  ADD(CreateDatabase);
  ADD(DropDatabase);
  ADD(ListDatabases);
  ADD(AlterDatabase);
  ADD(DescribeDatabase);
  ADD(CreateCollection);
  ADD(DropCollection);
  ADD(HasCollection);
  ADD(DescribeCollection);
  ADD(BatchDescribeCollection);
  ADD(ShowCollections);
  ADD(AlterCollection);
  ADD(AlterCollectionField);
  ADD(AddCollectionField);
  ADD(RenameCollection);
  ADD(CreatePartition);
  ADD(DropPartition);
  ADD(HasPartition);
  ADD(ShowPartitions);
  ADD(CreateAlias);
  ADD(DropAlias);
  ADD(AlterAlias);
  ADD(DescribeAlias);
  ADD(ListAliases);
  ADD(CreateIndex);
  ADD(DropIndex);
  ADD(AlterIndex);
  ADD(DescribeIndex);
  ADD(GetIndexState);
  ADD(GetIndexBuildProgress);
  ADD(GetIndexStatistics);
  ADD(LoadCollection);
  ADD(ReleaseCollection);
  ADD(LoadPartitions);
  ADD(ReleasePartitions);
  ADD(GetLoadingProgress);
  ADD(GetLoadState);
#undef ADD
}

// ---- databases

void MilvusService::CreateDatabase(RequestContext& context, const wire::milvus::CreateDatabaseRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->CreateDatabase(Context(context, {}, true), r.db_name(), ToKeyValues(r.properties())));
}
void MilvusService::DropDatabase(RequestContext& context, const wire::milvus::DropDatabaseRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->DropDatabase(Context(context, {}, true), r.db_name()));
}
void MilvusService::AlterDatabase(RequestContext& context, const wire::milvus::AlterDatabaseRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->AlterDatabase(Ddl(context, r), r.db_name(), ToKeyValues(r.properties()), Strings(r.delete_keys())));
}

void MilvusService::ListDatabases(RequestContext& context, const wire::milvus::ListDatabasesRequest& r,
                                  Responder<wire::milvus::ListDatabasesResponse> respond) {
  auto databases = p_->catalog()->Databases();
  std::sort(databases.begin(), databases.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  for (const auto& database : databases) {
    respond.message().add_db_names(database->name);
    respond.message().add_created_timestamp(database->created);
    respond.message().add_db_ids(database->id.value);
  }
  respond.Send();
}

void MilvusService::DescribeDatabase(RequestContext& context, const wire::milvus::DescribeDatabaseRequest& r,
                                     Responder<wire::milvus::DescribeDatabaseResponse> respond) {
  const auto database = p_->DescribeDatabase(Ddl(context, r).database);
  if (!database.ok()) return respond.Fail(database.status());
  respond.message().set_db_name((*database)->name);
  respond.message().set_dbid((*database)->id.value);
  respond.message().set_created_timestamp((*database)->created);
  FromKeyValues((*database)->properties, respond.message().mutable_properties());
  respond.Send();
}

// ---- collections

void MilvusService::CreateCollection(RequestContext& context, const wire::milvus::CreateCollectionRequest& r,
                                     Responder<wire::common::Status> respond) {
  wire::schema::CollectionSchema schema;
  if (!schema.ParseFromString(r.schema())) return Answer(respond, InvalidParameter("the collection's schema does not decode"));
  auto converted = ToSchema(schema);
  if (!converted.ok()) return Answer(respond, converted.status());
  CollectionDraft draft;
  draft.schema = std::move(*converted);
  if (draft.schema.name.empty()) draft.schema.name = r.collection_name();
  if (draft.schema.name != r.collection_name()) {
    return Answer(respond, InvalidParameter("collection name matches schema name", "don't match",
                                            fmt::format("collection name = {}, schema.Name={}", r.collection_name(), draft.schema.name)));
  }
  draft.shards = r.shards_num();
  if (r.num_partitions() > INT32_MAX || r.num_partitions() < INT32_MIN) {
    return Answer(respond, InvalidParameter(fmt::format("num_partitions {} is out of range", r.num_partitions())));
  }
  draft.partitions = static_cast<int32_t>(r.num_partitions());
  if (!wire::common::ConsistencyLevel_IsValid(r.consistency_level())) {
    return Answer(respond, InvalidParameter(fmt::format("consistency level {} is not known", static_cast<int>(r.consistency_level()))));
  }
  draft.consistency = static_cast<ConsistencyLevel>(r.consistency_level());
  draft.properties = ToKeyValues(r.properties());
  Answer(respond, p_->CreateCollection(Ddl(context, r), std::move(draft)));
}

void MilvusService::DropCollection(RequestContext& context, const wire::milvus::DropCollectionRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->DropCollection(Ddl(context, r), r.collection_name()));
}

void MilvusService::HasCollection(RequestContext& context, const wire::milvus::HasCollectionRequest& r,
                                  Responder<wire::milvus::BoolResponse> respond) {
  const auto found = p_->FindCollection(Ddl(context, r), r.collection_name());
  if (!found.ok() && found.status().code() != ErrorCode::kCollectionNotFound) return respond.Fail(found.status());
  respond.message().set_value(found.ok());
  respond.Send();
}

void MilvusService::DescribeCollection(RequestContext& context, const wire::milvus::DescribeCollectionRequest& r,
                                       Responder<wire::milvus::DescribeCollectionResponse> respond) {
  Result<CollectionPtr> found = Status();
  if (r.collection_name().empty() && r.collectionid() != 0) {
    found = p_->catalog()->GetCollection(CollectionId(r.collectionid()));
    if (*found == nullptr) found = Status(ErrorCode::kCollectionNotFound, fmt::format("collection not found[collection={}]", r.collectionid()));
  } else {
    found = p_->FindCollection(Ddl(context, r), r.collection_name());
  }
  if (found.ok()) {
    Describe(*p_, *found, r.collection_name(), &respond.message());
  } else {
    SetNotDescribed(found.status(), respond.message().mutable_status());
  }
  respond.Send();
}

void MilvusService::BatchDescribeCollection(RequestContext& context, const wire::milvus::BatchDescribeCollectionRequest& r,
                                            Responder<wire::milvus::BatchDescribeCollectionResponse> respond) {
  const CallContext call = Ddl(context, r);
  for (const std::string& name : r.collection_name()) {
    auto* out = respond.message().add_responses();
    const auto found = p_->FindCollection(call, name);
    if (found.ok()) {
      Describe(*p_, *found, name, out);
    } else {
      SetNotDescribed(found.status(), out->mutable_status());
    }
  }
  respond.Send();
}

void MilvusService::ShowCollections(RequestContext& context, const wire::milvus::ShowCollectionsRequest& r,
                                    Responder<wire::milvus::ShowCollectionsResponse> respond) {
  const CallContext call = Ddl(context, r);
  if (p_->catalog()->FindDatabase(call.database) == nullptr) return respond.Fail(UnknownDatabase(call.database));
  const bool loaded_only = r.type() == wire::milvus::InMemory;
  std::vector<CollectionPtr> collections;
  for (const std::string& name : r.collection_names()) {
    if (!loaded_only) break;
    const auto found = p_->FindCollection(call, name);
    if (!found.ok()) return respond.Fail(found.status());
    if (!(*found)->load.loaded) return respond.Fail(Unexpected(fmt::format("collection not loaded[collection={}]", name)));
    collections.push_back(*found);
  }
  if (collections.empty()) collections = p_->catalog()->Collections(call.database);
  std::sort(collections.begin(), collections.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  auto& out = respond.message();
  for (const CollectionPtr& collection : collections) {
    if (loaded_only && !collection->load.loaded) continue;
    out.add_collection_names(collection->name);
    out.add_collection_ids(collection->id.value);
    out.add_created_timestamps(collection->created);
    out.add_created_utc_timestamps(UtcMs(collection->created));
    out.add_shards_num(static_cast<int32_t>(collection->shards.size()));
    if (!loaded_only) continue;
    const auto progress = p_->LoadingProgress(call, collection->name, {});
    out.add_inmemory_percentages(progress.ok() ? *progress : 0);
    out.add_query_service_available(progress.ok() && *progress >= 100);
  }
  respond.Send();
}

void MilvusService::AlterCollection(RequestContext& context, const wire::milvus::AlterCollectionRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->AlterCollection(Ddl(context, r), r.collection_name(), ToKeyValues(r.properties()), Strings(r.delete_keys())));
}
void MilvusService::AlterCollectionField(RequestContext& context, const wire::milvus::AlterCollectionFieldRequest& r,
                                         Responder<wire::common::Status> respond) {
  Answer(respond, p_->AlterField(Ddl(context, r), r.collection_name(), r.field_name(), ToKeyValues(r.properties()), Strings(r.delete_keys())));
}
void MilvusService::AddCollectionField(RequestContext& context, const wire::milvus::AddCollectionFieldRequest& r,
                                       Responder<wire::common::Status> respond) {
  wire::schema::FieldSchema field;
  if (!field.ParseFromString(r.schema())) return Answer(respond, InvalidParameter("the field's schema does not decode"));
  Answer(respond, p_->AddField(Ddl(context, r), r.collection_name(), ToField(field)));
}
void MilvusService::RenameCollection(RequestContext& context, const wire::milvus::RenameCollectionRequest& r,
                                     Responder<wire::common::Status> respond) {
  Answer(respond, p_->RenameCollection(Ddl(context, r), r.oldname(), r.newdbname(), r.newname()));
}

// ---- partitions

void MilvusService::CreatePartition(RequestContext& context, const wire::milvus::CreatePartitionRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->CreatePartition(Ddl(context, r), r.collection_name(), r.partition_name()));
}
void MilvusService::DropPartition(RequestContext& context, const wire::milvus::DropPartitionRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->DropPartition(Ddl(context, r), r.collection_name(), r.partition_name()));
}
void MilvusService::HasPartition(RequestContext& context, const wire::milvus::HasPartitionRequest& r,
                                 Responder<wire::milvus::BoolResponse> respond) {
  const auto has = p_->HasPartition(Ddl(context, r), r.collection_name(), r.partition_name());
  if (!has.ok()) return respond.Fail(has.status());
  respond.message().set_value(*has);
  respond.Send();
}

void MilvusService::ShowPartitions(RequestContext& context, const wire::milvus::ShowPartitionsRequest& r,
                                   Responder<wire::milvus::ShowPartitionsResponse> respond) {
  const CallContext call = Ddl(context, r);
  const auto found = p_->FindCollection(call, r.collection_name());
  if (!found.ok()) return respond.Fail(found.status());
  const Collection& collection = **found;
  const bool loaded_only = r.type() == wire::milvus::InMemory;
  if (loaded_only) {
    const auto ids = Proxy::PartitionIds(collection, Strings(r.partition_names()));
    if (!ids.ok()) return respond.Fail(ids.status());
    if (!collection.load.loaded) {
      return respond.Fail(Status(ErrorCode::kCollectionNotLoaded, fmt::format("collection not loaded[collection={}]", collection.id.value)));
    }
    for (const PartitionId id : *ids) {
      if (!collection.IsLoaded(id)) {
        return respond.Fail(Status(ErrorCode::kPartitionNotLoaded, fmt::format("partition not loaded[partition={}]", id.value)));
      }
    }
  }
  auto& out = respond.message();
  for (const Partition& partition : collection.partitions) {
    const auto& names = r.partition_names();
    if (loaded_only && !names.empty() && std::find(names.begin(), names.end(), partition.name) == names.end()) continue;
    if (loaded_only && !collection.IsLoaded(partition.id)) continue;
    out.add_partition_names(partition.name);
    out.add_partitionids(partition.id.value);
    out.add_created_timestamps(partition.created);
    out.add_created_utc_timestamps(UtcMs(partition.created));
    if (!loaded_only) continue;
    const auto progress = p_->LoadingProgress(call, collection.name, {partition.name});
    out.add_inmemory_percentages(progress.ok() ? *progress : 0);
  }
  respond.Send();
}

// ---- aliases

void MilvusService::CreateAlias(RequestContext& context, const wire::milvus::CreateAliasRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->CreateAlias(Ddl(context, r), r.collection_name(), r.alias()));
}
void MilvusService::DropAlias(RequestContext& context, const wire::milvus::DropAliasRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->DropAlias(Ddl(context, r), r.alias()));
}
void MilvusService::AlterAlias(RequestContext& context, const wire::milvus::AlterAliasRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->AlterAlias(Ddl(context, r), r.collection_name(), r.alias()));
}
void MilvusService::DescribeAlias(RequestContext& context, const wire::milvus::DescribeAliasRequest& r,
                                  Responder<wire::milvus::DescribeAliasResponse> respond) {
  const CallContext call = Ddl(context, r);
  const auto found = p_->DescribeAlias(call, r.alias());
  if (!found.ok()) return respond.Fail(found.status());
  respond.message().set_db_name(call.database);
  respond.message().set_alias(r.alias());
  respond.message().set_collection((*found)->name);
  respond.Send();
}

void MilvusService::ListAliases(RequestContext& context, const wire::milvus::ListAliasesRequest& r,
                                Responder<wire::milvus::ListAliasesResponse> respond) {
  const CallContext call = Ddl(context, r);
  respond.message().set_db_name(call.database);
  respond.message().set_collection_name(r.collection_name());
  std::vector<CollectionPtr> collections;
  if (r.collection_name().empty()) {
    if (p_->catalog()->FindDatabase(call.database) == nullptr) return respond.Fail(UnknownDatabase(call.database));
    collections = p_->catalog()->Collections(call.database);
  } else {
    const auto found = p_->FindCollection(call, r.collection_name());
    if (!found.ok()) return respond.Fail(found.status());
    collections.push_back(*found);
  }
  for (const CollectionPtr& collection : collections) {
    for (const std::string& alias : collection->aliases) respond.message().add_aliases(alias);
  }
  respond.Send();
}

// ---- indexes

void MilvusService::CreateIndex(RequestContext& context, const wire::milvus::CreateIndexRequest& r, Responder<wire::common::Status> respond) {
  IndexCall call;
  call.collection = r.collection_name();
  call.field = r.field_name();
  call.index_name = r.index_name();
  call.params = ToKeyValues(r.extra_params());
  Answer(respond, p_->CreateIndex(Ddl(context, r), call));
}
void MilvusService::DropIndex(RequestContext& context, const wire::milvus::DropIndexRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->DropIndex(Ddl(context, r), r.collection_name(), r.index_name()));
}
void MilvusService::AlterIndex(RequestContext& context, const wire::milvus::AlterIndexRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->AlterIndex(Ddl(context, r), r.collection_name(), r.index_name(), ToKeyValues(r.extra_params()), Strings(r.delete_keys())));
}

void MilvusService::DescribeIndex(RequestContext& context, const wire::milvus::DescribeIndexRequest& r,
                                  Responder<wire::milvus::DescribeIndexResponse> respond) {
  const auto replies = p_->DescribeIndex(Ddl(context, r), r.collection_name(), r.index_name());
  if (!replies.ok()) return respond.Fail(replies.status());
  for (const IndexReply& reply : *replies) {
    if (!r.field_name().empty() && reply.field_name != r.field_name() && r.index_name().empty() && replies->size() > 1) continue;
    FillIndex(reply, respond.message().add_index_descriptions());
  }
  respond.Send();
}

void MilvusService::GetIndexStatistics(RequestContext& context, const wire::milvus::GetIndexStatisticsRequest& r,
                                       Responder<wire::milvus::GetIndexStatisticsResponse> respond) {
  const auto replies = p_->DescribeIndex(Ddl(context, r), r.collection_name(), r.index_name());
  if (!replies.ok()) return respond.Fail(replies.status());
  for (const IndexReply& reply : *replies) FillIndex(reply, respond.message().add_index_descriptions());
  respond.Send();
}

void MilvusService::GetIndexState(RequestContext& context, const wire::milvus::GetIndexStateRequest& r,
                                  Responder<wire::milvus::GetIndexStateResponse> respond) {
  const auto replies = p_->DescribeIndex(Ddl(context, r), r.collection_name(), r.index_name());
  if (!replies.ok()) return respond.Fail(replies.status());
  bool finished = true;
  std::string failure;
  for (const IndexReply& reply : *replies) {
    finished &= reply.finished;
    if (!reply.failure.empty()) failure = reply.failure;
  }
  respond.message().set_state(!failure.empty() ? wire::common::Failed : finished ? wire::common::Finished : wire::common::InProgress);
  respond.message().set_fail_reason(failure);
  respond.Send();
}

void MilvusService::GetIndexBuildProgress(RequestContext& context, const wire::milvus::GetIndexBuildProgressRequest& r,
                                          Responder<wire::milvus::GetIndexBuildProgressResponse> respond) {
  const auto replies = p_->DescribeIndex(Ddl(context, r), r.collection_name(), r.index_name());
  if (!replies.ok()) return respond.Fail(replies.status());
  int64_t indexed = INT64_MAX, total = 0;
  for (const IndexReply& reply : *replies) {
    indexed = std::min(indexed, reply.indexed_rows);
    total = std::max(total, reply.total_rows);
  }
  respond.message().set_indexed_rows(indexed);
  respond.message().set_total_rows(total);
  respond.Send();
}

// ---- loading

void MilvusService::LoadCollection(RequestContext& context, const wire::milvus::LoadCollectionRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->Load(Ddl(context, r), r.collection_name(), {}, false, r.replica_number(), Strings(r.load_fields()),
                            Strings(r.resource_groups())));
}
void MilvusService::ReleaseCollection(RequestContext& context, const wire::milvus::ReleaseCollectionRequest& r,
                                      Responder<wire::common::Status> respond) {
  Answer(respond, p_->Release(Ddl(context, r), r.collection_name(), {}, false));
}
void MilvusService::LoadPartitions(RequestContext& context, const wire::milvus::LoadPartitionsRequest& r, Responder<wire::common::Status> respond) {
  Answer(respond, p_->Load(Ddl(context, r), r.collection_name(), Strings(r.partition_names()), true, r.replica_number(), Strings(r.load_fields()),
                            Strings(r.resource_groups())));
}
void MilvusService::ReleasePartitions(RequestContext& context, const wire::milvus::ReleasePartitionsRequest& r,
                                      Responder<wire::common::Status> respond) {
  Answer(respond, p_->Release(Ddl(context, r), r.collection_name(), Strings(r.partition_names()), true));
}

void MilvusService::GetLoadingProgress(RequestContext& context, const wire::milvus::GetLoadingProgressRequest& r,
                                       Responder<wire::milvus::GetLoadingProgressResponse> respond) {
  const auto progress = p_->LoadingProgress(Ddl(context, r), r.collection_name(), Strings(r.partition_names()));
  if (!progress.ok()) return respond.Fail(progress.status());
  respond.message().set_progress(*progress);
  respond.message().set_refresh_progress(*progress);
  respond.Send();
}

void MilvusService::GetLoadState(RequestContext& context, const wire::milvus::GetLoadStateRequest& r,
                                 Responder<wire::milvus::GetLoadStateResponse> respond) {
  const auto state = p_->LoadState(Ddl(context, r), r.collection_name(), Strings(r.partition_names()));
  if (!state.ok()) return respond.Fail(state.status());
  respond.message().set_state(static_cast<wire::common::LoadState>(*state));
  respond.Send();
}

}  // namespace saker
