#include "coord/index_coord_role.h"

#include <algorithm>

#include "base/log.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr int kTries = 50;
constexpr size_t kTasksPerStep = 100;
constexpr size_t kMaxOpenTasks = 64;
constexpr int64_t kRetryUs = 5'000'000;

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
  if (exists) return deps_.catalog->CollectionRevision(id);
  return revision;
}

Result<Revision> IndexCoordRole::DropIndex(CollectionId id, const std::string& index_name) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  const bool any = std::any_of(collection->indexes.begin(), collection->indexes.end(), [&](const IndexMeta& index) {
    return !index.dropped && (index_name.empty() || index.name == index_name);
  });
  if (!any) return deps_.catalog->CollectionRevision(id);  // dropping what isn't there is fine
  if (collection->load.loaded) {
    return Status(ErrorCode::kUnexpected, "index cannot be dropped, collection is loaded, please release it first");
  }
  return Seen(deps_.writer->Update(id, [&](Collection& c) {
    std::erase_if(c.indexes, [&](const IndexMeta& index) { return index_name.empty() || index.name == index_name; });
    return Status();
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
    if (segment->kind != SegmentKind::kRows || segment->state != SegmentState::kFlushed) continue;
    if (collection->FindPartition(segment->partition) == nullptr) continue;
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
  bool again = false;
  for (const CollectionId id : dirty_.Take()) {
    RemoveDropped(id);
    if (ScheduleBuilds(id)) continue;
    dirty_.Add(id);
    again = true;
  }
  return std::chrono::milliseconds(again ? 500 : 0);
}

bool IndexCoordRole::ScheduleBuilds(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return true;
  const std::vector<TaskSpec> open = deps_.catalog->Tasks();
  std::vector<IndexWork> work = PlanIndexes(*collection, deps_.catalog->Segments(id), open);
  bool complete = true;
  {
    MutexLock lock(mutex_);
    std::erase_if(work, [&](const IndexWork& w) {
      const auto it = failures_.find({w.segment, w.index->id});
      if (it == failures_.end() || MonotonicUs() >= it->second.retry_after_us) return false;
      complete = false;
      return true;
    });
  }
  const auto nodes = deps_.peers->index_nodes();
  if (work.empty()) return complete;
  if (nodes.empty() || open.size() >= kMaxOpenTasks) return false;
  const auto ids = deps_.next_ids(static_cast<int64_t>(work.size()));
  if (!ids.ok()) return false;
  std::vector<MetaOp> ops;
  std::vector<Compare> compares{Compare::Unchanged(CollectionKey(id), deps_.catalog->CollectionRevision(id))};
  int64_t next = *ids;
  for (const IndexWork& w : work) {
    if (ops.size() >= kTasksPerStep) {
      complete = false;
      break;
    }
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
  const auto committed = Commit(std::move(compares), std::move(ops));
  if (!committed.ok()) {
    if (committed.status().code() != ErrorCode::kConflict) {
      LogWarn("collection {}: scheduling index builds failed: {}", collection->name, committed.status().ToString());
    }
    return false;
  }
  // Not scheduled twice: the next step sees these tasks.
  (void)deps_.catalog->WaitFor(*committed, std::chrono::milliseconds(5'000));
  return complete;
}

Status IndexCoordRole::ReportIndex(int64_t id, Result<SegmentIndex> built) {
  for (int i = 0; i < kTries; ++i) {
    auto task_kv = deps_.meta->Get(TaskKey(id));
    if (task_kv.status().code() == ErrorCode::kIoKeyNotFound) return {};
    RETURN_IF_ERROR(task_kv.status());
    ASSIGN_OR_RETURN(const TaskSpec task, DecodeTask(task_kv->value));
    std::vector<Compare> compares{Compare::Unchanged(task_kv->key, task_kv->mod_revision)};
    std::vector<MetaOp> ops{MetaOp::Delete(task_kv->key)};
    bool taken = false;
    if (built.ok()) {
      auto kv = deps_.meta->Get(SegmentKey(task.collection, task.segment));
      if (kv.ok()) {
        ASSIGN_OR_RETURN(SegmentMeta segment, DecodeSegment(kv->value));
        if (segment.state == SegmentState::kFlushed) {
          std::erase_if(segment.indexes, [&](const SegmentIndex& index) { return index.index == built->index; });
          segment.indexes.push_back(*built);
          compares.push_back(Compare::Unchanged(kv->key, kv->mod_revision));
          ops.push_back(MetaOp::Put(kv->key, Encode(segment)));
          taken = true;
        }
      }
    }
    auto committed = Commit(std::move(compares), std::move(ops));
    if (committed.status().code() == ErrorCode::kConflict) continue;
    RETURN_IF_ERROR(committed.status());
    if (built.ok() && !taken) (void)deps_.objects->Delete(built->object);
    {
      MutexLock lock(mutex_);
      const std::pair key{task.segment, task.index.id};
      if (built.ok()) {
        failures_.erase(key);
      } else {
        Failure& failure = failures_[key];
        failure.why = built.status().message();
        failure.retry_after_us = MonotonicUs() + kRetryUs * (int64_t{1} << std::min(failure.times++, 6));
      }
    }
    dirty_.Add(task.collection);
    loop_->Poke();
    return {};
  }
  return {ErrorCode::kServiceUnavailable, "the segment is changing all the time"};
}

// Files of indexes that the collection no longer has.
void IndexCoordRole::RemoveDropped(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  const auto known = [&](IndexId index) {
    return std::any_of(collection->indexes.begin(), collection->indexes.end(), [&](const auto& i) { return i.id == index && !i.dropped; });
  };
  for (const auto& segment : deps_.catalog->Segments(id)) {
    SegmentMeta changed = *segment;
    std::vector<std::string> objects;
    std::erase_if(changed.indexes, [&](const SegmentIndex& index) {
      if (known(index.index)) return false;
      objects.push_back(index.object);
      return true;
    });
    if (objects.empty() || segment->state == SegmentState::kDropped) continue;
    const std::string key = SegmentKey(id, segment->id);
    const auto committed = Commit({Compare::Unchanged(key, deps_.catalog->SegmentRevision(segment->id))},
                                  {MetaOp::Put(key, Encode(changed))});
    if (!committed.ok()) {
      dirty_.Add(id);
      continue;
    }
    for (const std::string& object : objects) (void)deps_.objects->Delete(object);
  }
}

}  // namespace saker
