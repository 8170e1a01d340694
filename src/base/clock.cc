#include "base/clock.h"

#include <algorithm>

namespace saker {

int64_t WallMs() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::milliseconds>(system_clock::now().time_since_epoch()).count();
}

int64_t MonotonicUs() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now().time_since_epoch()).count();
}

HybridClock::HybridClock() : wall_start_us_(WallMs() * 1000), monotonic_start_us_(MonotonicUs()) {}

Timestamp HybridClock::Physical() const {
  return MakeTimestamp((wall_start_us_ + MonotonicUs() - monotonic_start_us_) / 1000);
}

Timestamp HybridClock::Next() {
  const Timestamp physical = Physical();
  Timestamp last = last_.load(std::memory_order_relaxed);
  while (true) {
    const Timestamp next = std::max(physical, last + 1);
    if (last_.compare_exchange_weak(last, next)) return next;
  }
}

Timestamp HybridClock::Now() const { return std::max(Physical(), last_.load()); }

void HybridClock::Observe(Timestamp ts) {
  Timestamp last = last_.load(std::memory_order_relaxed);
  while (last < ts && !last_.compare_exchange_weak(last, ts)) {
  }
}

}  // namespace saker
