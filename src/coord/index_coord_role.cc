#include "coord/index_coord_role.h"

#include <algorithm>

#include "base/log.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

constexpr size_t kTasksPerStep = 100;
constexpr size_t kMaxOpenTasks = 64;
constexpr int64_t kRetryUs = 5'000'000;
constexpr std::chrono::milliseconds kSoon{50};

bool SameIndex(const IndexMeta& a, const IndexMeta& b) {
  return a.field == b.field && a.type == b.type && a.metric == b.metric && a.params == b.params;
}

}  // namespace

IndexCoordRole::IndexCoordRole(CoordinatorDeps deps)
    : Coordinator(std::move(deps)), dirty_(deps_.catalog, [this] { loop_->Poke(); }) {
  loop_ = std::make_unique<ControlLoop>("indexcoord", deps_.control, deps_.timer, [this] { return Step(); });
}

IndexCoordRole::~IndexCoordRole() { Stop(); }

void IndexCoordRole::Start() {
  dirty_.Start();
  loop_->Poke();
}

void IndexCoordRole::NodesChanged() {
  dirty_.AddAll();
  loop_->Poke();
}

void IndexCoordRole::Stop() {
  dirty_.Stop();
  loop_->Stop();
}

Result<Revision> IndexCoordRole::CreateIndex(CollectionId id, const IndexMeta& index) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  ASSIGN_OR_RETURN(const int64_t index_id, deps_.next_ids(1));
  bool exists = false;
  auto revision = Seen(deps_.writer->Update(id, [&](Collection& c) -> Status {
    exists = false;
    for (const IndexMeta& other : c.indexes) {
      if (other.dropped) continue;
      if (other.field == index.field) {
        if (SameIndex(other, index) && (index.name.empty() || other.name == index.name)) {
          exists = true;
          return {ErrorCode::kAlreadyExists, "the same index exists"};
        }
        return {ErrorCode::kUnexpected, "CreateIndex failed: at most one distinct index is allowed per field"};
      }
      if (other.name == index.name && !index.name.empty()) {
        return {ErrorCode::kUnexpected, "CreateIndex failed: creating multiple indexes on same field is not supported"};
      }
    }
    IndexMeta added = index;
    added.id = IndexId(index_id);
    added.created = MakeTimestamp(WallMs());
    if (added.name.empty()) {
      const FieldSchema* field = c.schema->Find(added.field);
      added.name = field == nullptr ? "_default_idx_" + std::to_string(added.field.value) : field->name;
    }
    c.indexes.push_back(std::move(added));
    return {};
  }));
  if (exists) return SoAlready();
  return revision;
}

Result<Revision> IndexCoordRole::DropIndex(CollectionId id, const std::string& index_name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  const auto meant = [&](const IndexMeta& index) { return !index.dropped && (index_name.empty() || index.name == index_name); };
  // Dropping what isn't there is fine.
  if (std::none_of(collection->indexes.begin(), collection->indexes.end(), meant)) return SoAlready();
  return Seen(deps_.writer->Update(id, [&](Collection& c) -> Status {
    if (c.load.loaded) {
      return {ErrorCode::kUnexpected, "index cannot be dropped, collection is loaded, please release it first"};
    }
    std::erase_if(c.indexes, meant);
    return {};
  }));
}

Result<Revision> IndexCoordRole::AlterIndex(CollectionId id, const std::string& index_name, const KeyValues& set,
                                            const std::vector<std::string>& erase) {
  return Seen(deps_.writer->Update(id, [&](Collection& c) -> Status {
    for (IndexMeta& index : c.indexes) {
      if (index.dropped || index.name != index_name) continue;
      for (const auto& [key, value] : set) Assign(index.params, key, value);
      for (const auto& key : erase) Erase(index.params, key);
      return {};
    }
    return {ErrorCode::kIndexNotFound, "index not found[index=" + index_name + "]"};
  }));
}

