// partitions/…, indexes/…, aliases/…, databases/…
#include <fmt/format.h>

#include <algorithm>

#include "rest/call.h"
#include "rest/row_writer.h"
#include "rest/schema_json.h"

namespace saker {
namespace {

// ---- partitions

struct PartitionName {
  std::string collection, partition;
};
Result<PartitionName> ReadPartition(const RestCall& call) {
  PartitionName name;
  ASSIGN_OR_RETURN(name.collection, call.CollectionName());
  ASSIGN_OR_RETURN(name.partition, call.members().RequiredText("partitionName"));
  return name;
}
Result<std::vector<std::string>> ReadPartitions(const RestCall& call) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, call.members().Texts("partitionNames"));
  if (names.empty()) return MissingParameter("partitionNames is required");
  return names;
}

Result<std::string> ListPartitions(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const CollectionPtr collection, call.proxy->FindCollection(call.context, name));
  std::vector<std::string> names;
  for (const Partition& partition : collection->partitions) names.push_back(partition.name);
  return ListJson(names);
}

Result<std::string> HasPartition(RestCall& call) {
  ASSIGN_OR_RETURN(const PartitionName name, ReadPartition(call));
  ASSIGN_OR_RETURN(const bool has, call.proxy->HasPartition(call.context, name.collection, name.partition));
  return std::string(has ? R"({"has":true})" : R"({"has":false})");
}

Result<std::string> CreatePartition(RestCall& call) {
  ASSIGN_OR_RETURN(const PartitionName name, ReadPartition(call));
  return Done(call.proxy->CreatePartition(call.context, name.collection, name.partition));
}

Result<std::string> DropPartition(RestCall& call) {
  ASSIGN_OR_RETURN(const PartitionName name, ReadPartition(call));
  return Done(call.proxy->DropPartition(call.context, name.collection, name.partition));
}

Result<std::string> LoadPartitions(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::vector<std::string> partitions, ReadPartitions(call));
  return Done(call.proxy->Load(call.context, name, partitions, true, 1, {}));
}

Result<std::string> ReleasePartitions(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const std::vector<std::string> partitions, ReadPartitions(call));
  return Done(call.proxy->Release(call.context, name, partitions, true));
}

Result<std::string> PartitionStats(RestCall& call) {
  ASSIGN_OR_RETURN(const PartitionName name, ReadPartition(call));
  ASSIGN_OR_RETURN(const int64_t rows, call.proxy->RowCount(call.context, name.collection, name.partition));
  return fmt::format(R"({{"rowCount":{}}})", rows);
}

// ---- indexes

struct IndexName {
  std::string collection, index;
};
Result<IndexName> ReadIndexName(const RestCall& call) {
  IndexName name;
  ASSIGN_OR_RETURN(name.collection, call.CollectionName());
  ASSIGN_OR_RETURN(name.index, call.members().RequiredText("indexName"));
  return name;
}

Result<std::string> ListIndexes(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const CollectionPtr collection, call.proxy->FindCollection(call.context, name));
  std::vector<std::string> names;
  for (const IndexMeta& index : collection->indexes) {
    if (!index.dropped) names.push_back(index.name);
  }
  return ListJson(names);
}

void WriteIndex(const IndexReply& reply, std::string& out) {
  out += "{\"indexName\":";
  WriteString(reply.index.name, out);
  out += ",\"fieldName\":";
  WriteString(reply.field_name, out);
  const std::string* type = Find(reply.index.params, "index_type");
  out += ",\"indexType\":";
  WriteString(type != nullptr ? *type : reply.index.type, out);
  out += ",\"metricType\":";
  WriteString(reply.index.metric == Metric::kNone ? "" : Name(reply.index.metric), out);
  out += fmt::format(",\"indexState\":\"{}\",\"totalRows\":{},\"indexedRows\":{},\"pendingRows\":{},\"failReason\":",
                     reply.finished ? "Finished" : reply.failure.empty() ? "InProgress" : "Failed", reply.total_rows, reply.indexed_rows,
                     reply.pending_rows);
  WriteString(reply.failure, out);
  out += ",\"indexParams\":" + PairsJson(reply.index.params) + "}";
}

