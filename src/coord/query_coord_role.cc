#include "coord/query_coord_role.h"

#include <algorithm>

#include "base/log.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr std::chrono::milliseconds kSoon{50};

Status CheckLoadable(const Collection& collection, const std::vector<PartitionId>& partitions, const std::vector<FieldId>& fields) {
  for (const FieldSchema* field : collection.schema->VectorFields()) {
    const bool needed = fields.empty() || std::find(fields.begin(), fields.end(), field->id) != fields.end();
    if (needed && collection.IndexOn(field->id) == nullptr) {
      return {ErrorCode::kIndexNotFound, "index not found[collection=" + collection.name + "]"};
    }
  }
  for (const PartitionId partition : partitions) {
    if (collection.FindPartition(partition) != nullptr) continue;
    return {ErrorCode::kPartitionNotFound, "partition not found[partition=" + std::to_string(partition.value) + "]"};
  }
  return {};
}

}  // namespace

QueryCoordRole::QueryCoordRole(CoordinatorDeps deps, QueryCoordSettings settings)
    : Coordinator(std::move(deps)), settings_(settings), dirty_(deps_.catalog, [this] { loop_->Poke(); }) {
  loop_ = std::make_unique<ControlLoop>("querycoord", deps_.control, deps_.timer, [this] { return Step(); });
}

QueryCoordRole::~QueryCoordRole() { Stop(); }

void QueryCoordRole::Start() {
  dirty_.Start();
  loop_->Poke();
}

void QueryCoordRole::NodesChanged() {
  dirty_.AddAll();
  loop_->Poke();
}

void QueryCoordRole::Stop() {
  dirty_.Stop();
  loop_->Stop();
}

Result<Revision> QueryCoordRole::Load(CollectionId id, const std::vector<PartitionId>& partitions, int32_t replicas,
                                      const std::vector<FieldId>& fields, const std::vector<std::string>& groups) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  RETURN_IF_ERROR(CheckLoadable(*collection, partitions, fields));
  replicas = std::max(1, replicas);
  RETURN_IF_ERROR(CheckGroups(replicas, groups));
  RETURN_IF_ERROR(CheckRoom(*collection, partitions, ReplicaGroups({true, true, {}, replicas, groups, {}})));
  const LoadConfig& now = collection->load;
  const bool all_there = now.loaded && std::all_of(partitions.begin(), partitions.end(),
                                                   [&](PartitionId p) { return collection->IsLoaded(p); });
  if (all_there && (now.whole || !partitions.empty())) return SoAlready();
  return Seen(deps_.writer->Update(id, [&](Collection& c) -> Status {
    RETURN_IF_ERROR(CheckLoadable(c, partitions, fields));  // an index or a partition may have been dropped meanwhile
    c.load.loaded = true;
    c.load.replicas = replicas;
    c.load.resource_groups = groups;
    c.load.fields = fields;
    if (partitions.empty()) {
      c.load.whole = true;
      c.load.partitions.clear();
    } else if (!c.load.whole) {
      c.load.partitions.insert(partitions.begin(), partitions.end());
    }
    return {};
  }));
}

Result<Revision> QueryCoordRole::Release(CollectionId id, const std::vector<PartitionId>& partitions) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  if (!collection->load.loaded) return SoAlready();
  auto revision = Seen(deps_.writer->Update(id, [&](Collection& c) {
    if (partitions.empty()) {
      c.load = {};
      return Status();
    }
    if (c.load.whole) {
      c.load.whole = false;
      for (const Partition& partition : c.partitions) c.load.partitions.insert(partition.id);
    }
    for (const PartitionId partition : partitions) c.load.partitions.erase(partition);
    if (c.load.partitions.empty()) c.load = {};
    return Status();
  }));
  return revision;
}

