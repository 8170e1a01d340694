// Life cycle and ownership: taking channels over (fence, replay), stepping down, the reconcile loop.
#include "datanode/data_node_role.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/rules.h"
#include "meta/generation_store.h"

namespace saker {
namespace {

constexpr int64_t kReplayReadBytes = 8 << 20;
constexpr auto kReportAgain = std::chrono::milliseconds(500);
constexpr auto kCatalogWait = std::chrono::milliseconds(10'000);

}  // namespace

DataNodeRole::DataNodeRole(DataNodeDeps deps, DataNodeSettings settings)
    : deps_(std::move(deps)), settings_(settings), apply_(deps_.apply) {
  for (int i = 0; i < deps_.log->channel_count(); ++i) channels_.push_back(std::make_unique<Channel>());
  loop_ = std::make_unique<ControlLoop>("datanode", deps_.io, deps_.timer, [this] { return Reconcile(); });
}

DataNodeRole::~DataNodeRole() { Stop(); }

void DataNodeRole::Start() {
  subscription_ = deps_.catalog->Subscribe([this](const Catalog::Change&) { loop_->Poke(); });
  loop_->Poke();
}

void DataNodeRole::Stop() {
  if (subscription_ != 0) deps_.catalog->Unsubscribe(subscription_);
  loop_->Stop();
  gate_.Close();
  MutexLock lock(append_mutex_);
  stopped_ = true;
}

void DataNodeRole::CoordinatorChanged() {
  for (const auto& channel : channels_) channel->told = 0;
  for (const auto& shard : Shards()) shard->EndPause();
  loop_->Poke();
}

std::chrono::milliseconds DataNodeRole::Reconcile() {
  FollowGeneration();
  ReconcileChannels();
  ForgetDropped();
  SealRequested();
  RelievePressure();
  ReleaseServed();
  ForgetAwaited();
  MoveCheckpoints();
  const bool untold = HandOver() | ReportCheckpoints();
  const bool again = ReportAllLost() || untold;
  const auto next = FlushAged();
  return again && (next.count() == 0 || next > kReportAgain) ? kReportAgain : next;
}

void DataNodeRole::ReconcileChannels() {
  for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
    if (assignment.channel < 0 || assignment.channel >= static_cast<int>(channels_.size())) continue;
    Channel& channel = At(assignment.channel);
    MutexLock lock(channels_mutex_);
    if (assignment.owner != deps_.node) {
      if (channel.serving && assignment.epoch > channel.epoch) {
        StepDown(assignment.channel, "the channel was given to another node");
      }
      continue;
    }
    if (channel.taking_over) continue;
    if (assignment.epoch <= channel.epoch || assignment.epoch <= channel.lost) {
      // Ours, but not at an epoch that was used up: by us before the metadata was brought back in an older state, or by
      // somebody whose fence we met, and of whom this view doesn't know yet.
      const bool used_up = !channel.serving || assignment.epoch < channel.epoch;
      if (used_up && channel.damaged < channel.epoch) RaiseLost(assignment.channel, channel.epoch);
      continue;
    }
    channel.taking_over = true;
    deps_.io->Post([this, assignment] {
      const Gate::Hold hold(gate_);
      if (hold) TakeOver(assignment);
    });
  }
}

void DataNodeRole::TakeOver(const ChannelAssignment& assignment) {
  const Stopwatch watch;
  Channel& channel = At(assignment.channel);
  channel.serving = false;
  Timestamp seen = 0;
  Status status;
  const Timestamp ceiling = CeilingFor(clock_.Now());
  const auto fence = deps_.log->Fence(assignment.channel, assignment.epoch, Encode(CeilingRecord{ceiling}));
  if (fence.ok()) {
    channel.epoch = assignment.epoch;
    // What an earlier ownership of this node appended before the fence is applied or skipped by now, not while the same
    // records are replayed.
    WaitUntilApplied();
    StepDown(assignment.channel, "replaying");  // forgets what an earlier ownership left in memory
    status = Replay(assignment.channel, assignment.epoch, *fence, seen);
    if (status.ok()) {
      AwaitUnserved(assignment.channel);
      RefuseEarlierRoutes(assignment.channel);
    }
  } else {
    status = fence.status();
  }
  if (!status.ok()) {
    // An epoch that an earlier process of this node used is the normal case after a restart.
    LogAt(status.code() == ErrorCode::kSuperseded ? LogLevel::kDebug : LogLevel::kError,
          "channel {}: taking over at epoch {} failed: {}", assignment.channel, assignment.epoch, status.ToString());
    const auto fenced = deps_.log->FencedEpoch(assignment.channel);
    if (status.code() == ErrorCode::kCorrupted) {
      channel.damaged = assignment.epoch;
    } else {
      ReportLost(assignment.channel, std::max(assignment.epoch, fenced.ok() ? *fenced : 0));
    }
    return TakenOver(assignment.channel);
  }
  channel.applied = *fence + 1;
  const auto begin = deps_.log->Begin(assignment.channel);
  channel.checkpoint = begin.ok() ? *begin : 0;
  clock_.Observe(seen);
  {
    // Reads go to a timestamp above everything replayed. It goes through the log, behind the writes of other channels
    // that were stamped before and are still on their way: reads and followers must not overtake those.
    MutexLock lock(append_mutex_);
    const Timestamp now = clock_.Next();
    const Timestamp raised = std::max(ceiling, CeilingFor(now));
    channel.ceiling = ceiling;
    channel.summed_up = channel.checkpoint.load();
    const int64_t begun_us = MonotonicUs();
    std::vector<LogAppend> record;
    record.push_back({assignment.channel, assignment.epoch, Encode(CeilingRecord{raised})});
    Append(std::move(record), [=, this, &channel, id = assignment.channel](const Result<std::vector<LogOffset>>& offsets) {
      // On a full disk reads go on: nothing is stamped that this record would have to precede, and it had its turn.
      const bool refused = offsets.status().code() == ErrorCode::kDiskLimitExceeded;
      if (!offsets.ok()) LogError("channel {}: its first record after the fence failed: {}", id, offsets.status().ToString());
      if (!offsets.ok() && !refused) {
        if (offsets.status().code() != ErrorCode::kSuperseded) ReportLost(id, At(id).epoch);
        return TakenOver(id);
      }
      if (!refused) {
        CeilingLogged(id, raised, offsets->front());
        Proved(id, begun_us);
      }
      RaiseApplied(now);
      channel.serving = true;
      TakenOver(id);
    });
  }
  LogInfo("channel {}: owned at epoch {}, replayed in {} ms", assignment.channel, assignment.epoch, watch.elapsed_ms());
}

// Told by the loop, again and again until there is a higher epoch: the report may be lost, or datacoord be away.
void DataNodeRole::ReportLost(ChannelId channel, Epoch epoch) {
  RaiseLost(channel, epoch);
  loop_->Poke();
}

void DataNodeRole::RaiseLost(ChannelId channel, Epoch epoch) {
  auto& lost = At(channel).lost;
  Epoch before = lost;
  while (before < epoch && !lost.compare_exchange_weak(before, epoch)) {
  }
}

void DataNodeRole::TakenOver(ChannelId channel) {
  {
    MutexLock lock(channels_mutex_);
    At(channel).taking_over = false;
  }
  loop_->Poke();  // the next assignment may have come meanwhile
}

// True if a report is still to be heeded.
bool DataNodeRole::ReportAllLost() {
  bool waiting = false;
  const Stopwatch watch;
  for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
    if (waiting && watch.elapsed_ms() > kReportAgain.count()) break;  // it doesn't answer
    if (assignment.channel < 0 || assignment.channel >= static_cast<int>(channels_.size())) continue;
    const Epoch lost = At(assignment.channel).lost;
    if (lost == 0 || assignment.epoch > lost || assignment.owner != deps_.node) continue;
    waiting = true;
    auto* coord = deps_.peers->data_coord();
    if (coord == nullptr) continue;
    if (const Status told = coord->ReportChannelLost(assignment.channel, deps_.node, lost); !told.ok()) {
      LogDebug("channel {}: reporting its loss failed, will be repeated: {}", assignment.channel, told.ToString());
    }
  }
  return waiting;
}

