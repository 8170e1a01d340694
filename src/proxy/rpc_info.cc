// RPCs about the server, segments, flushing and compaction.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "proxy/service.h"
#include "proxy/store_health.h"
#include "proxy/validate.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

void AddIds(const std::vector<SegmentId>& ids, wire::schema::LongArray& out) {
  for (const SegmentId id : ids) out.add_data(id.value);
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

}  // namespace

void MilvusService::RegisterInfo(MethodTable& table) {
  ThreadPool* pool = p_->control_pool();
#define ADD(name) Add(table, #name, pool, &MilvusService::name)
  ADD(Connect);
  ADD(GetVersion);
  ADD(CheckHealth);
  ADD(AllocTimestamp);
  ADD(GetComponentStates);
  ADD(GetMetrics);
  ADD(GetCollectionStatistics);
  ADD(GetPartitionStatistics);
  ADD(Flush);
  ADD(GetFlushState);
  ADD(FlushAll);
  ADD(GetFlushAllState);
  ADD(GetPersistentSegmentInfo);
  ADD(GetQuerySegmentInfo);
  ADD(ManualCompaction);
  ADD(GetCompactionState);
  ADD(GetCompactionStateWithPlans);
#undef ADD
}

void MilvusService::Connect(RequestContext& context, const wire::milvus::ConnectRequest& r, Responder<wire::milvus::ConnectResponse> respond) {
  const std::string database = Context(context, {}, true).database;
  if (p_->catalog()->FindDatabase(database) == nullptr) {
    return respond.Fail(Status(ErrorCode::kDatabaseNotFound, fmt::format("database not found[database={}]", database)));
  }
  auto* info = respond.message().mutable_server_info();
  info->set_build_tags(p_->settings().version);
  info->set_deploy_mode("STANDALONE");
  (*info->mutable_reserved())["server"] = "saker";
  respond.message().set_identifier(static_cast<int64_t>(p_->clock().Next()));
  respond.Send();
}

void MilvusService::GetVersion(RequestContext& context, const wire::milvus::GetVersionRequest& r,
                               Responder<wire::milvus::GetVersionResponse> respond) {
  respond.message().set_version(p_->settings().version);
  respond.Send();
}

void MilvusService::CheckHealth(RequestContext& context, const wire::milvus::CheckHealthRequest& r,
                                Responder<wire::milvus::CheckHealthResponse> respond) {
  const auto check = [&respond](bool there, const char* name) {
    if (!there) respond.message().add_reasons(fmt::format("no {} is reachable", name));
  };
  check(p_->peers()->root_coord() != nullptr, "rootcoord");
  check(p_->peers()->data_coord() != nullptr, "datacoord");
  check(p_->peers()->query_coord() != nullptr, "querycoord");
  check(p_->peers()->index_coord() != nullptr, "indexcoord");
  check(!p_->peers()->data_nodes().empty(), "datanode");
  check(!p_->peers()->query_nodes().empty(), "querynode");
  const auto answer = [respond](const std::vector<std::string>& troubles) {
    auto& out = respond.message();
    for (const std::string& trouble : troubles) out.add_reasons(trouble);
    out.set_ishealthy(out.reasons_size() == 0);
    respond.Send();
  };
  const StoreHealth stores = CurrentStoreHealth();
  stores ? stores(answer) : answer({});
}

void MilvusService::AllocTimestamp(RequestContext& context, const wire::milvus::AllocTimestampRequest& r,
                                   Responder<wire::milvus::AllocTimestampResponse> respond) {
  respond.message().set_timestamp(p_->clock().Next());
  respond.Send();
}

void MilvusService::GetComponentStates(RequestContext& context, const wire::milvus::GetComponentStatesRequest& r,
                                       Responder<wire::milvus::ComponentStates> respond) {
  auto* state = respond.message().mutable_state();
  state->set_nodeid(p_->settings().node.value);
  state->set_role("proxy");
  state->set_state_code(wire::common::Healthy);
  const StoreHealth stores = CurrentStoreHealth();
  if (!stores) return respond.Send();
  stores([respond](const std::vector<std::string>& troubles) {
    auto* etcd = respond.message().add_subcomponent_states();
    etcd->set_role("etcd");
    etcd->set_state_code(troubles.empty() ? wire::common::Healthy : wire::common::Abnormal);
    for (const std::string& trouble : troubles) {
      auto* reason = etcd->add_extra_info();
      reason->set_key("reason");
      reason->set_value(trouble);
    }
    respond.Send();
  });
}

void MilvusService::GetMetrics(RequestContext& context, const wire::milvus::GetMetricsRequest& r,
                               Responder<wire::milvus::GetMetricsResponse> respond) {
  const std::string name = fmt::format("standalone{}", p_->settings().node.value);
  respond.message().set_component_name(name);
  if (r.request().find("system_info") == std::string::npos) {
    return respond.Fail(Status(ErrorCode::kMetricsNotFound, "metric not found: only system_info is known"));
  }
  respond.message().set_response(fmt::format(
      R"({{"nodes_info":[{{"identifier":{0},"connected":[],"infos":{{"has_error":false,"error_reason":"","name":"{1}",)"
      R"("hardware_infos":{{"ip":"{2}","cpu_core_count":{3}}},"system_info":{{"system_version":"","deploy_mode":"STANDALONE",)"
      R"("build_version":"{4}"}},"type":"standalone","id":{0}}}}}]}})",
      p_->settings().node.value, name, HostName(), sysconf(_SC_NPROCESSORS_ONLN), p_->settings().version));
  respond.Send();
}