Result<LoadProgress> QueryCoordRole::Progress(CollectionId id, const std::vector<PartitionId>& partitions) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  LoadProgress progress;
  progress.exists = true;
  if (!collection->load.loaded) return progress;
  for (const PartitionId partition : partitions) {
    if (!collection->IsLoaded(partition)) return progress;
  }
  const auto placement = deps_.catalog->FindPlacement(id);
  if (placement == nullptr) {
    progress.loading = true;
    return progress;
  }
  const SegmentList segments = deps_.catalog->Segments(id);
  int64_t wanted = 0;
  int64_t serving = 0;
  for (const SegmentId segment : DesiredSegments(*collection, segments)) {
    const auto meta = deps_.catalog->FindSegment(segment);
    if (!partitions.empty() && std::find(partitions.begin(), partitions.end(), meta->partition) == partitions.end()) continue;
    ++wanted;
    serving += placement->Serves(segment);
  }
  // Once loaded it stays loaded: what is flushed later is served from growing segments until it is placed.
  const bool complete = placement->loaded && (partitions.empty() || serving == wanted);
  if (!complete) RETURN_IF_ERROR(Damage(id));
  progress.loading = !complete;
  progress.percent = complete ? 100 : static_cast<int>(wanted == 0 ? 0 : serving * 99 / wanted);
  return progress;
}

// Why the collection can't be loaded however long one waits; ok if nothing speaks against it.
Status QueryCoordRole::Damage(CollectionId id) const {
  MutexLock lock(mutex_);
  const auto it = damaged_.find(id);
  if (it == damaged_.end() || it->second.empty()) return {};
  const auto& [segment, why] = *it->second.begin();
  return why.WithContext("segment " + std::to_string(segment.value) + " can't be loaded");
}

Status QueryCoordRole::ReportLoaded(const LoadedReport& report) {
  std::set<SegmentId> held;
  for (const HeldSegment& segment : report.segments) held.insert(segment.segment);
  {
    MutexLock lock(mutex_);
    memory_[report.node] = report.memory;
    if (!report.collection) return {};  // of its memory only
    if (const auto it = damaged_.find(report.collection); it != damaged_.end()) {
      for (const SegmentId segment : held) it->second.erase(segment);
      if (it->second.empty()) damaged_.erase(it);
    }
    auto& known = reported_[report.node][report.collection];
    if (known == held) return {};
    known = std::move(held);
  }
  dirty_.Add(report.collection);
  loop_->Poke();
  return {};
}

Status QueryCoordRole::ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) {
  LogWarn("querynode {} can't load segment {} of collection {}: {}", node.value, segment.value, collection.value, why.ToString());
  if (why.code() != ErrorCode::kCorrupted) return {};  // may pass
  MutexLock lock(mutex_);
  damaged_[collection].insert_or_assign(segment, why);
  return {};
}

Status QueryCoordRole::DrainNode(NodeId node, bool drain) { return SetDraining(node, drain, deps_.peers->query_nodes()); }

Result<DrainProgress> QueryCoordRole::GetDrainProgress(NodeId node) {
  DrainProgress progress;
  progress.draining = deps_.catalog->Draining().contains(node);
  std::set<SegmentId> segments;
  for (const auto& collection : deps_.catalog->Collections("")) {
    const auto placement = deps_.catalog->FindPlacement(collection->id);
    if (placement == nullptr) continue;
    for (const auto& placed : placement->segments) {
      const bool serves = std::find(placed.nodes.begin(), placed.nodes.end(), node) != placed.nodes.end();
      const bool loads = std::find(placed.incoming.begin(), placed.incoming.end(), node) != placed.incoming.end();
      if (serves || loads) segments.insert(placed.segment);
    }
  }
  MutexLock lock(mutex_);
  if (const auto it = reported_.find(node); it != reported_.end()) {
    for (const auto& [collection, held] : it->second) segments.insert(held.begin(), held.end());
  }
  progress.segments = static_cast<int64_t>(segments.size());
  return progress;
}

