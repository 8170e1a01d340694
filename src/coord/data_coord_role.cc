#include "coord/data_coord_role.h"

#include <algorithm>

#include "base/log.h"
#include "meta/keys.h"

namespace saker {
namespace {

constexpr int kTries = 50;
constexpr size_t kOpsPerStep = 100;        // of etcd's 128, with room for compares
constexpr auto kSeen = std::chrono::milliseconds(5'000);

}  // namespace

DataCoordRole::DataCoordRole(CoordinatorDeps deps, DataCoordSettings settings)
    : Coordinator(std::move(deps)), settings_(settings), dirty_(deps_.catalog, [this] { loop_->Poke(); }) {
  loop_ = std::make_unique<ControlLoop>("datacoord", deps_.control, deps_.timer, [this] { return Step(); });
}

DataCoordRole::~DataCoordRole() { Stop(); }

void DataCoordRole::Start() {
  dirty_.Start();
  loop_->Poke();
}

void DataCoordRole::Stop() {
  dirty_.Stop();
  loop_->Stop();
}

std::chrono::milliseconds DataCoordRole::Step() {
  AssignChannels();
  bool waiting = false;
  for (const CollectionId id : dirty_.Take()) {
    PlanCompactions(id);
    DropSpentDeletes(id);
    if (CollectGarbage(id)) {
      dirty_.Add(id);
      waiting = true;
    }
  }
  if (!swept_.exchange(true)) deps_.io->Post([this] { SweepOrphans(); });
  return waiting ? settings_.garbage_grace : std::chrono::milliseconds(0);
}

// ---- channels

void DataCoordRole::AssignChannels() {
  std::map<ChannelId, Epoch> lost;
  {
    MutexLock lock(mutex_);
    lost = lost_;
  }
  const auto current = deps_.catalog->Channels();
  const auto changed = PlanChannels(settings_.channels, current, deps_.peers->data_nodes(), lost);
  for (size_t at = 0; at < changed.size(); at += kOpsPerStep) {
    std::vector<Compare> compares;
    std::vector<MetaOp> ops;
    for (size_t i = at; i < std::min(changed.size(), at + kOpsPerStep); ++i) {
      const std::string key = ChannelKey(changed[i].channel);
      compares.push_back(Compare::Unchanged(key, deps_.catalog->ChannelRevision(changed[i].channel)));
      ops.push_back(MetaOp::Put(key, Encode(changed[i])));
    }
    const auto revision = Commit(std::move(compares), std::move(ops));
    // Somebody was faster: the watch brings what they wrote, and pokes this loop.
    if (revision.status().code() == ErrorCode::kConflict) return;
    if (!revision.ok()) {
      LogWarn("assigning channels failed: {}", revision.status().ToString());
      deps_.timer->After(std::chrono::milliseconds(100), [this] { loop_->Poke(); });
      return;
    }
    (void)deps_.catalog->WaitFor(*revision, kSeen);  // the next step decides on this
  }
}

void DataCoordRole::ReportChannelLost(ChannelId channel, NodeId owner, Epoch seen) {
  {
    MutexLock lock(mutex_);
    auto& epoch = lost_[channel];
    epoch = std::max(epoch, seen);
  }
  (void)owner;
  loop_->Poke();
}

void DataCoordRole::ReportCheckpoint(ChannelId channel, Epoch epoch, int64_t checkpoint) {
  MutexLock lock(mutex_);
  (void)epoch;
  auto& known = checkpoints_[channel];
  known = std::max(known, checkpoint);
}

Result<ChannelAssignment> DataCoordRole::ReadChannel(ChannelId channel, Revision& revision) const {
  ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(ChannelKey(channel)));
  revision = kv.mod_revision;
  return DecodeChannelAssignment(kv.value);
}

// ---- flush

Result<FlushResult> DataCoordRole::Flush(CollectionId id) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  FlushResult result;
  std::set<ChannelId> unflushed;
  for (const auto& [owner, channels] : owners) {
    // Embedded owners answer at once; the callback form is what a cluster needs.
    Status status;
    Timestamp ts = 0;
    owner->BeginRead({id, channels, ConsistencyLevel::kStrong, 0}, [&](Result<ReadPoint> point) {
      status = point.status();
      if (point.ok()) ts = point->ts;
    });
    RETURN_IF_ERROR(status);
    result.flush_ts = std::max(result.flush_ts, ts);
    for (const GrowingSegmentInfo& growing : owner->GrowingSegments(id)) {
      if (growing.rows > 0) result.segments.push_back(growing.segment);
    }
    unflushed.insert(channels.begin(), channels.end());
  }
  for (const auto& segment : deps_.catalog->Segments(id)) {
    if (segment->kind == SegmentKind::kRows && segment->state == SegmentState::kFlushed) {
      result.flushed_segments.push_back(segment->id);
    }
  }
  for (const ChannelId channel : unflushed) {
    bool done = false;
    for (int i = 0; i < kTries && !done; ++i) {
      Revision revision = 0;
      ASSIGN_OR_RETURN(ChannelAssignment assignment, ReadChannel(channel, revision));
      auto& until = assignment.seal_before[id];
      until = std::max(until, result.flush_ts);
      auto committed = Commit({Compare::Unchanged(ChannelKey(channel), revision)},
                              {MetaOp::Put(ChannelKey(channel), Encode(assignment))});
      if (committed.status().code() == ErrorCode::kConflict) continue;
      RETURN_IF_ERROR(committed.status());
      RETURN_IF_ERROR(deps_.catalog->WaitFor(*committed, kSeen));
      done = true;
    }
    if (!done) return Status(ErrorCode::kServiceUnavailable, "channel " + std::to_string(channel) + " is changing all the time; retry");
  }
  return result;
}

