// What a process of a cluster knows of etcd's health. It is looked at when somebody asks for health or metrics, and
// while nobody asks nothing is done.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "meta/etcd_health.h"

namespace saker {

// Thread-safe.
class EtcdMonitor {
 public:
  using Done = std::function<void()>;
  // A look that is younger is good enough for the next asker.
  static constexpr std::chrono::milliseconds kFresh{2'000};

  // Pool and timer outlive it.
  EtcdMonitor(std::unique_ptr<EtcdAdmin> admin, ThreadPool* io, Timer* timer);
  ~EtcdMonitor();  // waits for a look under way
  EtcdMonitor(const EtcdMonitor&) = delete;

  // Calls `done` once, on the pool or at once: when a fresh look is there, or after `patience`, whichever comes first.
  void Refresh(std::chrono::milliseconds patience, Done done);
  // As of the last look; empty before the first.
  std::vector<EtcdFinding> findings() const;
  // Of the last look: the largest file, the smallest quota (0: not told), of members that answered.
  int64_t db_bytes() const;
  int64_t quota_bytes() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace saker
