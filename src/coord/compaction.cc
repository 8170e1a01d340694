// DataCoord's compactions: planned, given to indexnodes as tasks, and swapped in when they are done.
#include <algorithm>

#include "base/log.h"
#include "coord/data_coord_role.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

constexpr size_t kOpsPerStep = 100;
constexpr auto kLookAtPins = std::chrono::minutes(1);
constexpr size_t kCompactionsRemembered = 1'000;
constexpr auto kSeen = std::chrono::milliseconds(5'000);

}  // namespace

CompactionInput DataCoordRole::InputOf(const Collection& collection, const Placement* placement) const {
  CompactionInput input;
  input.collection = &collection;
  input.segments = deps_.catalog->Segments(collection.id);
  input.placement = placement;
  input.now = MakeTimestamp(WallMs());
  // Looked at after the segments: a pin set later is at or above every delete that they hold.
  for (const ChannelId channel : collection.shards) {
    DataNode* owner = deps_.peers->data_node(deps_.catalog->Channel(channel).owner);
    if (owner == nullptr) continue;
    const auto pin = owner->OldestPin(collection.id);
    input.keep_from = std::min(input.keep_from, pin.ok() ? *pin : 0);  // nobody knows: keep everything
  }
  for (const TaskSpec& task : deps_.catalog->Tasks()) {
    if (task.kind == TaskKind::kCompact) input.busy.insert(task.inputs.begin(), task.inputs.end());
  }
  MutexLock lock(mutex_);
  for (const auto& [segment, until_us] : retry_after_us_) input.busy.insert(segment);
  return input;
}

// Until inputs of a failed compaction may be tried again; 0: there are none.
std::chrono::milliseconds DataCoordRole::UntilRetry(const SegmentList& segments) {
  const int64_t now_us = MonotonicUs();
  int64_t next_us = 0;
  MutexLock lock(mutex_);
  std::erase_if(retry_after_us_, [&](const auto& entry) { return entry.second <= now_us; });
  for (const auto& segment : segments) {
    const auto it = retry_after_us_.find(segment->id);
    if (it == retry_after_us_.end()) continue;
    const int64_t left_us = it->second - now_us;
    next_us = next_us == 0 ? left_us : std::min(next_us, left_us);
  }
  return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::microseconds(next_us));
}

void DataCoordRole::PlanCompactions(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  MutexLock planning(planning_mutex_);
  const auto pause = UntilRetry(deps_.catalog->Segments(id));
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
  // What nobody tells: the end of an iterator, of a pause after a failure, of the rows' time.
  if (input.keep_from != kMaxTimestamp) dirty_.AddAfter(id, kLookAtPins);
  if (pause.count() > 0) dirty_.AddAfter(id, pause);
  if (const int64_t left_ms = NextExpiryMs(*collection, input.segments, input.now); left_ms > 0) {
    dirty_.AddAfter(id, std::chrono::milliseconds(left_ms));
  }
  if (tasks.empty()) return;
  Status started = NameTasks(tasks);
  if (started.ok()) started = StartTasks(tasks);
  if (started.ok()) return;
  LogWarn("collection {}: starting compaction failed: {}", collection->name, started.ToString());
  dirty_.AddAfter(id, kRetry);
}

Status DataCoordRole::NameTasks(std::vector<TaskSpec>& tasks) const {
  const std::vector<NodeId> nodes = NotDraining(deps_.peers->index_nodes());
  if (nodes.empty()) return {ErrorCode::kNodeLack, "no indexnode to compact"};
  ASSIGN_OR_RETURN(int64_t id, deps_.next_ids(static_cast<int64_t>(tasks.size()) * 2));
  for (TaskSpec& task : tasks) {
    task.id = id++;
    task.segment = SegmentId(id++);
    task.node = nodes[static_cast<size_t>(task.id) % nodes.size()];
  }
  return {};
}

Status DataCoordRole::StartTasks(const std::vector<TaskSpec>& tasks) const {
  for (size_t at = 0; at < tasks.size(); at += kOpsPerStep) {
    std::vector<MetaOp> ops;
    for (size_t i = at; i < std::min(tasks.size(), at + kOpsPerStep); ++i) {
      ops.push_back(MetaOp::Put(TaskKey(tasks[i].id), Encode(tasks[i])));
    }
    ASSIGN_OR_RETURN(const Revision revision, Commit({}, std::move(ops)));
    RETURN_IF_ERROR(deps_.catalog->WaitFor(revision, kSeen));
  }
  return {};
}

