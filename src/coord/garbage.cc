// DataCoord's garbage collection: what nothing needs any more goes, first its files, then its key.
#include <algorithm>
#include <cstdio>
#include <iterator>

#include "base/log.h"
#include "base/rules.h"
#include "coord/data_coord_role.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr size_t kOpsPerStep = 100;
constexpr int64_t kTombstoneMs = 24 * 3'600'000;  // how long a dropped collection's name in the catalog outlives it
constexpr auto kSeen = std::chrono::milliseconds(5'000);

std::string DirectoryOf(std::string_view kind, const SegmentMeta& segment) {
  return std::string(kind) + "/" + std::to_string(segment.collection.value) + "/" + std::to_string(segment.id.value) + "/";
}

std::string ParentOf(const std::string& object) { return object.substr(0, object.rfind('/')); }

// The part of a file's name that says who made it: "segments/<collection>/<segment>/<writer>/…" or
// "indexes/<collection>/<segment>/<index>-<writer>".
std::string WriterOf(const std::string& object) {
  size_t at = 0;
  for (int parts = 0; parts < 3; ++parts) {
    at = object.find('/', at);
    if (at == std::string::npos) return "";
    ++at;
  }
  if (object.starts_with("indexes/")) at = object.find('-', at) + 1;  // 0, and so nobody's, if there is none
  return object.substr(at);
}

bool HasFiles(const SegmentMeta& segment) { return !segment.manifest.empty() || !segment.indexes.empty(); }

}  // namespace

// True once it is `age` since the segment was first asked about.
bool DataCoordRole::IsAged(SegmentId segment, std::map<SegmentId, int64_t>& since_us, std::chrono::milliseconds age) {
  const auto [it, first] = since_us.emplace(segment, MonotonicUs());
  return MonotonicUs() - it->second >= age.count() * 1000;
}

// ---- files of deletes

// In steps; each segment's revision is looked at before its value, so that a change in between is not overwritten.
Status DataCoordRole::MarkDropped(const std::vector<SegmentId>& segments) {
  for (size_t at = 0; at < segments.size(); at += kOpsPerStep) {
    std::vector<Compare> compares;
    std::vector<MetaOp> ops;
    for (size_t i = at; i < std::min(segments.size(), at + kOpsPerStep); ++i) {
      const Revision revision = deps_.catalog->SegmentRevision(segments[i]);
      const auto segment = deps_.catalog->FindSegment(segments[i]);
      if (segment == nullptr) continue;
      SegmentMeta dropped = *segment;
      dropped.state = SegmentState::kDropped;
      const std::string key = SegmentKey(dropped.collection, dropped.id);
      compares.push_back(Compare::Unchanged(key, revision));
      ops.push_back(MetaOp::Put(key, Encode(dropped)));
    }
    RETURN_IF_ERROR(Commit(std::move(compares), std::move(ops)).status());
  }
  return {};
}

// A read on the route before the last one may still need them, so they go only some time after nothing does.
void DataCoordRole::DropSpentDeletes(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (collection == nullptr) return;
  SegmentList living;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    // Rows of a dropped partition need no deletes any more.
    if (segment->kind == SegmentKind::kDeletes || HoldsRowsOf(*collection, *segment)) living.push_back(segment);
  }
  // A segment that a read may still use without these deletes must be out of the route first.
  if (const auto placement = deps_.catalog->FindPlacement(id); placement != nullptr) {
    for (const auto& placed : placement->segments) {
      const auto segment = deps_.catalog->FindSegment(placed.segment);
      if (segment == nullptr || segment->state == SegmentState::kDropped) return;
    }
  }
  std::vector<SegmentId> spent;
  for (const SegmentId segment : SpentDeletes(living)) {
    if (IsAged(segment, spent_us_, settings_.garbage_grace)) {
      spent.push_back(segment);
    } else {
      dirty_.AddAfter(id, settings_.garbage_grace);
    }
  }
  if (spent.empty()) return;
  const Status dropped = MarkDropped(spent);
  if (dropped.ok()) {
    for (const SegmentId segment : spent) spent_us_.erase(segment);
    return;
  }
  if (dropped.code() != ErrorCode::kConflict) {
    LogWarn("collection {}: dropping applied deletes failed: {}", collection->name, dropped.ToString());
  }
  dirty_.AddAfter(id, kRetry);
}

