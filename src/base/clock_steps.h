// Notices when the wall clock was set, by comparing it with monotonic time from look to look. Nothing in Saker orders
// by the wall clock; whoever runs it should know all the same.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/mutex.h"

namespace saker {

// Thread-safe.
class ClockSteps {
 public:
  struct Step {
    int64_t by_ms = 0;
    int64_t noticed_us = 0;  // monotonic; 0: there was none
  };
  // By how much it was set since the last look; 0: it went on. Slewing (NTP's: at most 500 ppm) is no step.
  int64_t Look() { return Look(WallMs(), MonotonicUs()); }
  int64_t Look(int64_t wall_ms, int64_t monotonic_us);
  Step last() const;

 private:
  mutable Mutex mutex_;
  int64_t wall_ms_ GUARDED_BY(mutex_) = 0;
  int64_t monotonic_us_ GUARDED_BY(mutex_) = 0;
  Step last_ GUARDED_BY(mutex_);
};

}  // namespace saker
