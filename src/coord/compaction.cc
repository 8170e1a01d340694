// DataCoord's other half: compaction and garbage collection.
#include <algorithm>

#include "base/log.h"
#include "coord/data_coord_role.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr int kTries = 50;
constexpr size_t kOpsPerStep = 100;
constexpr int64_t kRetryCompactionUs = 60'000'000;
constexpr int64_t kTombstoneMs = 24 * 3'600'000;  // how long a dropped collection's name in the catalog outlives it
constexpr size_t kCompactionsRemembered = 1'000;

std::string SegmentDirectory(const SegmentMeta& segment) {
  return "segments/" + std::to_string(segment.collection.value) + "/" + std::to_string(segment.id.value) + "/";
}
std::string IndexDirectory(const SegmentMeta& segment) {
  return "indexes/" + std::to_string(segment.collection.value) + "/" + std::to_string(segment.id.value) + "/";
}

}  // namespace

CompactionInput DataCoordRole::InputOf(const Collection& collection, const Placement* placement) const {
  CompactionInput input;
  input.collection = &collection;
  input.segments = deps_.catalog->Segments(collection.id);
  input.placement = placement;
  input.now = MakeTimestamp(WallMs());
  for (const TaskSpec& task : deps_.catalog->Tasks()) {
    if (task.kind == TaskKind::kCompact) input.busy.insert(task.inputs.begin(), task.inputs.end());
  }
  MutexLock lock(mutex_);
  for (const auto& [segment, until_us] : retry_after_us_) {
    if (MonotonicUs() < until_us) input.busy.insert(segment);
  }
  return input;
}

void DataCoordRole::PlanCompactions(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  const auto placement = deps_.catalog->FindPlacement(id);
  const CompactionInput input = InputOf(*collection, placement.get());
  std::vector<TaskSpec> tasks = PlanCompaction(input, settings_.compaction);
  const auto running = deps_.catalog->Tasks();
  const auto compacting = std::count_if(running.begin(), running.end(), [](const auto& t) { return t.kind == TaskKind::kCompact; });
  const auto room = static_cast<size_t>(std::max<int64_t>(0, settings_.max_compactions - compacting));
  if (tasks.size() > room) {
    tasks.resize(room);
    dirty_.Add(id);  // looked at again when a task is done: its key's end pokes the loop
  }
  if (tasks.empty()) return;
  if (const auto started = StartTasks(std::move(tasks)); !started.ok()) {
    LogWarn("collection {}: starting compaction failed: {}", collection->name, started.status().ToString());
  }
}