// Flushes what there is of channels that are to go to another owner, once, and says so: what comes meanwhile is what the
// successor replays. It is served until then, and by the new owner from then on.
bool DataNodeRole::HandOver() {
  bool untold = false;
  std::map<ChannelId, std::pair<Epoch, Timestamp>> now;
  for (const ChannelAssignment& assignment : deps_.catalog->Channels()) {
    const ChannelId id = assignment.channel;
    if (id < 0 || id >= static_cast<int>(channels_.size()) || assignment.owner != deps_.node || !assignment.successor) continue;
    if (!At(id).serving || At(id).epoch != assignment.epoch) continue;
    const auto known = handing_over_.find(id);
    const bool begun = known != handing_over_.end() && known->second.first == assignment.epoch;
    now[id] = begun ? known->second : std::pair(assignment.epoch, Timestamp{applied_ts_});
    if (!IsFlushedUntil(id, now[id].second)) continue;
    auto* coord = deps_.peers->data_coord();
    untold |= coord == nullptr || !coord->ReportHandedOver(id, assignment.epoch).ok();
  }
  handing_over_ = std::move(now);
  return untold;
}

// Flushed, and served by querynodes where it is to be: a new owner has no growing copy of it. Seals what isn't.
bool DataNodeRole::IsFlushedUntil(ChannelId channel, Timestamp ts) {
  bool flushed = true;
  for (const auto& shard : Shards()) {
    if (shard->channel() != channel) continue;
    const Timestamp oldest = shard->oldest_unflushed_ts();
    if (oldest != 0 && oldest <= ts) {
      SealShard(shard);
      flushed = false;
    }
    for (const Growing& growing : shard->Segments()) flushed = flushed && growing.state == GrowingState::kOpen;
  }
  return flushed;
}

