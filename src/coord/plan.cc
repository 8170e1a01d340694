#include "coord/plan.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

namespace saker {

bool HoldsRowsOf(const Collection& collection, const SegmentMeta& segment) {
  return segment.IsLiveRows() && collection.FindPartition(segment.partition) != nullptr;
}

int64_t CountedRows(const Collection& collection, const SegmentMeta& segment) {
  if (segment.kind != SegmentKind::kRows || collection.FindPartition(segment.partition) == nullptr) return 0;
  return segment.deleted_rows + (segment.IsLiveRows() ? segment.rows : 0);
}

namespace {

// A TTL that reaches back beyond the epoch expires nothing.
Timestamp ExpiredBefore(Timestamp now, int64_t ttl_s) {
  return ttl_s >= UnixMs(now) / 1000 ? 0 : MakeTimestamp(UnixMs(now) - ttl_s * 1000);
}

}  // namespace

// ---- channels

namespace {

class ChannelPlanner {
 public:
  explicit ChannelPlanner(const ChannelInput& input) : in_(input) {
    for (const NodeId node : in_.nodes) {
      if (!in_.draining.contains(node)) owned_[node] = 0;
    }
    // With nobody else left, those that are to be emptied keep their channels.
    if (owned_.empty()) {
      for (const NodeId node : in_.nodes) owned_[node] = 0;
    }
    for (ChannelId channel = 0; channel < in_.channels; ++channel) assignments_[channel].channel = channel;
    for (const ChannelAssignment& assignment : in_.current) {
      if (assignment.channel < 0 || assignment.channel >= in_.channels) continue;
      assignments_[assignment.channel] = assignment;
      if (const auto it = owned_.find(HeadedFor(assignment)); it != owned_.end()) ++it->second;
    }
  }

  std::vector<ChannelAssignment> Plan() {
    if (in_.nodes.empty()) return {};
    for (auto& [channel, assignment] : assignments_) CheckOwner(assignment);
    for (auto& [channel, assignment] : assignments_) MoveOn(assignment);
    while (moves_ < in_.max_moves && BeginMove()) ++moves_;
    std::vector<ChannelAssignment> changed;
    for (const auto& [channel, assignment] : assignments_) {
      if (changed_.contains(channel)) changed.push_back(assignment);
    }
    return changed;
  }

 private:
  static NodeId HeadedFor(const ChannelAssignment& assignment) { return assignment.successor ? assignment.successor : assignment.owner; }
  bool Alive(NodeId node) const { return std::find(in_.nodes.begin(), in_.nodes.end(), node) != in_.nodes.end(); }

  void GiveTo(ChannelAssignment& assignment, NodeId node) {
    const auto lost = in_.lost.find(assignment.channel);
    assignment.owner = node;
    assignment.successor = NodeId();
    assignment.epoch = std::max(assignment.epoch, lost == in_.lost.end() ? 0 : lost->second) + 1;
    changed_.insert(assignment.channel);
  }

  // A dead owner's channel, and one without an epoch that will do, get a new one at once.
  void CheckOwner(ChannelAssignment& assignment) {
    const auto lost = in_.lost.find(assignment.channel);
    const bool epoch_ok = assignment.epoch > 0 && (lost == in_.lost.end() || assignment.epoch > lost->second);
    const bool alive = Alive(assignment.owner);
    if (alive && epoch_ok) return;
    const bool successor = assignment.successor && owned_.contains(assignment.successor);
    if (successor || alive) return GiveTo(assignment, successor ? assignment.successor : assignment.owner);
    const NodeId node = LeastOwned();
    ++owned_[node];
    GiveTo(assignment, node);
  }

  void MoveOn(ChannelAssignment& assignment) {
    if (!assignment.successor) return;
    if (!owned_.contains(assignment.successor) || assignment.successor == assignment.owner) {
      assignment.successor = NodeId();
      changed_.insert(assignment.channel);
      if (const auto it = owned_.find(assignment.owner); it != owned_.end()) ++it->second;
      return;
    }
    if (in_.handed_over.contains(assignment.channel)) return GiveTo(assignment, assignment.successor);
    ++moves_;
  }

