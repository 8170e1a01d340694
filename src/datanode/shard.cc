#include "datanode/shard.h"

#include <algorithm>

#include "base/clock.h"
#include "base/rules.h"

namespace saker {
namespace {

constexpr std::chrono::milliseconds kFirstPause{1'000};
constexpr std::chrono::milliseconds kLongestPause{8'000};

}  // namespace

std::shared_ptr<GrowingSegment> Shard::SegmentOf(const InsertRecord& insert, const SchemaPtr& schema, LogOffset offset) {
  MutexLock lock(mutex_);
  for (auto& growing : segments_) {
    if (growing.segment->id() != insert.segment) continue;
    growing.log_end = offset + 1;
    return growing.segment;
  }
  Growing growing;
  growing.segment = NewGrowingSegment(insert.segment, insert.partition, schema);
  growing.log_end = offset + 1;
  segments_.push_back(growing);
  return growing.segment;
}

void Shard::Apply(const WriteRecord& record, LogOffset offset, int64_t bytes, const SchemaPtr& schema) {
  if (record.deletes.size() > 0) {
    const DeleteBatch batch{record.ts, record.delete_partition, record.deletes};
    std::vector<std::shared_ptr<GrowingSegment>> targets;
    {
      MutexLock lock(mutex_);
      for (const auto& growing : segments_) targets.push_back(growing.segment);
      if (record.ts > deletes_flushed_until_) deletes_.push_back(batch);
    }
    for (const auto& segment : targets) segment->Delete(batch);
  }
  for (const auto& insert : record.inserts) SegmentOf(insert, schema, offset)->Append(insert.rows, record.ts);
  MutexLock lock(mutex_);
  if (open_first_ < 0 && (!record.inserts.empty() || RuleHolds(Rule::kDeletesHoldLog))) {
    open_first_ = offset;
    open_since_ = record.ts;
  }
  open_bytes_ += bytes;
}

void Shard::DropPartition(PartitionId partition) {
  MutexLock lock(mutex_);
  // One that is being written out stays: its commit finds the partition gone.
  std::erase_if(segments_, [&](const Growing& g) {
    return g.state != GrowingState::kSealing && g.segment->partition() == partition;
  });
}

std::vector<Growing> Shard::Readable(const std::vector<SegmentId>& sealed) const {
  MutexLock lock(mutex_);
  std::vector<Growing> out;
  for (const auto& growing : segments_) {
    if (!std::binary_search(sealed.begin(), sealed.end(), growing.segment->id())) out.push_back(growing);
  }
  return out;
}

std::shared_ptr<GrowingSegment> Shard::Find(SegmentId segment) const {
  MutexLock lock(mutex_);
  for (const auto& growing : segments_) {
    if (growing.segment->id() == segment) return growing.segment;
  }
  return nullptr;
}

Result<std::vector<DeleteBatch>> Shard::DeletesAfter(Timestamp after) const {
  MutexLock lock(mutex_);
  if (after < deletes_known_after_) {
    return Status(ErrorCode::kCompacted, "deletes after timestamp " + std::to_string(after) +
                                             " are in delete segments; only those after " +
                                             std::to_string(deletes_known_after_) + " are kept here");
  }
  const auto first = std::upper_bound(deletes_.begin(), deletes_.end(), after,
                                      [](Timestamp ts, const DeleteBatch& batch) { return ts < batch.ts; });
  return std::vector<DeleteBatch>(first, deletes_.end());
}

std::vector<Growing> Shard::Segments() const {
  MutexLock lock(mutex_);
  return segments_;
}

bool Shard::BeginFlush(Timestamp seal_ts, Generation& generation, Timestamp keep_from) {
  MutexLock lock(mutex_);
  if (flushing_ || open_first_ < 0) return false;
  for (auto& growing : segments_) {
    if (growing.state != GrowingState::kOpen && growing.state != GrowingState::kAttempted) continue;
    growing.state = GrowingState::kSealing;
    generation.segments.push_back(growing.segment);
    generation.log_ends.push_back(growing.log_end);
  }
  const auto first = std::upper_bound(deletes_.begin(), deletes_.end(), deletes_flushed_until_,
                                      [](Timestamp ts, const DeleteBatch& batch) { return ts < batch.ts; });
  generation.deletes.assign(first, deletes_.end());
  generation.deletes_until = seal_ts;
  // No row here is older than the last seal, so deletes up to it change nothing.
  generation.rows_until = std::max(deletes_flushed_until_, std::min(seal_ts, keep_from));
  flushing_ = true;
  sealing_first_ = open_first_;
  sealing_bytes_ = open_bytes_;
  sealing_since_ = open_since_;
  open_first_ = -1;
  open_bytes_ = 0;
  open_since_ = 0;
  return true;
}

void Shard::EndFlush(const Generation& generation, Revision committed_at) {
  MutexLock lock(mutex_);
  for (auto& growing : segments_) {
    if (growing.state != GrowingState::kSealing) continue;
    growing.state = GrowingState::kFlushed;
    growing.committed_at = committed_at;
  }
  failed_flushes_ = 0;
  retry_at_us_ = 0;
  // Followers that lag by one flush still find their deletes here; older ones read the delete segments.
  // What is known moves no further than the last delete forgotten: that one is in a delete segment for certain.
  while (!deletes_.empty() && deletes_.front().ts <= deletes_flushed_until_) {
    deletes_known_after_ = deletes_.front().ts;
    deletes_.pop_front();
  }
  deletes_flushed_until_ = generation.deletes_until;
  flushing_ = false;
  sealing_first_ = -1;
  sealing_bytes_ = 0;
}

std::chrono::milliseconds Shard::AbortFlush(const Generation& generation) {
  MutexLock lock(mutex_);
  for (auto& growing : segments_) {
    if (growing.state == GrowingState::kSealing) growing.state = GrowingState::kAttempted;
  }
  flushing_ = false;
  if (sealing_first_ >= 0) open_first_ = sealing_first_;
  open_since_ = sealing_since_;
  open_bytes_ += sealing_bytes_;
  sealing_first_ = -1;
  sealing_bytes_ = 0;
  // Each attempt writes everything to the object store anew.
  const auto pause = std::min(kFirstPause * (1 << std::min(failed_flushes_++, 10)), kLongestPause);
  retry_at_us_ = MonotonicUs() + std::chrono::microseconds(pause).count();
  return pause;
}

bool Shard::MayFlush() const {
  MutexLock lock(mutex_);
  return !flushing_ && MonotonicUs() >= retry_at_us_;
}

void Shard::EndPause() {
  MutexLock lock(mutex_);
  retry_at_us_ = 0;
}

LogOffset Shard::FirstUnflushed() const {
  MutexLock lock(mutex_);
  return sealing_first_ >= 0 ? sealing_first_ : open_first_;
}

int64_t Shard::unflushed_bytes() const {
  MutexLock lock(mutex_);
  return open_bytes_ + sealing_bytes_;
}

Timestamp Shard::oldest_unflushed_ts() const {
  MutexLock lock(mutex_);
  return sealing_first_ >= 0 ? sealing_since_ : open_since_;
}

bool Shard::empty() const {
  MutexLock lock(mutex_);
  return segments_.empty() && open_first_ < 0 && sealing_first_ < 0;
}

}  // namespace saker
