// collections/…
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "proxy/validate.h"
#include "rest/call.h"
#include "rest/row_writer.h"
#include "rest/schema_json.h"

namespace saker {
namespace {

std::string_view Name(LoadStateReply state) {
  switch (state) {
    case LoadStateReply::kNotExist: return "LoadStateNotExist";
    case LoadStateReply::kNotLoaded: return "LoadStateNotLoad";
    case LoadStateReply::kLoading: return "LoadStateLoading";
    case LoadStateReply::kLoaded: return "LoadStateLoaded";
  }
  return "";
}

std::string_view Name(ConsistencyLevel level) {
  switch (level) {
    case ConsistencyLevel::kStrong: return "Strong";
    case ConsistencyLevel::kSession: return "Session";
    case ConsistencyLevel::kBounded: return "Bounded";
    case ConsistencyLevel::kEventually: return "Eventually";
    case ConsistencyLevel::kCustomized: return "Customized";
  }
  return "";
}

Result<std::string> List(RestCall& call) {
  auto collections = call.proxy->catalog()->Collections(call.context.database);
  std::sort(collections.begin(), collections.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  std::vector<std::string> names;
  for (const CollectionPtr& collection : collections) names.push_back(collection->name);
  return ListJson(names);
}

Result<std::string> Has(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  const auto found = call.proxy->FindCollection(call.context, name);
  if (!found.ok() && found.status().code() != ErrorCode::kCollectionNotFound) return found.status();
  return std::string(found.ok() ? R"({"has":true})" : R"({"has":false})");
}

std::string IndexesJson(const Collection& collection) {
  std::string out = "[";
  for (const IndexMeta& index : collection.indexes) {
    const FieldSchema* field = collection.schema->Find(index.field);
    if (index.dropped || field == nullptr || !IsVector(field->type)) continue;
    if (out.size() > 1) out += ',';
    out += "{\"indexName\":";
    WriteString(index.name, out);
    out += ",\"fieldName\":";
    WriteString(field->name, out);
    out += fmt::format(",\"metricType\":\"{}\"}}", saker::Name(index.metric));
  }
  return out + "]";
}

Result<std::string> Describe(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string asked, call.CollectionName());
  ASSIGN_OR_RETURN(const CollectionPtr found, call.proxy->FindCollection(call.context, asked));
  const Collection& collection = *found;
  const auto state = call.proxy->LoadState(call.context, asked, {});
  std::string out = "{\"collectionName\":";
  WriteString(collection.name, out);
  out += fmt::format(",\"collectionID\":{},\"description\":", collection.id.value);
  WriteString(collection.schema->description, out);
  out += fmt::format(
      ",\"autoId\":{},\"enableDynamicField\":{},\"shardsNum\":{},\"partitionsNum\":{},\"consistencyLevel\":\"{}\",\"load\":\"{}\","
      "\"fields\":{},\"functions\":[],\"aliases\":{},\"indexes\":{},\"properties\":{}}}",
      collection.schema->PrimaryKey().auto_id, collection.schema->enable_dynamic_field, collection.shards.size(), collection.partitions.size(),
      Name(collection.consistency), state.ok() ? Name(*state) : "", FieldsJson(*collection.schema), ListJson(collection.aliases),
      IndexesJson(collection), PairsJson(collection.properties));
  return out;
}

// Indexes it and loads it. What fails here leaves no collection behind.
Status FinishCreation(RestCall& call, const std::string& name, std::vector<IndexCall>& indexes, bool load) {
  for (IndexCall& index : indexes) {
    index.collection = name;
    RETURN_IF_ERROR(call.proxy->CreateIndex(call.context, index));
  }
  return load ? call.proxy->Load(call.context, name, {}, false, 1, {}) : Status();
}

Result<std::string> Create(RestCall& call) {
  ASSIGN_OR_RETURN(CreateWish wish, ReadCreate(call.members()));
  if (!wish.indexes.empty()) RETURN_IF_ERROR(MayDo(call, "CreateIndexRequest"));
  if (wish.load) RETURN_IF_ERROR(MayDo(call, "LoadCollectionRequest"));
  const std::string name = wish.draft.schema.name;
  // A repeated creation of the same collection succeeds, and must not end in its removal.
  const bool there = call.proxy->FindCollection(call.context, name).ok();
  wish.draft.database = call.context.database;
  RETURN_IF_ERROR(call.proxy->CreateCollection(call.context, std::move(wish.draft)));
  const Status finished = FinishCreation(call, name, wish.indexes, wish.load);
  if (!finished.ok() && !there) {
    const Status dropped = call.proxy->DropCollection(call.context, name);
    if (!dropped.ok()) LogWarn("collection {} stays without its index: {}", name, dropped.ToString());
  }
  return Done(finished);
}

Result<std::string> Drop(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  return Done(call.proxy->DropCollection(call.context, name));
}

Result<std::string> Rename(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::string new_name, call.members().RequiredText("newCollectionName"));
  ASSIGN_OR_RETURN(std::string new_database, call.members().Text("newDbName"));
  if (new_database.empty()) new_database = call.context.database;
  return Done(call.proxy->RenameCollection(call.context, name, new_database, new_name));
}

Result<std::string> Load(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  return Done(call.proxy->Load(call.context, name, {}, false, 1, {}));
}

// Nothing is cached that a refresh would have to renew; what isn't loaded can't be refreshed.
Result<std::string> RefreshLoad(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const CollectionPtr collection, call.proxy->FindCollection(call.context, name));
  if (!collection->load.loaded) {
    return Status(ErrorCode::kCollectionNotLoaded, fmt::format("collection not loaded[collection={}]", collection->id.value));
  }
  return std::string(kEmptyData);
}