Result<std::string> DescribeIndex(RestCall& call) {
  ASSIGN_OR_RETURN(const IndexName name, ReadIndexName(call));
  ASSIGN_OR_RETURN(const std::vector<IndexReply> replies, call.proxy->DescribeIndex(call.context, name.collection, name.index));
  std::string out = "[";
  for (const IndexReply& reply : replies) {
    if (out.size() > 1) out += ',';
    WriteIndex(reply, out);
  }
  return out + "]";
}

Result<std::string> CreateIndex(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.CollectionName());
  ASSIGN_OR_RETURN(const auto list, call.members().Array("indexParams"));
  if (!list.has_value()) return MissingParameter("indexParams is required");
  std::vector<IndexCall> indexes;
  for (const Json value : *list) {
    const std::string where = fmt::format("indexParams[{}]", indexes.size());
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return WrongFormat(fmt::format("{} should be an object, but is {}", where, Shown(value)));
    ASSIGN_OR_RETURN(IndexCall index, ReadIndex(Members(object, where + ".")));
    index.collection = name;
    indexes.push_back(std::move(index));
  }
  if (indexes.empty()) return MissingParameter("indexParams should have at least one index");
  for (const IndexCall& index : indexes) RETURN_IF_ERROR(call.proxy->CreateIndex(call.context, index));
  return std::string(kEmptyData);
}

Result<std::string> DropIndex(RestCall& call) {
  ASSIGN_OR_RETURN(const IndexName name, ReadIndexName(call));
  return Done(call.proxy->DropIndex(call.context, name.collection, name.index));
}

Result<std::string> AlterIndexProperties(RestCall& call) {
  ASSIGN_OR_RETURN(const IndexName name, ReadIndexName(call));
  ASSIGN_OR_RETURN(const KeyValues properties, call.members().Pairs("properties"));
  return Done(call.proxy->AlterIndex(call.context, name.collection, name.index, properties, {}));
}

Result<std::string> DropIndexProperties(RestCall& call) {
  ASSIGN_OR_RETURN(const IndexName name, ReadIndexName(call));
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, call.members().Texts("propertyKeys"));
  return Done(call.proxy->AlterIndex(call.context, name.collection, name.index, {}, keys));
}

// ---- aliases

Result<std::string> ListAliases(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, call.members().Text("collectionName"));
  std::vector<CollectionPtr> collections;
  if (name.empty()) {
    collections = call.proxy->catalog()->Collections(call.context.database);
  } else {
    ASSIGN_OR_RETURN(CollectionPtr collection, call.proxy->FindCollection(call.context, name));
    collections.push_back(std::move(collection));
  }
  std::vector<std::string> aliases;
  for (const CollectionPtr& collection : collections) aliases.insert(aliases.end(), collection->aliases.begin(), collection->aliases.end());
  return ListJson(aliases);
}

Result<std::string> DescribeAlias(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string alias, call.members().RequiredText("aliasName"));
  ASSIGN_OR_RETURN(const CollectionPtr collection, call.proxy->DescribeAlias(call.context, alias));
  std::string out = "{\"dbName\":";
  WriteString(call.context.database, out);
  out += ",\"collectionName\":";
  WriteString(collection->name, out);
  out += ",\"aliasName\":";
  WriteString(alias, out);
  return out + "}";
}

struct AliasName {
  std::string collection, alias;
};
Result<AliasName> ReadAlias(const RestCall& call) {
  AliasName name;
  ASSIGN_OR_RETURN(name.collection, call.CollectionName());
  ASSIGN_OR_RETURN(name.alias, call.members().RequiredText("aliasName"));
  return name;
}

Result<std::string> CreateAlias(RestCall& call) {
  ASSIGN_OR_RETURN(const AliasName name, ReadAlias(call));
  return Done(call.proxy->CreateAlias(call.context, name.collection, name.alias));
}

Result<std::string> AlterAlias(RestCall& call) {
  ASSIGN_OR_RETURN(const AliasName name, ReadAlias(call));
  return Done(call.proxy->AlterAlias(call.context, name.collection, name.alias));
}

Result<std::string> DropAlias(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string alias, call.members().RequiredText("aliasName"));
  return Done(call.proxy->DropAlias(call.context, alias));
}

// ---- databases

Result<std::string> DatabaseName(const RestCall& call) { return call.members().RequiredText("dbName"); }

