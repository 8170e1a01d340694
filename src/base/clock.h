// Timestamps and the hybrid logical clock.
//
// A Timestamp has Milvus's layout: milliseconds since 1970 << 18 | counter. A HybridClock hands out rising timestamps
// that follow monotonic time from where wall time stood at start: a jump of the wall clock changes no order.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace saker {

using Timestamp = uint64_t;
inline constexpr int kLogicalBits = 18;
inline constexpr Timestamp kMaxTimestamp = ~Timestamp{0};

constexpr Timestamp MakeTimestamp(int64_t unix_ms, uint32_t logical = 0) {
  return (static_cast<Timestamp>(unix_ms) << kLogicalBits) | logical;
}
constexpr int64_t UnixMs(Timestamp ts) { return static_cast<int64_t>(ts >> kLogicalBits); }

int64_t WallMs();       // may jump
int64_t MonotonicUs();  // never jumps

// Thread-safe, lock-free.
class HybridClock {
 public:
  HybridClock();
  // A timestamp above all that Next() returned or Observe() saw.
  Timestamp Next();
  // The present, without using it up: at or above all that Next() returned.
  Timestamp Now() const;
  // Later Next() calls return more than `ts`.
  void Observe(Timestamp ts);

 private:
  Timestamp Physical() const;
  const int64_t wall_start_us_;
  const int64_t monotonic_start_us_;
  std::atomic<Timestamp> last_{0};
};

class Stopwatch {
 public:
  Stopwatch() : start_us_(MonotonicUs()) {}
  int64_t elapsed_us() const { return MonotonicUs() - start_us_; }
  int64_t elapsed_ms() const { return elapsed_us() / 1000; }

 private:
  int64_t start_us_;
};

}  // namespace saker
