// Reads of growing segments and the stream of deletes.
#include <algorithm>
#include <utility>

#include "base/rules.h"
#include "datanode/data_node_role.h"
#include "meta/generation_store.h"

namespace saker {
namespace {

// Nobody else can own a channel, or the reader doesn't mind.
bool NeedsNoProof(const Log& log, ConsistencyLevel level) { return log.exclusive() || level == ConsistencyLevel::kEventually; }

}  // namespace

Status DataNodeRole::CheckServing(const std::vector<ChannelId>& channels) const {
  for (const ChannelId channel : channels) {
    if (channel >= 0 && channel < static_cast<int>(channels_.size()) && At(channel).serving) continue;
    return {ErrorCode::kChannelNotAvailable, "channel " + std::to_string(channel) +
                                                 " is not served by this node at the moment (it may be replaying its log); retry"};
  }
  return {};
}

Result<std::vector<Epoch>> DataNodeRole::ServedEpochs(const std::vector<ChannelId>& channels) const {
  RETURN_IF_ERROR(CheckServing(channels));
  std::vector<Epoch> epochs;
  for (const ChannelId channel : channels) epochs.push_back(At(channel).epoch);
  return epochs;
}

Status DataNodeRole::CheckEpochs(const std::vector<ChannelId>& channels, const std::vector<Epoch>& epochs) const {
  ASSIGN_OR_RETURN(const std::vector<Epoch> now, ServedEpochs(channels));
  if (now == epochs) return {};
  return {ErrorCode::kChannelNotAvailable, "the channels were taken over again while they were read; retry"};
}

// Everything that was acknowledged is at or before `applied_ts_`, and nothing will be stamped at or below it: all levels
// read there. What the levels differ in is how old the proof may be that this node still owns the channels: strong needs
// one younger than the request, eventually none (protocol.md, rule 3).
void DataNodeRole::BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) {
  if (Status status = CheckServing(request.channels); !status.ok()) return done(status);
  const Timestamp applied = applied_ts_;
  // Before anything later is sealed: who plans by deletes looks at the pins after them.
  if (request.iterator) pins_.Hold(request.collection, request.pinned_at != 0 ? request.pinned_at : applied, MonotonicUs());
  Timestamp ceiling = kMaxTimestamp;
  for (const ChannelId channel : request.channels) ceiling = std::min<Timestamp>(ceiling, At(channel).ceiling);
  // Another owner may read above our clock, or it is long since the channel's ceiling was logged.
  const Timestamp wanted = std::max(applied, request.at_least);
  if (request.at_least > applied || wanted > ceiling) return RaiseCeilings(request, wanted, std::move(done));
  // Without a callback on the heap: the way of every read in standalone.
  if (NeedsNoProof(*deps_.log, request.level)) return done(ReadPoint{applied});
  ProveOwnership(request.channels, request.level, [this, applied, ceiling, done = std::move(done)](const Status& owned) {
    if (!owned.ok()) return done(owned);
    done(ReadPoint{std::max(applied, std::min<Timestamp>(applied_ts_, ceiling))});
  });
}

// Some way ahead, so that reads rarely have to raise it. A clock that is ahead of the wall's, because it goes on above
// an earlier owner's ceiling, is not driven further ahead with each change of owner.
Timestamp DataNodeRole::CeilingFor(Timestamp ts) const {
  constexpr int64_t kStepMs = 10'000;
  return MakeTimestamp(std::max(WallMs() + kStepMs, UnixMs(ts) + 1));
}

// In the log's order, as all callbacks of Append.
void DataNodeRole::CeilingLogged(ChannelId id, Timestamp ceiling, LogOffset at) {
  Channel& channel = At(id);
  channel.applied = at + 1;
  if (ceiling < channel.ceiling) return;
  channel.ceiling = ceiling;
}

