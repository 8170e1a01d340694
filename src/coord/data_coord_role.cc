#include "coord/data_coord_role.h"

#include <algorithm>
#include <future>

#include "base/log.h"
#include "base/rules.h"
#include "meta/keys.h"
#include "meta/retry.h"

namespace saker {
namespace {

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

void DataCoordRole::NodesChanged() {
  dirty_.AddAll();
  loop_->Poke();
}

void DataCoordRole::Stop() {
  dirty_.Stop();
  loop_->Stop();
  gate_.Close();
}

std::chrono::milliseconds DataCoordRole::Step() {
  const bool assigned = AssignChannels() && ReassignTasks(TaskKind::kCompact);
  for (const CollectionId id : dirty_.Take()) {
    PlanCompactions(id);
    DropSpentDeletes(id);
    CollectGarbage(id);
  }
  if (!swept_.exchange(true)) {
    deps_.io->Post([this] {
      const Gate::Hold hold(gate_);
      if (hold) SweepOrphans();
    });
  }
  auto next = dirty_.NextDue();
  if (const auto handover = UntilHandover(); handover.count() > 0 && (next.count() == 0 || handover < next)) next = handover;
  return assigned || (next.count() > 0 && next < kRetry) ? next : kRetry;
}

// ---- channels

// False if it has to be tried again without anything else happening.
bool DataCoordRole::AssignChannels() {
  // The revisions before the values: a flush asked for in between makes the transaction fail, and is not overwritten.
  std::map<ChannelId, Revision> revisions;
  for (ChannelId channel = 0; channel < settings_.channels; ++channel) {
    revisions[channel] = deps_.catalog->ChannelRevision(channel);
  }
  const auto changed = PlanChannels(ChannelsNow());
  for (size_t at = 0; at < changed.size(); at += kOpsPerStep) {
    std::vector<Compare> compares;
    std::vector<MetaOp> ops;
    for (size_t i = at; i < std::min(changed.size(), at + kOpsPerStep); ++i) {
      const std::string key = ChannelKey(changed[i].channel);
      compares.push_back(Compare::Unchanged(key, revisions[changed[i].channel]));
      ops.push_back(MetaOp::Put(key, Encode(changed[i])));
    }
    const auto revision = Commit(std::move(compares), std::move(ops));
    // Somebody was faster: the watch brings what they wrote, and pokes this loop.
    if (revision.status().code() == ErrorCode::kConflict) return true;
    if (!revision.ok()) {
      LogWarn("assigning channels failed: {}", revision.status().ToString());
      return false;
    }
    (void)deps_.catalog->WaitFor(*revision, kSeen);  // the next step decides on this
    swept_ = false;                                  // files of the epochs that ended may lie about
  }
  return true;
}

ChannelInput DataCoordRole::ChannelsNow() {
  ChannelInput input;
  input.channels = settings_.channels;
  input.current = deps_.catalog->Channels();
  input.nodes = deps_.peers->data_nodes();
  input.draining = deps_.catalog->Draining();
  input.balance = settings_.balance_channels;
  for (const auto& collection : deps_.catalog->Collections("")) {
    if (collection->shards.size() > 1) input.collections.push_back(collection->shards);
  }
  const int64_t now_us = MonotonicUs();
  std::map<ChannelId, int64_t> moving_since_us;
  MutexLock lock(mutex_);
  input.lost = lost_;
  for (const ChannelAssignment& assignment : input.current) {
    if (!assignment.successor) continue;
    const auto known = moving_since_us_.find(assignment.channel);
    const int64_t since_us = known == moving_since_us_.end() ? now_us : known->second;
    moving_since_us[assignment.channel] = since_us;
    const auto flushed = handed_over_.find(assignment.channel);
    const bool ready = flushed != handed_over_.end() && flushed->second == assignment.epoch;
    // An owner that takes too long to flush leaves its successor more to replay, that is all.
    if (ready || now_us - since_us >= settings_.handover_limit.count() * 1000) input.handed_over.insert(assignment.channel);
  }
  moving_since_us_ = std::move(moving_since_us);
  return input;
}

// 0: no channel is on its way.
std::chrono::milliseconds DataCoordRole::UntilHandover() const {
  if (moving_since_us_.empty()) return std::chrono::milliseconds(0);
  int64_t first_us = MonotonicUs();
  for (const auto& [channel, since_us] : moving_since_us_) first_us = std::min(first_us, since_us);
  const int64_t left_us = first_us + settings_.handover_limit.count() * 1000 - MonotonicUs();
  return std::chrono::milliseconds(std::max<int64_t>(1, left_us / 1000 + 1));
}

Status DataCoordRole::ReportHandedOver(ChannelId channel, Epoch epoch) {
  {
    MutexLock lock(mutex_);
    auto& known = handed_over_[channel];
    if (known >= epoch) return {};
    known = epoch;
  }
  loop_->Poke();
  return {};
}

Status DataCoordRole::DrainNode(NodeId node, bool drain) { return SetDraining(node, drain, deps_.peers->data_nodes()); }

Result<DrainProgress> DataCoordRole::GetDrainProgress(NodeId node) {
  DrainProgress progress;
  progress.draining = deps_.catalog->Draining().contains(node);
  const auto channels = deps_.catalog->Channels();
  progress.channels = std::count_if(channels.begin(), channels.end(), [&](const ChannelAssignment& a) { return a.owner == node; });
  return progress;
}

Status DataCoordRole::ReportChannelLost(ChannelId channel, NodeId, Epoch seen) {
  {
    MutexLock lock(mutex_);
    auto& epoch = lost_[channel];
    epoch = std::max(epoch, seen);
  }
  loop_->Poke();
  return {};
}

// Whose epoch it was doesn't matter: what the log has truncated is gone.
Status DataCoordRole::ReportCheckpoint(ChannelId channel, Epoch, int64_t checkpoint) {
  std::set<CollectionId> awaiting;
  {
    MutexLock lock(mutex_);
    auto& known = checkpoints_[channel];
    known = std::max(known, checkpoint);
    awaiting.swap(awaiting_checkpoint_[channel]);
  }
  if (awaiting.empty()) return {};
  for (const CollectionId id : awaiting) dirty_.Add(id);
  loop_->Poke();
  return {};
}

Result<Revision> DataCoordRole::UpdateChannel(ChannelId channel, const std::function<Result<bool>(ChannelAssignment&)>& change) {
  return UntilNoConflict("channel " + std::to_string(channel), [&]() -> Result<Revision> {
    ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(ChannelKey(channel)));
    ASSIGN_OR_RETURN(ChannelAssignment assignment, DecodeChannelAssignment(kv.value));
    ASSIGN_OR_RETURN(const bool changed, change(assignment));
    if (!changed) return kv.mod_revision;
    return Commit({Compare::Unchanged(kv.key, kv.mod_revision)}, {MetaOp::Put(kv.key, Encode(assignment))});
  });
}

// ---- flush

namespace {

// The owner's clock. Embedded owners answer at once; the callback form is what a cluster needs.
Result<Timestamp> ClockOf(DataNode* owner, CollectionId collection, const std::vector<ChannelId>& channels) {
  auto answer = std::make_shared<std::promise<Result<Timestamp>>>();
  auto answered = answer->get_future();
  owner->BeginRead({collection, channels, ConsistencyLevel::kStrong, 0}, [answer](const Result<ReadPoint>& point) {
    answer->set_value(point.ok() ? Result<Timestamp>(point->ts) : Result<Timestamp>(point.status()));
  });
  if (answered.wait_for(kSeen) == std::future_status::ready) return answered.get();
  return Status(ErrorCode::kServiceUnavailable, "the owner of channel " + std::to_string(channels.front()) + " doesn't answer; retry");
}

}  // namespace

Result<FlushResult> DataCoordRole::Flush(CollectionId id) {
  FlushResult result;
  RETURN_IF_ERROR(UntilServed([&]() -> Status {
    ASSIGN_OR_RETURN(result, TryFlush(id));
    return {};
  }));
  return result;
}

Result<FlushResult> DataCoordRole::TryFlush(CollectionId id) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  FlushResult result;
  for (const auto& [owner, channels] : owners) {
    ASSIGN_OR_RETURN(const Timestamp now, ClockOf(owner, id, channels));
    result.flush_ts = std::max(result.flush_ts, now);
    ASSIGN_OR_RETURN(const auto growing_segments, owner->GrowingSegments(id));
    for (const GrowingSegmentInfo& growing : growing_segments) {
      if (growing.rows > 0) result.segments.push_back(growing.segment);
    }
  }
  for (const auto& segment : deps_.catalog->Segments(id)) {
    if (HoldsRowsOf(*collection, *segment)) result.flushed_segments.push_back(segment->id);
  }
  for (const auto& [owner, channels] : owners) {
    for (const ChannelId channel : channels) {
      const auto asked = UpdateChannel(channel, [&](ChannelAssignment& assignment) -> Result<bool> {
        auto& until = assignment.seal_before[id];
        if (until >= result.flush_ts) return false;
        until = result.flush_ts;
        return true;
      });
      RETURN_IF_ERROR(asked.status());
      RETURN_IF_ERROR(deps_.catalog->WaitFor(*asked, kSeen));
    }
  }
  return result;
}

