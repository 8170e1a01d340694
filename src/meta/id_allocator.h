// Ids that are never handed out twice, in this process or any other, before or after a crash: they come from blocks
// taken from one key by compare-and-write.
#pragma once

#include <string>

#include "base/mutex.h"
#include "meta/keys.h"
#include "meta/meta_store.h"

namespace saker {

// Thread-safe. What is left of a block when the process ends is never used.
class IdAllocator {
 public:
  explicit IdAllocator(MetaStore* store, int64_t block = 100'000, std::string key = std::string(kNextIdKey));
  // The first of `count` ids in a row. Touches the meta store once a block; fails with its error.
  Result<int64_t> Next(int64_t count = 1);

 private:
  Status TakeBlock(int64_t at_least) REQUIRES(mutex_);

  MetaStore* const store_;
  const int64_t block_;
  const std::string key_;
  Mutex mutex_;
  int64_t next_ GUARDED_BY(mutex_) = 0;
  int64_t end_ GUARDED_BY(mutex_) = 0;  // of the block
};

}  // namespace saker