Result<IndexProgress> IndexCoordRole::Progress(CollectionId id, IndexId index) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  IndexProgress progress;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    if (!HoldsRowsOf(*collection, *segment)) continue;
    progress.total_rows += segment->rows;
    if (segment->FindIndex(index) != nullptr) {
      progress.indexed_rows += segment->rows;
      continue;
    }
    progress.pending_rows += segment->rows;
    MutexLock lock(mutex_);
    if (const auto it = failures_.find({segment->id, index}); it != failures_.end()) progress.failure = it->second.why;
  }
  progress.finished = progress.pending_rows == 0;
  return progress;
}

std::chrono::milliseconds IndexCoordRole::Step() {
  for (const CollectionId id : dirty_.Take()) {
    RemoveDropped(id);
    ScheduleBuilds(id);
  }
  if (ReassignTasks(TaskKind::kBuildIndex)) return dirty_.NextDue();
  const auto next = dirty_.NextDue();
  return next.count() > 0 && next < kRetry ? next : kRetry;
}

// Takes out what failed a while ago, and looks at it again when its pause is over.
void IndexCoordRole::LeaveOutFailed(CollectionId id, std::vector<IndexWork>& work) {
  MutexLock lock(mutex_);
  std::erase_if(work, [&](const IndexWork& w) {
    const auto it = failures_.find({w.segment, w.index->id});
    if (it == failures_.end()) return false;
    const int64_t left_us = it->second.retry_after_us - MonotonicUs();
    if (left_us <= 0) return false;
    dirty_.AddAfter(id, std::chrono::milliseconds(left_us / 1000 + 1));
    return true;
  });
}

