// Sealing and flushing: growing segments become files, one transaction makes them known, the log is truncated.
#include <algorithm>
#include <random>

#include "base/log.h"
#include "base/rules.h"
#include "base/metrics.h"
#include "datanode/data_node_role.h"

namespace saker {
namespace {

constexpr auto kRetryFlush = std::chrono::milliseconds(1000);
// Who waits longer for an answer, or is one of more, may write twice if the channel changes hands in between.
constexpr std::chrono::milliseconds kAskedAgainWithin = std::chrono::minutes(10);
constexpr size_t kBatchesSummedUp = 20'000;

// Unique for every attempt: an object is written once, and garbage collection sees by the epoch of which channel who made
// it (coord/garbage.cc).
std::string AttemptName(CollectionId collection, SegmentId segment, ChannelId channel, Epoch epoch) {
  static std::atomic<int64_t> attempt{0};
  return "segments/" + std::to_string(collection.value) + "/" + std::to_string(segment.value) + "/e" +
         std::to_string(epoch) + "c" + std::to_string(channel) + "-" + std::to_string(MonotonicUs()) + "-" + std::to_string(++attempt);
}

}  // namespace

void DataNodeRole::SealRequested() {
  for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
    if (assignment.owner != deps_.node || !At(assignment.channel).serving) continue;
    for (const auto& [collection, until] : assignment.seal_before) {
      const auto shard = FindShard({collection, assignment.channel});
      const Timestamp oldest = shard == nullptr ? 0 : shard->oldest_unflushed_ts();
      if (oldest != 0 && oldest <= until) {
        SealShard(shard);
        continue;
      }
      auto* coord = deps_.peers->data_coord();
      if (coord == nullptr) continue;
      const Status status = coord->ReportSealed(assignment.channel, assignment.epoch, collection, until);
      if (!status.ok()) LogWarn("channel {}: reporting a flush failed: {}", assignment.channel, status.ToString());
    }
  }
}

void DataNodeRole::SealShard(const std::shared_ptr<Shard>& shard) {
  const ShardKey key{shard->collection(), shard->channel()};
  const ChannelId channel = shard->channel();
  MutexLock lock(append_mutex_);
  // While the channel is replayed the shard is incomplete: what would be sealed now would be taken for all there is.
  if (!shard->MayFlush() || !At(channel).serving) return;
  std::erase_if(open_, [&](const auto& entry) { return entry.first.first == key; });
  const Timestamp seal_ts = clock_.Next();
  // The seal goes through the log like a write, so that it is applied in order: after every batch stamped before it,
  // also those still on their way to disk, and before every later one.
  const Epoch epoch = At(channel).epoch;
  std::vector<LogAppend> marker;
  marker.push_back({channel, epoch, Encode(CeilingRecord{seal_ts})});
  Append(std::move(marker), [this, shard, channel, epoch, seal_ts](const Result<std::vector<LogOffset>>& offsets) {
    // Applied only while the channel is served: after that the shard lacks what came last.
    const bool current = At(channel).serving && At(channel).epoch == epoch;
    if (!offsets.ok()) {
      AppendFailed({channel}, offsets.status());
      deps_.timer->After(kRetryFlush, [this] { loop_->Poke(); });
      return;
    }
    if (!current) return;
    At(channel).applied = offsets->front() + 1;
    RaiseApplied(seal_ts);
    auto generation = std::make_shared<Generation>();
    const Timestamp keep_from = pins_.Oldest(shard->collection(), MonotonicUs());
    if (!shard->BeginFlush(seal_ts, *generation, keep_from)) return;
    deps_.io->Post([this, shard, generation, epoch] {
      const Gate::Hold hold(gate_);
      if (hold) Flush(shard, *generation, epoch);
    });
  });
}