// Whether what is to be loaded fits into the memory that the groups' nodes have left.
Status QueryCoordRole::CheckRoom(const Collection& collection, const std::vector<PartitionId>& partitions,
                                 const std::vector<std::string>& groups) const {
  int64_t needed = 0;
  for (const auto& segment : deps_.catalog->Segments(collection.id)) {
    const bool asked = partitions.empty() || std::find(partitions.begin(), partitions.end(), segment->partition) != partitions.end();
    if (asked && HoldsRowsOf(collection, *segment) && !collection.IsLoaded(segment->partition)) needed += MemoryOf(*segment);
  }
  std::map<std::string, int64_t> by_group;
  for (const std::string& group : groups) by_group[group] += needed;
  for (const auto& [group, bytes] : by_group) {
    int64_t left = 0;
    for (const NodeId node : NotDraining(NodesIn(group))) {
      MutexLock lock(mutex_);
      const auto memory = memory_.find(node);
      if (memory == memory_.end() || memory->second.limit_bytes <= 0) return {};  // nobody knows
      const auto used = load_.find(node);
      const auto usable = static_cast<int64_t>(settings_.balance.overloaded * static_cast<double>(memory->second.limit_bytes));
      left += std::max<int64_t>(0, usable - (used == load_.end() ? 0 : used->second));
    }
    if (bytes <= left) continue;
    return {ErrorCode::kMemoryLimitExceeded, "memory limit exceeded[predict=" + std::to_string(bytes) + "][limit=" + std::to_string(left) +
                                                 "]: the querynodes of resource group " + group + " have no room for the collection's segments"};
  }
  return {};
}

std::chrono::milliseconds QueryCoordRole::Step() {
  RecoverGroups();
  const std::set<CollectionId> changed = dirty_.Take();
  for (const CollectionId id : changed) {
    if (deps_.catalog->GetCollection(id) == nullptr) Forget(id);
    PlaceCollection(id);
  }
  unbalanced_ |= !changed.empty();
  const auto balance = Balance();
  const auto next = dirty_.NextDue();
  return balance.count() > 0 && (next.count() == 0 || balance < next) ? balance : next;
}

void QueryCoordRole::Forget(CollectionId id) {
  MutexLock lock(mutex_);
  damaged_.erase(id);
  for (auto& [node, collections] : reported_) collections.erase(id);
}

void QueryCoordRole::PlaceCollection(CollectionId id) {
  // The revision before the values: a change in between makes the transaction fail, not wrong.
  const Revision placement_revision = deps_.catalog->PlacementRevision(id);
  const Revision collection_revision = deps_.catalog->CollectionRevision(id);
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  const auto current = deps_.catalog->FindPlacement(id);
  NotePlaced(id, current.get());
  PlacementInput input;
  input.collection = collection.get();
  input.segments = deps_.catalog->Segments(id);
  input.current = current.get();
  input.nodes = deps_.peers->query_nodes();
  input.draining = deps_.catalog->Draining();
  input.group_of = GroupOf();
  {
    MutexLock lock(mutex_);
    for (const auto& [node, collections] : reported_) {
      const auto it = collections.find(id);
      if (it != collections.end()) input.reported[node] = it->second;
    }
    input.load = load_;
  }
  const PlacementPlan plan = PlanPlacement(input);
  if (!plan.remove && !plan.write.has_value()) return;
  const std::string key = PlacementKey(id);
  std::vector<MetaOp> ops{plan.remove ? MetaOp::Delete(key) : MetaOp::Put(key, Encode(*plan.write))};
  const auto committed = Commit({Compare::Unchanged(key, placement_revision),
                                 Compare::Unchanged(CollectionKey(id), collection_revision)}, std::move(ops));
  if (committed.ok()) return NotePlaced(id, plan.remove ? nullptr : &*plan.write);
  const bool conflict = committed.status().code() == ErrorCode::kConflict;
  if (!conflict) LogWarn("placing collection {} failed: {}", id.value, committed.status().ToString());
  dirty_.AddAfter(id, conflict ? kSoon : kRetry);
}

