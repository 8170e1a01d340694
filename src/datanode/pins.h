// The timestamps at which iterators read: versions that a read there needs are kept while it may come back
// (protocol rule 5).
#pragma once

#include <map>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/ids.h"
#include "roles/data_node.h"

namespace saker {

// Thread-safe. Timestamps are kept to the second, rounded down: any number of iterators costs little memory.
class Pins {
 public:
  // An iterator that asks for no page for so long may be told that its rows are gone.
  static constexpr int64_t kLifetimeUs = std::chrono::microseconds(kPinLifetime).count();

  // A read at `ts` may come back.
  void Hold(CollectionId collection, Timestamp ts, int64_t now_us) EXCLUDES(mutex_);
  // The oldest of the collection; kMaxTimestamp: none.
  Timestamp Oldest(CollectionId collection, int64_t now_us) EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  std::map<CollectionId, std::map<Timestamp, int64_t>> last_used_us_ GUARDED_BY(mutex_);
};

}  // namespace saker