// ---- segments and collections

bool DataCoordRole::IsGarbage(const SegmentMeta& segment, const Collection* collection, const Placement* placement) const {
  if (placement != nullptr && placement->Find(segment.id) != nullptr) return false;
  if (segment.state == SegmentState::kDropped) return true;
  if (collection == nullptr) return deps_.catalog->IsDropped(segment.collection);
  return segment.kind == SegmentKind::kRows && collection->FindPartition(segment.partition) == nullptr;
}

// The key stays as a tombstone while the log may still hold the segment's records, or an iterator need its rows.
bool DataCoordRole::MayForget(const SegmentMeta& segment) {
  if (segment.kind == SegmentKind::kDeletes || !RuleHolds(Rule::kTombstones)) return true;
  if (segment.LeftNothing() && !IsAged(segment.id, ended_us_, settings_.remember_gone)) {
    dirty_.AddAfter(segment.collection, settings_.remember_gone);
    return false;
  }
  MutexLock lock(mutex_);
  const auto known = checkpoints_.find(segment.channel);
  if (known != checkpoints_.end() && known->second >= segment.log_end) return true;
  awaiting_checkpoint_[segment.channel].insert(segment.collection);
  return false;
}

void DataCoordRole::CollectGarbage(CollectionId id) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  const auto placement = deps_.catalog->FindPlacement(id);
  const bool dropped = deps_.catalog->IsDropped(id);
  std::vector<Compare> compares;
  std::vector<MetaOp> ops;
  bool any = false;
  for (const auto& listed : deps_.catalog->Segments(id)) {
    any = true;
    // The revision before the value: an index reported in between makes the transaction fail, and is not overwritten.
    const Revision revision = deps_.catalog->SegmentRevision(listed->id);
    const auto segment = deps_.catalog->FindSegment(listed->id);
    if (segment == nullptr || !IsGarbage(*segment, collection.get(), placement.get())) continue;
    if (!IsAged(segment->id, ended_us_, settings_.garbage_grace)) {
      dirty_.AddAfter(id, settings_.garbage_grace);
      continue;
    }
    if (HasFiles(*segment)) {
      // That nothing needs them may be a change that is not copied yet, and would be lost with the meta store.
      Status deleted = deps_.segments->Settle();
      if (deleted.ok()) deleted = DeleteObjects(*segment);
      if (!deleted.ok()) {
        LogWarn("segment {}: its files can't be deleted, the next try is in a second: {}", segment->id.value, deleted.ToString());
        dirty_.AddAfter(id, kRetry);
        continue;
      }
    }
    const std::string key = SegmentKey(segment->collection, segment->id);
    if (dropped || MayForget(*segment)) {
      ops.push_back(MetaOp::Delete(key));
    } else if (HasFiles(*segment) || segment->state != SegmentState::kDropped) {
      SegmentMeta tombstone = *segment;
      tombstone.state = SegmentState::kDropped;
      tombstone.manifest.clear();
      tombstone.indexes.clear();
      ops.push_back(MetaOp::Put(key, Encode(tombstone)));
    } else {
      continue;
    }
    compares.push_back(Compare::Unchanged(key, revision));
    if (ops.size() >= kOpsPerStep) {
      dirty_.AddAfter(id, std::chrono::milliseconds(1));
      break;
    }
  }
  if (dropped && !any) return ForgetDropped(id);
  if (ops.empty()) return;
  const auto committed = Commit(std::move(compares), std::move(ops));
  if (committed.ok()) {
    (void)deps_.catalog->WaitFor(*committed, kSeen);
    std::erase_if(ended_us_, [&](const auto& entry) { return deps_.catalog->FindSegment(entry.first) == nullptr; });
    if (dropped) dirty_.AddAfter(id, std::chrono::milliseconds(1));
    return;
  }
  if (committed.status().code() != ErrorCode::kConflict) {
    LogWarn("collection {}: collecting garbage failed: {}", id.value, committed.status().ToString());
  }
  dirty_.AddAfter(id, kRetry);
}