// Logs a ceiling at or above `to`; the records prove the ownership as well.
void DataNodeRole::RaiseCeilings(const ReadPointRequest& request, Timestamp to, Callback<ReadPoint> done) {
  const int64_t begun_us = MonotonicUs();
  MutexLock lock(append_mutex_);
  clock_.Observe(request.at_least);
  const Timestamp raised = CeilingFor(to);
  std::vector<LogAppend> appends;
  for (const ChannelId channel : request.channels) {
    appends.push_back({channel, At(channel).epoch, Encode(CeilingRecord{raised})});
  }
  const Timestamp applied = applied_ts_;
  Timestamp before = kMaxTimestamp;
  for (const ChannelId channel : request.channels) before = std::min<Timestamp>(before, At(channel).ceiling);
  Append(std::move(appends), [=, this, done = std::move(done)](const Result<std::vector<LogOffset>>& offsets) {
    // On a full disk reads go on: nothing is stamped that this record would have to precede.
    const bool refused = offsets.status().code() == ErrorCode::kDiskLimitExceeded;
    if (refused && request.at_least <= applied) return done(ReadPoint{applied});
    if (!offsets.ok()) {
      AppendFailed(request.channels, offsets.status());
      // Without the log what is there can still be read, as it was up to the last ceiling.
      const bool stale_will_do = request.level == ConsistencyLevel::kEventually && request.at_least == 0;
      if (stale_will_do && CheckServing(request.channels).ok()) return done(ReadPoint{std::min(applied, before)});
      return done(offsets.status());
    }
    for (size_t i = 0; i < request.channels.size(); ++i) {
      CeilingLogged(request.channels[i], raised, (*offsets)[i]);
      Proved(request.channels[i], begun_us);
    }
    RaiseApplied(request.at_least);
    done(ReadPoint{std::min<Timestamp>(applied_ts_, raised)});
  });
}

void DataNodeRole::ProveOwnership(const std::vector<ChannelId>& channels, ConsistencyLevel level,
                                  std::function<void(const Status&)> done) {
  const int64_t trusted_us = level == ConsistencyLevel::kStrong ? 0 : settings_.proof_age.count() * 1000;
  std::vector<ChannelId> unproved;
  for (const ChannelId channel : channels) {
    if (MonotonicUs() - At(channel).proved_us >= trusted_us) unproved.push_back(channel);
  }
  if (unproved.empty() || !RuleHolds(Rule::kProof)) return done({});
  struct Round {
    std::atomic<size_t> left;
    Mutex mutex;
    Status failed;
  };
  auto round = std::make_shared<Round>();
  round->left = unproved.size();
  const auto proved = [round, done = std::move(done)](const Status& status) {
    if (!status.ok()) {
      MutexLock lock(round->mutex);
      round->failed = status;
    }
    if (round->left.fetch_sub(1, std::memory_order_acq_rel) == 1) done(round->failed);
  };
  for (const ChannelId channel : unproved) {
    bool start = false;
    {
      MutexLock lock(proofs_mutex_);
      Proof& proof = proofs_[channel];
      proof.waiting.push_back(proved);
      start = !std::exchange(proof.under_way, true);
    }
    if (start) StartProof(channel);
  }
}

// A record that says nothing, for all who wait at this moment; who comes later waits for the next one.
void DataNodeRole::StartProof(ChannelId channel) {
  std::vector<std::function<void(const Status&)>> waiting;
  {
    MutexLock lock(proofs_mutex_);
    waiting.swap(proofs_[channel].waiting);
    if (waiting.empty()) {
      proofs_[channel].under_way = false;
      return;
    }
  }
  const int64_t begun_us = MonotonicUs();
  MutexLock lock(append_mutex_);
  const Timestamp ceiling = At(channel).ceiling;
  std::vector<LogAppend> record;
  record.push_back({channel, At(channel).epoch, Encode(CeilingRecord{ceiling})});
  Append(std::move(record), [=, this](const Result<std::vector<LogOffset>>& offsets) {
    if (offsets.ok()) {
      CeilingLogged(channel, ceiling, offsets->front());
      Proved(channel, begun_us);
    } else {
      AppendFailed({channel}, offsets.status());
    }
    for (const auto& answer : waiting) answer(offsets.status());
    StartProof(channel);
  });
}

void DataNodeRole::Proved(ChannelId channel, int64_t begun_us) {
  auto& proved = At(channel).proved_us;
  if (begun_us > proved) proved = begun_us;  // only the strand writes it
}

