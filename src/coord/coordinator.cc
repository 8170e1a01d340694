#include "coord/coordinator.h"

#include <algorithm>

namespace saker {

Result<Revision> Coordinator::Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) const {
  if (deps_.fence) {
    for (Compare& compare : deps_.fence()) compares.push_back(std::move(compare));
  }
  return deps_.meta->Commit(compares, ops);
}

Result<Revision> Coordinator::Seen(Result<Revision> revision) const {
  if (!revision.ok()) return revision;
  RETURN_IF_ERROR(deps_.catalog->WaitFor(*revision, std::chrono::milliseconds(5'000)));
  return revision;
}

std::string Coordinator::NameOf(CollectionId id) const {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  return collection == nullptr ? std::to_string(id.value) : collection->name;
}

Result<CollectionPtr> Coordinator::Living(CollectionId id) const {
  CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) {
    return Status(ErrorCode::kCollectionNotFound, "collection not found[collection=" + std::to_string(id.value) + "]");
  }
  return collection;
}

Result<std::map<DataNode*, std::vector<ChannelId>>> Coordinator::Owners(const std::vector<ChannelId>& channels) const {
  std::map<DataNode*, std::vector<ChannelId>> owners;
  for (const ChannelId channel : channels) {
    DataNode* owner = deps_.peers->data_node(deps_.catalog->Channel(channel).owner);
    if (owner == nullptr) {
      return Status(ErrorCode::kChannelNotAvailable, "channel " + std::to_string(channel) + " has no owner at the moment; retry");
    }
    auto& list = owners[owner];
    if (std::find(list.begin(), list.end(), channel) == list.end()) list.push_back(channel);
  }
  return owners;
}

}  // namespace saker
