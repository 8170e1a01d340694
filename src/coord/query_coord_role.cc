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

QueryCoordRole::QueryCoordRole(CoordinatorDeps deps)
    : Coordinator(std::move(deps)), dirty_(deps_.catalog, [this] { loop_->Poke(); }) {
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
                                      const std::vector<FieldId>& fields) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  RETURN_IF_ERROR(CheckLoadable(*collection, partitions, fields));
  const auto nodes = deps_.peers->query_nodes();
  if (replicas > static_cast<int32_t>(nodes.size())) {
    return Status(ErrorCode::kNodeLack, "insufficient nodes for " + std::to_string(replicas) + " replicas: there are " +
                                            std::to_string(nodes.size()) + " querynodes");
  }
  const LoadConfig& now = collection->load;
  const bool all_there = now.loaded && std::all_of(partitions.begin(), partitions.end(),
                                                   [&](PartitionId p) { return collection->IsLoaded(p); });
  if (all_there && (now.whole || !partitions.empty())) return deps_.catalog->CollectionRevision(id);
  return Seen(deps_.writer->Update(id, [&](Collection& c) -> Status {
    RETURN_IF_ERROR(CheckLoadable(c, partitions, fields));  // an index or a partition may have been dropped meanwhile
    c.load.loaded = true;
    c.load.replicas = std::max(1, replicas);
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
  if (!collection->load.loaded) return deps_.catalog->CollectionRevision(id);
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

void QueryCoordRole::ReportLoaded(NodeId node, CollectionId collection, const std::vector<SegmentId>& segments) {
  Held held;
  for (const SegmentId segment : segments) {
    held.segments.insert(segment);
    if (const auto meta = deps_.catalog->FindSegment(segment)) held.rows += meta->rows;
  }
  {
    MutexLock lock(mutex_);
    if (const auto it = damaged_.find(collection); it != damaged_.end()) {
      for (const SegmentId segment : segments) it->second.erase(segment);
      if (it->second.empty()) damaged_.erase(it);
    }
    auto& known = reported_[node][collection];
    if (known.segments == held.segments) return;
    known = std::move(held);
  }
  dirty_.Add(collection);
  loop_->Poke();
}

void QueryCoordRole::ReportLoadFailed(NodeId node, CollectionId collection, SegmentId segment, const Status& why) {
  LogWarn("querynode {} can't load segment {} of collection {}: {}", node.value, segment.value, collection.value, why.ToString());
  if (why.code() != ErrorCode::kCorrupted) return;  // may pass
  MutexLock lock(mutex_);
  damaged_[collection].insert_or_assign(segment, why);
}

std::chrono::milliseconds QueryCoordRole::Step() {
  for (const CollectionId id : dirty_.Take()) {
    if (deps_.catalog->GetCollection(id) == nullptr) Forget(id);
    PlaceCollection(id);
  }
  return dirty_.NextDue();
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
  PlacementInput input;
  input.collection = collection.get();
  input.segments = deps_.catalog->Segments(id);
  input.current = current.get();
  input.nodes = deps_.peers->query_nodes();
  {
    MutexLock lock(mutex_);
    for (const auto& [node, collections] : reported_) {
      const auto it = collections.find(id);
      if (it != collections.end()) input.reported[node] = it->second.segments;
      for (const auto& [other, held] : collections) input.load[node] += held.rows;
    }
  }
  const PlacementPlan plan = PlanPlacement(input);
  if (!plan.remove && !plan.write.has_value()) return;
  const std::string key = PlacementKey(id);
  std::vector<MetaOp> ops{plan.remove ? MetaOp::Delete(key) : MetaOp::Put(key, Encode(*plan.write))};
  const auto committed = Commit({Compare::Unchanged(key, placement_revision),
                                 Compare::Unchanged(CollectionKey(id), collection_revision)}, std::move(ops));
  if (committed.ok()) return;
  const bool conflict = committed.status().code() == ErrorCode::kConflict;
  if (!conflict) LogWarn("placing collection {} failed: {}", id.value, committed.status().ToString());
  dirty_.AddAfter(id, conflict ? kSoon : kRetry);
}

}  // namespace saker