void MilvusService::GetCollectionStatistics(RequestContext& context, const wire::milvus::GetCollectionStatisticsRequest& r,
                                            Responder<wire::milvus::GetCollectionStatisticsResponse> respond) {
  const auto rows = p_->RowCount(Ddl(context, r), r.collection_name(), {});
  if (!rows.ok()) return respond.Fail(rows.status());
  FromKeyValues({{"row_count", std::to_string(*rows)}}, respond.message().mutable_stats());
  respond.Send();
}

void MilvusService::GetPartitionStatistics(RequestContext& context, const wire::milvus::GetPartitionStatisticsRequest& r,
                                           Responder<wire::milvus::GetPartitionStatisticsResponse> respond) {
  const std::string partition = r.partition_name().empty() ? std::string(kDefaultPartition) : r.partition_name();
  const auto rows = p_->RowCount(Ddl(context, r), r.collection_name(), partition);
  if (!rows.ok()) return respond.Fail(rows.status());
  FromKeyValues({{"row_count", std::to_string(*rows)}}, respond.message().mutable_stats());
  respond.Send();
}

// ---- flush

void MilvusService::Flush(RequestContext& context, const wire::milvus::FlushRequest& r, Responder<wire::milvus::FlushResponse> respond) {
  const CallContext call = Ddl(context, r);
  auto& out = respond.message();
  out.set_db_name(call.database);
  for (const std::string& name : r.collection_names()) {
    const auto flushed = p_->Flush(call, name);
    if (!flushed.ok()) return respond.Fail(flushed.status());
    AddIds(flushed->segments, (*out.mutable_coll_segids())[name]);
    AddIds(flushed->flushed_segments, (*out.mutable_flush_coll_segids())[name]);
    (*out.mutable_coll_seal_times())[name] = UnixMs(flushed->flush_ts) / 1000;
    (*out.mutable_coll_flush_ts())[name] = flushed->flush_ts;
  }
  respond.Send();
}

void MilvusService::GetFlushState(RequestContext& context, const wire::milvus::GetFlushStateRequest& r,
                                  Responder<wire::milvus::GetFlushStateResponse> respond) {
  CollectionId id;
  if (!r.collection_name().empty()) {
    const auto found = p_->FindCollection(Ddl(context, r), r.collection_name());
    if (!found.ok()) return respond.Fail(found.status());
    id = (*found)->id;
  }
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  std::vector<SegmentId> segments;
  for (const int64_t segment : r.segmentids()) segments.emplace_back(segment);
  const auto flushed = coord->IsFlushed(id, r.flush_ts(), segments);
  if (!flushed.ok()) return respond.Fail(flushed.status());
  respond.message().set_flushed(*flushed);
  respond.Send();
}

void MilvusService::FlushAll(RequestContext& context, const wire::milvus::FlushAllRequest& r, Responder<wire::milvus::FlushAllResponse> respond) {
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  if (!r.db_name().empty() && p_->catalog()->FindDatabase(r.db_name()) == nullptr) {
    return respond.Fail(Status(ErrorCode::kDatabaseNotFound, fmt::format("database not found[database={}]", r.db_name())));
  }
  Timestamp highest = p_->clock().Now();
  for (const CollectionPtr& collection : p_->catalog()->Collections(r.db_name())) {
    const auto flushed = coord->Flush(collection->id);
    if (!flushed.ok() && flushed.status().code() != ErrorCode::kCollectionNotFound) return respond.Fail(flushed.status());
    if (flushed.ok()) highest = std::max(highest, flushed->flush_ts);
  }
  respond.message().set_flush_all_ts(highest);
  respond.Send();
}

void MilvusService::GetFlushAllState(RequestContext& context, const wire::milvus::GetFlushAllStateRequest& r,
                                     Responder<wire::milvus::GetFlushAllStateResponse> respond) {
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  bool all = true;
  for (const CollectionPtr& collection : p_->catalog()->Collections(r.db_name())) {
    // Collections made after the flush have nothing to wait for.
    if (!all || (r.flush_all_ts() != 0 && collection->created > r.flush_all_ts())) continue;
    const auto flushed = coord->IsFlushed(collection->id, r.flush_all_ts(), {});
    if (!flushed.ok() && flushed.status().code() != ErrorCode::kCollectionNotFound) return respond.Fail(flushed.status());
    all &= !flushed.ok() || *flushed;
  }
  respond.message().set_flushed(all);
  respond.Send();
}

// ---- segments