// Some of the segments hold rows that are not committed.
Result<bool> DataCoordRole::AnyGrowing(CollectionId id, const std::vector<SegmentId>& segments) const {
  for (const NodeId node : deps_.peers->data_nodes()) {
    DataNode* owner = deps_.peers->data_node(node);
    if (owner == nullptr) continue;
    ASSIGN_OR_RETURN(const auto growing_segments, owner->GrowingSegments(id));
    for (const GrowingSegmentInfo& growing : growing_segments) {
      if (std::find(segments.begin(), segments.end(), growing.segment) != segments.end()) return true;
    }
  }
  return false;
}

Result<bool> DataCoordRole::IsFlushed(CollectionId id, Timestamp flush_ts, const std::vector<SegmentId>& segments) {
  if (flush_ts == 0) {
    ASSIGN_OR_RETURN(const bool growing, AnyGrowing(id, segments));
    return !growing;
  }
  bool asked_later = false;
  for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
    for (const auto& [requested, until] : assignment.seal_before) {
      if (id && requested != id) continue;
      if (until <= flush_ts) return false;
      asked_later = true;
    }
  }
  // A later request has taken the place of the one that is asked about: it stands for both. What the earlier one was to
  // seal tells them apart; who doesn't name that waits for the later one.
  if (!asked_later || segments.empty()) return !asked_later;
  ASSIGN_OR_RETURN(const bool growing, AnyGrowing(id, segments));
  return !growing;
}