Result<std::vector<TaskSpec>> DataCoordRole::StartTasks(std::vector<TaskSpec> tasks) {
  const std::vector<NodeId> nodes = deps_.peers->index_nodes();
  if (nodes.empty()) return Status(ErrorCode::kNodeLack, "no indexnode to compact");
  ASSIGN_OR_RETURN(int64_t id, deps_.next_ids(static_cast<int64_t>(tasks.size()) * 2));
  std::vector<Compare> compares;
  std::vector<MetaOp> ops;
  for (size_t i = 0; i < tasks.size() && ops.size() < kOpsPerStep; ++i) {
    tasks[i].id = id++;
    tasks[i].segment = SegmentId(id++);
    tasks[i].node = nodes[static_cast<size_t>(tasks[i].id) % nodes.size()];
    ops.push_back(MetaOp::Put(TaskKey(tasks[i].id), Encode(tasks[i])));
  }
  tasks.resize(ops.size());
  ASSIGN_OR_RETURN(const Revision revision, Commit(std::move(compares), std::move(ops)));
  RETURN_IF_ERROR(deps_.catalog->WaitFor(revision, std::chrono::milliseconds(5'000)));
  return tasks;
}

Result<int64_t> DataCoordRole::Compact(CollectionId id) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  const auto placement = deps_.catalog->FindPlacement(id);
  CompactionInput input = InputOf(*collection, placement.get());
  input.forced = true;
  std::vector<TaskSpec> tasks = PlanCompaction(input, settings_.compaction);
  if (!tasks.empty()) {
    ASSIGN_OR_RETURN(tasks, StartTasks(std::move(tasks)));
  }
  ASSIGN_OR_RETURN(const int64_t compaction, deps_.next_ids(1));
  MutexLock lock(mutex_);
  Compaction& state = compactions_[compaction];
  state.collection = id;
  const auto open = deps_.catalog->Tasks();
  for (const TaskSpec& task : tasks) {
    const bool still_open = std::any_of(open.begin(), open.end(), [&](const auto& t) { return t.id == task.id; });
    if (still_open) {
      state.open.insert(task.id);
    } else {
      ++state.done;
    }
    state.merges.emplace_back(task.inputs, task.segment);
  }
  while (compactions_.size() > kCompactionsRemembered) compactions_.erase(compactions_.begin());
  return compaction;
}

Result<CompactionState> DataCoordRole::GetCompactionState(int64_t compaction) {
  MutexLock lock(mutex_);
  CompactionState state;
  const auto it = compactions_.find(compaction);
  if (it == compactions_.end()) return state;  // forgotten, so long ended
  state.executing = static_cast<int64_t>(it->second.open.size());
  state.completed = it->second.open.empty();
  state.done = it->second.done;
  state.failed = it->second.failed;
  state.merges = it->second.merges;
  return state;
}

void DataCoordRole::FinishTask(int64_t task, const TaskSpec& spec, bool ok) {
  MutexLock lock(mutex_);
  for (auto& [id, compaction] : compactions_) {
    if (compaction.open.erase(task) == 0) continue;
    ok ? ++compaction.done : ++compaction.failed;
  }
  if (ok) return;
  for (const SegmentId input : spec.inputs) retry_after_us_[input] = MonotonicUs() + kRetryCompactionUs;
}

Status DataCoordRole::ReportCompaction(int64_t id, Result<SegmentMeta> output) {
  for (int i = 0; i < kTries; ++i) {
    auto task_kv = deps_.meta->Get(TaskKey(id));
    if (task_kv.status().code() == ErrorCode::kIoKeyNotFound) return {};  // reported before, or withdrawn
    RETURN_IF_ERROR(task_kv.status());
    ASSIGN_OR_RETURN(const TaskSpec task, DecodeTask(task_kv->value));
    std::vector<Compare> compares{Compare::Unchanged(task_kv->key, task_kv->mod_revision)};
    std::vector<MetaOp> ops{MetaOp::Delete(task_kv->key)};
    bool ok = output.ok();
    if (ok) {
      auto collection = deps_.meta->Get(CollectionKey(task.collection));
      RETURN_IF_ERROR(collection.status());
      ASSIGN_OR_RETURN(const Collection decoded, DecodeCollection(collection->value));
      compares.push_back(Compare::Unchanged(collection->key, collection->mod_revision));
      ok = !decoded.dropped && decoded.FindPartition(output->partition) != nullptr;
    }
    for (const SegmentId input : task.inputs) {
      if (!ok) break;
      auto kv = deps_.meta->Get(SegmentKey(task.collection, input));
      if (!kv.ok()) {
        ok = false;
        break;
      }
      ASSIGN_OR_RETURN(SegmentMeta segment, DecodeSegment(kv->value));
      ok = ok && segment.state == SegmentState::kFlushed;
      segment.state = SegmentState::kDropped;
      compares.push_back(Compare::Unchanged(kv->key, kv->mod_revision));
      ops.push_back(MetaOp::Put(kv->key, Encode(segment)));
    }
    if (ok && output->rows > 0) ops.push_back(MetaOp::Put(SegmentKey(task.collection, output->id), Encode(*output)));
    if (!ok) {
      ops.resize(1);
      compares.resize(1);
    }
    auto committed = Commit(std::move(compares), std::move(ops));
    if (committed.status().code() == ErrorCode::kConflict) continue;
    RETURN_IF_ERROR(committed.status());
    RETURN_IF_ERROR(deps_.catalog->WaitFor(*committed, std::chrono::milliseconds(5'000)));
    FinishTask(id, task, ok);
    if (output.ok() && (!ok || output->rows == 0)) DeleteObjects(*output);
    dirty_.Add(task.collection);
    loop_->Poke();
    return {};
  }
  return {ErrorCode::kServiceUnavailable, "the segments are changing all the time"};
}

// ---- what has had its time

Status DataCoordRole::MarkDropped(const std::vector<std::shared_ptr<const SegmentMeta>>& segments) {
  for (size_t at = 0; at < segments.size(); at += kOpsPerStep) {
    std::vector<Compare> compares;
    std::vector<MetaOp> ops;
    for (size_t i = at; i < std::min(segments.size(), at + kOpsPerStep); ++i) {
      SegmentMeta dropped = *segments[i];
      dropped.state = SegmentState::kDropped;
      const std::string key = SegmentKey(dropped.collection, dropped.id);
      compares.push_back(Compare::Unchanged(key, deps_.catalog->SegmentRevision(dropped.id)));
      ops.push_back(MetaOp::Put(key, Encode(dropped)));
    }
    RETURN_IF_ERROR(Commit(std::move(compares), std::move(ops)).status());
  }
  return {};
}

void DataCoordRole::DropSpentDeletes(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  SegmentList living;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    // Rows of a dropped partition need no deletes any more.
    if (segment->kind == SegmentKind::kDeletes || collection->FindPartition(segment->partition) != nullptr) living.push_back(segment);
  }
  std::vector<std::shared_ptr<const SegmentMeta>> spent;
  for (const SegmentId segment : SpentDeletes(living)) spent.push_back(deps_.catalog->FindSegment(segment));
  // A segment that a read may still use without these deletes must be out of the route first.
  const auto placement = deps_.catalog->FindPlacement(id);
  if (placement != nullptr) {
    for (const auto& placed : placement->segments) {
      const auto segment = deps_.catalog->FindSegment(placed.segment);
      if (segment == nullptr || segment->state == SegmentState::kDropped) return;
    }
  }
  if (spent.empty()) return;
  if (const Status status = MarkDropped(spent); !status.ok() && status.code() != ErrorCode::kConflict) {
    LogWarn("collection {}: dropping applied deletes failed: {}", collection->name, status.ToString());
  }
}

bool DataCoordRole::IsGarbage(const SegmentMeta& segment, const Collection* collection, const Placement* placement) const {
  if (placement != nullptr) {
    for (const auto& placed : placement->segments) {
      if (placed.segment == segment.id) return false;
    }
  }
  if (segment.state == SegmentState::kDropped) return true;
  if (collection == nullptr) return deps_.catalog->IsDropped(segment.collection);
  return segment.kind == SegmentKind::kRows && collection->FindPartition(segment.partition) == nullptr;
}

bool DataCoordRole::CollectGarbage(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  const auto placement = deps_.catalog->FindPlacement(id);
  const bool dropped = deps_.catalog->IsDropped(id);
  bool waiting = false;
  size_t left = 0;
  std::vector<MetaOp> ops;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    ++left;
    if (!IsGarbage(*segment, collection.get(), placement.get())) continue;
    int64_t checkpoint = 0;
    {
      MutexLock lock(mutex_);
      const auto [it, first] = ended_us_.emplace(segment->id, MonotonicUs());
      if (MonotonicUs() - it->second < settings_.garbage_grace.count() * 1000) {
        waiting = true;
        continue;
      }
      if (const auto known = checkpoints_.find(segment->channel); known != checkpoints_.end()) checkpoint = known->second;
    }
    const std::string key = SegmentKey(segment->collection, segment->id);
    if (!segment->manifest.empty() || !segment->indexes.empty()) DeleteObjects(*segment);
    // The key stays as a tombstone while the log may still hold the segment's records.
    if (dropped || checkpoint >= segment->log_end || segment->kind == SegmentKind::kDeletes) {
      ops.push_back(MetaOp::Delete(key));
      --left;
      MutexLock lock(mutex_);
      ended_us_.erase(segment->id);
    } else if (!segment->manifest.empty() || segment->state != SegmentState::kDropped) {
      SegmentMeta tombstone = *segment;
      tombstone.state = SegmentState::kDropped;
      tombstone.manifest.clear();
      tombstone.indexes.clear();
      ops.push_back(MetaOp::Put(key, Encode(tombstone)));
    }
    if (ops.size() >= kOpsPerStep) {
      waiting = true;
      break;
    }
  }
  if (dropped && left == 0) {
    for (const auto& tombstone : deps_.catalog->DroppedCollections()) {
      if (tombstone->id != id || WallMs() - UnixMs(tombstone->updated) < kTombstoneMs) continue;
      const auto removed = deps_.writer->Commit({}, {MetaOp::Delete(CollectionKey(id))});
      if (!removed.ok()) LogWarn("removing the tombstone of collection {} failed: {}", id.value, removed.status().ToString());
    }
  }
  if (ops.empty()) return waiting;
  const auto committed = Commit({}, std::move(ops));
  if (!committed.ok()) LogWarn("collection {}: collecting garbage failed: {}", id.value, committed.status().ToString());
  return waiting || !committed.ok();
}

void DataCoordRole::DeleteObjects(const SegmentMeta& segment) {
  for (const std::string& directory : {SegmentDirectory(segment), IndexDirectory(segment)}) {
    const auto objects = deps_.objects->List(directory);
    if (!objects.ok()) continue;
    for (const ObjectInfo& object : *objects) {
      if (const Status status = deps_.objects->Delete(object.name); !status.ok()) {
        LogWarn("deleting {} failed: {}", object.name, status.ToString());
      }
    }
  }
}

// Files that no segment names: left by flushes, builds and compactions that were interrupted. Runs once after a start,
// when every epoch and job that could have made them before is closed.
void DataCoordRole::SweepOrphans() {
  const int64_t started_ms = WallMs();
  std::set<std::string> referenced;
  for (const auto& segment : deps_.catalog->AllSegments()) {
    // What ended before this start has no reader any more; its grace need not be waited for.
    const CollectionPtr collection = deps_.catalog->GetCollection(segment->collection);
    const auto placement = deps_.catalog->FindPlacement(segment->collection);
    if (IsGarbage(*segment, collection.get(), placement.get())) continue;
    // A manifest's objects share its directory.
    if (!segment->manifest.empty()) referenced.insert(segment->manifest.substr(0, segment->manifest.rfind('/')));
    for (const SegmentIndex& index : segment->indexes) referenced.insert(index.object);
  }
  int64_t deleted = 0;
  for (const char* prefix : {"segments/", "indexes/"}) {
    const auto objects = deps_.objects->List(prefix);
    if (!objects.ok()) continue;
    for (const ObjectInfo& object : *objects) {
      const std::string directory = object.name.substr(0, object.name.rfind('/'));
      const bool known = referenced.contains(directory) || referenced.contains(object.name);
      // Anything this process may have begun to write meanwhile is left alone.
      if (known || object.modified_unix_ms >= process_started_ms_) continue;
      if (deps_.objects->Delete(object.name).ok()) ++deleted;
    }
  }
  if (deleted > 0) LogInfo("removed {} files that nothing refers to, in {} ms", deleted, WallMs() - started_ms);
}

}  // namespace saker
