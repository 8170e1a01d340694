#include "coord/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/rules.h"
#include "coord/plan.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {

Result<Revision> Coordinator::Commit(std::vector<Compare> compares, std::vector<MetaOp> ops) const {
  if (deps_.fence && RuleHolds(Rule::kLeaderCompared)) {
    ASSIGN_OR_RETURN(Compare leads, deps_.fence());
    compares.push_back(std::move(leads));
  }
  const bool of_segments = std::any_of(ops.begin(), ops.end(), [](const MetaOp& op) { return op.key.starts_with(kSegmentPrefix); });
  return of_segments ? deps_.segments->Commit(std::move(compares), std::move(ops)) : deps_.meta->Commit(compares, ops);
}

Status Coordinator::UpdateSegment(CollectionId collection, SegmentId segment,
                                  const std::function<bool(SegmentMeta&)>& change) const {
  return UntilNoConflict("the segment", [&]() -> Result<Revision> {
           ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(SegmentKey(collection, segment)));
           ASSIGN_OR_RETURN(SegmentMeta meta, DecodeSegment(kv.value));
           if (!change(meta)) return kv.mod_revision;
           return Commit({Compare::Unchanged(kv.key, kv.mod_revision)}, {MetaOp::Put(kv.key, Encode(meta))});
         })
      .status();
}

Status Coordinator::UntilServed(const std::function<Status()>& attempt) {
  constexpr auto kLimit = std::chrono::seconds(5);
  constexpr auto kPause = std::chrono::milliseconds(20);
  const auto passes = [](ErrorCode code) {
    return code == ErrorCode::kChannelNotAvailable || code == ErrorCode::kChannelNotFound || code == ErrorCode::kSuperseded ||
           code == ErrorCode::kServiceUnavailable;
  };
  const auto until = std::chrono::steady_clock::now() + kLimit;
  Status status = attempt();
  while (passes(status.code()) && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kPause);
    status = attempt();
  }
  return status;
}

Result<Revision> Coordinator::SoAlready() const {
  RETURN_IF_ERROR(deps_.writer->Settle());
  // While this process leads nobody else changes anything: its view, looked at before, is how things are.
  if (deps_.fence && RuleHolds(Rule::kLeaderCompared)) RETURN_IF_ERROR(deps_.fence().status());
  return deps_.catalog->revision();
}

Result<Revision> Coordinator::SegmentsSoAlready() const {
  RETURN_IF_ERROR(deps_.segments->Settle());
  return deps_.meta->CurrentRevision();
}

Result<Revision> Coordinator::Seen(Result<Revision> revision) const {
  if (!revision.ok()) return revision;
  RETURN_IF_ERROR(deps_.catalog->WaitFor(*revision, std::chrono::milliseconds(5'000)));
  return revision;
}

Status Coordinator::SetDraining(NodeId node, bool drain, const std::vector<NodeId>& nodes) const {
  const bool known = std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  const bool draining = deps_.catalog->Draining().contains(node);
  if (!known && (drain || !draining)) return {ErrorCode::kNodeNotFound, "node not found[node=" + std::to_string(node.value) + "]"};
  if (draining == drain) return {};
  const std::string key = DrainKey(node);
  return Seen(Commit({}, {drain ? MetaOp::Put(key, Encode(DrainRequest{node, WallMs()})) : MetaOp::Delete(key)})).status();
}

std::vector<NodeId> Coordinator::NotDraining(std::vector<NodeId> nodes) const {
  const std::set<NodeId> draining = deps_.catalog->Draining();
  std::erase_if(nodes, [&](NodeId node) { return draining.contains(node); });
  return nodes;
}

Result<Revision> Coordinator::GiveTask(int64_t id, NodeId from, NodeId to) const {
  ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(TaskKey(id)));
  ASSIGN_OR_RETURN(TaskSpec task, DecodeTask(kv.value));
  if (task.node != from) return Status(ErrorCode::kConflict, fmt::format("task {} has another node already", id));
  task.node = to;
  return Commit({Compare::Unchanged(kv.key, kv.mod_revision)}, {MetaOp::Put(kv.key, Encode(task))});
}

bool Coordinator::ReassignTasks(TaskKind kind) const {
  const std::vector<NodeId> alive = deps_.peers->index_nodes();
  for (const auto& [before, to] : PlanTaskMoves(deps_.catalog->Tasks(), kind, alive, NotDraining(alive))) {
    const auto committed = GiveTask(before.id, before.node, to);
    const ErrorCode code = committed.status().code();
    if (code == ErrorCode::kIoKeyNotFound || code == ErrorCode::kConflict) continue;  // done meanwhile, or given away by another leader
    if (!committed.ok()) {
      LogWarn("task {} of the gone indexnode {} can't be given to another one: {}", before.id, before.node.value, committed.status().ToString());
      return false;
    }
    LogInfo("task {} of the gone indexnode {} is given to {}", before.id, before.node.value, to.value);
  }
  return true;
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

Result<std::vector<std::pair<DataNode*, std::vector<ChannelId>>>> Coordinator::Owners(const std::vector<ChannelId>& channels) const {
  std::vector<std::pair<DataNode*, std::vector<ChannelId>>> owners;
  for (const ChannelId channel : channels) {
    DataNode* owner = deps_.peers->data_node(deps_.catalog->Channel(channel).owner);
    if (owner == nullptr) {
      return Status(ErrorCode::kChannelNotAvailable, "channel " + std::to_string(channel) + " has no owner at the moment; retry");
    }
    const auto known = std::find_if(owners.begin(), owners.end(), [&](const auto& o) { return o.first == owner; });
    auto& list = known == owners.end() ? owners.emplace_back(owner, std::vector<ChannelId>()).second : known->second;
    if (std::find(list.begin(), list.end(), channel) == list.end()) list.push_back(channel);
  }
  return owners;
}

}  // namespace saker
