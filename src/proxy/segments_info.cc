// Flushing, compaction, row counts.
#include <fmt/format.h>

#include "proxy/proxy.h"
#include "proxy/validate.h"

namespace saker {

Result<FlushResult> Proxy::Flush(const CallContext& context, const std::string& name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  DataCoord* coord = peers_->data_coord();
  if (coord == nullptr) return CoordinatorAway("datacoord");
  return coord->Flush(collection->id);
}

Result<int64_t> Proxy::RowCount(const CallContext& context, const std::string& name, const std::string& partition_name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, FindCollection(context, name));
  PartitionId partition;
  if (!partition_name.empty()) {
    ASSIGN_OR_RETURN(const auto ids, PartitionIds(*collection, {partition_name}));
    partition = ids.front();
  }
  DataCoord* coord = peers_->data_coord();
  if (coord == nullptr) return CoordinatorAway("datacoord");
  return coord->RowCount(collection->id, partition);
}

Result<int64_t> Proxy::Compact(const CallContext& context, const std::string& name, CollectionId id) {
  CollectionPtr collection;
  if (!name.empty()) {
    ASSIGN_OR_RETURN(collection, FindCollection(context, name));
  } else {
    collection = catalog_->GetCollection(id);
    if (collection == nullptr) return {ErrorCode::kCollectionNotFound, fmt::format("collection not found[collection={}]", id.value)};
  }
  DataCoord* coord = peers_->data_coord();
  if (coord == nullptr) return CoordinatorAway("datacoord");
  return coord->Compact(collection->id);
}

}  // namespace saker
