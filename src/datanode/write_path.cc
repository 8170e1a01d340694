// An insert, from the request to the acknowledgement: admit → encode → stamp and append → apply → acknowledge.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/rules.h"
#include "base/metrics.h"
#include "datanode/data_node_role.h"

namespace saker {
namespace {

constexpr size_t kAnsweredBatches = 100'000;  // how many answers are remembered for retries

Status ChannelAway(ChannelId channel) {
  return {ErrorCode::kChannelNotAvailable,
          "channel " + std::to_string(channel) + " is not served by this node at the moment; retry"};
}

}  // namespace

struct DataNodeRole::Pending {
  CollectionPtr collection;
  uint64_t batch_id = 0;
  Timestamp ts = 0;
  Timestamp answered = 0;  // of what the log had before
  int64_t begun_us = 0;  // when it was handed to the log
  std::vector<ChannelId> channels;
  std::vector<WriteRecord> records;
  std::vector<EncodedWrite> encoded;
  std::vector<int64_t> bytes;
  Callback<WriteResponse> done;
};

void DataNodeRole::Write(WriteRequest request, Callback<WriteResponse> done) {
  auto pending = std::make_shared<Pending>();
  if (Status status = Admit(request, pending->collection); !status.ok()) return done(status);
  {
    MutexLock lock(append_mutex_);
    if (const auto under_way = under_way_.find(request.batch_id); under_way != under_way_.end()) {
      under_way->second.push_back([this, request = std::move(request), done = std::move(done)] { Write(request, done); });
      return;
    }
    std::erase_if(request.shards, [&](const ShardWrite& shard) REQUIRES(append_mutex_) {
      const auto answered = answered_.find({request.batch_id, shard.channel, shard.shard});
      if (answered == answered_.end() || !RuleHolds(Rule::kBatchOnce)) return false;
      pending->answered = std::max(pending->answered, answered->second);
      return true;
    });
    if (request.shards.empty()) {
      lock.Unlock();
      return done(WriteResponse{pending->answered});
    }
    under_way_.try_emplace(request.batch_id);
  }
  pending->batch_id = request.batch_id;
  pending->done = std::move(done);
  for (ShardWrite& shard : request.shards) {
    WriteRecord record;
    record.batch_id = request.batch_id;
    record.collection = request.collection;
    record.shard = shard.shard;
    record.delete_partition = shard.delete_partition;
    record.deletes = std::move(shard.deletes);
    for (auto& [partition, rows] : shard.inserts) record.inserts.push_back({partition, SegmentId(), std::move(rows)});
    pending->channels.push_back(shard.channel);
    pending->encoded.emplace_back(record);
    pending->bytes.push_back(static_cast<int64_t>(pending->encoded.back().size()));
    pending->records.push_back(std::move(record));
  }
  Status refused;
  {
    MutexLock lock(append_mutex_);
    if (const auto min = min_version_.find(request.collection);
        min != min_version_.end() && request.collection_version < min->second && RuleHolds(Rule::kVersions)) {
      refused = Status(ErrorCode::kStaleRoute, "the collection changed while the request was on its way");
    } else {
      refused = Stamp(*pending);
    }
    if (refused.ok()) {
      std::vector<LogAppend> appends;
      for (size_t i = 0; i < pending->channels.size(); ++i) {
        appends.push_back({pending->channels[i], At(pending->channels[i]).epoch, pending->encoded[i].Take()});
      }
      pending->begun_us = MonotonicUs();
      Append(std::move(appends), [this, pending](Result<std::vector<LogOffset>> offsets) {
        if (!offsets.ok()) {
          AppendFailed(pending->channels, offsets.status());
          return Answer(*pending, offsets.status());
        }
        Apply(*pending, *offsets);
        Answer(*pending, WriteResponse{pending->ts});
      });
      return;
    }
  }
  Answer(*pending, refused);
}

Status DataNodeRole::Admit(const WriteRequest& request, CollectionPtr& collection) const {
  collection = deps_.catalog->GetCollection(request.collection);
  if (collection == nullptr && deps_.catalog->IsDropped(request.collection)) {
    return {ErrorCode::kCollectionNotFound, "collection not found[collection=" + std::to_string(request.collection.value) + "]"};
  }
  // The proxy has seen a change that this node has yet to see.
  if (collection == nullptr || collection->version < request.collection_version) {
    return {ErrorCode::kStaleRoute, "collection " + std::to_string(request.collection.value) + " is not known here yet as the request has it"};
  }
  for (const ShardWrite& shard : request.shards) {
    // As of the version that the request names, or a later one: dropped. Whoever names an older one finds out by asking
    // again.
    for (const auto& [partition, rows] : shard.inserts) {
      if (collection->FindPartition(partition) != nullptr) continue;
      if (request.collection_version < collection->version) return {ErrorCode::kStaleRoute, "the collection's partitions have changed"};
      return {ErrorCode::kPartitionNotFound, "partition not found[partition=" + std::to_string(partition.value) + "]"};
    }
    if (shard.channel < 0 || shard.channel >= static_cast<int>(channels_.size()) || !At(shard.channel).serving) {
      return ChannelAway(shard.channel);
    }
    const int64_t unflushed = At(shard.channel).unflushed_bytes;
    if (unflushed > 2 * settings_.channel_unflushed_bytes) {
      return {ErrorCode::kRateLimit,
              "channel " + std::to_string(shard.channel) + " has " + std::to_string(unflushed >> 20) +
                  " MiB of rows not flushed yet, twice the limit of " +
                  std::to_string(settings_.channel_unflushed_bytes >> 20) + " MiB; retry when the flush has caught up"};
    }
  }
  if (const int64_t unflushed = UnflushedBytes(); settings_.unflushed_bytes > 0 && unflushed > settings_.unflushed_bytes) {
    return {ErrorCode::kRateLimit, fmt::format("datanode {} has {} MiB of rows not flushed yet, its limit (saker.memoryLimitMb) is {} MiB; "
                                               "retry when the flush has caught up",
                                               deps_.node.value, unflushed >> 20, settings_.unflushed_bytes >> 20)};
  }
  return {};
}

int64_t DataNodeRole::UnflushedBytes() const {
  int64_t bytes = 0;
  for (const auto& channel : channels_) bytes += channel->unflushed_bytes.load(std::memory_order_relaxed);
  return bytes;
}

Status DataNodeRole::Stamp(Pending& pending) {
  for (const ChannelId channel : pending.channels) {
    if (!At(channel).serving) return ChannelAway(channel);
  }
  // Segments first: allotting an id may fail, and then nothing may have been stamped.
  for (size_t i = 0; i < pending.records.size(); ++i) {
    WriteRecord& record = pending.records[i];
    for (size_t j = 0; j < record.inserts.size(); ++j) {
      InsertRecord& insert = record.inserts[j];
      ASSIGN_OR_RETURN(insert.segment, SegmentFor({record.collection, pending.channels[i]}, insert.partition,
                                                  pending.collection->updated, insert.rows.size_bytes()));
      pending.encoded[i].SetSegment(j, insert.segment);
    }
  }
  pending.ts = clock_.Next();
  for (size_t i = 0; i < pending.records.size(); ++i) {
    pending.records[i].ts = pending.ts;
    pending.encoded[i].SetTimestamp(pending.ts);
  }
  return {};
}

Result<SegmentId> DataNodeRole::SegmentFor(const ShardKey& shard, PartitionId partition, int64_t version, int64_t bytes) {
  OpenSegment& open = open_[{shard, partition}];
  const bool full = open.bytes > 0 && open.bytes + bytes > settings_.segment_bytes;
  if (!open.id || full || open.collection_version != version) {
    ASSIGN_OR_RETURN(const int64_t id, deps_.next_id());
    open = {SegmentId(id), 0, version};
  }
  open.bytes += bytes;
  return open.id;
}

void DataNodeRole::Append(std::vector<LogAppend> records, std::function<void(Result<std::vector<LogOffset>>)> applied) {
  if (stopped_) {
    apply_.Post([applied = std::move(applied)] { applied(Status(ErrorCode::kServiceUnavailable, "the datanode has stopped")); });
    return;
  }
  deps_.log->Append(std::move(records), [this, applied = std::move(applied)](Result<std::vector<LogOffset>> offsets) mutable {
    // The log's thread goes back to writing; applying happens in the same order on the strand.
    apply_.Post([applied = std::move(applied), offsets = std::move(offsets)] { applied(offsets); });
  });
}

void DataNodeRole::Apply(Pending& pending, const std::vector<LogOffset>& offsets) {
  bool pressure = false;
  for (size_t i = 0; i < pending.records.size(); ++i) {
    const ChannelId id = pending.channels[i];
    Channel& channel = At(id);
    if (channel.serving) {
      GetShard({pending.collection->id, id})->Apply(pending.records[i], offsets[i], pending.bytes[i], pending.collection->schema);
      channel.unflushed_bytes += pending.bytes[i];
      pressure = pressure || channel.unflushed_bytes > settings_.channel_unflushed_bytes;
    }
    channel.applied = offsets[i] + 1;
    Proved(id, pending.begun_us);
  }
  RaiseApplied(pending.ts);
  if (pressure || IsMuch(UnflushedBytes()) || !aging_.exchange(true)) loop_->Poke();
}

void DataNodeRole::Remember(const BatchPart& part, Timestamp ts) {
  if (answered_.emplace(part, ts).second) answered_order_.push_back(part);
  while (answered_order_.size() > kAnsweredBatches) {
    answered_.erase(answered_order_.front());
    answered_order_.pop_front();
  }
}

void DataNodeRole::Answer(const Pending& pending, const Result<WriteResponse>& answer) {
  std::vector<std::function<void()>> again;
  {
    MutexLock lock(append_mutex_);
    if (auto waiting = under_way_.extract(pending.batch_id)) again = std::move(waiting.mapped());
    for (size_t i = 0; answer.ok() && i < pending.records.size(); ++i) {
      Remember({pending.batch_id, pending.channels[i], pending.records[i].shard}, answer->ts);
    }
  }
  pending.done(answer.ok() ? WriteResponse{std::max(answer->ts, pending.answered)} : answer);
  for (const auto& write : again) write();
}

void DataNodeRole::RaiseApplied(Timestamp ts) {
  if (ts > applied_ts_) applied_ts_ = ts;  // only the strand writes it
}

void DataNodeRole::AppendFailed(const std::vector<ChannelId>& channels, const Status& why) {
  switch (why.code()) {
    case ErrorCode::kDiskLimitExceeded:   // nothing was written: the next one may work
    case ErrorCode::kParameterInvalid:    // too large for the log
    case ErrorCode::kServiceUnavailable:  // this node has stopped
      return;
    default:
      break;
  }
  if (!RuleHolds(Rule::kUnknownAppend)) return;
  for (const ChannelId channel : channels) {
    if (!At(channel).serving) continue;
    StepDown(channel, why.ToString());
    // Somebody else's fence: they own it now. Anything else: what the log holds is unknown until it is fenced again.
    if (why.code() == ErrorCode::kSuperseded) continue;
    ReportLost(channel, At(channel).epoch);
  }
}

Status DataNodeRole::BarrierCollection(CollectionId collection, const std::vector<ChannelId>& channels, int64_t version,
                                       bool dropped, const std::vector<PartitionId>& dropped_partitions) {
  RETURN_IF_ERROR(CheckServing(channels));
  struct Waiting {
    Mutex mutex;
    CondVar done;
    bool finished = false;
    Status status;
  };
  auto waiting = std::make_shared<Waiting>();
  {
    MutexLock lock(append_mutex_);
    min_version_[collection] = std::max(min_version_[collection], version);
    BarrierRecord record{clock_.Next(), collection, version, dropped, dropped_partitions};
    std::vector<LogAppend> appends;
    const std::set<ChannelId> distinct(channels.begin(), channels.end());
    // What is dropped gives space back, also on a full disk.
    const bool essential = dropped || !dropped_partitions.empty();
    for (const ChannelId channel : distinct) appends.push_back({channel, At(channel).epoch, Encode(record), essential});
    Append(std::move(appends), [this, waiting, record, distinct](const Result<std::vector<LogOffset>>& offsets) {
      if (offsets.ok()) {
        size_t i = 0;
        for (const ChannelId channel : distinct) {
          if (record.dropped) ForgetShard({record.collection, channel});
          if (auto shard = FindShard({record.collection, channel})) {
            for (const PartitionId partition : record.dropped_partitions) shard->DropPartition(partition);
          }
          At(channel).applied = (*offsets)[i++] + 1;
        }
        RaiseApplied(record.ts);
      }
      MutexLock done(waiting->mutex);
      waiting->status = offsets.status();
      waiting->finished = true;
      waiting->done.NotifyAll();
    });
  }
  MutexLock lock(waiting->mutex);
  waiting->done.Wait(lock, [&] { return waiting->finished; });
  return waiting->status;
}

}  // namespace saker
