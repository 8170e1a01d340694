// Reads of growing segments and the stream of deletes.
#include <algorithm>

#include "datanode/data_node_role.h"

namespace saker {

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

// Strong needs a proof of ownership that is younger than the request (protocol.md, rule 3): with the embedded log that
// is the lock on its directory, held as long as the process lives. All levels then read the same way: at what has been
// applied, which includes all that was acknowledged.
void DataNodeRole::BeginRead(const ReadPointRequest& request, Callback<ReadPoint> done) {
  if (Status status = CheckServing(request.channels); !status.ok()) return done(status);
  const Timestamp applied = applied_ts_;
  // Before anything later is sealed: who plans by deletes looks at the pins after them.
  if (request.iterator) pins_.Hold(request.collection, request.pinned_at != 0 ? request.pinned_at : applied, MonotonicUs());
  if (request.at_least <= applied) return done(ReadPoint{applied});
  // Another owner reads above our clock: log the ceiling, then nothing here is stamped at or below it any more.
  MutexLock lock(append_mutex_);
  clock_.Observe(request.at_least);
  std::vector<LogAppend> appends;
  for (const ChannelId channel : request.channels) {
    appends.push_back({channel, At(channel).epoch, Encode(CeilingRecord{request.at_least})});
  }
  Append(std::move(appends), [this, request, done = std::move(done)](const Result<std::vector<LogOffset>>& offsets) {
    if (!offsets.ok()) return done(offsets.status());
    for (size_t i = 0; i < request.channels.size(); ++i) At(request.channels[i]).applied = (*offsets)[i] + 1;
    RaiseApplied(request.at_least);
    done(ReadPoint{applied_ts_});
  });
}

Result<std::vector<std::shared_ptr<GrowingSegment>>> DataNodeRole::SegmentsFor(const GrowingLeg& leg) const {
  ASSIGN_OR_RETURN(const std::vector<Epoch> epochs, ServedEpochs(leg.channels));
  const CollectionPtr collection = deps_.catalog->GetCollection(leg.collection);
  std::vector<std::shared_ptr<GrowingSegment>> out;
  for (const ChannelId channel : leg.channels) {
    const auto shard = FindShard({leg.collection, channel});
    if (shard == nullptr) continue;
    for (auto& segment : shard->Readable(leg.sealed)) {
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
  // After collecting: a release raises the minimum first and forgets the segment then.
  MutexLock lock(shards_mutex_);
  if (const auto awaited = awaited_.find(leg.collection); awaited != awaited_.end()) {
    for (const SegmentId segment : awaited->second) {
      if (std::binary_search(leg.sealed.begin(), leg.sealed.end(), segment) || !IsAwaited(leg.collection, segment)) continue;
      return Status(ErrorCode::kStaleRoute, "segment " + std::to_string(segment.value) + " is not served yet");
    }
  }
  const auto min = min_route_.find(leg.collection);
  if (min != min_route_.end() && leg.route_version < min->second) {
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
  // Read before the deletes: everything applied until then is in the shard.
  const Timestamp complete = applied_ts_;
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

std::vector<GrowingSegmentInfo> DataNodeRole::GrowingSegments(CollectionId collection) {
  std::vector<GrowingSegmentInfo> out;
  for (const auto& shard : Shards()) {
    if (collection && shard->collection() != collection) continue;
    for (const Growing& growing : shard->Segments()) {
      if (growing.state == GrowingState::kFlushed) continue;
      out.push_back({growing.segment->id(), shard->collection(), growing.segment->partition(), shard->channel(),
                     growing.segment->rows(), growing.segment->size_bytes(), growing.state == GrowingState::kSealing});
    }
  }
  return out;
}

}  // namespace saker