Result<bool> DataCoordRole::IsFlushed(CollectionId id, Timestamp flush_ts, const std::vector<SegmentId>& segments) {
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  if (flush_ts != 0) {
    for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
      for (const auto& [requested, until] : assignment.seal_before) {
        if (until <= flush_ts && (requested == id || (collection == nullptr && !id))) return false;
      }
    }
    return true;
  }
  for (const NodeId node : deps_.peers->data_nodes()) {
    DataNode* owner = deps_.peers->data_node(node);
    if (owner == nullptr) continue;
    for (const GrowingSegmentInfo& growing : owner->GrowingSegments(id)) {
      if (std::find(segments.begin(), segments.end(), growing.segment) != segments.end()) return false;
    }
  }
  return true;
}

Result<Revision> DataCoordRole::CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) {
  Revision last = 0;
  // Rows first, deletes last: a crash in between leaves deletes that the log still has.
  for (size_t at = 0; at < segments.size(); at += kOpsPerStep) {
    bool done = false;
    for (int i = 0; i < kTries && !done; ++i) {
      Revision channel_revision = 0;
      ASSIGN_OR_RETURN(const ChannelAssignment assignment, ReadChannel(channel, channel_revision));
      if (assignment.epoch != epoch) {
        return Status(ErrorCode::kSuperseded, "channel " + std::to_string(channel) + " is at epoch " +
                                                  std::to_string(assignment.epoch) + ", the flush came from " + std::to_string(epoch));
      }
      const CollectionId id = segments[at].collection;
      ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(CollectionKey(id)));
      ASSIGN_OR_RETURN(const Collection collection, DecodeCollection(kv.value));
      if (collection.dropped) return Status(ErrorCode::kCollectionNotFound, "collection " + std::to_string(id.value) + " was dropped");
      std::vector<Compare> compares{Compare::Unchanged(ChannelKey(channel), channel_revision),
                                    Compare::Unchanged(CollectionKey(id), kv.mod_revision)};
      std::vector<MetaOp> ops;
      for (size_t j = at; j < std::min(segments.size(), at + kOpsPerStep); ++j) {
        ops.push_back(MetaOp::Put(SegmentKey(id, segments[j].id), Encode(segments[j])));
      }
      auto committed = Commit(std::move(compares), std::move(ops));
      if (committed.status().code() == ErrorCode::kConflict) continue;
      RETURN_IF_ERROR(committed.status());
      last = *committed;
      done = true;
    }
    if (!done) return Status(ErrorCode::kServiceUnavailable, "the catalog is changing all the time; the flush will be tried again");
  }
  return last;
}

Status DataCoordRole::ReportSealed(ChannelId channel, Epoch epoch, CollectionId id, Timestamp sealed_before) {
  for (int i = 0; i < kTries; ++i) {
    Revision revision = 0;
    ASSIGN_OR_RETURN(ChannelAssignment assignment, ReadChannel(channel, revision));
    if (assignment.epoch != epoch) return {ErrorCode::kSuperseded, "the channel has another owner"};
    const auto it = assignment.seal_before.find(id);
    if (it == assignment.seal_before.end() || it->second > sealed_before) return {};
    assignment.seal_before.erase(it);
    auto committed = Commit({Compare::Unchanged(ChannelKey(channel), revision)},
                            {MetaOp::Put(ChannelKey(channel), Encode(assignment))});
    if (committed.status().code() == ErrorCode::kConflict) continue;
    return committed.status();
  }
  return {ErrorCode::kServiceUnavailable, "the channel is changing all the time"};
}

// ---- statistics

Result<int64_t> DataCoordRole::RowCount(CollectionId id, PartitionId partition) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  int64_t rows = 0;
  std::set<SegmentId> committed;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    committed.insert(segment->id);
    if (segment->kind != SegmentKind::kRows || segment->state != SegmentState::kFlushed) continue;
    if (partition ? segment->partition == partition : collection->FindPartition(segment->partition) != nullptr) rows += segment->rows;
  }
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  for (const auto& [owner, channels] : owners) {
    for (const GrowingSegmentInfo& growing : owner->GrowingSegments(id)) {
      if (!committed.contains(growing.segment) && (!partition || growing.partition == partition)) rows += growing.rows;
    }
  }
  return rows;
}

Result<std::vector<SegmentReport>> DataCoordRole::Segments(CollectionId id) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  std::vector<SegmentReport> out;
  std::set<SegmentId> committed;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    committed.insert(segment->id);
    if (segment->kind == SegmentKind::kRows && segment->state == SegmentState::kFlushed) out.push_back({*segment, false, false});
  }
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  for (const auto& [owner, channels] : owners) {
    for (const GrowingSegmentInfo& growing : owner->GrowingSegments(id)) {
      if (committed.contains(growing.segment) || growing.rows == 0) continue;
      SegmentReport report;
      report.meta.id = growing.segment;
      report.meta.collection = growing.collection;
      report.meta.partition = growing.partition;
      report.meta.channel = growing.channel;
      report.meta.rows = growing.rows;
      report.meta.size_bytes = growing.size_bytes;
      report.growing = true;
      report.sealing = growing.sealing;
      out.push_back(std::move(report));
    }
  }
  return out;
}

}  // namespace saker
