// Load, release, and how far they are.
#include <fmt/format.h>

#include <algorithm>

#include "proxy/proxy.h"
#include "proxy/validate.h"

namespace saker {
namespace {

Status CheckIndexed(const Collection& collection, const std::string& asked_name) {
  if (collection.indexes.empty()) {
    return {ErrorCode::kIndexNotFound, fmt::format("index not found[collection={}]", asked_name)};
  }
  const auto vectors = collection.schema->VectorFields();
  const bool any = std::any_of(vectors.begin(), vectors.end(), [&](const FieldSchema* f) { return collection.IndexOn(f->id) != nullptr; });
  if (!any) {
    return Unexpected(fmt::format("there is no vector index on collection: {}, please create index firstly", asked_name));
  }
  for (const FieldSchema* field : vectors) {
    if (collection.IndexOn(field->id) == nullptr) {
      return Unexpected(fmt::format("there is no vector index on field: [{}], please create index firstly", field->name));
    }
  }
  return {};
}

Status NotLoaded(const Collection& collection) {
  return {ErrorCode::kCollectionNotLoaded, fmt::format("collection not loaded[collection={}]", collection.id.value)};
}

}  // namespace

Status Proxy::Load(const CallContext& context, const std::string& name, const std::vector<std::string>& partition_names,
                   bool partitions_named, int32_t replicas, const std::vector<std::string>& field_names,
                   const std::vector<std::string>& groups) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  if (partitions_named && collection->schema->PartitionKey() != nullptr) {
    return Unexpected("disable load partitions if partition key mode is used");
  }
  RETURN_IF_ERROR(CheckIndexed(*collection, name));
  ASSIGN_OR_RETURN(const std::vector<PartitionId> partitions, PartitionIds(*collection, partition_names));
  if (partitions_named && partitions.empty()) return Unexpected("failed to load partition, due to no partition specified");
  std::vector<FieldId> fields;
  for (const std::string& field_name : field_names) {
    const FieldSchema* field = collection->schema->Find(field_name);
    if (field == nullptr) return InvalidParameter(fmt::format("fieldName {} not found", field_name));
    fields.push_back(field->id);
  }
  QueryCoord* coord = peers_->query_coord();
  if (coord == nullptr) return CoordinatorAway("querycoord");
  return Seen(context, coord->Load(collection->id, partitions, std::max(replicas, 1), fields, groups));
}

Status Proxy::Release(const CallContext& context, const std::string& name, const std::vector<std::string>& partition_names,
                      bool partitions_named) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  if (partitions_named && collection->schema->PartitionKey() != nullptr) {
    return Unexpected("disable release partitions if partition key mode is used");
  }
  ASSIGN_OR_RETURN(const std::vector<PartitionId> partitions, PartitionIds(*collection, partition_names));
  if (partitions_named && partitions.empty()) return InvalidParameter("partitions to release is empty");
  QueryCoord* coord = peers_->query_coord();
  if (coord == nullptr) return CoordinatorAway("querycoord");
  return Seen(context, coord->Release(collection->id, partitions));
}

Result<int64_t> Proxy::LoadingProgress(const CallContext& context, const std::string& name,
                                       const std::vector<std::string>& partition_names) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  ASSIGN_OR_RETURN(const std::vector<PartitionId> partitions, PartitionIds(*collection, partition_names));
  if (!collection->load.loaded) return NotLoaded(*collection);
  for (const PartitionId partition : partitions) {
    if (!collection->IsLoaded(partition)) {
      return {ErrorCode::kPartitionNotLoaded, fmt::format("partition not loaded[partition={}]", partition.value)};
    }
  }
  QueryCoord* coord = peers_->query_coord();
  if (coord == nullptr) return CoordinatorAway("querycoord");
  ASSIGN_OR_RETURN(const LoadProgress progress, coord->Progress(collection->id, partitions));
  if (!progress.exists) return NotLoaded(*collection);
  // Complete means: this proxy's route says so too, and the client's next search is answered.
  const auto placement = catalog_->FindPlacement(collection->id);
  const bool ready = placement != nullptr && placement->loaded;
  return progress.percent >= 100 && !ready ? 99 : progress.percent;
}

Result<LoadStateReply> Proxy::LoadState(const CallContext& context, const std::string& name,
                                        const std::vector<std::string>& partition_names) {
  RETURN_IF_ERROR(CheckCollectionName(name, limits()));
  const auto found = catalog_->FindCollection(context.database, name);
  if (!found.ok()) return LoadStateReply::kNotExist;
  const auto progress = LoadingProgress(context, name, partition_names);
  if (progress.ok()) return *progress >= 100 ? LoadStateReply::kLoaded : LoadStateReply::kLoading;
  const ErrorCode code = progress.status().code();
  if (code == ErrorCode::kCollectionNotLoaded || code == ErrorCode::kPartitionNotLoaded) return LoadStateReply::kNotLoaded;
  return progress.status();
}

Status Proxy::LoadForUse(const CallContext& context, const CollectionPtr& collection) {
  RETURN_IF_ERROR(CheckIndexed(*collection, collection->name));
  QueryCoord* coord = peers_->query_coord();
  if (coord == nullptr) return CoordinatorAway("querycoord");
  return Seen(context, coord->Load(collection->id, {}, 1, {}, {}));
}

}  // namespace saker
