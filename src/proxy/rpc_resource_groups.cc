// RPCs about resource groups and replicas.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "proxy/service.h"
#include "proxy/validate.h"
#include "rpc/status_codec.h"

namespace saker {
namespace {

Status CheckGroupName(const std::string& name, const ProxyLimits& limits) {
  if (name.empty()) return Unexpected("resource group name couldn't be empty");
  const std::string invalid = fmt::format("Invalid resource group name {}. ", name);
  if (static_cast<int64_t>(name.size()) > limits.name_length) {
    return Unexpected(fmt::format("{}The length of resource group name must be less than {} characters.", invalid, limits.name_length));
  }
  const auto letter = [](unsigned char c) { return c == '_' || (c < 128 && std::isalpha(c) != 0); };
  if (!letter(static_cast<unsigned char>(name.front()))) {
    return Unexpected(invalid + "The first character of resource group name must be an underscore or letter.");
  }
  const bool fine = std::all_of(name.begin(), name.end(), [&](unsigned char c) { return letter(c) || (c >= '0' && c <= '9'); });
  return fine ? Status() : Unexpected(invalid + "Resource group name can only contain numbers, letters and underscores.");
}

ResourceGroupLimits LimitsIn(const wire::rg::ResourceGroupConfig& config) {
  return {config.requests().node_num(), config.limits().node_num()};
}

}  // namespace

void MilvusService::RegisterResourceGroups(MethodTable& table) {
  ThreadPool* pool = p_->control_pool();
#define ADD(name) Add(table, #name, pool, &MilvusService::name)
  ADD(CreateResourceGroup);
  ADD(UpdateResourceGroups);
  ADD(DropResourceGroup);
  ADD(TransferNode);
  ADD(TransferReplica);
  ADD(ListResourceGroups);
  ADD(DescribeResourceGroup);
  ADD(GetReplicas);
#undef ADD
}

// A change that querycoord makes, seen by this proxy before it is answered.
void MilvusService::ChangeGroups(const RequestContext& context, const Responder<wire::common::Status>& respond,
                                 const std::function<Result<Revision>(QueryCoord&)>& change) {
  QueryCoord* coord = p_->peers()->query_coord();
  if (coord == nullptr) return Answer(respond, CoordinatorAway("querycoord"));
  Answer(respond, p_->Seen(Context(context, {}, true), change(*coord)));
}

void MilvusService::CreateResourceGroup(RequestContext& context, const wire::milvus::CreateResourceGroupRequest& r,
                                        Responder<wire::common::Status> respond) {
  if (Status bad = CheckGroupName(r.resource_group(), p_->limits()); !bad.ok()) return Answer(respond, bad);
  ChangeGroups(context, respond, [&](QueryCoord& coord) { return coord.CreateResourceGroup(r.resource_group(), LimitsIn(r.config())); });
}

void MilvusService::UpdateResourceGroups(RequestContext& context, const wire::milvus::UpdateResourceGroupsRequest& r,
                                         Responder<wire::common::Status> respond) {
  std::map<std::string, ResourceGroupLimits> limits;
  for (const auto& [name, config] : r.resource_groups()) limits[name] = LimitsIn(config);
  ChangeGroups(context, respond, [&](QueryCoord& coord) { return coord.UpdateResourceGroups(limits); });
}

void MilvusService::DropResourceGroup(RequestContext& context, const wire::milvus::DropResourceGroupRequest& r,
                                      Responder<wire::common::Status> respond) {
  ChangeGroups(context, respond, [&](QueryCoord& coord) { return coord.DropResourceGroup(r.resource_group()); });
}

void MilvusService::TransferNode(RequestContext& context, const wire::milvus::TransferNodeRequest& r, Responder<wire::common::Status> respond) {
  for (const std::string& name : {r.source_resource_group(), r.target_resource_group()}) {
    if (Status bad = CheckGroupName(name, p_->limits()); !bad.ok()) return Answer(respond, bad);
  }
  ChangeGroups(context, respond, [&](QueryCoord& coord) {
    return coord.TransferNode(r.source_resource_group(), r.target_resource_group(), r.num_node());
  });
}

void MilvusService::TransferReplica(RequestContext& context, const wire::milvus::TransferReplicaRequest& r,
                                    Responder<wire::common::Status> respond) {
  for (const std::string& name : {r.source_resource_group(), r.target_resource_group()}) {
    if (Status bad = CheckGroupName(name, p_->limits()); !bad.ok()) return Answer(respond, bad);
  }
  const auto found = p_->FindCollection(Ddl(context, r), r.collection_name());
  if (!found.ok()) return Answer(respond, found.status());
  ChangeGroups(context, respond, [&](QueryCoord& coord) {
    return coord.TransferReplica(r.source_resource_group(), r.target_resource_group(), (*found)->id, static_cast<int32_t>(r.num_replica()));
  });
}

void MilvusService::ListResourceGroups(RequestContext& context, const wire::milvus::ListResourceGroupsRequest& r,
                                       Responder<wire::milvus::ListResourceGroupsResponse> respond) {
  respond.message().add_resource_groups(std::string(kDefaultResourceGroup));
  for (const auto& group : p_->catalog()->ResourceGroups()) respond.message().add_resource_groups(group->name);
  respond.Send();
}

void MilvusService::DescribeResourceGroup(RequestContext& context, const wire::milvus::DescribeResourceGroupRequest& r,
                                          Responder<wire::milvus::DescribeResourceGroupResponse> respond) {
  QueryCoord* coord = p_->peers()->query_coord();
  if (coord == nullptr) return respond.Fail(CoordinatorAway("querycoord"));
  const auto state = coord->DescribeResourceGroup(r.resource_group());
  if (!state.ok()) return respond.Fail(state.status());
  auto* group = respond.message().mutable_resource_group();
  group->set_name(state->name);
  group->set_capacity(state->capacity);
  group->set_num_available_node(static_cast<int32_t>(state->nodes.size()));
  // By name, as clients know collections.
  const auto fill = [&](const std::map<CollectionId, int32_t>& from, auto* to) {
    for (const auto& [id, number] : from) {
      if (const auto collection = p_->catalog()->GetCollection(id)) (*to)[collection->name] = number;
    }
  };
  fill(state->replicas, group->mutable_num_loaded_replica());
  fill(state->outgoing, group->mutable_num_outgoing_node());
  fill(state->incoming, group->mutable_num_incoming_node());
  group->mutable_config()->mutable_requests()->set_node_num(state->capacity);
  group->mutable_config()->mutable_limits()->set_node_num(state->limit);
  for (const NodeId node : state->nodes) group->add_nodes()->set_node_id(node.value);
  respond.Send();
}

void MilvusService::GetReplicas(RequestContext& context, const wire::milvus::GetReplicasRequest& r, Responder<wire::milvus::GetReplicasResponse> respond) {
  CollectionPtr collection;
  if (r.collection_name().empty()) {
    collection = p_->catalog()->GetCollection(CollectionId(r.collectionid()));
  } else {
    const auto found = p_->FindCollection(Ddl(context, r), r.collection_name());
    if (!found.ok()) return respond.Fail(found.status());
    collection = *found;
  }
  const auto placement = collection == nullptr ? nullptr : p_->catalog()->FindPlacement(collection->id);
  if (placement == nullptr || !collection->load.loaded) {
    const int64_t id = collection == nullptr ? r.collectionid() : collection->id.value;
    return respond.Fail(Status(ErrorCode::kReplicaNotFound, fmt::format("failed to get replicas by collection: replica not found[replica={}]", id)));
  }
  for (const ReplicaPlacement& replica : placement->replicas) {
    auto* out = respond.message().add_replicas();
    out->set_replicaid(replica.id);
    out->set_collectionid(collection->id.value);
    out->set_resource_group_name(replica.group);
    for (const Partition& partition : collection->partitions) {
      if (collection->IsLoaded(partition.id)) out->add_partition_ids(partition.id.value);
    }
    for (const NodeId node : replica.nodes) out->add_node_ids(node.value);
    for (size_t i = 0; i < collection->shards.size(); ++i) {
      const ChannelId channel = collection->shards[i];
      auto* shard = out->add_shard_replicas();
      shard->set_leaderid(p_->catalog()->Channel(channel).owner.value);
      shard->set_dm_channel_name(collection->VirtualChannel(static_cast<int>(i)));
      if (!r.with_shard_nodes()) continue;
      // Its owner, and those that serve what it has flushed.
      std::set<NodeId> nodes{p_->catalog()->Channel(channel).owner};
      for (const SegmentPlacement& placed : placement->segments) {
        const auto segment = p_->catalog()->FindSegment(placed.segment);
        if (segment == nullptr || segment->channel != channel) continue;
        for (const NodeId node : placed.nodes) {
          if (std::find(replica.nodes.begin(), replica.nodes.end(), node) != replica.nodes.end()) nodes.insert(node);
        }
      }
      for (const NodeId node : nodes) shard->add_node_ids(node.value);
    }
  }
  respond.Send();
}

}  // namespace saker
