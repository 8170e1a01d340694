#include "base/clock_steps.h"

#include <cstdlib>

namespace saker {
namespace {

constexpr int64_t kSmallestStepMs = 500;
constexpr int64_t kSlewPpm = 1000;  // twice what NTP does

}  // namespace

int64_t ClockSteps::Look(int64_t wall_ms, int64_t monotonic_us) {
  MutexLock lock(mutex_);
  const int64_t passed_ms = (monotonic_us - monotonic_us_) / 1000;
  const int64_t by_ms = wall_ms - wall_ms_ - passed_ms;
  const bool first = monotonic_us_ == 0;
  wall_ms_ = wall_ms;
  monotonic_us_ = monotonic_us;
  if (first || std::abs(by_ms) < kSmallestStepMs + passed_ms * kSlewPpm / 1'000'000) return 0;
  last_ = {by_ms, monotonic_us};
  return by_ms;
}

ClockSteps::Step ClockSteps::last() const {
  MutexLock lock(mutex_);
  return last_;
}

}  // namespace saker
