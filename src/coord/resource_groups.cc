// Resource groups: which querynodes are set aside for which replicas. Names, limits and errors are Milvus 2.3's.
#include <algorithm>

#include "base/log.h"
#include "coord/query_coord_role.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

constexpr int32_t kDefaultCapacity = 1'000'000;  // of the default group: all that are left

Status NotFound(const std::string& group) {
  return {ErrorCode::kResourceGroupNotFound, "resource group not found[rg=" + group + "]"};
}

Status Invalid(const std::string& what, const std::string& expected, const std::string& actual) {
  const std::string fields = "invalid parameter[expected=" + expected + "][actual=" + actual + "]";
  return {ErrorCode::kParameterInvalid, what.empty() ? fields : what + ": " + fields};
}

int32_t Count(const std::vector<std::string>& groups, const std::string& group) {
  return static_cast<int32_t>(std::count(groups.begin(), groups.end(), group));
}

}  // namespace

std::map<NodeId, std::string> QueryCoordRole::GroupOf() const {
  std::map<NodeId, std::string> out;
  for (const auto& group : deps_.catalog->ResourceGroups()) {
    for (const NodeId node : group->nodes) out[node] = group->name;
  }
  return out;
}

// Those that are there.
std::vector<NodeId> QueryCoordRole::NodesIn(std::string_view group) const {
  const auto group_of = GroupOf();
  std::vector<NodeId> nodes = deps_.peers->query_nodes();
  std::erase_if(nodes, [&](NodeId node) {
    const auto it = group_of.find(node);
    return (it == group_of.end() ? kDefaultResourceGroup : std::string_view(it->second)) != group;
  });
  return nodes;
}

// Whether so many replicas can be served by these groups.
Status QueryCoordRole::CheckGroups(int32_t replicas, const std::vector<std::string>& groups) const {
  const std::string what = "failed to spawn replica for collection: ";
  if (groups.size() > 1 && groups.size() != static_cast<size_t>(replicas)) {
    return {ErrorCode::kUnexpected, what + "resource group num can only be 0, 1 or same as replica number"};
  }
  const bool with_default = Count(groups, std::string(kDefaultResourceGroup)) > 0;
  if (groups.size() > 1 && with_default) {
    return {ErrorCode::kUnexpected, what + "load operation can't use default resource group and other resource group together"};
  }
  std::map<std::string, int32_t> wanted;
  LoadConfig load;
  load.replicas = replicas;
  load.resource_groups = groups;
  for (const std::string& group : ReplicaGroups(load)) ++wanted[group];
  for (const auto& [group, number] : wanted) {
    if (group != kDefaultResourceGroup && deps_.catalog->FindResourceGroup(group) == nullptr) return NotFound(group).WithContext("failed to spawn replica for collection");
    const auto there = static_cast<int32_t>(NotDraining(NodesIn(group)).size());
    if (number <= there) continue;
    return {ErrorCode::kNodeLack, what + "expectedNum=" + std::to_string(number) + ", actualNum=" + std::to_string(there) +
                                      ": node lacks: start more querynodes, or load fewer replicas into resource group " + group};
  }
  return {};
}

// Groups that lack nodes get some.
void QueryCoordRole::RecoverGroups() {
  const auto nodes = deps_.peers->query_nodes();
  if (nodes.empty() || PlanGroups(deps_.catalog->ResourceGroups(), nodes).empty()) return;
  const auto updated = UpdateGroups([&](std::map<std::string, ResourceGroup>& groups) {
    std::vector<std::shared_ptr<const ResourceGroup>> now;
    for (const auto& [name, group] : groups) now.push_back(std::make_shared<const ResourceGroup>(group));
    for (ResourceGroup& group : PlanGroups(now, nodes)) {
      LogInfo("resource group {}: has other querynodes now", group.name);
      groups[group.name] = std::move(group);
    }
    return Status();
  });
  if (!updated.ok()) LogWarn("giving nodes to resource groups failed: {}", updated.status().ToString());
}

