#include "coord/plan.h"

#include <algorithm>

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

std::vector<ChannelAssignment> PlanChannels(int channel_count, const std::vector<ChannelAssignment>& current,
                                            const std::vector<NodeId>& nodes, const std::map<ChannelId, Epoch>& lost) {
  std::vector<ChannelAssignment> changed;
  if (nodes.empty()) return changed;
  std::map<ChannelId, ChannelAssignment> assignments;
  std::map<NodeId, int> owned;
  for (const NodeId node : nodes) owned[node] = 0;
  for (const ChannelAssignment& assignment : current) {
    assignments[assignment.channel] = assignment;
    if (const auto it = owned.find(assignment.owner); it != owned.end()) ++it->second;
  }
  for (ChannelId channel = 0; channel < channel_count; ++channel) {
    ChannelAssignment& assignment = assignments[channel];
    assignment.channel = channel;
    const auto used_up = lost.find(channel);
    const bool epoch_ok = used_up == lost.end() || assignment.epoch > used_up->second;
    const bool alive = owned.contains(assignment.owner);
    if (alive && epoch_ok && assignment.epoch > 0) continue;
    if (!alive) {
      const auto least = std::min_element(owned.begin(), owned.end(),
                                          [](const auto& a, const auto& b) { return a.second < b.second; });
      assignment.owner = least->first;
      ++least->second;
    }
    assignment.epoch = std::max(assignment.epoch, used_up == lost.end() ? 0 : used_up->second) + 1;
    changed.push_back(assignment);
  }
  return changed;
}

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
    for (const auto& segment : in_.segments) rows_[segment->id] = segment->rows;
  }

  Placement Plan() {
    Placement next;
    next.collection = in_.collection->id;
    next.loaded = in_.current != nullptr && in_.current->loaded;
    std::map<SegmentId, SegmentPlacement> before;
    if (in_.current != nullptr) {
      for (const auto& placed : in_.current->segments) before[placed.segment] = placed;
    }
    std::map<SegmentId, SegmentPlacement> after;
    for (const SegmentId id : desired_) {
      const auto it = before.find(id);
      after[id] = Place(it == before.end() ? SegmentPlacement{id, {}, false} : it->second);
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
    return next;
  }

 private:
  // Gives the segment living holders, as many as there are replicas (or nodes). What is part of the route stays part of
  // it: reads of a segment whose holders are gone wait until another node has loaded it, rather than miss its rows.
  SegmentPlacement Place(SegmentPlacement placed) {
    std::erase_if(placed.nodes, [&](NodeId node) { return !Alive(node); });
    const size_t replicas = std::min<size_t>(in_.nodes.size(), std::max(1, in_.collection->load.replicas));
    while (placed.nodes.size() < replicas) {
      const NodeId node = LeastLoaded(placed.nodes);
      placed.nodes.push_back(node);
      load_[node] += rows_[placed.segment];
    }
    return placed;
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

  bool Alive(NodeId node) const { return std::find(in_.nodes.begin(), in_.nodes.end(), node) != in_.nodes.end(); }

  bool IsHeld(const SegmentPlacement& placed) const {
    if (placed.nodes.empty()) return false;
    return std::all_of(placed.nodes.begin(), placed.nodes.end(), [&](NodeId node) {
      const auto it = in_.reported.find(node);
      return it != in_.reported.end() && it->second.contains(placed.segment);
    });
  }

  NodeId LeastLoaded(const std::vector<NodeId>& except) {
    NodeId best;
    for (const NodeId node : in_.nodes) {
      if (std::find(except.begin(), except.end(), node) != except.end()) continue;
      if (!best || load_[node] < load_[best]) best = node;
    }
    return best;
  }

  const PlacementInput& in_;
  std::map<NodeId, int64_t> load_;
  std::set<SegmentId> desired_;
  std::map<SegmentId, int64_t> rows_;
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

}  // namespace saker