Result<std::vector<SegmentMeta>> DataNodeRole::WriteGeneration(const Shard& shard, const Generation& generation, Epoch epoch) {
  const CollectionPtr collection = deps_.catalog->GetCollection(shard.collection());
  if (collection == nullptr) return Status(ErrorCode::kCollectionNotFound, "the collection was dropped");
  std::vector<SegmentMeta> metas;
  LogOffset log_end = 0;
  for (size_t i = 0; i < generation.segments.size(); ++i) {
    const auto& segment = generation.segments[i];
    log_end = std::max(log_end, generation.log_ends[i]);
    if (collection->FindPartition(segment->partition()) == nullptr) continue;  // dropped: replay skips its rows too
    SegmentWriteRequest request;
    request.store = deps_.objects;
    request.id = segment->id();
    request.partition = segment->partition();
    request.schema = collection->schema;
    request.sources = {segment};
    request.deletes_until = generation.rows_until;
    request.prefix = AttemptName(shard.collection(), segment->id(), shard.channel(), epoch);
    ASSIGN_OR_RETURN(const SegmentFiles files, WriteSegment(request));
    SegmentMeta meta;
    meta.id = segment->id();
    meta.collection = shard.collection();
    meta.partition = segment->partition();
    meta.channel = shard.channel();
    // All its rows deleted again: known as dropped, so that a replay doesn't bring it back.
    meta.state = files.rows == 0 ? SegmentState::kDropped : SegmentState::kFlushed;
    meta.rows = files.rows;
    meta.deleted_rows = segment->rows() - files.rows;
    meta.size_bytes = files.size_bytes;
    meta.min_ts = files.min_ts;
    meta.max_ts = std::max(files.max_ts, segment->max_ts());
    meta.deletes_until = generation.rows_until;
    meta.dropped_until = files.dropped_until;
    meta.log_end = generation.log_ends[i];
    meta.epoch = epoch;
    meta.manifest = files.manifest;
    metas.push_back(std::move(meta));
  }
  if (!generation.deletes.empty()) {
    ASSIGN_OR_RETURN(const int64_t id, deps_.next_id());
    ASSIGN_OR_RETURN(const SegmentFiles files, WriteDeletes(deps_.objects, AttemptName(shard.collection(), SegmentId(id), shard.channel(), epoch),
                                                            SegmentId(id), generation.deletes));
    SegmentMeta meta;
    meta.id = SegmentId(id);
    meta.collection = shard.collection();
    meta.channel = shard.channel();
    meta.kind = SegmentKind::kDeletes;
    meta.rows = files.rows;
    meta.size_bytes = files.size_bytes;
    meta.min_ts = generation.deletes.front().ts;
    meta.max_ts = generation.deletes.back().ts;
    meta.deletes_until = generation.deletes_until;
    meta.log_end = log_end;
    meta.epoch = epoch;
    meta.manifest = files.manifest;
    metas.push_back(std::move(meta));
  }
  return metas;
}

// `epoch` is the one at which the generation was sealed: if the channel has been taken over since, also by this node,
// the commit is refused, and the log's records have become the new owner's.
void DataNodeRole::Flush(const std::shared_ptr<Shard>& shard, const Generation& generation, Epoch epoch) {
  const Stopwatch watch;
  const ChannelId channel = shard->channel();
  const int64_t bytes = shard->unflushed_bytes();
  auto metas = WriteGeneration(*shard, generation, epoch);
  Status status = metas.status();
  Revision revision = 0;
  if (status.ok()) {
    auto* coord = deps_.peers->data_coord();
    auto committed = coord == nullptr ? Result<Revision>(Status(ErrorCode::kServiceUnavailable, "datacoord is away"))
                     : metas->empty() ? Result<Revision>(deps_.catalog->revision())
                                      : coord->CommitFlush(channel, epoch, *metas);
    status = committed.status();
    if (status.ok()) revision = *committed;
  }
  if (status.ok()) {
    int64_t rows = 0;
    for (const auto& meta : *metas) rows += meta.kind == SegmentKind::kRows ? meta.rows : 0;
    const int64_t before = shard->unflushed_bytes();
    shard->EndFlush(generation, revision);
    At(channel).unflushed_bytes -= before - shard->unflushed_bytes();
    LogInfo("channel {}: flushed {} segments, {} rows, {} delete batches of collection {} ({} MiB) in {} ms", channel,
            generation.segments.size(), rows, generation.deletes.size(), shard->collection().value, bytes >> 20,
            watch.elapsed_ms());
    loop_->Poke();
    return;
  }
  if (status.code() == ErrorCode::kCollectionNotFound) return ForgetShard({shard->collection(), channel});
  if (status.code() == ErrorCode::kSuperseded) {
    if (At(channel).epoch == epoch) StepDown(channel, status.ToString());
    return;
  }
  LogWarn("channel {}: a flush of collection {} failed, will be tried again: {}", channel, shard->collection().value,
          status.ToString());
  deps_.timer->After(shard->AbortFlush(generation), [this] { loop_->Poke(); });
}