Status DataNodeRole::Replay(ChannelId channel, Epoch epoch, LogOffset fence, Timestamp& seen) {
  // After the fence nothing of an earlier owner can be committed any more: what is committed now is all there is.
  ASSIGN_OR_RETURN(const Revision now, deps_.meta->CurrentRevision());
  RETURN_IF_ERROR(deps_.catalog->WaitFor(now, kCatalogWait));
  std::set<SegmentId> committed;
  for (const auto& segment : deps_.catalog->AllSegments()) {
    if (segment->channel != channel) continue;
    committed.insert(segment->id);
    // Also the seal: a delete stamped before it would be taken for one that is in the segment's files.
    seen = std::max({seen, segment->max_ts, segment->deletes_until});
  }
  RefuseEarlierVersions(channel);
  ASSIGN_OR_RETURN(LogOffset at, deps_.log->Begin(channel));
  while (at <= fence) {
    ASSIGN_OR_RETURN(const auto records, deps_.log->Read(channel, at, kReplayReadBytes));
    if (records.empty()) break;
    for (const LogRecord& record : records) {
      if (record.offset > fence) break;
      if (record.type == LogRecordType::kFence) {
        if (auto ceiling = DecodeCeiling(record.payload); ceiling.ok() && record.offset != fence && RuleHolds(Rule::kCeilings)) {
          seen = std::max(seen, ceiling->ceiling);
        }
        continue;
      }
      ASSIGN_OR_RETURN(const RecordKind kind, KindOf(record.payload));
      if (kind == RecordKind::kWrite) {
        RETURN_IF_ERROR(ReplayWrite(channel, record, committed, seen));
      } else if (kind == RecordKind::kBarrier) {
        ASSIGN_OR_RETURN(const BarrierRecord barrier, DecodeBarrier(record.payload));
        seen = std::max(seen, barrier.ts);
        if (barrier.dropped) ForgetShard({barrier.collection, channel});
        MutexLock lock(append_mutex_);
        min_version_[barrier.collection] = std::max(min_version_[barrier.collection], barrier.version);
      } else {
        ASSIGN_OR_RETURN(const CeilingRecord ceiling, DecodeCeiling(record.payload));
        if (RuleHolds(Rule::kCeilings)) seen = std::max(seen, ceiling.ceiling);
        MutexLock lock(append_mutex_);
        for (const LoggedBatch& batch : ceiling.batches) Remember({batch.id, channel, batch.shard}, batch.ts);
      }
    }
    at = records.back().offset + 1;
  }
  (void)epoch;
  return {};
}

// What earlier owners refused: the log may have been cut behind what told them to. They were told after the change was made,
// so this node's view has it.
void DataNodeRole::RefuseEarlierVersions(ChannelId channel) {
  if (!RuleHolds(Rule::kVersions)) return;
  for (const CollectionPtr& collection : deps_.catalog->Collections("")) {
    const auto& shards = collection->shards;
    if (std::find(shards.begin(), shards.end(), channel) == shards.end()) continue;
    MutexLock lock(append_mutex_);
    auto& min = min_version_[collection->id];
    min = std::max(min, collection->version);
  }
}