Result<Revision> QueryCoordRole::UpdateGroups(const std::function<Status(std::map<std::string, ResourceGroup>&)>& change) {
  MutexLock lock(groups_mutex_);
  return Seen(UntilNoConflict("the resource groups", [&]() -> Result<Revision> {
    ASSIGN_OR_RETURN(const RangeResult range, deps_.meta->Range(std::string(kResourceGroupPrefix)));
    std::map<std::string, ResourceGroup> groups;
    std::map<std::string, const KeyValue*> before;
    for (const KeyValue& kv : range.kvs) {
      ASSIGN_OR_RETURN(ResourceGroup group, DecodeResourceGroup(kv.value));
      before[group.name] = &kv;
      groups[group.name] = std::move(group);
    }
    RETURN_IF_ERROR(change(groups));
    std::vector<Compare> compares;
    std::vector<MetaOp> ops;
    for (const auto& [name, kv] : before) {
      const auto now = groups.find(name);
      if (now != groups.end() && Encode(now->second) == kv->value) continue;
      compares.push_back(Compare::Unchanged(kv->key, kv->mod_revision));
      ops.push_back(now == groups.end() ? MetaOp::Delete(kv->key) : MetaOp::Put(kv->key, Encode(now->second)));
    }
    for (const auto& [name, group] : groups) {
      if (before.contains(name)) continue;
      compares.push_back(Compare::Absent(ResourceGroupKey(name)));
      ops.push_back(MetaOp::Put(ResourceGroupKey(name), Encode(group)));
    }
    if (ops.empty()) return range.revision;
    return deps_.writer->Commit(std::move(compares), std::move(ops));
  }));
}

Result<Revision> QueryCoordRole::CreateResourceGroup(const std::string& name, const ResourceGroupLimits& limits) {
  return UpdateGroups([&](std::map<std::string, ResourceGroup>& groups) -> Status {
    if (name == kDefaultResourceGroup || groups.contains(name)) return {ErrorCode::kUnexpected, "resource group already exist"};
    if (static_cast<int>(groups.size()) + 1 >= settings_.max_resource_groups) {
      return {ErrorCode::kUnexpected, "resource group num reach limit " + std::to_string(settings_.max_resource_groups)};
    }
    groups[name] = {name, limits.nodes, limits.limit, {}};
    return {};
  });
}

Result<Revision> QueryCoordRole::UpdateResourceGroups(const std::map<std::string, ResourceGroupLimits>& limits) {
  return UpdateGroups([&](std::map<std::string, ResourceGroup>& groups) -> Status {
    for (const auto& [name, limit] : limits) {
      if (name == kDefaultResourceGroup) continue;  // it has what no other group has
      const auto it = groups.find(name);
      if (it == groups.end()) return NotFound(name);
      it->second.capacity = limit.nodes;
      it->second.limit = limit.limit;
    }
    return {};
  });
}

Result<Revision> QueryCoordRole::DropResourceGroup(const std::string& name) {
  if (name == kDefaultResourceGroup) return Status(ErrorCode::kUnexpected, "delete default rg is not permitted");
  for (const auto& collection : deps_.catalog->Collections("")) {
    if (!collection->load.loaded || Count(ReplicaGroups(collection->load), name) == 0) continue;
    return Invalid("some replicas still loaded in resource group[" + name + "], release it first", "empty resource group",
                   "resource group " + name + " has collection " + std::to_string(collection->id.value) + " loaded");
  }
  return UpdateGroups([&](std::map<std::string, ResourceGroup>& groups) -> Status {
    const auto it = groups.find(name);
    if (it == groups.end()) return {};  // dropping what isn't there is fine
    const bool empty = it->second.capacity == 0 && it->second.nodes.empty();
    if (!empty) return {ErrorCode::kUnexpected, "delete non-empty rg is not permitted"};
    groups.erase(it);
    return {};
  });
}

Result<Revision> QueryCoordRole::TransferNode(const std::string& from, const std::string& to, int32_t nodes) {
  const auto exists = [&](const std::string& name) {
    return name == kDefaultResourceGroup || deps_.catalog->FindResourceGroup(name) != nullptr;
  };
  if (!exists(from)) return Invalid("source resource group not found", "valid resource group", from);
  if (!exists(to)) return Invalid("target resource group not found", "valid resource group", to);
  if (from == to) {
    return Status(ErrorCode::kParameterInvalid,
                  "source resource group and target resource group should not be the same, resource group: " + from + ": invalid parameter");
  }
  if (nodes <= 0) return Invalid("", "NumNode > 0", "invalid NumNode " + std::to_string(nodes));
  for (const auto& collection : deps_.catalog->Collections("")) {
    if (!collection->load.loaded) continue;
    const auto groups = ReplicaGroups(collection->load);
    if (Count(groups, from) == 0 || Count(groups, to) == 0) continue;
    return Invalid("", "resource groups load not the same collection", "collection " + std::to_string(collection->id.value) + " loaded for both");
  }
  auto moved = NodesIn(from);
  if (static_cast<int32_t>(moved.size()) < nodes) return Status(ErrorCode::kUnexpected, "nodes not enough");
  {
    // Those with the least to give away.
    MutexLock lock(mutex_);
    std::stable_sort(moved.begin(), moved.end(), [this](NodeId a, NodeId b) REQUIRES(mutex_) { return load_[a] < load_[b]; });
    std::erase_if(load_, [](const auto& entry) { return entry.second == 0; });
  }
  moved.resize(static_cast<size_t>(nodes));
  return UpdateGroups([&](std::map<std::string, ResourceGroup>& groups) -> Status {
    if (from != kDefaultResourceGroup) {
      if (!groups.contains(from)) return NotFound(from);
      auto& source = groups[from];
      source.capacity = std::max(0, source.capacity - nodes);
      std::erase_if(source.nodes, [&](NodeId node) { return std::find(moved.begin(), moved.end(), node) != moved.end(); });
    }
    if (to != kDefaultResourceGroup) {
      if (!groups.contains(to)) return NotFound(to);
      auto& target = groups[to];
      target.capacity += nodes;
      target.nodes.insert(target.nodes.end(), moved.begin(), moved.end());
    }
    return {};
  });
}