void MilvusService::GetPersistentSegmentInfo(RequestContext& context, const wire::milvus::GetPersistentSegmentInfoRequest& r,
                                             Responder<wire::milvus::GetPersistentSegmentInfoResponse> respond) {
  const auto found = p_->FindCollection(Context(context, r.dbname(), true), r.collectionname());
  if (!found.ok()) return respond.Fail(found.status());
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  const auto segments = coord->Segments((*found)->id);
  if (!segments.ok()) return respond.Fail(segments.status());
  for (const SegmentReport& report : *segments) {
    if (report.growing || report.sealing || report.meta.kind != SegmentKind::kRows || report.meta.state != SegmentState::kFlushed) continue;
    auto* info = respond.message().add_infos();
    info->set_segmentid(report.meta.id.value);
    info->set_collectionid((*found)->id.value);
    info->set_partitionid(report.meta.partition.value);
    info->set_num_rows(report.meta.rows);
    info->set_state(wire::common::Flushed);
    info->set_level(wire::common::L1);
    for (const SegmentId from : report.meta.compacted_from) info->add_compaction_from(from.value);
  }
  respond.Send();
}

void MilvusService::GetQuerySegmentInfo(RequestContext& context, const wire::milvus::GetQuerySegmentInfoRequest& r,
                                        Responder<wire::milvus::GetQuerySegmentInfoResponse> respond) {
  const auto found = p_->FindCollection(Context(context, r.dbname(), true), r.collectionname());
  if (!found.ok()) return respond.Fail(found.status());
  const Collection& collection = **found;
  std::unordered_set<SegmentId> sealed;
  const auto fill = [&](NodeId node, SegmentId segment, PartitionId partition, int64_t bytes, int64_t rows) {
    auto* info = respond.message().add_infos();
    info->set_segmentid(segment.value);
    info->set_collectionid(collection.id.value);
    info->set_partitionid(partition.value);
    info->set_mem_size(bytes);
    info->set_num_rows(rows);
    info->set_nodeid(node.value);
    info->add_nodeids(node.value);
    return info;
  };
  for (const NodeId id : p_->peers()->query_nodes()) {
    QueryNode* node = p_->peers()->query_node(id);
    if (node == nullptr) continue;
    const auto held = node->LoadedSegments(collection.id);
    if (!held.ok()) return respond.Fail(held.status());
    for (const LoadedSegmentInfo& loaded : *held) {
      sealed.insert(loaded.segment);
      auto* info = fill(id, loaded.segment, loaded.partition, loaded.memory_bytes, loaded.rows);
      info->set_state(wire::common::Sealed);
      for (const IndexId index : loaded.indexes) {
        const auto known = std::find_if(collection.indexes.begin(), collection.indexes.end(), [&](const IndexMeta& m) { return m.id == index; });
        if (known == collection.indexes.end()) continue;
        info->set_index_name(known->name);
        info->set_indexid(known->id.value);
      }
    }
  }
  for (const NodeId id : p_->peers()->data_nodes()) {
    DataNode* node = p_->peers()->data_node(id);
    if (node == nullptr || !collection.load.loaded) continue;
    const auto held = node->GrowingSegments(collection.id);
    if (!held.ok()) return respond.Fail(held.status());
    for (const GrowingSegmentInfo& growing : *held) {
      if (sealed.contains(growing.segment)) continue;
      fill(id, growing.segment, growing.partition, growing.size_bytes, growing.rows)->set_state(wire::common::Growing);
    }
  }
  respond.Send();
}

// ---- compaction

void MilvusService::ManualCompaction(RequestContext& context, const wire::milvus::ManualCompactionRequest& r,
                                     Responder<wire::milvus::ManualCompactionResponse> respond) {
  const auto id = p_->Compact(Ddl(context, r), r.collection_name(), CollectionId(r.collectionid()));
  if (!id.ok()) return respond.Fail(id.status());
  respond.message().set_compactionid(*id);
  respond.Send();
}

void MilvusService::GetCompactionState(RequestContext& context, const wire::milvus::GetCompactionStateRequest& r,
                                       Responder<wire::milvus::GetCompactionStateResponse> respond) {
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  const auto state = coord->GetCompactionState(r.compactionid());
  if (!state.ok()) return respond.Fail(state.status());
  auto& out = respond.message();
  out.set_state(state->completed ? wire::common::Completed : wire::common::Executing);
  out.set_executingplanno(state->executing);
  out.set_completedplanno(state->done);
  out.set_failedplanno(state->failed);
  respond.Send();
}

void MilvusService::GetCompactionStateWithPlans(RequestContext& context, const wire::milvus::GetCompactionPlansRequest& r,
                                                Responder<wire::milvus::GetCompactionPlansResponse> respond) {
  DataCoord* coord = p_->peers()->data_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("datacoord"));
  const auto state = coord->GetCompactionState(r.compactionid());
  if (!state.ok()) return respond.Fail(state.status());
  auto& out = respond.message();
  out.set_state(state->completed ? wire::common::Completed : wire::common::Executing);
  for (const auto& [sources, target] : state->merges) {
    auto* info = out.add_mergeinfos();
    for (const SegmentId source : sources) info->add_sources(source.value);
    info->set_target(target.value);
  }
  respond.Send();
}

}  // namespace saker