Status DataNodeRole::ReplayWrite(ChannelId channel, const LogRecord& log_record, const std::set<SegmentId>& committed,
                                 Timestamp& seen) {
  auto record = DecodeWrite(log_record.payload);
  if (!record.ok()) {
    // Whole by its checksum, so a fault of ours or a later version's record. To go on without it would lose its rows.
    return {ErrorCode::kCorrupted, fmt::format("the log's record at offset {} can't be replayed: {}", log_record.offset,
                                               record.status().ToString())};
  }
  seen = std::max(seen, record->ts);
  {
    MutexLock lock(append_mutex_);
    Remember({record->batch_id, channel, record->shard}, record->ts);
  }
  const CollectionPtr collection = deps_.catalog->GetCollection(record->collection);
  if (collection == nullptr) {
    if (!deps_.catalog->IsDropped(record->collection)) {
      LogError("channel {} offset {}: rows of collection {}, which the catalog doesn't know: kept in the log", channel,
               log_record.offset, record->collection.value);
    }
    return {};
  }
  std::erase_if(record->inserts, [&](const InsertRecord& insert) {
    return (committed.contains(insert.segment) && RuleHolds(Rule::kSkipCommitted)) || collection->FindPartition(insert.partition) == nullptr;
  });
  const ShardKey key{record->collection, channel};
  const bool deletes_committed = record->ts <= CommittedDeletesUntil(key);
  if (record->inserts.empty() && (record->deletes.size() == 0 || deletes_committed)) return {};
  const auto bytes = static_cast<int64_t>(log_record.payload.size());
  GetShard(key)->Apply(*record, log_record.offset, bytes, collection->schema);
  At(channel).unflushed_bytes += bytes;
  return {};
}

Timestamp DataNodeRole::CommittedDeletesUntil(const ShardKey& key) const {
  Timestamp until = 0;
  for (const auto& segment : deps_.catalog->Segments(key.first)) {
    if (segment->channel != key.second) continue;
    if (segment->kind == SegmentKind::kDeletes) until = std::max(until, segment->max_ts);
  }
  return until;
}

// After the meta store was lost placements may be older than the last one seen here, by which growing copies were let go:
// reads wait until what they held is served again.
void DataNodeRole::FollowGeneration() {
  const int64_t now = GenerationOf(deps_.catalog->revision());
  if (now == generation_) return;
  for (size_t i = 0; i < channels_.size(); ++i) {
    if (channels_[i]->epoch > 0) AwaitUnserved(static_cast<ChannelId>(i));
  }
  generation_ = now;
}

void DataNodeRole::AwaitUnserved(ChannelId channel) {
  for (const auto& segment : deps_.catalog->AllSegments()) {
    if (segment->channel != channel || !segment->IsLiveRows() || !IsAwaited(segment->collection, segment->id)) continue;
    const auto placement = deps_.catalog->FindPlacement(segment->collection);
    const auto shard = FindShard({segment->collection, channel});
    if (IsRead(segment->id, placement.get(), shard.get())) continue;
    MutexLock lock(shards_mutex_);
    awaited_[segment->collection].insert(segment->id);
  }
}

// What was flushed before was not replayed, and is read by the route alone: one from before it was served misses it.
void DataNodeRole::RefuseEarlierRoutes(ChannelId channel) {
  std::set<CollectionId> collections;
  for (const auto& segment : deps_.catalog->AllSegments()) {
    if (segment->channel == channel && segment->IsLiveRows()) collections.insert(segment->collection);
  }
  for (const CollectionId collection : collections) {
    const auto placement = deps_.catalog->FindPlacement(collection);
    if (placement == nullptr) continue;
    MutexLock lock(shards_mutex_);
    auto& min = min_route_[collection];
    min = std::max(min, placement->version);
  }
}

// By the route, from its growing copy, or, of a compaction's output that is not in the route yet, from all its inputs.
bool DataNodeRole::IsRead(SegmentId segment, const Placement* placement, const Shard* shard) const {
  if (placement != nullptr && placement->Serves(segment)) return true;
  if (shard != nullptr && shard->Find(segment) != nullptr) return true;
  const auto meta = deps_.catalog->FindSegment(segment);
  if (meta == nullptr || meta->compacted_from.empty()) return false;
  return std::all_of(meta->compacted_from.begin(), meta->compacted_from.end(),
                     [&](SegmentId input) { return IsRead(input, placement, shard); });
}