void DataNodeRole::RelievePressure() {
  std::map<ChannelId, std::shared_ptr<Shard>> biggest;
  std::map<ChannelId, int64_t> total;
  for (const auto& shard : Shards()) {
    total[shard->channel()] += shard->unflushed_bytes();
    auto& candidate = biggest[shard->channel()];
    if (candidate == nullptr || shard->unflushed_bytes() > candidate->unflushed_bytes()) candidate = shard;
  }
  int64_t everything = 0;
  std::shared_ptr<Shard> fullest;
  for (const auto& [channel, bytes] : total) {
    At(channel).unflushed_bytes = bytes;
    everything += bytes;
    const auto& shard = biggest[channel];
    if (bytes > settings_.channel_unflushed_bytes) {
      SealShard(shard);
    } else if (shard->MayFlush() && (fullest == nullptr || shard->unflushed_bytes() > fullest->unflushed_bytes())) {
      fullest = shard;
    }
  }
  if (IsMuch(everything) && fullest != nullptr) SealShard(fullest);
}

std::chrono::milliseconds DataNodeRole::FlushAged() {
  aging_ = false;
  const int64_t now_ms = UnixMs(clock_.Now());
  int64_t next_ms = 0;
  for (const auto& shard : Shards()) {
    const Timestamp oldest = shard->oldest_unflushed_ts();
    if (oldest == 0) continue;
    aging_ = true;
    const int64_t left_ms = UnixMs(oldest) + settings_.flush_age.count() - now_ms;
    if (left_ms <= 0) {
      SealShard(shard);
      continue;
    }
    next_ms = next_ms == 0 ? left_ms : std::min(next_ms, left_ms);
  }
  return std::chrono::milliseconds(next_ms);
}

// Whether the growing copy must stay. `route`: reads on an older route than this one would miss it once it is gone.
bool DataNodeRole::StillWanted(const Shard& shard, const Growing& growing, int64_t& route) const {
  // Decided on a view that has seen the commit: whether the collection was loaded before it is then known.
  if (deps_.catalog->revision() < growing.committed_at) return true;
  const CollectionPtr collection = deps_.catalog->GetCollection(shard.collection());
  if (collection == nullptr || !collection->load.loaded) return false;
  if (!collection->IsLoaded(growing.segment->partition())) return false;
  const auto placement = deps_.catalog->FindPlacement(shard.collection());
  const auto meta = deps_.catalog->FindSegment(growing.segment->id());
  if (placement != nullptr) {
    route = placement->version;
    if (placement->Serves(growing.segment->id())) return false;
  }
  if (!RuleHolds(Rule::kGrowingCopy)) return false;
  // Gone from the catalog: all its rows were deleted, or compaction replaced it, which it does to served segments only.
  return meta != nullptr && meta->state != SegmentState::kDropped;
}

void DataNodeRole::ReleaseServed() {
  for (const auto& shard : Shards()) {
    int64_t route = 0;
    bool some = false;
    for (const Growing& growing : shard->Segments()) {
      if (growing.state != GrowingState::kFlushed) continue;
      int64_t version = 0;
      if (StillWanted(*shard, growing, version)) continue;
      some = true;
      route = std::max(route, version);
    }
    if (!some) continue;
    {
      MutexLock lock(shards_mutex_);
      auto& min = min_route_[shard->collection()];
      min = std::max(min, route);
    }
    shard->Release([&](const Growing& growing) {
      int64_t version = 0;
      return !StillWanted(*shard, growing, version) && version <= route;
    });
  }
}

