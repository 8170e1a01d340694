#include "querynode/query_node_role.h"

#include <algorithm>

#include "base/log.h"
#include "base/parallel.h"
#include "base/rules.h"

namespace saker {
namespace {

constexpr auto kRetryLoad = std::chrono::milliseconds(100);
constexpr auto kRetryLoadAtMost = std::chrono::milliseconds(10'000);
constexpr auto kRetryReportAtMost = std::chrono::milliseconds(1'000);

const IndexMeta* FindIndex(const Collection& collection, IndexId id) {
  for (const IndexMeta& index : collection.indexes) {
    if (index.id == id) return &index;
  }
  return nullptr;
}

}  // namespace

QueryNodeRole::QueryNodeRole(QueryNodeDeps deps)
    : deps_(std::move(deps)), dirty_(deps_.catalog, [this] { loop_->Poke(); }) {
  loop_ = std::make_unique<ControlLoop>("querynode", deps_.io, deps_.timer, [this] { return Reconcile(); });
}

QueryNodeRole::~QueryNodeRole() { Stop(); }

void QueryNodeRole::Start() {
  dirty_.Start();
  loop_->Poke();
}

void QueryNodeRole::Stop() {
  dirty_.Stop();
  loop_->Stop();
}

void QueryNodeRole::CoordinatorChanged() {
  introduce_ = true;
  dirty_.AddAll();
  loop_->Poke();
}

// ---- desired state

std::chrono::milliseconds QueryNodeRole::Reconcile() {
  std::set<CollectionId> again;
  awaits_owner_ = false;
  unreported_ = false;
  const bool unknown = introduce_ && !Report(CollectionId(), {});
  introduce_ = unknown;
  for (const CollectionId id : dirty_.Take()) {
    if (!ReconcileCollection(id)) again.insert(id);
  }
  if (again.empty() && !unknown) {
    retry_after_ = kRetryLoad;
    return dirty_.NextDue();
  }
  for (const CollectionId id : again) dirty_.Add(id);
  // A file that can't be opened is seldom better a moment later; an owner or a coordinator that isn't there soon is.
  auto wait = awaits_owner_ ? kRetryLoad : std::exchange(retry_after_, std::min(retry_after_ * 2, kRetryLoadAtMost));
  if (unreported_) wait = std::min(wait, kRetryReportAtMost);
  const auto due = dirty_.NextDue();
  return due.count() > 0 ? std::min(wait, due) : wait;
}

std::set<SegmentId> QueryNodeRole::Desired(CollectionId id) const {
  std::set<SegmentId> desired;
  const auto placement = deps_.catalog->FindPlacement(id);
  if (placement == nullptr || deps_.catalog->GetCollection(id) == nullptr) return desired;
  for (const auto& placed : placement->segments) {
    for (const auto* nodes : {&placed.nodes, &placed.incoming}) {
      if (std::find(nodes->begin(), nodes->end(), deps_.node) != nodes->end()) desired.insert(placed.segment);
    }
  }
  return desired;
}

bool QueryNodeRole::ReconcileCollection(CollectionId id) {
  const std::set<SegmentId> desired = Desired(id);
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  std::vector<SegmentId> held;
  {
    ReaderLock lock(mutex_);
    for (const auto& [segment, loaded] : loaded_) {
      if (loaded.collection == id) held.push_back(segment);
    }
  }
  for (const SegmentId segment : held) {
    if (desired.contains(segment)) {
      leaving_.erase(segment);
    } else if (MayUnload(id, segment)) {
      Unload(segment);
    }
  }
  bool complete = true;
  std::vector<SegmentId> now;
  for (const SegmentId segment : desired) {
    if (std::find(held.begin(), held.end(), segment) != held.end()) {
      RefreshIndexes(segment, *collection);
      now.push_back(segment);
      continue;
    }
    const auto meta = deps_.catalog->FindSegment(segment);
    if (meta == nullptr || meta->state == SegmentState::kDropped) continue;  // the placement will follow
    if (Load(*meta, *collection)) {
      now.push_back(segment);
    } else {
      complete = false;
    }
  }
  if (collection != nullptr && !Report(id, now)) complete = false;
  return complete;
}

// False: it is to be repeated. After one report that failed the others of this round wait too: nobody answers.
bool QueryNodeRole::Report(CollectionId id, const std::vector<SegmentId>& held) {
  if (unreported_) return false;
  LoadedReport report;
  report.node = deps_.node;
  report.collection = id;
  report.memory.limit_bytes = deps_.memory_limit_bytes;
  {
    ReaderLock lock(mutex_);
    for (const auto& [segment, loaded] : loaded_) report.memory.used_bytes += loaded.bytes;
    for (const SegmentId segment : held) report.segments.push_back({segment, loaded_.at(segment).bytes});
  }
  auto* coord = deps_.peers->query_coord();
  const Status told = coord == nullptr ? Status(ErrorCode::kServiceUnavailable, "querycoord is away") : coord->ReportLoaded(report);
  if (!told.ok()) LogDebug("collection {}: reporting what is loaded failed, will be repeated: {}", id.value, told.ToString());
  unreported_ = !told.ok();
  return told.ok();
}

// One that left the placement of a loaded collection lingers: proxies learn of the new route a moment later, and reads on
// the former one are under way.
bool QueryNodeRole::MayUnload(CollectionId id, SegmentId segment) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  const int64_t now_us = MonotonicUs();
  const int64_t since_us = leaving_.try_emplace(segment, now_us).first->second;
  const int64_t left_ms = deps_.linger.count() - (now_us - since_us) / 1000;
  if (left_ms > 0 && collection != nullptr && collection->load.loaded) {
    dirty_.AddAfter(id, std::chrono::milliseconds(left_ms));
    return false;
  }
  leaving_.erase(segment);
  return true;
}

bool QueryNodeRole::Load(const SegmentMeta& meta, const Collection& collection) {
  const Stopwatch watch;
  auto segment = OpenSegment(deps_.objects, meta);
  if (!segment.ok()) {
    LogError("segment {}: loading failed: {}", meta.id.value, segment.status().ToString());
    // Said again with the next attempt.
    if (auto* coord = deps_.peers->query_coord()) {
      (void)coord->ReportLoadFailed(deps_.node, meta.collection, meta.id, segment.status());
    }
    return false;
  }
  Loaded loaded;
  loaded.segment = *segment;
  loaded.bytes = MemoryOf(meta);
  loaded.collection = meta.collection;
  loaded.channel = meta.channel;
  AttachIndexes(*segment, meta, collection, loaded.attached);
  const ShardKey key{meta.collection, meta.channel};
  loaded.follower = FollowerOf(key);
  {
    MutexLock lock(loaded.follower->mutex);
    Timestamp position = meta.deletes_until;
    if (const Status status = CatchUp(key, *segment, position); !status.ok()) {
      awaits_owner_ = true;
      LogDebug("segment {}: waiting for its deletes: {}", meta.id.value, status.ToString());
      return false;
    }
    // What the others lack they get with the next read; getting a delete twice is harmless.
    loaded.follower->segments.push_back({*segment, position});
    loaded.follower->Changed();
  }
  {
    WriterLock lock(mutex_);
    loaded_[meta.id] = std::move(loaded);
  }
  LogInfo("segment {} of collection {}: loaded, {} rows, in {} ms", meta.id.value, meta.collection.value, meta.rows,
          watch.elapsed_ms());
  return true;
}

void QueryNodeRole::Unload(SegmentId id) {
  Loaded gone;
  {
    WriterLock lock(mutex_);
    const auto it = loaded_.find(id);
    if (it == loaded_.end()) return;
    gone = std::move(it->second);
    loaded_.erase(it);
    ++unloaded_;
  }
  bool last = false;
  {
    MutexLock lock(gone.follower->mutex);
    std::erase_if(gone.follower->segments, [&](const Following& f) { return f.segment == gone.segment; });
    // What only it lacked may be gone, from its owner and from the files: nobody asks for that any more.
    gone.follower->Changed();
    last = gone.follower->segments.empty();
  }
  if (last) {
    // A read under way keeps its follower; the shard's next segment begins a new one. Only this loop adds segments.
    WriterLock lock(mutex_);
    followers_.erase({gone.collection, gone.channel});
  }
  LogInfo("segment {} of collection {}: released", id.value, gone.collection.value);
}

void QueryNodeRole::AttachIndexes(const SegmentPtr& segment, const SegmentMeta& meta, const Collection& collection,
                                  std::map<IndexId, Attached>& attached) const {
  for (const SegmentIndex& built : meta.indexes) {
    const IndexMeta* index = FindIndex(collection, built.index);
    if (index == nullptr || index->dropped || built.object.empty()) continue;
    const auto have = attached.find(built.index);
    if (have != attached.end() && have->second.object == built.object) continue;
    const Status status = AttachIndex(segment, deps_.objects, *index, built);
    if (!status.ok()) {
      // The segment is served without it, exactly but slower; indexcoord is told through the log of this node.
      LogError("segment {}: its index {} can't be used, searching without: {}", meta.id.value, index->name, status.ToString());
      continue;
    }
    attached[built.index] = {index->field, built.object};
  }
}

void QueryNodeRole::RefreshIndexes(SegmentId id, const Collection& collection) {
  const auto meta = deps_.catalog->FindSegment(id);
  if (meta == nullptr) return;
  SegmentPtr segment;
  std::map<IndexId, Attached> attached;
  {
    ReaderLock lock(mutex_);
    const auto it = loaded_.find(id);
    if (it == loaded_.end()) return;
    segment = it->second.segment;
    attached = it->second.attached;
  }
  // Detached first: a new index may be on the field of one that was dropped.
  for (auto it = attached.begin(); it != attached.end();) {
    if (const IndexMeta* index = FindIndex(collection, it->first); index != nullptr && !index->dropped) {
      ++it;
      continue;
    }
    DetachIndex(segment, it->second.field);
    it = attached.erase(it);
  }
  AttachIndexes(segment, *meta, collection, attached);
  WriterLock lock(mutex_);
  const auto it = loaded_.find(id);
  if (it != loaded_.end()) it->second.attached = std::move(attached);
}

// ---- deletes

std::shared_ptr<QueryNodeRole::Follower> QueryNodeRole::FollowerOf(const ShardKey& key) {
  WriterLock lock(mutex_);
  auto& follower = followers_[key];
  if (follower == nullptr) follower = std::make_shared<Follower>();
  return follower;
}

void QueryNodeRole::Follower::Changed() {
  if (segments.empty()) return;
  Timestamp least = kMaxTimestamp;
  for (const Following& following : segments) least = std::min(least, following.applied);
  applied = least;
}

void QueryNodeRole::Follower::Reached(Timestamp ts) {
  for (Following& following : segments) following.applied = std::max(following.applied, ts);
  applied = std::max(applied.load(), ts);
}

// Applies the committed delete segments of the shard beyond `position` and moves it to where they end.
Status QueryNodeRole::ApplyFiles(const ShardKey& key, const std::vector<SegmentPtr>& segments, Timestamp& position) const {
  std::vector<std::shared_ptr<const SegmentMeta>> files;
  for (const auto& meta : deps_.catalog->Segments(key.first)) {
    if (meta->kind == SegmentKind::kDeletes && meta->state == SegmentState::kFlushed && meta->channel == key.second &&
        meta->max_ts > position) {
      files.push_back(meta);
    }
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a->max_ts < b->max_ts; });
  for (const auto& file : files) {
    ASSIGN_OR_RETURN(const std::vector<DeleteBatch> batches, ReadDeletes(deps_.objects, *file));
    for (const DeleteBatch& batch : batches) {
      if (batch.ts <= position) continue;
      for (const auto& segment : segments) segment->Delete(batch);
    }
    position = std::max(position, file->max_ts);
  }
  return {};
}

// Brings a newly opened segment up to the present: the delete files, then the owner's stream.
Status QueryNodeRole::CatchUp(const ShardKey& key, const SegmentPtr& segment, Timestamp& position) const {
  RETURN_IF_ERROR(ApplyFiles(key, {segment}, position));
  DataNode* owner = deps_.peers->data_node(deps_.catalog->Channel(key.second).owner);
  if (owner == nullptr) {
    return {ErrorCode::kChannelNotAvailable, "channel " + std::to_string(key.second) + " has no owner at the moment"};
  }
  ASSIGN_OR_RETURN(const DeleteStream stream, owner->Deletes({key.first, key.second, position, kMaxTimestamp}));
  for (const DeleteBatch& batch : stream.batches) segment->Delete(batch);
  position = std::max(position, stream.complete_until);
  return {};
}

Status QueryNodeRole::FollowDeletes(const ShardKey& key, Follower& follower, Timestamp until) {
  if (follower.applied >= until) return {};
  MutexLock lock(follower.mutex);
  while (follower.applied < until) {
    DataNode* owner = deps_.peers->data_node(deps_.catalog->Channel(key.second).owner);
    if (owner == nullptr) {
      return {ErrorCode::kChannelNotAvailable, "channel " + std::to_string(key.second) + " has no owner at the moment"};
    }
    auto stream = owner->Deletes({key.first, key.second, follower.applied, until});
    if (stream.status().code() == ErrorCode::kCompacted) {
      Timestamp position = follower.applied;
      std::vector<SegmentPtr> segments;
      for (const Following& following : follower.segments) segments.push_back(following.segment);
      RETURN_IF_ERROR(ApplyFiles(key, segments, position));
      if (position == follower.applied) {
        // The files are gone too: compaction put these deletes into segments that replace ours. A newer route says so.
        return {ErrorCode::kStaleRoute, "the deletes after timestamp " + std::to_string(position) + " are compacted"};
      }
      follower.Reached(position);
      continue;
    }
    RETURN_IF_ERROR(stream.status());
    for (const DeleteBatch& batch : stream->batches) {
      for (const Following& following : follower.segments) following.segment->Delete(batch);
    }
    if (stream->complete_until <= follower.applied) {
      return {ErrorCode::kServiceUnavailable, "the owner of channel " + std::to_string(key.second) + " is behind the read"};
    }
    follower.Reached(stream->complete_until);
  }
  return {};
}

// ---- reads

Result<std::vector<SegmentPtr>> QueryNodeRole::Readable(const SealedLeg& leg) {
  const CollectionPtr collection = deps_.catalog->GetCollection(leg.collection);
  std::vector<SegmentPtr> out;
  std::map<ShardKey, std::shared_ptr<Follower>> followers;
  const int64_t unloaded = unloaded_;
  {
    ReaderLock lock(mutex_);
    for (const SegmentId id : leg.segments) {
      const auto it = loaded_.find(id);
      if (it == loaded_.end()) {
        return Status(ErrorCode::kStaleRoute, "segment " + std::to_string(id.value) + " is not held here");
      }
      if (leg.view.read_ts < it->second.segment->dropped_until() && RuleHolds(Rule::kKeptVersions)) return RowsGone(leg.view.read_ts);
      const PartitionId partition = it->second.segment->partition();
      if (!leg.partitions.empty()) {
        if (std::find(leg.partitions.begin(), leg.partitions.end(), partition) == leg.partitions.end()) continue;
      } else if (collection != nullptr && collection->FindPartition(partition) == nullptr) {
        continue;  // dropped
      }
      followers[{it->second.collection, it->second.channel}] = it->second.follower;
      out.push_back(it->second.segment);
    }
  }
  for (const auto& [key, follower] : followers) RETURN_IF_ERROR(FollowDeletes(key, *follower, leg.view.read_ts));
  // One that was released meanwhile gets no deletes any more.
  if (unloaded_ != unloaded) RETURN_IF_ERROR(CheckHeld(out));
  return out;
}

Status QueryNodeRole::CheckHeld(const std::vector<SegmentPtr>& segments) const {
  ReaderLock lock(mutex_);
  for (const SegmentPtr& segment : segments) {
    const auto it = loaded_.find(segment->id());
    if (it != loaded_.end() && it->second.segment == segment) continue;
    return {ErrorCode::kStaleRoute, "segment " + std::to_string(segment->id().value) + " was released while it was read"};
  }
  return {};
}

namespace {

// Runs `one` over all segments, on idle threads too, and collects the parts or the first error.
template <typename Part, typename One>
Result<std::vector<Part>> OverSegments(ThreadPool* pool, const std::vector<SegmentPtr>& segments, One one) {
  std::vector<Result<Part>> results(segments.size(), Result<Part>(Status(ErrorCode::kCancelled, "not run")));
  ParallelFor(pool, static_cast<int64_t>(segments.size()), [&](int64_t i) { results[i] = one(*segments[i]); });
  std::vector<Part> parts;
  for (auto& result : results) {
    RETURN_IF_ERROR(result.status());
    parts.push_back(std::move(*result));
  }
  return parts;
}

}  // namespace

void QueryNodeRole::Search(const SealedLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) {
  auto segments = Readable(leg);
  if (!segments.ok()) return done(segments.status());
  auto parts = OverSegments<SearchHits>(deps_.search, *segments,
                                        [&](const Segment& segment) { return SearchSegment(*plan, segment, leg.view); });
  if (!parts.ok()) return done(parts.status());
  done(MergeHits(*plan, std::move(*parts)));
}

void QueryNodeRole::Query(const SealedLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) {
  auto segments = Readable(leg);
  if (!segments.ok()) return done(segments.status());
  auto parts = OverSegments<QueryRows>(deps_.search, *segments,
                                       [&](const Segment& segment) { return QuerySegment(*plan, segment, leg.view); });
  if (!parts.ok()) return done(parts.status());
  done(MergeRows(*plan, std::move(*parts)));
}

void QueryNodeRole::Fetch(const FetchRequest& request, Callback<RowBatch> done) {
  SegmentPtr segment;
  {
    ReaderLock lock(mutex_);
    const auto it = loaded_.find(request.segment);
    if (it != loaded_.end()) segment = it->second.segment;
  }
  const CollectionPtr collection = deps_.catalog->GetCollection(request.collection);
  if (segment == nullptr || collection == nullptr) {
    return done(Status(ErrorCode::kStaleRoute, "segment " + std::to_string(request.segment.value) + " is not held here"));
  }
  done(FetchRows(*segment, *collection->schema, request.rows, request.fields));
}

Result<std::vector<LoadedSegmentInfo>> QueryNodeRole::LoadedSegments(CollectionId collection) {
  ReaderLock lock(mutex_);
  std::vector<LoadedSegmentInfo> out;
  for (const auto& [id, loaded] : loaded_) {
    if (collection && loaded.collection != collection) continue;
    LoadedSegmentInfo info{id, loaded.collection, loaded.segment->partition(), loaded.segment->rows(),
                           loaded.segment->memory_bytes(), {}};
    for (const auto& [index, file] : loaded.attached) info.indexes.push_back(index);
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace saker