// What the placement takes of each node, of which others are planned for.
void QueryCoordRole::NotePlaced(CollectionId id, const Placement* placement) {
  std::map<NodeId, int64_t> now;
  if (placement != nullptr) {
    for (const auto& placed : placement->segments) {
      const auto meta = deps_.catalog->FindSegment(placed.segment);
      if (meta == nullptr) continue;
      for (const auto* nodes : {&placed.nodes, &placed.incoming}) {
        for (const NodeId node : *nodes) now[node] += MemoryOf(*meta);
      }
    }
  }
  std::map<NodeId, int64_t>& before = placed_[id];
  {
    MutexLock lock(mutex_);
    for (const auto& [node, bytes] : before) load_[node] -= bytes;
    for (const auto& [node, bytes] : now) load_[node] += bytes;
    std::erase_if(load_, [](const auto& entry) { return entry.second == 0; });
  }
  if (now.empty()) {
    placed_.erase(id);
  } else {
    before = std::move(now);
  }
}

// Moves a few segments if the nodes' loads lie apart. Until when it wants to look again; 0: not until something changes.
std::chrono::milliseconds QueryCoordRole::Balance() {
  if (!settings_.balance.enabled || !unbalanced_) return std::chrono::milliseconds(0);
  const int64_t left_ms = settings_.balance_interval.count() - (MonotonicUs() - balanced_us_) / 1000;
  if (balanced_us_ != 0 && left_ms > 0) return std::chrono::milliseconds(left_ms);
  BalanceInput input;
  {
    MutexLock lock(mutex_);
    for (const NodeId node : NotDraining(deps_.peers->query_nodes())) {
      const auto load = load_.find(node);
      input.load[node] = load == load_.end() ? 0 : load->second;
      if (const auto memory = memory_.find(node); memory != memory_.end()) input.limit[node] = memory->second.limit_bytes;
    }
  }
  for (const auto& [id, bytes] : placed_) {
    if (auto placement = deps_.catalog->FindPlacement(id)) input.placements.push_back(std::move(placement));
  }
  input.bytes = [this](SegmentId segment) {
    const auto meta = deps_.catalog->FindSegment(segment);
    return meta == nullptr ? 0 : MemoryOf(*meta);
  };
  const auto moves = PlanBalance(input, settings_.balance);
  if (moves.empty()) {
    unbalanced_ = false;
    balanced_us_ = MonotonicUs();
    return std::chrono::milliseconds(0);
  }
  balanced_us_ = 0;  // goes on as these arrive
  const Status begun = BeginMoves(moves);
  if (begun.ok()) return std::chrono::milliseconds(0);
  if (begun.code() != ErrorCode::kConflict) LogWarn("moving segments failed: {}", begun.ToString());
  return begun.code() == ErrorCode::kConflict ? kSoon : kRetry;
}

Status QueryCoordRole::BeginMoves(const std::vector<SegmentMove>& moves) {
  std::map<CollectionId, std::vector<SegmentMove>> by_collection;
  for (const SegmentMove& move : moves) by_collection[move.collection].push_back(move);
  for (const auto& [id, of_collection] : by_collection) {
    const Revision revision = deps_.catalog->PlacementRevision(id);
    const auto current = deps_.catalog->FindPlacement(id);
    if (current == nullptr || current->version != revision) return {ErrorCode::kConflict, "the placement changed"};
    Placement next = *current;
    for (auto& placed : next.segments) {
      for (const SegmentMove& move : of_collection) {
        if (move.segment != placed.segment) continue;
        placed.incoming.push_back(move.to);
        LogInfo("segment {} of collection {}: to be moved to querynode {}", move.segment.value, id.value, move.to.value);
      }
    }
    const std::string key = PlacementKey(id);
    ASSIGN_OR_RETURN(const Revision written, Commit({Compare::Unchanged(key, revision)}, {MetaOp::Put(key, Encode(next))}));
    NotePlaced(id, &next);
    RETURN_IF_ERROR(deps_.catalog->WaitFor(written, std::chrono::milliseconds(5'000)));
  }
  return {};
}

}  // namespace saker