void IndexCoordRole::ScheduleBuilds(CollectionId id) {
  const Revision collection_revision = deps_.catalog->CollectionRevision(id);
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  const std::vector<TaskSpec> open = deps_.catalog->Tasks();
  std::vector<IndexWork> work = PlanIndexes(*collection, deps_.catalog->Segments(id), open);
  LeaveOutFailed(id, work);
  if (work.empty()) return;
  const auto nodes = NotDraining(deps_.peers->index_nodes());
  if (nodes.empty()) return dirty_.AddAfter(id, kRetry);
  if (open.size() >= kMaxOpenTasks) return dirty_.Add(id);  // looked at again when a task is done
  if (work.size() > kTasksPerStep) {
    work.resize(kTasksPerStep);
    dirty_.AddAfter(id, kSoon);
  }
  const auto ids = deps_.next_ids(static_cast<int64_t>(work.size()));
  if (!ids.ok()) return dirty_.AddAfter(id, kRetry);
  std::vector<MetaOp> ops;
  int64_t next = *ids;
  for (const IndexWork& w : work) {
    TaskSpec task;
    task.id = next++;
    task.kind = TaskKind::kBuildIndex;
    task.node = nodes[static_cast<size_t>(task.id) % nodes.size()];
    task.collection = id;
    task.segment = w.segment;
    task.index = *w.index;
    task.created = MakeTimestamp(WallMs());
    ops.push_back(MetaOp::Put(TaskKey(task.id), Encode(task)));
  }
  const auto committed = Commit({Compare::Unchanged(CollectionKey(id), collection_revision)}, std::move(ops));
  if (committed.ok()) {
    // Not scheduled twice: the next step sees these tasks.
    (void)deps_.catalog->WaitFor(*committed, std::chrono::milliseconds(5'000));
    return;
  }
  const bool conflict = committed.status().code() == ErrorCode::kConflict;
  if (!conflict) LogWarn("collection {}: scheduling index builds failed: {}", collection->name, committed.status().ToString());
  dirty_.AddAfter(id, conflict ? kSoon : kRetry);
}

void IndexCoordRole::NoteResult(const TaskSpec& task, const Status& result) {
  MutexLock lock(mutex_);
  const std::pair key{task.segment, task.index.id};
  if (result.ok()) {
    failures_.erase(key);
    return;
  }
  std::erase_if(failures_, [&](const auto& entry) { return deps_.catalog->FindSegment(entry.first.first) == nullptr; });
  Failure& failure = failures_[key];
  failure.why = result.message();
  failure.retry_after_us = MonotonicUs() + kRetryUs * (int64_t{1} << std::min(failure.times++, 6));
}

Status IndexCoordRole::ReportIndex(int64_t id, Result<SegmentIndex> built) {
  TaskSpec task;
  bool open = false;
  std::string unused;  // a file that no segment names after this
  const auto committed = UntilNoConflict("the segment", [&]() -> Result<Revision> {
    const auto task_kv = deps_.meta->Get(TaskKey(id));
    open = task_kv.status().code() != ErrorCode::kIoKeyNotFound;
    if (!open) return SegmentsSoAlready();  // reported before
    RETURN_IF_ERROR(task_kv.status());
    ASSIGN_OR_RETURN(task, DecodeTask(task_kv->value));
    std::vector<Compare> compares{Compare::Unchanged(task_kv->key, task_kv->mod_revision)};
    std::vector<MetaOp> ops{MetaOp::Delete(task_kv->key)};
    unused = built.ok() ? built->object : "";
    const auto kv = deps_.meta->Get(SegmentKey(task.collection, task.segment));
    if (kv.status().code() != ErrorCode::kIoKeyNotFound) RETURN_IF_ERROR(kv.status());
    if (built.ok() && kv.ok()) {
      ASSIGN_OR_RETURN(SegmentMeta segment, DecodeSegment(kv->value));
      if (segment.IsLiveRows()) {
        const SegmentIndex* before = segment.FindIndex(built->index);
        unused = before == nullptr ? "" : before->object;
        std::erase_if(segment.indexes, [&](const SegmentIndex& index) { return index.index == built->index; });
        segment.indexes.push_back(*built);
        compares.push_back(Compare::Unchanged(kv->key, kv->mod_revision));
        ops.push_back(MetaOp::Put(kv->key, Encode(segment)));
      }
    }
    return Commit(std::move(compares), std::move(ops));
  });
  RETURN_IF_ERROR(committed.status());
  if (!open) return {};
  if (!unused.empty()) DeleteFile(unused);
  NoteResult(task, built.status());
  dirty_.Add(task.collection);
  loop_->Poke();
  return {};
}

Status IndexCoordRole::DrainNode(NodeId node, bool drain) { return SetDraining(node, drain, deps_.peers->index_nodes()); }

Result<DrainProgress> IndexCoordRole::GetDrainProgress(NodeId node) {
  DrainProgress progress;
  progress.draining = deps_.catalog->Draining().contains(node);
  const auto tasks = deps_.catalog->Tasks();
  progress.tasks = std::count_if(tasks.begin(), tasks.end(), [&](const TaskSpec& task) { return task.node == node; });
  return progress;
}

void IndexCoordRole::DeleteFile(const std::string& object) const {
  if (const Status deleted = deps_.objects->Delete(object); !deleted.ok()) {
    LogWarn("an index file is left until the next start: {}", deleted.ToString());
  }
}

// Files of indexes that the collection no longer has.
void IndexCoordRole::RemoveDropped(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  const auto dropped = [&](const SegmentIndex& built) {
    return std::none_of(collection->indexes.begin(), collection->indexes.end(),
                        [&](const auto& index) { return index.id == built.index && !index.dropped; });
  };
  for (const auto& segment : deps_.catalog->Segments(id)) {
    if (!segment->IsLiveRows() || std::none_of(segment->indexes.begin(), segment->indexes.end(), dropped)) continue;
    std::vector<std::string> objects;
    const Status updated = UpdateSegment(id, segment->id, [&](SegmentMeta& meta) {
      objects.clear();
      // One that ended meanwhile stays as it is: its files go with it.
      if (!meta.IsLiveRows()) return false;
      for (const SegmentIndex& built : meta.indexes) {
        if (dropped(built) && !built.object.empty()) objects.push_back(built.object);
      }
      return std::erase_if(meta.indexes, dropped) > 0;
    });
    if (updated.ok()) {
      for (const std::string& object : objects) DeleteFile(object);
    } else if (updated.code() != ErrorCode::kIoKeyNotFound) {
      LogWarn("segment {}: dropping an index failed: {}", segment->id.value, updated.ToString());
      dirty_.AddAfter(id, kRetry);
    }
  }
}

}  // namespace saker