  bool BeginMove() {
    for (auto& [channel, assignment] : assignments_) {
      const bool stays = owned_.contains(assignment.owner) || assignment.successor || changed_.contains(channel);
      if (stays) continue;
      Begin(assignment, LeastOwned());
      return true;
    }
    if (!in_.balance) return false;
    const auto most = std::max_element(owned_.begin(), owned_.end(), FewerChannels);
    const NodeId least = LeastOwned();
    if (most->second - owned_[least] < 2) return false;
    ChannelAssignment* const best = BestToMove(most->first, least);
    if (best == nullptr) return false;
    --most->second;
    Begin(*best, least);
    return true;
  }

  void Begin(ChannelAssignment& assignment, NodeId to) {
    ++owned_[to];
    assignment.successor = to;
    changed_.insert(assignment.channel);
  }

  // The one whose move spreads collections' shards best; among equals the one that the fewest collections use.
  ChannelAssignment* BestToMove(NodeId from, NodeId to) {
    std::map<ChannelId, std::pair<int, int>> gains;  // better spread, and less use
    for (const auto& shards : in_.collections) {
      int here = 0;
      int there = 0;
      for (const ChannelId shard : shards) {
        const auto it = assignments_.find(shard);
        if (it == assignments_.end()) continue;
        here += HeadedFor(it->second) == from;
        there += HeadedFor(it->second) == to;
      }
      for (const ChannelId shard : shards) {
        gains[shard].first += here - there > 1;
        --gains[shard].second;
      }
    }
    ChannelAssignment* best = nullptr;
    for (auto& [channel, assignment] : assignments_) {
      if (assignment.owner != from || assignment.successor || changed_.contains(channel)) continue;
      if (best == nullptr || gains[channel] > gains[best->channel]) best = &assignment;
    }
    return best;
  }

  static bool FewerChannels(const std::pair<const NodeId, int>& a, const std::pair<const NodeId, int>& b) { return a.second < b.second; }
  NodeId LeastOwned() const { return std::min_element(owned_.begin(), owned_.end(), FewerChannels)->first; }

  const ChannelInput& in_;
  std::map<ChannelId, ChannelAssignment> assignments_;
  std::map<NodeId, int> owned_;   // by those that may have channels: how many, once all are where they are headed for
  std::set<ChannelId> changed_;
  int moves_ = 0;
};

}  // namespace

std::vector<ChannelAssignment> PlanChannels(const ChannelInput& input) { return ChannelPlanner(input).Plan(); }

// ---- placement

std::vector<SegmentId> DesiredSegments(const Collection& collection, const SegmentList& segments) {
  std::vector<SegmentId> out;
  if (collection.dropped || !collection.load.loaded) return out;
  for (const auto& segment : segments) {
    if (HoldsRowsOf(collection, *segment) && collection.IsLoaded(segment->partition)) out.push_back(segment->id);
  }
  return out;
}

namespace {

// The desired segments that hold the rows of a segment compacted away, through any number of compactions.
std::set<SegmentId> Successors(SegmentId of, const SegmentList& segments, const std::set<SegmentId>& desired) {
  std::set<SegmentId> found;
  std::set<SegmentId> family{of};
  bool grew = true;
  while (grew) {
    grew = false;
    for (const auto& segment : segments) {
      if (family.contains(segment->id)) continue;
      const bool child = std::any_of(segment->compacted_from.begin(), segment->compacted_from.end(),
                                     [&](SegmentId parent) { return family.contains(parent); });
      if (!child) continue;
      family.insert(segment->id);
      grew = true;
      if (desired.contains(segment->id)) found.insert(segment->id);
    }
  }
  return found;
}

class PlacementPlanner {
 public:
  explicit PlacementPlanner(const PlacementInput& input) : in_(input), load_(input.load) {
    for (const SegmentId id : DesiredSegments(*in_.collection, in_.segments)) desired_.insert(id);
    for (const auto& segment : in_.segments) bytes_[segment->id] = MemoryOf(*segment);
  }