Result<std::string> Release(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  return Done(call.proxy->Release(call.context, name, {}, false));
}

Result<std::string> GetLoadState(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::vector<std::string> partitions, call.members().Texts("partitionNames"));
  RETURN_IF_ERROR(call.proxy->FindCollection(call.context, name).status());
  ASSIGN_OR_RETURN(const LoadStateReply state, call.proxy->LoadState(call.context, name, partitions));
  if (state == LoadStateReply::kNotLoaded) return fmt::format(R"({{"loadState":"{}"}})", Name(state));
  const auto progress = call.proxy->LoadingProgress(call.context, name, partitions);
  return fmt::format(R"({{"loadState":"{}","loadProgress":{}}})", Name(state), progress.ok() ? *progress : -1);
}

Result<std::string> GetStats(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const int64_t rows, call.proxy->RowCount(call.context, name, {}));
  return fmt::format(R"({{"rowCount":{}}})", rows);
}

Result<std::string> Flush(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  return Done(call.proxy->Flush(call.context, name).status());
}

Result<std::string> Compact(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const bool clustering, call.members().Bool("isClustering", false));
  if (clustering) return InvalidParameter("clustering compaction is not supported by this version");
  ASSIGN_OR_RETURN(const int64_t id, call.proxy->Compact(call.context, name, {}));
  return fmt::format(R"({{"compactionID":{}}})", id);
}

Result<std::string> GetCompactionState(RestCall& call) {
  ASSIGN_OR_RETURN(const int64_t id, call.members().Int("jobID", 0, INT64_MIN, INT64_MAX));
  DataCoord* coord = call.proxy->peers()->data_coord();
  if (coord == nullptr) return CoordinatorAway("datacoord");
  ASSIGN_OR_RETURN(const CompactionState state, coord->GetCompactionState(id));
  return fmt::format(R"({{"compactionID":{},"state":"{}","executingPlanNumber":{},"timeoutPlanNumber":{},"completedPlanNumber":{}}})", id,
                     state.completed ? "Completed" : "Executing", state.executing, state.failed, state.done);
}

Result<std::string> AlterProperties(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const KeyValues properties, call.members().Pairs("properties"));
  return Done(call.proxy->AlterCollection(call.context, name, properties, {}));
}

Result<std::string> DropProperties(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, call.members().Texts("propertyKeys"));
  return Done(call.proxy->AlterCollection(call.context, name, {}, keys));
}

Result<std::string> AlterField(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::string field, call.members().RequiredText("fieldName"));
  ASSIGN_OR_RETURN(const KeyValues params, call.members().Pairs("fieldParams"));
  return Done(call.proxy->AlterField(call.context, name, field, params, {}));
}

}  // namespace

void AddCollectionEndpoints(Endpoints& endpoints) {
  endpoints.insert(endpoints.end(), {
      {"collections/list", nullptr, true, false, List, nullptr},
      {"collections/has", nullptr, true, false, Has, nullptr},
      {"collections/describe", "DescribeCollectionRequest", true, false, Describe, nullptr},
      {"collections/create", "CreateCollectionRequest", true, false, Create, nullptr},
      {"collections/drop", "DropCollectionRequest", true, false, Drop, nullptr},
      {"collections/rename", "RenameCollectionRequest", true, false, Rename, nullptr},
      {"collections/load", "LoadCollectionRequest", true, false, Load, nullptr},
      {"collections/refresh_load", "LoadCollectionRequest", true, false, RefreshLoad, nullptr},
      {"collections/release", "ReleaseCollectionRequest", true, false, Release, nullptr},
      {"collections/get_load_state", "GetLoadStateRequest", true, false, GetLoadState, nullptr},
      {"collections/get_stats", "GetCollectionStatisticsRequest", true, false, GetStats, nullptr},
      {"collections/flush", "FlushRequest", true, false, Flush, nullptr},
      {"collections/compact", "ManualCompactionRequest", true, false, Compact, nullptr},
      {"collections/get_compaction_state", "GetCompactionStateRequest", false, false, GetCompactionState, nullptr},
      {"collections/alter_properties", "AlterCollectionRequest", true, false, AlterProperties, nullptr},
      {"collections/drop_properties", "AlterCollectionRequest", true, false, DropProperties, nullptr},
      {"collections/fields/alter_properties", "AlterCollectionFieldRequest", true, false, AlterField, nullptr},
  });
}

}  // namespace saker