bool DataNodeRole::IsAwaited(CollectionId id, SegmentId segment) const {
  const auto meta = deps_.catalog->FindSegment(segment);
  if (meta == nullptr || !meta->IsLiveRows()) return false;
  const CollectionPtr collection = deps_.catalog->GetCollection(id);
  return collection != nullptr && collection->load.loaded && collection->FindPartition(meta->partition) != nullptr &&
         collection->IsLoaded(meta->partition);
}

void DataNodeRole::ForgetAwaited() {
  MutexLock lock(shards_mutex_);
  for (auto it = awaited_.begin(); it != awaited_.end();) {
    const auto placement = deps_.catalog->FindPlacement(it->first);
    std::erase_if(it->second, [&](SegmentId segment) {
      if (!IsAwaited(it->first, segment)) return true;
      if (placement == nullptr || !placement->Serves(segment)) return false;
      auto& min = min_route_[it->first];  // reads on an older route would miss it
      min = std::max(min, placement->version);
      return true;
    });
    it = it->second.empty() ? awaited_.erase(it) : std::next(it);
  }
}

// Waits for the strand: everything that the log has answered until now has been applied.
void DataNodeRole::WaitUntilApplied() {
  struct Waiting {
    Mutex mutex;
    CondVar done;
    bool finished = false;
  };
  auto waiting = std::make_shared<Waiting>();
  apply_.Post([waiting] {
    MutexLock lock(waiting->mutex);
    waiting->finished = true;
    waiting->done.NotifyAll();
  });
  MutexLock lock(waiting->mutex);
  waiting->done.Wait(lock, [&] { return waiting->finished; });
}

void DataNodeRole::StepDown(ChannelId channel, const std::string& why) {
  if (At(channel).serving.exchange(false)) LogWarn("channel {}: no longer served: {}", channel, why);
  {
    MutexLock lock(shards_mutex_);
    std::erase_if(shards_, [&](const auto& entry) { return entry.first.second == channel; });
  }
  At(channel).unflushed_bytes = 0;
  MutexLock lock(append_mutex_);
  std::erase_if(open_, [&](const auto& entry) { return entry.first.first.second == channel; });
}

void DataNodeRole::ForgetShard(const ShardKey& key) {
  std::shared_ptr<Shard> gone;
  {
    MutexLock lock(shards_mutex_);
    const auto it = shards_.find(key);
    if (it == shards_.end()) return;
    gone = it->second;
    shards_.erase(it);
  }
  At(key.second).unflushed_bytes -= gone->unflushed_bytes();
  MutexLock lock(append_mutex_);
  std::erase_if(open_, [&](const auto& entry) { return entry.first.first == key; });
}

void DataNodeRole::ForgetDropped() {
  for (const auto& shard : Shards()) {
    if (deps_.catalog->IsDropped(shard->collection())) {
      ForgetShard({shard->collection(), shard->channel()});
      continue;
    }
    const CollectionPtr collection = deps_.catalog->GetCollection(shard->collection());
    if (collection == nullptr) continue;
    for (const Growing& growing : shard->Segments()) {
      const PartitionId partition = growing.segment->partition();
      if (collection->FindPartition(partition) == nullptr) shard->DropPartition(partition);
    }
  }
}

std::shared_ptr<Shard> DataNodeRole::FindShard(const ShardKey& key) const {
  MutexLock lock(shards_mutex_);
  const auto it = shards_.find(key);
  return it == shards_.end() ? nullptr : it->second;
}

std::shared_ptr<Shard> DataNodeRole::GetShard(const ShardKey& key) {
  if (auto shard = FindShard(key)) return shard;
  const Timestamp deletes_until = CommittedDeletesUntil(key);
  MutexLock lock(shards_mutex_);
  auto& shard = shards_[key];
  if (shard == nullptr) shard = std::make_shared<Shard>(key.first, key.second, deletes_until);
  return shard;
}

std::vector<std::shared_ptr<Shard>> DataNodeRole::Shards() const {
  MutexLock lock(shards_mutex_);
  std::vector<std::shared_ptr<Shard>> out;
  out.reserve(shards_.size());
  for (const auto& [key, shard] : shards_) out.push_back(shard);
  return out;
}

}  // namespace saker