Result<Revision> DataCoordRole::CommitFlush(ChannelId channel, Epoch epoch, const std::vector<SegmentMeta>& segments) {
  Revision last = 0;
  // Rows first, deletes last: a crash in between leaves deletes that the log still has.
  for (size_t at = 0; at < segments.size(); at += kOpsPerStep) {
    const auto part = std::span(segments).subspan(at, std::min(kOpsPerStep, segments.size() - at));
    ASSIGN_OR_RETURN(last, UntilNoConflict("the catalog", [&] { return CommitSegments(channel, epoch, part); }));
  }
  return last;
}

Result<Revision> DataCoordRole::CommitSegments(ChannelId channel, Epoch epoch, std::span<const SegmentMeta> segments) {
  ASSIGN_OR_RETURN(const KeyValue channel_kv, deps_.meta->Get(ChannelKey(channel)));
  ASSIGN_OR_RETURN(const ChannelAssignment assignment, DecodeChannelAssignment(channel_kv.value));
  if (assignment.epoch != epoch && RuleHolds(Rule::kFlushEpoch)) {
    return Status(ErrorCode::kSuperseded, "channel " + std::to_string(channel) + " is at epoch " +
                                              std::to_string(assignment.epoch) + ", the flush came from " + std::to_string(epoch));
  }
  const CollectionId id = segments.front().collection;
  ASSIGN_OR_RETURN(const KeyValue kv, deps_.meta->Get(CollectionKey(id)));
  ASSIGN_OR_RETURN(const Collection collection, DecodeCollection(kv.value));
  if (collection.dropped) return Status(ErrorCode::kCollectionNotFound, "collection " + std::to_string(id.value) + " was dropped");
  std::vector<Compare> compares{Compare::Unchanged(channel_kv.key, channel_kv.mod_revision),
                                Compare::Unchanged(kv.key, kv.mod_revision)};
  std::vector<MetaOp> ops;
  std::vector<const SegmentMeta*> superfluous;
  for (const SegmentMeta& segment : segments) {
    const std::string key = SegmentKey(id, segment.id);
    const auto known = deps_.meta->Get(key);
    if (known.ok()) {
      // Committed by an earlier attempt that was told otherwise. Compaction may have replaced it since: putting it once
      // more would bring its rows back beside those of what replaced it.
      superfluous.push_back(&segment);
      continue;
    }
    if (known.status().code() != ErrorCode::kIoKeyNotFound) return known.status();
    compares.push_back(Compare::Absent(key));
    ops.push_back(MetaOp::Put(key, Encode(segment)));
  }
  // Those that were committed may not be copied yet: their rows' log is cut once this is answered.
  const auto committed = ops.empty() ? SegmentsSoAlready() : Commit(std::move(compares), std::move(ops));
  if (!committed.ok()) return committed;
  for (const SegmentMeta* segment : superfluous) {
    if (const Status deleted = DeleteAttempt(*segment); !deleted.ok()) LogWarn("segment {}: {}", segment->id.value, deleted.ToString());
  }
  return committed;
}