  Placement Plan() {
    Placement next;
    next.collection = in_.collection->id;
    next.loaded = in_.current != nullptr && in_.current->loaded;
    PlanReplicas();
    std::map<SegmentId, SegmentPlacement> before;
    if (in_.current != nullptr) {
      for (const auto& placed : in_.current->segments) before[placed.segment] = placed;
    }
    std::map<SegmentId, SegmentPlacement> after;
    for (const SegmentId id : desired_) {
      const auto it = before.find(id);
      after[id] = Place(it == before.end() ? SegmentPlacement{id, {}, false, {}} : it->second);
    }
    const std::set<SegmentId> awaited = KeepReplaced(before, after);
    bool complete = true;
    for (const SegmentId id : desired_) {
      SegmentPlacement& placed = after[id];
      if (!placed.serving && IsHeld(placed) && !awaited.contains(id)) placed.serving = true;
      complete = complete && placed.serving;
    }
    if (complete) next.loaded = true;
    for (auto& [id, placed] : after) next.segments.push_back(std::move(placed));
    next.replicas = std::move(replicas_);
    return next;
  }

 private:
  // Which nodes serve which replica: those of its group that may take segments, each for one replica of the collection.
  void PlanReplicas() {
    const auto groups = ReplicaGroups(in_.collection->load);
    std::set<NodeId> taken;
    for (size_t i = 0; i < groups.size(); ++i) {
      ReplicaPlacement replica{in_.collection->id.value * kReplicaIds + static_cast<int64_t>(i), groups[i], {}};
      if (in_.current != nullptr && i < in_.current->replicas.size()) {
        replica.id = in_.current->replicas[i].id;
        for (const NodeId node : in_.current->replicas[i].nodes) {
          if (MayServe(node, groups[i]) && taken.insert(node).second) replica.nodes.push_back(node);
        }
      }
      replicas_.push_back(std::move(replica));
    }
    for (const NodeId node : in_.nodes) {
      if (!taken.contains(node)) GiveToReplica(node);
    }
    for (auto& replica : replicas_) {
      if (replica.nodes.empty()) TakeFromAnother(replica);
    }
    for (auto& replica : replicas_) std::sort(replica.nodes.begin(), replica.nodes.end());
  }

  // To the smallest replica of its group.
  void GiveToReplica(NodeId node) {
    ReplicaPlacement* smallest = nullptr;
    for (auto& replica : replicas_) {
      if (!MayServe(node, replica.group)) continue;
      if (smallest == nullptr || replica.nodes.size() < smallest->nodes.size()) smallest = &replica;
    }
    if (smallest != nullptr) smallest->nodes.push_back(node);
  }

  void TakeFromAnother(ReplicaPlacement& replica) {
    ReplicaPlacement* largest = nullptr;
    for (auto& other : replicas_) {
      if (other.group != replica.group || other.nodes.size() < 2) continue;
      if (largest == nullptr || other.nodes.size() > largest->nodes.size()) largest = &other;
    }
    if (largest == nullptr) return;
    replica.nodes.push_back(largest->nodes.back());
    largest->nodes.pop_back();
  }

  bool MayServe(NodeId node, const std::string& group) const {
    const auto it = in_.group_of.find(node);
    const std::string_view of = it == in_.group_of.end() ? kDefaultResourceGroup : std::string_view(it->second);
    return Alive(node) && !in_.draining.contains(node) && of == group;
  }

  const ReplicaPlacement* ReplicaOf(NodeId node) const {
    for (const auto& replica : replicas_) {
      if (Contains(replica.nodes, node)) return &replica;
    }
    return nullptr;
  }