Result<int64_t> DataCoordRole::Compact(CollectionId id) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  ASSIGN_OR_RETURN(const int64_t compaction, deps_.next_ids(1));
  MutexLock planning(planning_mutex_);
  const auto placement = deps_.catalog->FindPlacement(id);
  CompactionInput input = InputOf(*collection, placement.get());
  input.forced = true;
  std::vector<TaskSpec> tasks = PlanCompaction(input, settings_.compaction);
  if (!tasks.empty()) RETURN_IF_ERROR(NameTasks(tasks));
  {
    // Known before the tasks are: one may be done before StartTasks() returns.
    MutexLock lock(mutex_);
    Compaction& state = compactions_[compaction];
    state.collection = id;
    for (const TaskSpec& task : tasks) {
      state.open.insert(task.id);
      state.merges.emplace_back(task.inputs, task.segment);
    }
    while (compactions_.size() > kCompactionsRemembered) compactions_.erase(compactions_.begin());
  }
  const Status started = StartTasks(tasks);
  if (started.ok()) return compaction;
  MutexLock lock(mutex_);
  compactions_.erase(compaction);
  return started;
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

void DataCoordRole::FinishTask(int64_t task, const std::vector<SegmentId>& inputs, bool ok) {
  MutexLock lock(mutex_);
  for (auto& [id, compaction] : compactions_) {
    if (compaction.open.erase(task) == 0) continue;
    ok ? ++compaction.done : ++compaction.failed;
  }
  for (const SegmentId input : inputs) {
    if (ok) {
      retry_after_us_.erase(input);
    } else {
      retry_after_us_[input] = MonotonicUs() + settings_.retry_compaction.count() * 1000;
    }
  }
}

// The inputs end in the transaction in which the output begins. False if one of them, or their partition, is gone.
Result<bool> DataCoordRole::SwapSegments(const TaskSpec& task, const SegmentMeta& output, std::vector<Compare>& compares,
                                         std::vector<MetaOp>& ops) const {
  const auto collection_kv = deps_.meta->Get(CollectionKey(task.collection));
  if (collection_kv.status().code() == ErrorCode::kIoKeyNotFound) return false;
  RETURN_IF_ERROR(collection_kv.status());
  ASSIGN_OR_RETURN(const Collection collection, DecodeCollection(collection_kv->value));
  if (collection.dropped || collection.FindPartition(output.partition) == nullptr) return false;
  compares.push_back(Compare::Unchanged(collection_kv->key, collection_kv->mod_revision));
  for (const SegmentId input : task.inputs) {
    const auto kv = deps_.meta->Get(SegmentKey(task.collection, input));
    if (kv.status().code() == ErrorCode::kIoKeyNotFound) return false;
    RETURN_IF_ERROR(kv.status());
    ASSIGN_OR_RETURN(SegmentMeta segment, DecodeSegment(kv->value));
    if (!segment.IsLiveRows()) return false;
    segment.state = SegmentState::kDropped;
    segment.deleted_rows = 0;
    if (output.rows == 0) {
      segment.rows = 0;
      segment.dropped_until = output.dropped_until;
    }
    compares.push_back(Compare::Unchanged(kv->key, kv->mod_revision));
    ops.push_back(MetaOp::Put(kv->key, Encode(segment)));
  }
  if (output.rows > 0) ops.push_back(MetaOp::Put(SegmentKey(task.collection, output.id), Encode(output)));
  return true;
}

Status DataCoordRole::ReportCompaction(int64_t id, Result<SegmentMeta> output) {
  TaskSpec task;
  bool open = false;
  bool taken = false;
  const auto committed = UntilNoConflict("the collection", [&]() -> Result<Revision> {
    const auto kv = deps_.meta->Get(TaskKey(id));
    open = kv.status().code() != ErrorCode::kIoKeyNotFound;
    if (!open) return SegmentsSoAlready();  // reported before
    RETURN_IF_ERROR(kv.status());
    ASSIGN_OR_RETURN(task, DecodeTask(kv->value));
    const std::vector<Compare> still_open{Compare::Unchanged(kv->key, kv->mod_revision)};
    const std::vector<MetaOp> end{MetaOp::Delete(kv->key)};
    auto compares = still_open;
    auto ops = end;
    taken = false;
    if (output.ok()) {
      ASSIGN_OR_RETURN(taken, SwapSegments(task, *output, compares, ops));
    }
    return taken ? Commit(std::move(compares), std::move(ops)) : Commit(still_open, end);
  });
  RETURN_IF_ERROR(committed.status());
  FinishTask(id, task.inputs, taken || !open);
  if (!open) return {};
  (void)deps_.catalog->WaitFor(*committed, kSeen);  // who asks for the compaction's state sees its segments next
  const bool unused = output.ok() && (!taken || output->rows == 0);
  if (unused) {
    if (const Status deleted = DeleteObjects(*output); !deleted.ok()) LogWarn("segment {}: {}", output->id.value, deleted.ToString());
  }
  dirty_.Add(task.collection);
  loop_->Poke();
  return {};
}

}  // namespace saker