void DataNodeRole::MoveCheckpoints() {
  std::map<ChannelId, LogOffset> first;
  std::map<ChannelId, Epoch> epochs;
  for (size_t i = 0; i < channels_.size(); ++i) {
    if (!channels_[i]->serving) continue;
    epochs[static_cast<ChannelId>(i)] = channels_[i]->epoch;
    first[static_cast<ChannelId>(i)] = channels_[i]->applied;
  }
  for (const auto& shard : Shards()) {
    const LogOffset unflushed = shard->FirstUnflushed();
    const auto it = first.find(shard->channel());
    if (unflushed >= 0 && it != first.end()) it->second = std::min(it->second, unflushed);
  }
  // A channel that was given up meanwhile may have lost the shards that hold its log.
  std::erase_if(first, [&](const auto& entry) {
    const Channel& channel = At(entry.first);
    return !channel.serving || channel.epoch != epochs[entry.first];
  });
  for (const auto& [id, unneeded] : first) {
    Channel& channel = At(id);
    // The next owner, whose clock may be behind ours, must find the ceiling, and the batches that may be asked for again:
    // before the log is cut they go through it once more. An exclusive log's next owner is the next process, with the same
    // clock, and whoever asked ended with this one.
    const bool sums_up = !deps_.log->exclusive() && RuleHolds(Rule::kCeilings);
    const LogOffset checkpoint = sums_up ? std::min<LogOffset>(unneeded, channel.summed_up) : unneeded;
    // Worth a sync only if it frees something.
    const bool idle = deps_.log->size_bytes() < settings_.log_keep_bytes;
    if (unneeded <= channel.checkpoint || idle) continue;
    if (unneeded > checkpoint + 1) {
      SumUp(id);
      continue;
    }
    if (checkpoint <= channel.checkpoint) continue;
    const Status status = deps_.log->Truncate(id, checkpoint, epochs[id]);
    if (!status.ok()) {
      LogWarn("channel {}: truncating its log before {} failed: {}", id, checkpoint, status.ToString());
      continue;
    }
    channel.checkpoint = checkpoint;
  }
}

// On the strand, where no batch is between being applied and being remembered.
void DataNodeRole::SumUp(ChannelId id) {
  apply_.Post([this, id] {
    const Gate::Hold hold(gate_);
    if (!hold) return;
    const Channel& channel = At(id);
    const Epoch epoch = channel.epoch;
    if (!channel.serving) return;
    const LogOffset until = channel.applied;
    CeilingRecord summary{channel.ceiling};
    MutexLock lock(append_mutex_);
    const int64_t since_ms = UnixMs(clock_.Now()) - kAskedAgainWithin.count();
    for (auto part = answered_order_.rbegin(); part != answered_order_.rend() && summary.batches.size() < kBatchesSummedUp; ++part) {
      const Timestamp ts = answered_[*part];
      if (part->channel == id && UnixMs(ts) >= since_ms) summary.batches.push_back({part->batch, part->shard, ts});
    }
    std::reverse(summary.batches.begin(), summary.batches.end());
    std::vector<LogAppend> record;
    record.push_back({id, epoch, Encode(summary), /*essential=*/true});
    Append(std::move(record), [this, id, until, ceiling = summary.ceiling, epoch](const Result<std::vector<LogOffset>>& offsets) {
      if (!offsets.ok()) return AppendFailed({id}, offsets.status());
      CeilingLogged(id, ceiling, offsets->front());
      if (At(id).epoch == epoch) At(id).summed_up = until;
      loop_->Poke();
    });
  });
}

bool DataNodeRole::ReportCheckpoints() {
  auto* coord = deps_.peers->data_coord();
  bool untold = false;
  for (size_t i = 0; i < channels_.size(); ++i) {
    Channel& channel = *channels_[i];
    const LogOffset checkpoint = channel.checkpoint;
    if (!channel.serving || channel.told >= checkpoint) continue;
    // One that doesn't answer isn't asked for each channel.
    untold = untold || coord == nullptr || !coord->ReportCheckpoint(static_cast<ChannelId>(i), channel.epoch, checkpoint).ok();
    if (untold) break;
    channel.told = checkpoint;
  }
  return untold;
}

}  // namespace saker