  // Gives the segment a holder in each replica. What is part of the route stays part of it: reads of a segment whose
  // holders are gone wait until another node has loaded it, rather than miss its rows; while one is left, reads go there,
  // and to the new one once it holds it.
  SegmentPlacement Place(SegmentPlacement placed) {
    std::erase_if(placed.nodes, [&](NodeId node) { return !Alive(node); });
    std::erase_if(placed.incoming, [&](NodeId node) { return ReplicaOf(node) == nullptr || Contains(placed.nodes, node); });
    Arrive(placed);
    bool lacking = false;
    for (const auto& replica : replicas_) lacking |= !Provide(placed, replica);
    const bool anywhere = std::any_of(replicas_.begin(), replicas_.end(), [](const auto& r) { return !r.nodes.empty(); });
    if (anywhere && (!lacking || !placed.serving)) DropSuperfluous(placed);
    return placed;
  }

  // Those that hold it by now take the place of the replica's former holder.
  void Arrive(SegmentPlacement& placed) const {
    for (const NodeId node : std::vector<NodeId>(placed.incoming)) {
      if (!Holds(node, placed.segment)) continue;
      const ReplicaPlacement* const replica = ReplicaOf(node);
      std::erase_if(placed.nodes, [&](NodeId former) { return Contains(replica->nodes, former); });
      placed.nodes.push_back(node);
      std::erase(placed.incoming, node);
    }
  }

  // False: the replica has no holder that reads may go to yet.
  bool Provide(SegmentPlacement& placed, const ReplicaPlacement& replica) {
    const auto within = [&](const std::vector<NodeId>& nodes) {
      return std::any_of(nodes.begin(), nodes.end(), [&](NodeId node) { return Contains(replica.nodes, node); });
    };
    if (replica.nodes.empty() || within(placed.nodes)) return true;
    if (within(placed.incoming)) return false;
    const NodeId node = LeastLoaded(replica.nodes);
    load_[node] += bytes_[placed.segment];
    const bool others_serve = placed.serving && !placed.nodes.empty();
    (others_serve ? placed.incoming : placed.nodes).push_back(node);
    return !others_serve;
  }

  // Holders of no replica (they are drained, or in another group now), and second ones of one.
  void DropSuperfluous(SegmentPlacement& placed) const {
    std::set<const ReplicaPlacement*> has;
    std::erase_if(placed.nodes, [&](NodeId node) {
      const ReplicaPlacement* const replica = ReplicaOf(node);
      return replica == nullptr || !has.insert(replica).second;
    });
  }

  // Replaced segments stay in the route until all that replaces them is held. Returns the successors that must wait
  // because not all of the family is there yet.
  std::set<SegmentId> KeepReplaced(const std::map<SegmentId, SegmentPlacement>& before,
                                   std::map<SegmentId, SegmentPlacement>& after) {
    std::set<SegmentId> awaited;
    std::map<SegmentId, std::set<SegmentId>> replaced;
    for (const auto& [id, placed] : before) {
      if (desired_.contains(id) || !placed.serving) continue;
      auto successors = Successors(id, in_.segments, desired_);
      if (!successors.empty()) replaced[id] = std::move(successors);
    }
    for (const auto& [id, successors] : replaced) {
      const bool all_held = std::all_of(successors.begin(), successors.end(),
                                        [&](SegmentId s) { return after[s].serving || IsHeld(after[s]); });
      if (all_held) continue;
      awaited.insert(successors.begin(), successors.end());
    }
    // A successor that waits keeps all that it replaces, also through another family it belongs to.
    for (const auto& [id, successors] : replaced) {
      const bool waits = std::any_of(successors.begin(), successors.end(), [&](SegmentId s) { return awaited.contains(s); });
      if (waits) after[id] = before.at(id);
    }
    return awaited;
  }

  static bool Contains(const std::vector<NodeId>& nodes, NodeId node) { return std::find(nodes.begin(), nodes.end(), node) != nodes.end(); }
  bool Alive(NodeId node) const { return Contains(in_.nodes, node); }

  bool Holds(NodeId node, SegmentId segment) const {
    const auto it = in_.reported.find(node);
    return it != in_.reported.end() && it->second.contains(segment);
  }
  bool IsHeld(const SegmentPlacement& placed) const {
    return !placed.nodes.empty() &&
           std::all_of(placed.nodes.begin(), placed.nodes.end(), [&](NodeId node) { return Holds(node, placed.segment); });
  }

