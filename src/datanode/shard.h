// The growing rows and the recent deletes of one collection on one channel.
//
// Life of a segment here: open (rows arrive) → sealing (being written out) → flushed (committed; kept until the route
// says that its sealed copy is served) → released. Batches are applied in log order by one thread; reads come from any.
// A "generation" is what one flush writes: the open segments and the deletes since the last one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "datanode/record.h"
#include "meta/meta_store.h"
#include "segment/segment.h"
#include "wal/log.h"

namespace saker {

// kAttempted: a flush of it failed, or its answer was lost, so that it may be committed all the same; the next flush takes it
// along.
enum class GrowingState { kOpen, kSealing, kAttempted, kFlushed };

struct Growing {
  std::shared_ptr<GrowingSegment> segment;
  GrowingState state = GrowingState::kOpen;
  LogOffset log_end = 0;          // offset after its last record
  Revision committed_at = 0;      // meta store revision of its flush
};

// What a flush has to write.
struct Generation {
  std::vector<std::shared_ptr<GrowingSegment>> segments;
  std::vector<LogOffset> log_ends;
  std::vector<DeleteBatch> deletes;
  Timestamp deletes_until = 0;    // every delete of the shard at or before is in `deletes` or was flushed earlier
  Timestamp rows_until = 0;       // rows deleted up to here are left out of `segments`: an iterator may need the later ones
  bool empty() const { return segments.empty() && deletes.empty(); }
};

// Thread-safe.
class Shard {
 public:
  // Deletes at or before `deletes_committed_until` are in committed delete segments.
  Shard(CollectionId collection, ChannelId channel, Timestamp deletes_committed_until)
      : collection_(collection),
        channel_(channel),
        deletes_known_after_(deletes_committed_until),
        deletes_flushed_until_(deletes_committed_until) {}

  CollectionId collection() const { return collection_; }
  ChannelId channel() const { return channel_; }

  // One batch, in log order. `schema` is what new segments are made with.
  void Apply(const WriteRecord& record, LogOffset offset, int64_t bytes, const SchemaPtr& schema);
  // Forgets the growing rows of a dropped partition.
  void DropPartition(PartitionId partition);

  // ---- reads
  std::vector<Growing> Readable(const std::vector<SegmentId>& sealed) const;
  std::shared_ptr<GrowingSegment> Find(SegmentId segment) const;
  Result<std::vector<DeleteBatch>> DeletesAfter(Timestamp after) const;
  std::vector<Growing> Segments() const;

  // ---- flush: one at a time
  // Turns what is open into a generation to write; false if a flush is under way or there is nothing to do.
  bool BeginFlush(Timestamp seal_ts, Generation& generation, Timestamp keep_from = kMaxTimestamp);
  void EndFlush(const Generation& generation, Revision committed_at);
  // Everything stays unflushed; returns after which pause it is to be tried again: a longer one each time.
  std::chrono::milliseconds AbortFlush(const Generation& generation);
  bool MayFlush() const;  // none is under way, and the pause after a failed one is over
  void EndPause();        // what failed may work now

  // Releases flushed segments for which `served` says so.
  template <typename Served>
  int Release(Served served);

  // The oldest log offset that is needed to restore what isn't flushed; -1 if all is.
  LogOffset FirstUnflushed() const;
  int64_t unflushed_bytes() const;
  Timestamp oldest_unflushed_ts() const;  // 0: none
  bool empty() const;  // neither segments nor unflushed deletes

 private:
  std::shared_ptr<GrowingSegment> SegmentOf(const InsertRecord& insert, const SchemaPtr& schema, LogOffset offset);

  const CollectionId collection_;
  const ChannelId channel_;

  mutable Mutex mutex_;
  std::vector<Growing> segments_ GUARDED_BY(mutex_);
  std::deque<DeleteBatch> deletes_ GUARDED_BY(mutex_);
  Timestamp deletes_known_after_ GUARDED_BY(mutex_);     // deletes_ has all after this one
  Timestamp deletes_flushed_until_ GUARDED_BY(mutex_);
  LogOffset open_first_ GUARDED_BY(mutex_) = -1;         // first record of the open generation
  LogOffset sealing_first_ GUARDED_BY(mutex_) = -1;      // of the one being flushed
  int64_t open_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t sealing_bytes_ GUARDED_BY(mutex_) = 0;
  Timestamp open_since_ GUARDED_BY(mutex_) = 0;
  Timestamp sealing_since_ GUARDED_BY(mutex_) = 0;
  bool flushing_ GUARDED_BY(mutex_) = false;
  int failed_flushes_ GUARDED_BY(mutex_) = 0;             // since the last that worked
  int64_t retry_at_us_ GUARDED_BY(mutex_) = 0;
};

template <typename Served>
int Shard::Release(Served served) {
  MutexLock lock(mutex_);
  return static_cast<int>(std::erase_if(segments_, [&](const Growing& growing) {
    return growing.state == GrowingState::kFlushed && served(growing);
  }));
}

}  // namespace saker