Result<std::string> ListDatabases(RestCall& call) {
  auto databases = call.proxy->catalog()->Databases();
  std::sort(databases.begin(), databases.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  std::vector<std::string> names;
  for (const auto& database : databases) names.push_back(database->name);
  return ListJson(names);
}

Result<std::string> DescribeDatabase(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, DatabaseName(call));
  ASSIGN_OR_RETURN(const auto database, call.proxy->DescribeDatabase(name));
  std::string out = "{\"dbName\":";
  WriteString(database->name, out);
  return out + fmt::format(",\"dbID\":{},\"properties\":{}}}", database->id.value, PairsJson(database->properties));
}

Result<std::string> CreateDatabase(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, DatabaseName(call));
  ASSIGN_OR_RETURN(const KeyValues properties, call.members().Pairs("properties"));
  return Done(call.proxy->CreateDatabase(call.context, name, properties));
}

Result<std::string> DropDatabase(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, DatabaseName(call));
  return Done(call.proxy->DropDatabase(call.context, name));
}

Result<std::string> AlterDatabase(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, DatabaseName(call));
  ASSIGN_OR_RETURN(const KeyValues properties, call.members().Pairs("properties"));
  return Done(call.proxy->AlterDatabase(call.context, name, properties, {}));
}

Result<std::string> DropDatabaseProperties(RestCall& call) {
  ASSIGN_OR_RETURN(const std::string name, DatabaseName(call));
  ASSIGN_OR_RETURN(const std::vector<std::string> keys, call.members().Texts("propertyKeys"));
  return Done(call.proxy->AlterDatabase(call.context, name, {}, keys));
}

}  // namespace

void AddMetadataEndpoints(Endpoints& endpoints) {
  endpoints.insert(endpoints.end(), {
      {"partitions/list", "ShowPartitionsRequest", true, false, ListPartitions, nullptr},
      {"partitions/has", "HasPartitionRequest", true, false, HasPartition, nullptr},
      {"partitions/create", "CreatePartitionRequest", true, false, CreatePartition, nullptr},
      {"partitions/drop", "DropPartitionRequest", true, false, DropPartition, nullptr},
      {"partitions/load", "LoadPartitionsRequest", true, false, LoadPartitions, nullptr},
      {"partitions/release", "ReleasePartitionsRequest", true, false, ReleasePartitions, nullptr},
      {"partitions/get_stats", "GetPartitionStatisticsRequest", true, false, PartitionStats, nullptr},
      {"indexes/list", "DescribeIndexRequest", true, false, ListIndexes, nullptr},
      {"indexes/describe", "DescribeIndexRequest", true, false, DescribeIndex, nullptr},
      {"indexes/create", "CreateIndexRequest", true, false, CreateIndex, nullptr},
      {"indexes/drop", "DropIndexRequest", true, false, DropIndex, nullptr},
      {"indexes/alter_properties", "AlterIndexRequest", true, false, AlterIndexProperties, nullptr},
      {"indexes/drop_properties", "AlterIndexRequest", true, false, DropIndexProperties, nullptr},
      {"aliases/list", "ListAliasesRequest", true, false, ListAliases, nullptr},
      {"aliases/describe", "DescribeAliasRequest", true, false, DescribeAlias, nullptr},
      {"aliases/create", "CreateAliasRequest", true, false, CreateAlias, nullptr},
      {"aliases/alter", "AlterAliasRequest", true, false, AlterAlias, nullptr},
      {"aliases/drop", "DropAliasRequest", true, false, DropAlias, nullptr},
      {"databases/list", nullptr, false, false, ListDatabases, nullptr},
      {"databases/describe", "DescribeDatabaseRequest", false, false, DescribeDatabase, nullptr},
      {"databases/create", "CreateDatabaseRequest", false, false, CreateDatabase, nullptr},
      {"databases/drop", "DropDatabaseRequest", false, false, DropDatabase, nullptr},
      {"databases/alter", "AlterDatabaseRequest", false, false, AlterDatabase, nullptr},
      {"databases/alter_properties", "AlterDatabaseRequest", false, false, AlterDatabase, nullptr},
      {"databases/drop_properties", "AlterDatabaseRequest", false, false, DropDatabaseProperties, nullptr},
  });
}

}  // namespace saker