Status DataCoordRole::ReportSealed(ChannelId channel, Epoch epoch, CollectionId id, Timestamp sealed_before) {
  return UpdateChannel(channel, [&](ChannelAssignment& assignment) -> Result<bool> {
           if (assignment.epoch != epoch) return Status(ErrorCode::kSuperseded, "the channel has another owner");
           const auto it = assignment.seal_before.find(id);
           if (it == assignment.seal_before.end() || it->second > sealed_before) return false;
           assignment.seal_before.erase(it);
           return true;
         })
      .status();
}

// ---- statistics

Result<int64_t> DataCoordRole::RowCount(CollectionId id, PartitionId partition) {
  ASSIGN_OR_RETURN(const CollectionPtr collection, Living(id));
  int64_t rows = 0;
  std::set<SegmentId> committed;
  for (const auto& segment : deps_.catalog->Segments(id)) {
    committed.insert(segment->id);
    if (!partition || segment->partition == partition) rows += CountedRows(*collection, *segment);
  }
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  for (const auto& [owner, channels] : owners) {
    ASSIGN_OR_RETURN(const auto growing_segments, owner->GrowingSegments(id));
    for (const GrowingSegmentInfo& growing : growing_segments) {
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
    if (HoldsRowsOf(*collection, *segment)) out.push_back({*segment, false, false});
  }
  ASSIGN_OR_RETURN(const auto owners, Owners(collection->shards));
  for (const auto& [owner, channels] : owners) {
    ASSIGN_OR_RETURN(const auto growing_segments, owner->GrowingSegments(id));
    for (const GrowingSegmentInfo& growing : growing_segments) {
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