// Whether the route has the segment's rows in others, which a compaction made of it: it was served and may be released,
// but this node has yet to do so, or even to learn of it. Only what was flushed is ever compacted.
Result<bool> DataNodeRole::IsReplaced(const Growing& growing, const GrowingLeg& leg) const {
  if (growing.state == GrowingState::kOpen) return false;
  if (leg.route_version > deps_.catalog->revision()) {
    return Status(ErrorCode::kStaleRoute, "this node has yet to see route version " + std::to_string(leg.route_version));
  }
  const bool committed = growing.state == GrowingState::kFlushed && deps_.catalog->revision() >= growing.committed_at;
  const auto meta = deps_.catalog->FindSegment(growing.segment->id());
  if (meta == nullptr ? !committed : meta->state != SegmentState::kDropped) return false;
  const auto placement = deps_.catalog->FindPlacement(leg.collection);
  if (placement == nullptr) return false;
  if (leg.route_version >= placement->version) return true;
  return Status(ErrorCode::kStaleRoute, "route version " + std::to_string(leg.route_version) + " is outdated, need " +
                                            std::to_string(placement->version));
}

// A segment of which nothing was left is in no route, so that no querynode can say that a read came too late for it: this
// node does, once it knows all that the route's writer knew. Such segments are remembered for as long as an earlier owner's
// pins may have lasted.
Status DataNodeRole::CheckKept(const GrowingLeg& leg) const {
  if (leg.route_version > deps_.catalog->revision()) {
    return {ErrorCode::kStaleRoute, "this node has yet to see route version " + std::to_string(leg.route_version)};
  }
  for (const auto& segment : deps_.catalog->Segments(leg.collection)) {
    if (!segment->LeftNothing() || segment->dropped_until <= leg.view.read_ts) continue;
    const auto& asked = leg.partitions;
    if (asked.empty() || std::find(asked.begin(), asked.end(), segment->partition) != asked.end()) return RowsGone(leg.view.read_ts);
  }
  return {};
}

Result<std::vector<std::shared_ptr<GrowingSegment>>> DataNodeRole::SegmentsFor(const GrowingLeg& leg) const {
  if (GenerationOf(leg.route_version) > generation_) {
    return Status(ErrorCode::kStaleRoute, "the metadata has begun a new generation, which this node is yet to follow; retry");
  }
  ASSIGN_OR_RETURN(const std::vector<Epoch> epochs, ServedEpochs(leg.channels));
  const CollectionPtr collection = deps_.catalog->GetCollection(leg.collection);
  std::vector<std::shared_ptr<GrowingSegment>> out;
  for (const ChannelId channel : leg.channels) {
    const auto shard = FindShard({leg.collection, channel});
    if (shard == nullptr) continue;
    for (auto& growing : shard->Readable(leg.sealed)) {
      ASSIGN_OR_RETURN(const bool replaced, IsReplaced(growing, leg));
      if (replaced) continue;
      auto& segment = growing.segment;
      const PartitionId partition = segment->partition();
      if (!leg.partitions.empty()) {
        if (std::find(leg.partitions.begin(), leg.partitions.end(), partition) == leg.partitions.end()) continue;
      } else if (collection != nullptr && collection->FindPartition(partition) == nullptr) {
        continue;  // dropped
      }
      out.push_back(std::move(segment));
    }
  }
  RETURN_IF_ERROR(CheckEpochs(leg.channels, epochs));
  if (leg.pinned && RuleHolds(Rule::kKeptVersions)) RETURN_IF_ERROR(CheckKept(leg));
  // After collecting: a release raises the minimum first and forgets the segment then.
  MutexLock lock(shards_mutex_);
  if (const auto awaited = awaited_.find(leg.collection); awaited != awaited_.end()) {
    for (const SegmentId segment : awaited->second) {
      if (std::binary_search(leg.sealed.begin(), leg.sealed.end(), segment) || !IsAwaited(leg.collection, segment)) continue;
      return Status(ErrorCode::kStaleRoute, "segment " + std::to_string(segment.value) + " is not served yet");
    }
  }
  const auto min = min_route_.find(leg.collection);
  if (min != min_route_.end() && leg.route_version < min->second && RuleHolds(Rule::kMinimumRoute)) {
    return Status(ErrorCode::kStaleRoute, "route version " + std::to_string(leg.route_version) + " is outdated, need " +
                                              std::to_string(min->second));
  }
  return out;
}