  NodeId LeastLoaded(const std::vector<NodeId>& nodes) {
    return *std::min_element(nodes.begin(), nodes.end(), [&](NodeId a, NodeId b) { return load_[a] < load_[b]; });
  }

  static constexpr int64_t kReplicaIds = 64;  // ids of one collection's replicas, from its own id

  const PlacementInput& in_;
  std::map<NodeId, int64_t> load_;
  std::set<SegmentId> desired_;
  std::map<SegmentId, int64_t> bytes_;
  std::vector<ReplicaPlacement> replicas_;
};

}  // namespace

PlacementPlan PlanPlacement(const PlacementInput& input) {
  PlacementPlan plan;
  const bool wanted = input.collection != nullptr && !input.collection->dropped && input.collection->load.loaded;
  if (!wanted) {
    plan.remove = input.current != nullptr;
    return plan;
  }
  if (input.nodes.empty()) return plan;  // nobody to serve it: wait
  Placement next = PlacementPlanner(input).Plan();
  if (input.current == nullptr || Encode(next) != Encode(*input.current)) plan.write = std::move(next);
  return plan;
}

std::vector<std::string> ReplicaGroups(const LoadConfig& load) {
  const auto replicas = static_cast<size_t>(std::max(1, load.replicas));
  if (load.resource_groups.size() == replicas) return load.resource_groups;
  const std::string one = load.resource_groups.empty() ? std::string(kDefaultResourceGroup) : load.resource_groups.front();
  return std::vector<std::string>(replicas, one);
}

// ---- balance

namespace {

class Balancer {
 public:
  Balancer(const BalanceInput& input, const BalanceSettings& settings) : in_(input), settings_(settings), load_(input.load) {
    for (const auto& placement : in_.placements) {
      for (const auto& placed : placement->segments) {
        moving_ += placed.incoming.size();
        for (const NodeId to : placed.incoming) TakeFromSource(*placement, placed, to);
      }
    }
  }

  std::vector<SegmentMove> Plan() {
    std::vector<SegmentMove> moves;
    while (moving_ + moves.size() < settings_.max_moves) {
      const auto best = Best();
      if (!best) break;
      load_[best->from] -= best->bytes;
      load_[best->move.to] += best->bytes;
      moved_.insert(best->move.segment);
      moves.push_back(best->move);
    }
    return moves;
  }

 private:
  struct Candidate {
    SegmentMove move;
    NodeId from;
    int64_t bytes = 0;
    int64_t gain = 0;   // by how much the two nodes come closer
  };

  // What is on its way counts where it goes, and no more where it comes from.
  void TakeFromSource(const Placement& placement, const SegmentPlacement& placed, NodeId to) {
    for (const auto& replica : placement.replicas) {
      if (!Contains(replica.nodes, to)) continue;
      for (const NodeId from : placed.nodes) {
        if (Contains(replica.nodes, from) && load_.contains(from)) load_[from] -= in_.bytes(placed.segment);
      }
    }
  }

  std::optional<Candidate> Best() const {
    std::optional<Candidate> best;
    for (const auto& placement : in_.placements) {
      for (const auto& replica : placement->replicas) Consider(*placement, replica, best);
    }
    return best;
  }

  void Consider(const Placement& placement, const ReplicaPlacement& replica, std::optional<Candidate>& best) const {
    const NodeId to = Emptiest(replica.nodes);
    if (!to) return;
    for (const auto& placed : placement.segments) {
      if (!placed.serving || !placed.incoming.empty() || moved_.contains(placed.segment)) continue;
      for (const NodeId from : placed.nodes) {
        if (from == to || !load_.contains(from) || !Contains(replica.nodes, from)) continue;
        const int64_t bytes = in_.bytes(placed.segment);
        const int64_t apart = load_.at(from) - load_.at(to);
        const int64_t gain = apart - std::abs(apart - 2 * bytes);
        const bool noticeable = static_cast<double>(apart) > settings_.tolerance * static_cast<double>(load_.at(from));
        if (gain <= 0 || !noticeable || !HasRoom(to, bytes)) continue;
        if (!best || gain > best->gain) best = Candidate{{placement.collection, placed.segment, to}, from, bytes, gain};
      }
    }
  }