// A dropped collection without segments: only its name is left, until nothing can mention it any more.
void DataCoordRole::ForgetDropped(CollectionId id) {
  const CollectionPtr tombstone = deps_.catalog->GetDropped(id);
  if (tombstone == nullptr) return;
  const int64_t left_ms = UnixMs(tombstone->updated) + kTombstoneMs - WallMs();
  if (left_ms > 0) return dirty_.AddAfter(id, std::chrono::milliseconds(left_ms));
  const auto removed = deps_.writer->Commit({}, {MetaOp::Delete(CollectionKey(id))});
  if (removed.ok()) return;
  LogWarn("removing the tombstone of collection {} failed: {}", id.value, removed.status().ToString());
  dirty_.AddAfter(id, kRetry);
}

// ---- files

Status DataCoordRole::DeleteAll(const std::string& directory) const {
  ASSIGN_OR_RETURN(const std::vector<ObjectInfo> objects, deps_.objects->List(directory));
  for (const ObjectInfo& object : objects) RETURN_IF_ERROR(deps_.objects->Delete(object.name));
  return {};
}

Status DataCoordRole::DeleteObjects(const SegmentMeta& segment) const {
  RETURN_IF_ERROR(DeleteAll(DirectoryOf("segments", segment)));
  return DeleteAll(DirectoryOf("indexes", segment));
}

// The files that one attempt at writing the segment made.
Status DataCoordRole::DeleteAttempt(const SegmentMeta& segment) const { return DeleteAll(ParentOf(segment.manifest) + "/"); }

// Whether who made the file can make it part of a segment no more. Its name says who that was: the owner of a channel at
// an epoch ("e<epoch>c<channel>-…"), whose commit is refused once there is a higher one, or a task ("j<task>-…"), whose
// report ends it.
bool DataCoordRole::IsClosed(const std::string& object, const std::set<int64_t>& open_tasks) const {
  if (!RuleHolds(Rule::kOpenWriters)) return true;
  const std::string writer = WriterOf(object);
  int64_t number = 0;
  ChannelId channel = 0;
  if (std::sscanf(writer.c_str(), "j%ld-", &number) == 1) return !open_tasks.contains(number);
  if (std::sscanf(writer.c_str(), "e%ldc%d-", &number, &channel) != 2) return false;
  return deps_.catalog->Channel(channel).epoch > number;
}

// Files that no segment names: left by flushes, builds and compactions that were interrupted. Other processes may be
// writing, and clocks differ: what is listed first was made under an epoch or a task that a later view of the catalog
// knows, so that view tells whether it may yet become part of a segment.
void DataCoordRole::SweepOrphans() const {
  const Stopwatch watch;
  std::vector<ObjectInfo> objects;
  for (const char* prefix : {"segments/", "indexes/"}) {
    auto listed = deps_.objects->List(prefix);
    if (!listed.ok()) continue;
    std::move(listed->begin(), listed->end(), std::back_inserter(objects));
  }
  const auto up_to_date = [&] {
    const auto now = deps_.meta->CurrentRevision();
    return now.ok() && deps_.catalog->WaitFor(*now, kSeen).ok();
  };
  if (objects.empty() || !up_to_date()) return;
  // Who made it first, and only then what segments name: a writer that is closed by now has committed by now.
  std::set<int64_t> open_tasks;
  for (const TaskSpec& task : deps_.catalog->Tasks()) open_tasks.insert(task.id);
  std::erase_if(objects, [&](const ObjectInfo& object) { return !IsClosed(object.name, open_tasks); });
  if (objects.empty() || !up_to_date()) return;
  std::set<std::string> referenced;
  for (const auto& segment : deps_.catalog->AllSegments()) {
    // A manifest's objects share its directory.
    if (!segment->manifest.empty()) referenced.insert(ParentOf(segment->manifest));
    for (const SegmentIndex& index : segment->indexes) referenced.insert(index.object);
  }
  int64_t deleted = 0;
  for (const ObjectInfo& object : objects) {
    const bool known = referenced.contains(ParentOf(object.name)) || referenced.contains(object.name);
    if (!known && deps_.objects->Delete(object.name).ok()) ++deleted;
  }
  if (deleted > 0) LogInfo("removed {} files that nothing refers to, in {} ms", deleted, watch.elapsed_ms());
}

}  // namespace saker