Result<Revision> QueryCoordRole::TransferReplica(const std::string& from, const std::string& to, CollectionId id, int32_t replicas) {
  for (const auto& [name, which] : {std::pair(from, "source"), std::pair(to, "target")}) {
    if (name == kDefaultResourceGroup || deps_.catalog->FindResourceGroup(name) != nullptr) continue;
    return NotFound(name).WithContext(std::string("the ") + which + " resource group[" + name + "] doesn't exist");
  }
  if (replicas <= 0) return Invalid("", "NumReplica > 0", "invalid NumReplica " + std::to_string(replicas));
  const auto there = static_cast<int32_t>(NotDraining(NodesIn(to)).size());
  return Seen(deps_.writer->Update(id, [&](Collection& collection) -> Status {
    auto groups = collection.load.loaded ? ReplicaGroups(collection.load) : std::vector<std::string>();
    const int32_t in_source = Count(groups, from);
    if (in_source < replicas) {
      return Invalid("", "NumReplica not greater than the number of replica in source resource group",
                     "only found [" + std::to_string(in_source) + "] replicas in source resource group[" + from + "]");
    }
    if (const int32_t in_target = Count(groups, to); in_target > 0) {
      return Invalid("", "no same collection in target resource group",
                     "found [" + std::to_string(in_target) + "] replicas of same collection in target resource group[" + to +
                         "], dynamically increase replica num is unsupported");
    }
    const bool with_default = from == kDefaultResourceGroup || to == kDefaultResourceGroup;
    if (with_default && static_cast<int32_t>(groups.size()) != replicas) {
      return Invalid("", "tranfer all replicas from/to default resource group",
                     "try to transfer " + std::to_string(replicas) + " replicas from/to but " + std::to_string(groups.size()) + " replicas exist");
    }
    if (there < replicas) {
      return {ErrorCode::kNodeLack, "expectedNum=" + std::to_string(replicas) + ", actualNum=" + std::to_string(there) + ": node lacks"};
    }
    int32_t left = replicas;
    for (std::string& group : groups) {
      if (group != from || left == 0) continue;
      group = to;
      --left;
    }
    collection.load.resource_groups = std::move(groups);
    return {};
  }));
}

Result<ResourceGroupState> QueryCoordRole::DescribeResourceGroup(const std::string& name) {
  ResourceGroupState state;
  state.name = name;
  if (name == kDefaultResourceGroup) {
    state.capacity = state.limit = kDefaultCapacity;
  } else {
    const auto group = deps_.catalog->FindResourceGroup(name);
    if (group == nullptr) return NotFound(name);
    state.capacity = group->capacity;
    state.limit = std::max(group->limit, group->capacity);
  }
  state.nodes = NodesIn(name);
  const auto member = [&](NodeId node) { return std::find(state.nodes.begin(), state.nodes.end(), node) != state.nodes.end(); };
  for (const auto& collection : deps_.catalog->Collections("")) {
    if (!collection->load.loaded) continue;
    const auto groups = ReplicaGroups(collection->load);
    if (const int32_t replicas = Count(groups, name); replicas > 0) state.replicas[collection->id] = replicas;
    const auto placement = deps_.catalog->FindPlacement(collection->id);
    if (placement == nullptr) continue;
    for (const auto& replica : placement->replicas) {
      for (const NodeId node : replica.nodes) {
        if (replica.group == name && !member(node)) ++state.outgoing[collection->id];
        if (replica.group != name && member(node)) ++state.incoming[collection->id];
      }
    }
  }
  return state;
}

}  // namespace saker