  static bool Contains(const std::vector<NodeId>& nodes, NodeId node) { return std::find(nodes.begin(), nodes.end(), node) != nodes.end(); }
  NodeId Emptiest(const std::vector<NodeId>& nodes) const {
    NodeId best;
    for (const NodeId node : nodes) {
      if (load_.contains(node) && (!best || load_.at(node) < load_.at(best))) best = node;
    }
    return best;
  }
  bool HasRoom(NodeId node, int64_t bytes) const {
    const auto limit = in_.limit.find(node);
    if (limit == in_.limit.end() || limit->second <= 0) return true;
    return static_cast<double>(load_.at(node) + bytes) <= settings_.overloaded * static_cast<double>(limit->second);
  }

  const BalanceInput& in_;
  const BalanceSettings& settings_;
  std::map<NodeId, int64_t> load_;
  std::set<SegmentId> moved_;
  size_t moving_ = 0;
};

}  // namespace

std::vector<SegmentMove> PlanBalance(const BalanceInput& input, const BalanceSettings& settings) {
  if (!settings.enabled) return {};
  return Balancer(input, settings).Plan();
}

// ---- resource groups

std::vector<ResourceGroup> PlanGroups(const std::vector<std::shared_ptr<const ResourceGroup>>& groups, const std::vector<NodeId>& nodes) {
  std::vector<ResourceGroup> now;
  std::set<NodeId> free(nodes.begin(), nodes.end());
  const auto alive = [&](NodeId node) { return std::find(nodes.begin(), nodes.end(), node) != nodes.end(); };
  for (const auto& group : groups) {
    now.push_back(*group);
    for (const NodeId node : group->nodes) free.erase(node);
  }
  const auto living = [&](const ResourceGroup& group) { return std::count_if(group.nodes.begin(), group.nodes.end(), alive); };
  // What is beyond a limit, or lies in a group that is to have fewer, may go to one that lacks some.
  for (auto& group : now) {
    for (size_t i = group.nodes.size(); i-- > 0 && living(group) > std::max(group.capacity, group.limit);) {
      if (!alive(group.nodes[i])) continue;
      free.insert(group.nodes[i]);
      group.nodes.erase(group.nodes.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  for (auto& group : now) {
    while (living(group) < group.capacity && !free.empty()) {
      const auto dead = std::find_if(group.nodes.begin(), group.nodes.end(), [&](NodeId node) { return !alive(node); });
      if (dead != group.nodes.end()) group.nodes.erase(dead);
      group.nodes.push_back(*free.begin());
      free.erase(free.begin());
    }
  }
  std::vector<ResourceGroup> changed;
  for (size_t i = 0; i < now.size(); ++i) {
    if (now[i].nodes != groups[i]->nodes) changed.push_back(std::move(now[i]));
  }
  return changed;
}

// ---- compaction

namespace {

struct Shard {
  SegmentList rows;
  SegmentList deletes;
};

// Up to where deletes may be applied.
Timestamp CommittedDeletes(const CompactionInput& input, const Shard& shard) {
  Timestamp until = 0;
  for (const auto& segment : shard.deletes) {
    if (segment->max_ts <= input.keep_from) until = std::max(until, segment->max_ts);
  }
  return until;
}

std::map<ChannelId, Shard> ByChannel(const SegmentList& segments) {
  std::map<ChannelId, Shard> shards;
  for (const auto& segment : segments) {
    if (segment->state != SegmentState::kFlushed) continue;
    auto& shard = shards[segment->channel];
    (segment->kind == SegmentKind::kRows ? shard.rows : shard.deletes).push_back(segment);
  }
  return shards;
}

// What is loaded is compacted only once it is part of the route: until then it is its growing copy that is read.
bool MayCompact(const CompactionInput& input, const SegmentMeta& segment) {
  if (!input.collection->IsLoaded(segment.partition)) return true;
  return input.placement != nullptr && input.placement->Serves(segment.id);
}

TaskSpec MakeTask(const CompactionInput& input, const Shard& shard, const SegmentList& inputs) {
  TaskSpec task;
  task.kind = TaskKind::kCompact;
  task.collection = input.collection->id;
  task.created = input.now;
  Timestamp applied = kMaxTimestamp;
  for (const auto& segment : inputs) {
    task.inputs.push_back(segment->id);
    applied = std::min(applied, segment->deletes_until);
  }
  task.deletes_until = std::max(applied, CommittedDeletes(input, shard));
  for (const auto& segment : shard.deletes) {
    if (segment->max_ts > applied && segment->max_ts <= task.deletes_until) task.deletes.push_back(segment->id);
  }
  if (const int64_t ttl = input.collection->TtlSeconds(); ttl > 0) {
    task.expired_before = ExpiredBefore(input.now, ttl);
  }
  return task;
}

// A segment much larger than all that joins it would be copied again and again as small ones arrive: it waits until
// they are half of it, so that a row is copied a logarithmic number of times.
void LeaveOutLarge(SegmentList& ascending) {
  int64_t others = 0;
  for (const auto& segment : ascending) others += segment->size_bytes;
  while (!ascending.empty()) {
    const int64_t largest = ascending.back()->size_bytes;
    others -= largest;
    if (largest <= 2 * others) return;
    ascending.pop_back();
  }
}

bool IsWorthMerging(const CompactionInput& input, const CompactionSettings& settings, const SegmentList& batch) {
  if (!input.forced) return batch.size() >= static_cast<size_t>(settings.min_small_segments);
  if (batch.size() > 1) return true;
  // Asked for by a user, a segment as it was flushed is rewritten even alone, as Milvus does; one that a compaction
  // made is left as it is.
  return batch.size() == 1 && batch.front()->compacted_from.empty();
}

// Small neighbours are merged up to the size of a segment.
void PlanMerges(const CompactionInput& input, const CompactionSettings& settings, const Shard& shard,
                std::set<SegmentId>& used, std::vector<TaskSpec>& out) {
  std::map<PartitionId, SegmentList> partitions;
  for (const auto& segment : shard.rows) {
    if (used.contains(segment->id) || !MayCompact(input, *segment)) continue;
    if (segment->size_bytes < settings.segment_bytes / 2) partitions[segment->partition].push_back(segment);
  }
  for (auto& [partition, small] : partitions) {
    std::sort(small.begin(), small.end(), [](const auto& a, const auto& b) { return a->size_bytes < b->size_bytes; });
    SegmentList batch;
    int64_t bytes = 0;
    const auto close = [&] {
      if (!input.forced) LeaveOutLarge(batch);
      if (IsWorthMerging(input, settings, batch)) {
        for (const auto& segment : batch) used.insert(segment->id);
        out.push_back(MakeTask(input, shard, batch));
      }
      batch.clear();
      bytes = 0;
    };
    for (const auto& segment : small) {
      if (bytes + segment->size_bytes > settings.segment_bytes || static_cast<int>(batch.size()) >= settings.max_inputs) close();
      batch.push_back(segment);
      bytes += segment->size_bytes;
    }
    close();
  }
}

// A shard with many deletes has its segments rewritten without the deleted rows.
void PlanRewrites(const CompactionInput& input, const CompactionSettings& settings, const Shard& shard,
                  std::set<SegmentId>& used, std::vector<TaskSpec>& out) {
  int64_t rows = 0;
  int64_t deletes = 0;
  for (const auto& segment : shard.rows) rows += segment->rows;
  for (const auto& segment : shard.deletes) deletes += segment->rows;
  const bool many = deletes > 0 && (input.forced || deletes >= settings.delete_rows ||
                                    static_cast<double>(deletes) >= settings.deleted_share * static_cast<double>(rows));
  if (!many) return;
  const Timestamp committed = CommittedDeletes(input, shard);
  for (const auto& segment : shard.rows) {
    if (used.contains(segment->id) || segment->deletes_until >= committed || !MayCompact(input, *segment)) continue;
    used.insert(segment->id);
    out.push_back(MakeTask(input, shard, {segment}));
  }
}

// Segments whose rows have all outlived their TTL.
void PlanExpired(const CompactionInput& input, const Shard& shard, std::set<SegmentId>& used, std::vector<TaskSpec>& out) {
  const int64_t ttl = input.collection->TtlSeconds();
  if (ttl == 0) return;
  const Timestamp expired_before = ExpiredBefore(input.now, ttl);
  for (const auto& segment : shard.rows) {
    if (used.contains(segment->id) || segment->max_ts >= expired_before || !MayCompact(input, *segment)) continue;
    used.insert(segment->id);
    out.push_back(MakeTask(input, shard, {segment}));
  }
}

}  // namespace

std::vector<TaskSpec> PlanCompaction(const CompactionInput& input, const CompactionSettings& settings) {
  std::vector<TaskSpec> out;
  if (input.collection == nullptr || input.collection->dropped) return out;
  std::set<SegmentId> used = input.busy;
  for (const auto& segment : input.segments) {
    if (input.collection->FindPartition(segment->partition) == nullptr && segment->kind == SegmentKind::kRows) {
      used.insert(segment->id);  // of a dropped partition: garbage soon
    }
  }
  for (const auto& [channel, shard] : ByChannel(input.segments)) {
    PlanExpired(input, shard, used, out);
    PlanMerges(input, settings, shard, used, out);
    PlanRewrites(input, settings, shard, used, out);
  }
  return out;
}

int64_t NextExpiryMs(const Collection& collection, const SegmentList& segments, Timestamp now) {
  const int64_t ttl_s = collection.TtlSeconds();
  if (ttl_s == 0 || ttl_s >= UnixMs(now) / 1000) return 0;
  int64_t next_ms = 0;
  for (const auto& segment : segments) {
    if (!HoldsRowsOf(collection, *segment)) continue;
    const int64_t left_ms = UnixMs(segment->max_ts) + ttl_s * 1000 + 1 - UnixMs(now);
    if (left_ms > 0) next_ms = next_ms == 0 ? left_ms : std::min(next_ms, left_ms);
  }
  return next_ms;
}

std::vector<SegmentId> SpentDeletes(const SegmentList& segments) {
  std::vector<SegmentId> out;
  for (const auto& [channel, shard] : ByChannel(segments)) {
    for (const auto& deletes : shard.deletes) {
      const bool spent = std::all_of(shard.rows.begin(), shard.rows.end(), [&](const auto& rows) {
        return rows->deletes_until >= deletes->max_ts;
      });
      if (spent) out.push_back(deletes->id);
    }
  }
  return out;
}

// ---- indexes

std::vector<IndexWork> PlanIndexes(const Collection& collection, const SegmentList& segments,
                                   const std::vector<TaskSpec>& tasks) {
  std::vector<IndexWork> out;
  if (collection.dropped) return out;
  std::set<std::pair<SegmentId, IndexId>> building;
  for (const TaskSpec& task : tasks) {
    if (task.kind == TaskKind::kBuildIndex) building.insert({task.segment, task.index.id});
  }
  for (const auto& segment : segments) {
    if (!HoldsRowsOf(collection, *segment)) continue;
    for (const IndexMeta& index : collection.indexes) {
      if (index.dropped || segment->FindIndex(index.id) != nullptr || building.contains({segment->id, index.id})) continue;
      out.push_back({segment->id, &index});
    }
  }
  return out;
}

// ---- tasks

std::vector<TaskMove> PlanTaskMoves(const std::vector<TaskSpec>& open, TaskKind kind, const std::vector<NodeId>& alive,
                                    const std::vector<NodeId>& takers) {
  std::vector<TaskMove> out;
  if (takers.empty()) return out;
  for (const TaskSpec& task : open) {
    if (task.kind != kind || std::find(alive.begin(), alive.end(), task.node) != alive.end()) continue;
    out.push_back({task, takers[static_cast<size_t>(task.id) % takers.size()]});
  }
  return out;
}

}  // namespace saker
