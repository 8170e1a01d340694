// The deletes of one segment: which rows are gone, and since when. Thread-safe; free while nothing is deleted.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bitmap.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace saker {

// A bitmap of all deleted rows answers reads of the present word by word; the list of (ts, row) in rising ts takes back
// what happened after a read's timestamp, usually nothing or a handful.
class DeleteLog {
 public:
  // Marks a row deleted at `ts`. A row deleted already keeps the earlier of both times.
  void Add(Timestamp ts, int64_t row) EXCLUDES(mutex_);
  int64_t count() const { return count_.load(std::memory_order_acquire); }
  // True if no row is deleted at or before `t`.
  bool NothingUntil(Timestamp t) const { return count() == 0 || first_ts_.load(std::memory_order_acquire) > t; }
  bool IsDeleted(int64_t row, Timestamp t) const EXCLUDES(mutex_);
  // Clears rows deleted at or before `t`; false if there are none in the segment.
  bool Clear(Timestamp t, Bitmap& rows) const EXCLUDES(mutex_);
  // The timestamp of the last deletion at or before `t`; 0 if there is none.
  Timestamp LastUntil(Timestamp t) const EXCLUDES(mutex_);
  int64_t memory_bytes() const EXCLUDES(mutex_);

 private:
  struct Entry {
    Timestamp ts;
    int64_t row;
  };
  bool Marked(int64_t row) const REQUIRES_SHARED(mutex_);
  int64_t FirstAfter(Timestamp t) const REQUIRES_SHARED(mutex_);

  std::atomic<int64_t> count_{0};
  std::atomic<Timestamp> first_ts_{kMaxTimestamp};
  mutable SharedMutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);   // rising ts
  std::vector<uint64_t> marked_ GUARDED_BY(mutex_); // a bit a row, as far as the last deleted one
};

// Clears the bits of rows [begin, end).
void ClearRange(Bitmap& rows, int64_t begin, int64_t end);

}  // namespace saker