void DataNodeRole::Search(const GrowingLeg& leg, std::shared_ptr<const SearchPlan> plan, Callback<SearchHits> done) {
  auto segments = SegmentsFor(leg);
  if (!segments.ok()) return done(segments.status());
  std::vector<SearchHits> parts;
  for (const auto& segment : *segments) {
    if (plan->ignore_growing || segment->rows() == 0) continue;
    auto hits = SearchSegment(*plan, *segment, leg.view);
    if (!hits.ok()) return done(hits.status());
    parts.push_back(std::move(*hits));
  }
  done(MergeHits(*plan, std::move(parts)));
}

void DataNodeRole::Query(const GrowingLeg& leg, std::shared_ptr<const QueryPlan> plan, Callback<QueryRows> done) {
  auto segments = SegmentsFor(leg);
  if (!segments.ok()) return done(segments.status());
  std::vector<QueryRows> parts;
  for (const auto& segment : *segments) {
    if (segment->rows() == 0) continue;
    auto rows = QuerySegment(*plan, *segment, leg.view);
    if (!rows.ok()) return done(rows.status());
    parts.push_back(std::move(*rows));
  }
  done(MergeRows(*plan, std::move(parts)));
}

void DataNodeRole::Fetch(const FetchRequest& request, Callback<RowBatch> done) {
  const CollectionPtr collection = deps_.catalog->GetCollection(request.collection);
  for (const auto& shard : Shards()) {
    if (shard->collection() != request.collection || collection == nullptr) continue;
    if (const auto segment = shard->Find(request.segment)) {
      return done(FetchRows(*segment, *collection->schema, request.rows, request.fields));
    }
  }
  done(Status(ErrorCode::kStaleRoute, "segment " + std::to_string(request.segment.value) + " is no longer held here"));
}

Result<DeleteStream> DataNodeRole::Deletes(const DeleteStreamRequest& request) {
  const std::vector<ChannelId> channels{request.channel};
  ASSIGN_OR_RETURN(const std::vector<Epoch> epochs, ServedEpochs(channels));
  // Read before the deletes: everything applied until then is in the shard. Who hears that nothing is missing up to some
  // time reads there, and never asks again: a successor has to stamp above it, and knows of the ceiling. A read that names
  // its time has had it raised so far.
  const Timestamp ceiling = At(request.channel).ceiling;
  const Timestamp complete = std::min<Timestamp>(applied_ts_, request.until == kMaxTimestamp ? ceiling : std::max(ceiling, request.until));
  DeleteStream stream;
  stream.complete_until = std::max(complete, request.after);
  const ShardKey key{request.collection, request.channel};
  auto shard = FindShard(key);
  if (shard == nullptr) {
    RETURN_IF_ERROR(CheckEpochs(channels, epochs));
    if (request.after >= CommittedDeletesUntil(key)) return stream;  // nothing was deleted since
    shard = GetShard(key);
  }
  ASSIGN_OR_RETURN(stream.batches, shard->DeletesAfter(request.after));
  RETURN_IF_ERROR(CheckEpochs(channels, epochs));
  if (!stream.batches.empty()) stream.complete_until = std::max(stream.complete_until, stream.batches.back().ts);
  return stream;
}

Result<std::vector<GrowingSegmentInfo>> DataNodeRole::GrowingSegments(CollectionId collection) {
  std::vector<GrowingSegmentInfo> out;
  for (const auto& shard : Shards()) {
    if (collection && shard->collection() != collection) continue;
    for (const Growing& growing : shard->Segments()) {
      if (growing.state == GrowingState::kFlushed) continue;
      out.push_back({growing.segment->id(), shard->collection(), growing.segment->partition(), shard->channel(),
                     growing.segment->rows(), growing.segment->size_bytes(), growing.state != GrowingState::kOpen});
    }
  }
  return out;
}

}  // namespace saker
