// Desired state: what coordinators write to the meta store and nodes work towards. Values only, with their codecs.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/schema.h"

namespace saker {

template <typename T>
using Callback = std::function<void(Result<T>)>;

// Key channel/<n>, written by datacoord: who owns a channel of the log, and what it is to seal.
struct ChannelAssignment {
  ChannelId channel = 0;
  NodeId owner;                      // 0: nobody
  Epoch epoch = 0;                   // rises with every change of owner
  // Flush requests: growing segments of the collection with rows at or before the timestamp are to be sealed and
  // flushed. An entry goes when the owner reported it done.
  std::map<CollectionId, Timestamp> seal_before;
  // Who is to get the channel next; 0: it stays. The owner flushes what it has of it and reports it handed over, so that
  // the successor has little to replay.
  NodeId successor;
};

// Key placement/<collection>, written by querycoord: which sealed segments are served, and where.
// The route of a read *is* this value: its version is the key's modification revision.
struct SegmentPlacement {
  SegmentId segment;
  std::vector<NodeId> nodes;         // desired holders, one for each replica
  bool serving = false;              // part of the route: every holder has reported it loaded
  // To load it as well. Reads don't go there: once such a node holds it, it takes the place of the one it relieves.
  std::vector<NodeId> incoming;
};
// The nodes that serve one replica; no node serves two of a collection.
struct ReplicaPlacement {
  int64_t id = 0;
  std::string group;                 // the resource group whose nodes these are
  std::vector<NodeId> nodes;
};
struct Placement {
  CollectionId collection;
  bool loaded = false;               // false while the first load is under way: reads answer 101
  std::vector<SegmentPlacement> segments;
  std::vector<ReplicaPlacement> replicas;
  int64_t version = 0;               // not encoded: the key's modification revision

  const SegmentPlacement* Find(SegmentId segment) const;  // null: not placed
  bool Serves(SegmentId segment) const;                   // as part of the route
};

// Key task/<id>, written by indexcoord (index builds) and datacoord (compaction): work for an indexnode.
enum class TaskKind : int32_t { kBuildIndex = 1, kCompact = 2 };
struct TaskSpec {
  int64_t id = 0;
  TaskKind kind = TaskKind::kBuildIndex;
  NodeId node;
  CollectionId collection;
  SegmentId segment;                 // the segment to index, or the id of the compaction's output
  IndexMeta index;                   // kBuildIndex
  std::vector<SegmentId> inputs;     // kCompact: segments of one partition and shard
  std::vector<SegmentId> deletes;    // kCompact: delete segments of the shard to apply
  Timestamp deletes_until = 0;       // kCompact: they cover all deletes of the shard up to here
  Timestamp expired_before = 0;      // kCompact: TTL
  Timestamp created = 0;
};

// Key drain/<node>: the node is to be emptied and gets no new work. Written by a coordinator that was asked to, or by the
// node itself before it ends; taken away by the node when it starts, or by a coordinator.
struct DrainRequest {
  NodeId node;
  int64_t since_unix_ms = 0;
};

// Key catalog/group/<name>, written by querycoord: querynodes set aside. Those of no group are the default group's.
inline constexpr std::string_view kDefaultResourceGroup = "__default_resource_group";
struct ResourceGroup {
  std::string name;
  int32_t capacity = 0;              // nodes it is to have
  int32_t limit = 0;                 // … and at most
  std::vector<NodeId> nodes;         // that it has
};

// What a segment takes of a querynode's memory once all of it is in use.
int64_t MemoryOf(const SegmentMeta& segment);

std::string Encode(const ChannelAssignment& assignment);
std::string Encode(const DrainRequest& drain);
std::string Encode(const ResourceGroup& group);
Result<DrainRequest> DecodeDrain(std::string_view bytes);
Result<ResourceGroup> DecodeResourceGroup(std::string_view bytes);
std::string Encode(const Placement& placement);
std::string Encode(const TaskSpec& task);
Result<ChannelAssignment> DecodeChannelAssignment(std::string_view bytes);
Result<Placement> DecodePlacement(std::string_view bytes);
Result<TaskSpec> DecodeTask(std::string_view bytes);

}  // namespace saker
